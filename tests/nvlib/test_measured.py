"""Devices and converters from CSV: what is behind the examples comes back, the rest is refused."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from artifact import figures
from artifact.paths import EXAMPLES
from nvlib.arrays import write_layer
from nvlib.converters import Adc, measure_adc
from nvlib.devices import (
    Cells,
    EmpiricalVariation,
    LevelMeans,
    LognormalVariation,
    RangeVariation,
    RetentionDrift,
)
from nvlib.engine.kernel import CompiledReader
from nvlib.engine.reference import read_layer
from nvlib.hardware import Hardware
from nvlib.mapping import ArrayMapping
from nvlib.measured import MeasuredDevice, read_adc, read_dac, read_device
from nvlib.quantizers import Precision
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
    assert device.drift.reference_seconds == 20.0
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
    levels, drift = figures.measured_device(device, table).axes
    dots = [line for line in levels.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in dots] == [40] * 4
    assert drift.get_xscale() == drift.get_yscale() == "log"
    path = tmp_path / "device.csv"
    path.write_text(device_text(SOUND))
    assert len(figures.measured_device(*read_device(path)).axes) == 1


def test_straight_levels_are_the_ideal_ones():
    straight = LevelMeans((0.0, 1 / 3, 2 / 3, 1.0))
    cells = np.arange(4.0)

    asked = Cells(np.arange(4), 3, 0.0)
    np.testing.assert_allclose(straight.apply(cells, asked, None), cells)
    with pytest.raises(ValueError, match="means: expected one for each of 4 levels, received 2"):
        LevelMeans((0.0, 1.0)).apply(cells, asked, None)


def test_measured_converters_convert_as_the_oracle_does():
    adc, dac = read_adc(EXAMPLES / "adc.csv"), read_dac(EXAMPLES / "dac.csv")
    assert measure_adc(adc.transitions).inl_lsb == pytest.approx(0.8, abs=0.01)
    assert measure_adc(np.array(dac.outputs) + 0.5).inl_lsb == pytest.approx(0.2, abs=0.01)
    generator = np.random.default_rng(1)
    hardware = Hardware(ArrayMapping(rows=32, cell_bits=2, dac_bits=3), adc=adc, dac=dac)
    precision = Precision(4, 3)
    layer = random_layer(generator, precision, 40, 6)
    codes, keys = generator.integers(0, 8, (3, 40)).astype(np.uint8), np.zeros(3, np.uint64)
    arrays = write_layer(layer, 0, hardware, np.random.SeedSequence(0))
    found = CompiledReader(arrays)(codes, keys)
    np.testing.assert_array_equal(found, read_layer(arrays, codes, keys)[:, 0])
    for n in range(3):
        assert found[n].tolist() == oracle.read_position(arrays, codes[n])
    ideal = write_layer(layer, 0, Hardware(hardware.mapping, adc=Adc(5)),
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
    "row 1: expected columns .* received 'level'; ": "level\n1\n",
    "row 5: expected 2 values, finite .* received '1,x'": device_text(changed(5, (1, "x"))),
    "row 5: expected 2 values, finite .* received '1,nan'": device_text(changed(5, (1, "nan"))),
    "row 5: expected 2 values, finite .* received '1'": device_text(changed(5, (1,))),
    "row 7, level: expected a whole .* 255, received 0.5": device_text(changed(7, (0.5, 1e-6))),
    "row 7, level: expected a whole .* 255, received -1": device_text(changed(7, (-1, 1e-6))),
    "row 2, conductance_s: .* from 0 to 0.1 S, received 1.0; .*1 uS is 1e-6": device_text(
        [(level, g * 1e6) for level, g in SOUND]
    ),
    "row 21: expected a largest conductance of 1e-09 S or more": device_text(
        [(level, g * 1e-9) for level, g in SOUND]
    ),
    r"expected every level from 0 to 3, received 'none of \[2\]": device_text(
        [*SOUND, *((3, 3e-5 + k * 1e-7) for k in range(10))]
    ),
    r"expected every level from 0 to 1, received 'none of \[1\]": device_text(SOUND[:10]),
    r"level 1 \(rows 12 to 13\): expected at least 3 measurements, received 2":
        device_text(SOUND[:12]),
    r"level 1 \(rows 2 to 11\): expected a mean above that of level 0": device_text(
        [(1 - level, g) for level, g in SOUND]
    ),
    "row 4, time_s: .* from 1e-09 to 1e.12 s after .*, received 0.0; ": device_text(
        [(*row, 0 if k == 2 else 20) for k, row in enumerate(SOUND)], "level,conductance_s,time_s"
    ),
    "row 12, time_s: expected a number .* received 1e-300; ": device_text(
        [(*row, 20 if row[0] < 1 else 1e-300) for row in SOUND], "level,conductance_s,time_s"
    ),
    "row 12, time_s: expected a number .* received 1e.300; ": device_text(
        [(*row, 20 if row[0] < 1 else 1e300) for row in SOUND], "level,conductance_s,time_s"
    ),
    "expected measurements, received 'none'": "level,conductance_s\n",
    "expected a CSV file in UTF-8, received UnicodeDecodeError": "level,conductance_s\n\udcff",
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_DEVICES)
def test_a_bad_device_table_is_refused_by_row(tmp_path, message):
    path = tmp_path / "device.csv"
    path.write_bytes(BAD_DEVICES[message].encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        read_device(path)


def test_a_missing_file_and_a_drift_that_was_not_measured_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a CSV file in UTF-8, .* No such file"):
        read_device(tmp_path / "none.csv")
    path = tmp_path / "device.csv"
    path.write_text(device_text(SOUND))
    device, _ = read_device(path)
    with pytest.raises(ValueError, match="columns time_s, and cycle or cell"):
        device.model(1e6)


def test_doubtful_tables_are_used_with_a_warning(tmp_path):
    path = tmp_path / "device.csv"
    path.write_text(device_text(SOUND[2:]))
    with pytest.warns(UserWarning, match=r"level 0 \(rows 2 to 9\): a spread from 8"):
        read_device(path)
    wide = [(level, g + (k % 2) * 9e-6) for k, (level, g) in enumerate(SOUND)]
    path.write_text(device_text(wide))
    with pytest.warns(UserWarning, match="overlaps level 0"):
        read_device(path)
    rows = [(*row, t, cell) for t in (1, 10) for cell, row in enumerate(SOUND)]
    grown = [(level, g * (1.2 if t > 1 else 1), t, cell) for level, g, t, cell in rows]
    path.write_text(device_text(grown, "level,conductance_s,time_s,cell"))
    with pytest.warns(UserWarning, match="conductances grow with time"):
        device, _ = read_device(path)
    assert device.model(100.0).effects[-1].nu == 0
    path.write_text(device_text([(*row, 5, 0) for row in SOUND], "level,conductance_s,time_s,cell"))
    with pytest.warns(UserWarning, match="no drift"):
        assert read_device(path)[0].drift is None
    path.write_text("\ufeff" + device_text(SOUND))  # spreadsheets put a mark before the text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_device(path)[0].cell_bits == 1


@pytest.mark.parametrize(
    ("message", "rows"),
    [
        ("row 3, code: expected a number .* not there yet, received 1", [(1, 0.5), (1, 1.5)]),
        ("row 2, code: expected a number from 1 .* received 0", [(0, 0.5), (1, 1.5)]),
        (r"expected every code from 1 to 3, received 'none of \[3\]", [(1, 0.5), (2, 1.5)]),
        (r"transitions\[2\]: expected 2.5 or above, received 2.0; a missing code",
         [(1, 0.5), (2, 2.5), (3, 2.0)]),
        (r"transitions\[1\]: expected a finite number from -0.25 to 3.25, received 3.5",
         [(1, 0.5), (2, 3.5), (3, 3.5)]),
        ("adc.csv: expected values in LSB.* received '0.01'", [(1, 0.01), (2, 0.02), (3, 0.03)]),
    ],
)  # fmt: skip
def test_a_bad_code_table_is_refused_by_row(tmp_path, message, rows):
    path = tmp_path / "adc.csv"
    path.write_text(device_text(rows, "code,transition_lsb"))
    with pytest.raises(ValueError, match=message):
        read_adc(path)


@pytest.mark.parametrize("value", ["40", "1e12", "-3"])
def test_one_code_far_from_the_line_is_refused(tmp_path, value):
    outputs = ["0", "1", "2", "3", value, "5", "6", "7"]
    path = tmp_path / "dac.csv"
    path.write_text(device_text(list(enumerate(outputs)), "code,output_lsb"))
    with pytest.raises(ValueError, match=r"dac.csv: outputs\[4\]: expected .* from 1 to 7"):
        read_dac(path)


def measured(tmp_path, table, *warnings_expected):
    """The device of a table; each text must be warned of, and nothing else."""
    path = tmp_path / "device.csv"
    table.to_csv(path, index=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        device, _ = read_device(path)
    assert len(caught) == len(warnings_expected)
    for warning, text in zip(caught, warnings_expected, strict=True):
        assert text in str(warning.message)
    return device


def drifting(nus, spreads, seconds=(20, 200, 2000, 20000), cells=60, seed=0):
    """Levels whose cells drift with exponents of their own, each cell followed over time."""
    generator = np.random.default_rng(seed)
    level, cycle, time = (axis.ravel() for axis in np.meshgrid(
        range(len(nus)), range(cells), np.array(seconds, float), indexing="ij"))  # fmt: skip
    written = (1 + 8 * level) * 1e-6
    written = written + 3e-7 * generator.standard_normal((len(nus), cells))[level, cycle]
    nu = np.array(nus)[level] + np.array(spreads)[level] * generator.standard_normal(
        (len(nus), cells))[level, cycle]  # fmt: skip
    noise = 1 + 0.002 * generator.standard_normal(len(level))
    return pd.DataFrame({"level": level, "conductance_s": written * (time / 20) ** -nu * noise,
                         "time_s": time, "cycle": cycle})  # fmt: skip


def test_drift_that_depends_on_the_level_is_modelled_by_level(tmp_path):
    asked, spreads = (0.12, 0.09, 0.053, 0.02), (0.004, 0.004, 0.008, 0.004)
    device = measured(tmp_path, drifting(asked, spreads))
    np.testing.assert_allclose(device.drift.level_nus, asked, atol=0.004)
    np.testing.assert_allclose(device.drift.level_sigmas, spreads, rtol=0.35)
    effect = device.model(2e4).effects[-1]
    assert effect == RetentionDrift(2e4, device.drift.level_nus, device.drift.level_sigmas)
    levels = np.repeat(np.arange(4), 20_000)
    fresh, aged = (device.model(t).program(levels, 3, np.random.default_rng(0)).reshape(4, -1)
                   for t in (20.0, 2e4))  # fmt: skip
    kept = np.median(aged, axis=1) / np.median(fresh, axis=1)
    np.testing.assert_allclose(kept, 1000.0 ** -np.array(asked), rtol=0.03)


def test_levels_that_differ_in_the_spread_of_drift_only_keep_their_own(tmp_path):
    device = measured(tmp_path, drifting((0.05, 0.05), (0.002, 0.015)))
    np.testing.assert_allclose(device.drift.level_sigmas, (0.002, 0.015), rtol=0.3)


def test_one_law_serves_levels_that_do_not_differ(tmp_path):
    device = measured(tmp_path, drifting((0.05,) * 4, (0.005,) * 4))
    assert device.drift.level_nus == ()
    assert device.model(2e4).effects[-1].nu == pytest.approx(0.05, abs=0.002)
    assert device.drift.nu_sigma == pytest.approx(0.005, rel=0.2)
    exact = drifting((0.05,) * 2, (0.0,) * 2)
    exact["conductance_s"] = (1 + 8 * exact["level"]) * 1e-6 * (exact["time_s"] / 20) ** -0.05
    assert measured(tmp_path, exact).drift.level_nus == ()  # rounding errors are no difference


def test_drift_of_cells_that_were_not_followed_is_not_invented(tmp_path):
    table = drifting((0.12, 0.02), (0.005, 0.005)).drop(columns="cycle")
    device = measured(tmp_path, table, "which cell they follow; add a column cycle or cell")
    assert device.drift is None
    with pytest.raises(ValueError, match="follow cells over time: columns time_s, and cycle"):
        device.model(2e4)


def test_readings_of_several_cells_under_one_cycle_are_no_trace(tmp_path):
    table = drifting((0.05, 0.05), (0.01, 0.01))
    cell, shared = table["cycle"], table.assign(cycle=table["cycle"] // 4)
    device = measured(tmp_path, shared, "rows do not tell which cell they follow")
    assert device.drift is None
    named = measured(tmp_path, shared.assign(cell=[f"{k % 4}, top" for k in cell]))
    assert named.drift.nu_sigma == pytest.approx(0.01, rel=0.2)


def test_what_is_no_power_law_is_said(tmp_path):
    table = drifting((0.0, 0.0), (0.0, 0.0), seconds=(20, 200, 1000, 2000))
    table["conductance_s"] *= np.exp(-table["time_s"] / 2000)
    measured(tmp_path, table, "follow no power law of time; its mean errs by 23%")


def test_zeros_are_left_out_of_the_drift_and_named(tmp_path):
    table = drifting((0.05, 0.05), (0.005, 0.005))
    table.loc[table["level"] == 0, "conductance_s"] = 0.0
    device = measured(tmp_path, table, "240 conductances of 0 S are left out")
    assert device.drift.nu == pytest.approx(0.05, abs=0.003)
    assert device.model().on_off_ratio == np.inf


def test_a_drift_that_no_power_law_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"device.csv: nu: expected .* 0 to 0.2, received 1.5"):
        measured(tmp_path, drifting((1.5, 1.5), (0.0, 0.0)))


def spread(samples):
    """A table of samples for each level."""
    return pd.DataFrame([(level, value) for level, values in enumerate(samples)
                         for value in values], columns=["level", "conductance_s"])  # fmt: skip


def modelled(device, count=50_000):
    """Conductances of many cells of each level, in S."""
    top, model = 2**device.cell_bits - 1, device.model()
    levels = np.repeat(np.arange(top + 1), count)
    cells = model.program(levels, top, np.random.default_rng(1)).reshape(top + 1, -1)
    return cells * (device.means_s[-1] - device.means_s[0]) / top


def test_log_normal_levels_stay_log_normal(tmp_path):
    generator = np.random.default_rng(0)
    samples = [mean * np.exp(0.5 * generator.standard_normal(200)) for mean in (1e-6, 2e-5)]
    device = measured(tmp_path, spread(samples))
    np.testing.assert_allclose(device.log_sigmas, 0.5, rtol=0.15)
    assert isinstance(device.model().effects[-1], LognormalVariation)
    for cells, values in zip(modelled(device), samples, strict=True):
        assert stats.ks_2samp(cells, values).pvalue > 0.01
        assert cells.mean() == pytest.approx(values.mean(), rel=0.02)


def test_one_log_normal_level_leaves_the_others_normal(tmp_path):
    generator = np.random.default_rng(0)
    low = 1e-6 * np.exp(0.8 * generator.standard_normal(200))
    high = np.maximum(2e-5 + 6e-6 * generator.standard_normal(200), 1e-6)
    device = measured(tmp_path, spread([low, high]))
    assert device.log_sigmas[0] == pytest.approx(0.8, rel=0.15)
    assert device.log_sigmas[1] == 0
    for cells, values in zip(modelled(device), (low, high), strict=True):
        assert stats.ks_2samp(cells, values).pvalue > 0.01


def test_levels_that_no_distribution_fits_are_drawn_from_their_quantiles(tmp_path):
    generator = np.random.default_rng(0)
    peaks = 2e-5 + np.where(np.arange(200) % 3, 2e-6, -2e-6) + 2e-7 * generator.standard_normal(200)
    device = measured(tmp_path, spread([1e-6 + 1e-7 * generator.standard_normal(200), peaks]),
                      "neither normal (p = ")  # fmt: skip
    effects = device.model().effects
    assert isinstance(effects[-1], EmpiricalVariation)
    assert effects[-1].quantiles[0] == ()
    assert effects[1].sigma[1] == 0
    low, high = modelled(device)
    assert stats.ks_2samp(high, peaks).pvalue > 0.01
    assert low.std() == pytest.approx(1e-7, rel=0.2)


def test_the_example_is_normal_and_of_one_drift():
    device, _ = read_device(EXAMPLES / "device.csv")
    assert (device.log_sigmas, device.quantiles_s, device.drift.level_nus) == ((), (), ())
    assert [type(effect) for effect in device.model(1e4).effects] == [
        LevelMeans, RangeVariation, RetentionDrift,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "worn",
    [lambda cycle: 1e-5 * (1 + cycle) ** -0.15,  # the window closes
     lambda cycle: 1e-5 * (1 - 0.5 * (np.log10(1 + cycle) - 3) ** 2 / 9)],  # wakes up, then wears
)  # fmt: skip
def test_a_table_of_endurance_is_refused(tmp_path, worn):
    cycles, generator = np.round(np.geomspace(1, 1e6, 12)), np.random.default_rng(0)
    table = pd.DataFrame({"level": np.repeat([0, 1], 12), "cycle": np.tile(cycles, 2)})
    noise = 1 + 0.02 * generator.standard_normal(24)
    table["conductance_s"] = np.where(table["level"], worn(table["cycle"]), 1e-6) * noise
    with pytest.raises(ValueError, match=r"level 1 \(rows 14 to 25\): .* trend over the cycles"):
        measured(tmp_path, table)
    # Cells that differ hide no wear: each is compared with itself.
    several = pd.concat([table.assign(cell=k, conductance_s=table["conductance_s"] * (1 + k / 2))
                         for k in range(5)])  # fmt: skip
    with pytest.raises(ValueError, match="endurance is not modelled"):
        measured(tmp_path, several)


def test_cycles_without_a_trend_are_samples(tmp_path):
    generator = np.random.default_rng(0)
    table = spread([mean + 3e-7 * generator.standard_normal(40) for mean in (1e-6, 1e-5)])
    measured(tmp_path, table.assign(cycle=np.tile(np.arange(40), 2)))


@pytest.mark.parametrize(
    ("count", "bits", "used"),
    [(3, 1, (0, 2)), (4, 2, (0, 1, 2, 3)), (5, 2, (0, 1, 3, 4)), (7, 2, (0, 2, 4, 6))],
)
def test_of_any_number_of_levels_the_most_even_serve(tmp_path, count, bits, used):
    generator = np.random.default_rng(0)
    table = spread([(1 + 8 * k) * 1e-6 + 3e-7 * generator.standard_normal(40)
                    for k in range(count)])  # fmt: skip
    warned = [f"of {count} levels, cells of {bits} bits use"] if count != 2**bits else []
    device = measured(tmp_path, table, *warned)
    assert (device.cell_bits, device.used_levels) == (bits, used)
    means = modelled(device, 10_000).mean(axis=1)
    np.testing.assert_allclose(means, np.array(device.means_s)[list(used)], rtol=0.02)


def test_further_columns_are_ignored_by_name(tmp_path):
    generator = np.random.default_rng(0)
    table = spread([mean + 3e-7 * generator.standard_normal(40) for mean in (1e-6, 1e-5)])
    plain = measured(tmp_path, table)
    table.insert(0, "date", "1 May, morning")
    assert measured(tmp_path, table, "columns date are not used") == plain


def test_levels_of_a_measured_device_are_used_in_their_order():
    for curve in (2.0 ** np.arange(8), 1 - np.exp(-np.arange(16) / 5), np.arange(5.0) ** 3):
        means = tuple((1e-6 + 1e-6 * curve).tolist())
        few = (1e-9,) * len(means)
        used = MeasuredDevice(means, few, (9,) * len(means)).used_levels
        assert list(used) == sorted(set(used))
        assert (used[0], used[-1]) == (0, len(means) - 1)


def test_rows_that_stand_twice_and_lines_that_are_blank(tmp_path):
    table = drifting((0.05, 0.05), (0.01, 0.01))
    path = tmp_path / "twice.csv"
    pd.concat([table, table[:1]]).to_csv(path, index=False)
    wanted = rf"row {len(table) + 2}: expected each row once, received 'the same again'"
    with pytest.raises(ValueError, match=wanted):
        read_device(path)
    text = table.to_csv(index=False)
    head, rest = text.split("\n", 1)
    rest = "".join(f"{line},\n" for line in rest.splitlines())
    path.write_text(f"# mine\n\n{head},\n{rest}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_device(path)[0] == measured(tmp_path, table)
