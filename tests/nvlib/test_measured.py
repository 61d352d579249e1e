"""Devices and converters from CSV: what is behind the examples comes back, the rest is refused."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
import pytest

from artifact import figures_own
from artifact.paths import EXAMPLES
from nvlib.arrays import Hardware, write_layer
from nvlib.converters import Adc, measure_adc, measure_dac
from nvlib.devices import LevelMeans
from nvlib.mapping import Mapping
from nvlib.measured import MeasurementError, MeasurementWarning, read_adc, read_dac, read_device
from nvlib.quantizers import Precision
from nvlib.reading import CompiledReader
from nvlib.reference import read_layer
from tests import oracle
from tests.conftest import random_layer

spec = importlib.util.spec_from_file_location("make", EXAMPLES / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


def test_the_examples_are_what_their_script_makes(tmp_path):
    make.main(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_text() == (EXAMPLES / path.name).read_text()


def test_the_model_behind_the_example_device_comes_back():
    device, table = read_device(EXAMPLES / "device.csv")
    span = make.HIGHEST_S - make.LOWEST_S
    for level in range(make.LEVELS):
        share = level / 3 * (1 + make.BEND * (1 - level / 3))
        error = make.SPREADS[level] / np.sqrt(make.CYCLES)
        found = (device.means_s[level] - make.LOWEST_S) / span
        assert abs(found - share) < 4 * error
        assert device.sigmas_s[level] / span == pytest.approx(make.SPREADS[level], rel=0.4)
    assert abs(device.drift.nu - make.NU) < 4 * device.drift.nu_error
    assert device.drift.nu_error == pytest.approx(make.NU_SIGMA / np.sqrt(160), rel=0.3)
    assert (device.drift.reference_seconds, device.drift.traces) == (20.0, 160)
    assert len(table) == 4 * 40 * 4


def test_cells_of_a_measured_device_have_its_means_and_spreads():
    device, _ = read_device(EXAMPLES / "device.csv")
    levels = np.repeat(np.arange(4), 20_000)
    steps = 3 / (device.means_s[-1] - device.means_s[0])  # level steps per siemens
    fresh = device.model().program(levels, 3, np.random.default_rng(0)).reshape(4, -1)
    np.testing.assert_allclose(fresh.mean(axis=1), np.array(device.means_s) * steps, rtol=0.02)
    np.testing.assert_allclose(fresh.std(axis=1), np.array(device.sigmas_s) * steps, rtol=0.03)
    aged = device.model(20e6).program(levels, 3, np.random.default_rng(0)).reshape(4, -1)
    kept = (1e6) ** -device.drift.nu
    assert aged[3].mean() / fresh[3].mean() == pytest.approx(kept, rel=0.03)


def test_the_fit_is_drawn_over_the_data(tmp_path):
    device, table = read_device(EXAMPLES / "device.csv")
    levels, drift = figures_own.measured_device(device, table).axes
    dots = [line for line in levels.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in dots] == [40] * 4
    assert drift.get_xscale() == drift.get_yscale() == "log"
    path = tmp_path / "device.csv"
    path.write_text(device_text(SOUND))
    assert len(figures_own.measured_device(*read_device(path)).axes) == 1


def test_straight_levels_are_the_ideal_ones():
    straight = LevelMeans((0.0, 1 / 3, 2 / 3, 1.0))
    cells = np.arange(4.0)

    class Asked:
        levels, level_max = np.arange(4), 3

    np.testing.assert_allclose(straight.apply(cells, Asked, None), cells)
    with pytest.raises(ValueError, match="a mean for each of 4 levels, received 2"):
        LevelMeans((0.0, 1.0)).apply(cells, Asked, None)


def test_measured_converters_convert_as_the_oracle_does():
    adc, dac = read_adc(EXAMPLES / "adc.csv"), read_dac(EXAMPLES / "dac.csv")
    assert measure_adc(adc.transitions).inl_lsb == pytest.approx(0.8, abs=0.01)
    assert measure_dac(dac.outputs).inl_lsb == pytest.approx(0.2, abs=0.01)
    generator = np.random.default_rng(1)
    hardware = Hardware(Mapping(rows=32, cell_bits=2, dac_bits=3), adc=adc, dac=dac)
    precision = Precision(4, 3)
    layer = random_layer(generator, precision, 40, 6)
    codes, keys = generator.integers(0, 8, (3, 40)).astype(np.uint8), np.zeros(3, np.uint64)
    arrays = write_layer(layer, 0, precision, hardware, np.random.SeedSequence(0))
    reader = CompiledReader(arrays, 1, 40)
    found = reader.read(reader.pad(codes), keys)[:, 0, :6]
    np.testing.assert_array_equal(found, read_layer(arrays, codes, keys)[:, 0])
    for n in range(3):
        assert found[n].tolist() == oracle.read_position(arrays, codes[n])
    ideal = write_layer(layer, 0, precision, Hardware(hardware.mapping, adc=Adc(5)),
                        np.random.SeedSequence(0))  # fmt: skip
    assert (read_layer(ideal, codes, keys)[:, 0] != found).any()
    with pytest.raises(ValueError, match="outputs: expected 4 for drivers of 2 bits, received 8"):
        dac.levels(2, generator)


def device_text(rows, header="level,conductance_s"):
    return header + "\n" + "\n".join(",".join(map(str, row)) for row in rows)


SOUND = [(level, (1 + 9 * level + 0.1 * k) * 1e-6) for level in (0, 1) for k in range(10)]


def changed(line, value):
    """Sound rows, but for one line of the file."""
    return [value if number == line else row for number, row in enumerate(SOUND, start=2)]


BAD_DEVICES = {
    "row 1: expected columns level, conductance_s": device_text(SOUND, "level,conductance_us"),
    "row 1: expected columns .* found level; ": "level\n1\n",
    "row 5: expected 2 finite numbers, found '1,x'": device_text(changed(5, (1, "x"))),
    "row 5: expected 2 finite numbers, found '1,nan'": device_text(changed(5, (1, "nan"))),
    "row 5: expected 2 finite numbers, found '1'": device_text(changed(5, (1,))),
    "row 7: expected a level from 0 to 255, found 0.5": device_text(changed(7, (0.5, 1e-6))),
    "row 7: expected a level from 0 to 255, found -1": device_text(changed(7, (-1, 1e-6))),
    "row 2: expected a conductance in S from 0 to 0.1, found 1; .*1 uS is 1e-6": device_text(
        [(level, g * 1e6) for level, g in SOUND]
    ),
    "row 21: expected a largest conductance of at least 1e-09 S": device_text(
        [(level, g * 1e-9) for level, g in SOUND]
    ),
    r"expected every level from 0 to 3, found none of \[3\]": device_text(
        [*SOUND, *((2, 3e-5 + k * 1e-7) for k in range(10))]
    ),
    r"expected every level from 0 to 1, found none of \[1\]": device_text(SOUND[:10]),
    r"level 1 \(rows 12 to 13\): expected at least 3 measurements, found 2":
        device_text(SOUND[:12]),
    r"level 1 \(rows 2 to 11\): expected a mean above that of level 0": device_text(
        [(1 - level, g) for level, g in SOUND]
    ),
    "row 4: expected a time after programming above 0 s": device_text(
        [(*row, 0 if k == 2 else 20) for k, row in enumerate(SOUND)], "level,conductance_s,time_s"
    ),
    "expected measurements, found none": "level,conductance_s\n",
    "expected CSV text in UTF-8": "level,conductance_s\n\udcff",
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_DEVICES)
def test_a_bad_device_table_is_refused_by_row(tmp_path, message):
    path = tmp_path / "device.csv"
    path.write_bytes(BAD_DEVICES[message].encode("utf-8", "surrogateescape"))
    with pytest.raises(MeasurementError, match=message):
        read_device(path)


def test_a_missing_file_and_a_drift_that_was_not_measured_are_refused(tmp_path):
    with pytest.raises(MeasurementError, match="expected a CSV file, received: No such file"):
        read_device(tmp_path / "none.csv")
    path = tmp_path / "device.csv"
    path.write_text(device_text(SOUND))
    device, _ = read_device(path)
    with pytest.raises(MeasurementError, match="add a column time_s"):
        device.model(1e6)


def test_doubtful_tables_are_used_with_a_warning(tmp_path):
    path = tmp_path / "device.csv"
    path.write_text(device_text(SOUND[2:]))
    with pytest.warns(MeasurementWarning, match=r"level 0 \(rows 2 to 9\): a spread from 8"):
        read_device(path)
    wide = [(level, g + (k % 2) * 9e-6) for k, (level, g) in enumerate(SOUND)]
    path.write_text(device_text(wide))
    with pytest.warns(MeasurementWarning, match="overlaps level 0"):
        read_device(path)
    rows = [(*row, t) for t in (1, 10) for row in SOUND]
    grown = [(level, g * (1.2 if t > 1 else 1), t) for level, g, t in rows]
    path.write_text(device_text(grown, "level,conductance_s,time_s"))
    with pytest.warns(MeasurementWarning, match="conductances grow with time"):
        device, _ = read_device(path)
    assert device.model(100.0).effects[-1].nu == 0
    path.write_text(device_text([(*row, 5) for row in SOUND], "level,conductance_s,time_s"))
    with pytest.warns(MeasurementWarning, match="no drift is fitted"):
        assert read_device(path)[0].drift is None
    path.write_text("\ufeff" + device_text(SOUND))  # spreadsheets put a mark before the text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_device(path)[0].cell_bits == 1


@pytest.mark.parametrize(
    ("message", "rows"),
    [
        ("row 3: expected a code .* not there yet, found 1", [(1, 0.5), (1, 1.5)]),
        ("row 2: expected a code from 1 .* found 0", [(0, 0.5), (1, 1.5)]),
        (r"expected every code from 1 to 3, found none of \[3\]", [(1, 0.5), (2, 1.5)]),
        ("code 3: expected a transition not below that of code 2, 2.5, found 2",
         [(1, 0.5), (2, 2.5), (3, 2.0)]),
        ("row 4: expected values in LSB.* found 0.01", [(1, 0.01), (2, 0.02), (3, 0.03)]),
    ],
)  # fmt: skip
def test_a_bad_code_table_is_refused_by_row(tmp_path, message, rows):
    path = tmp_path / "adc.csv"
    path.write_text(device_text(rows, "code,transition_lsb"))
    with pytest.raises(MeasurementError, match=message):
        read_adc(path)
