"""Energy by hand, law by law, and from the user's own table."""

from __future__ import annotations

import numpy as np
import pytest

from nvlib import (
    Adc,
    AdcLaw,
    ArrayMapping,
    EnergyTable,
    Hardware,
    Precision,
    ZeroSkip,
    adc_saving,
    efficiency_gain,
    inference_energy,
)
from nvlib.energy import DESIGN_LAWS, PARTIAL_LAWS
from nvlib.events import count
from tests.conftest import random_layer, written


def test_a_multi_bit_driver_stays_within_the_read_voltage():
    layer = random_layer(np.random.default_rng(1), Precision(2, 2), 3, 2)
    hardware = Hardware(ArrayMapping(rows=4, columns=8, dac_bits=2), adc=Adc(4))
    arrays = written(layer, hardware)
    event = count(arrays, np.array([[3, 1, 0]], np.uint8))
    energy = inference_energy([event], (), 4, AdcLaw(), EnergyTable.load())
    cells = np.abs(layer.matrix.astype(int)).sum(axis=1)
    volts = np.array([1, 1 / 3, 0])  # of the read voltage
    assert energy["array"] == pytest.approx((volts**2 @ cells) * 10e-6 * 0.04 * 100e-9 * 1e12)


def test_energy_by_hand():
    generator = np.random.default_rng(1)
    layer = random_layer(generator, Precision(2, 1), 3, 2)
    hardware = Hardware(ArrayMapping(rows=4, columns=8), adc=Adc(3))
    arrays = written(layer, hardware)
    codes = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    event = count(arrays, codes)
    table, law = EnergyTable.load(), AdcLaw("walden", "linear")
    before = inference_energy([event], (), 3, law, table)
    columns = 4  # two outputs of two polarities; two accesses over two images
    assert before["adc"] == pytest.approx(columns * 0.017 * 8)
    assert before["row drivers"] == pytest.approx(3 * 0.39)
    assert before["data movement"] == pytest.approx(columns * 0.48)
    on_cells = np.abs(layer.matrix[[0, 2]].astype(int)).sum()
    assert before["array"] == pytest.approx(on_cells / 2 * 10e-6 * 0.04 * 100e-9 * 1e12)
    assert before["detection"] == 0
    after = inference_energy([event], (ZeroSkip(),), 3, law, table)
    assert after["adc"] == pytest.approx(before["adc"] / 2)
    assert after["row drivers"] == before["row drivers"]
    sense = 0.017 * 8 + columns * 0.029 + 2 / 2 * 10e-6 * 0.04 * 100e-9 * 1e12
    assert after["detection"] == pytest.approx(sense)
    assert adc_saving(before, after) == pytest.approx(0.5)
    assert adc_saving(before, after, detection=True) < 0.5
    assert efficiency_gain(before, after) == sum(before.values()) / sum(after.values())


@pytest.mark.parametrize("design", DESIGN_LAWS)
@pytest.mark.parametrize("partial", PARTIAL_LAWS)
def test_every_law_grows_with_bits_and_ends_at_a_full_conversion(design, partial):
    table, law = EnergyTable.load(), AdcLaw(design, partial)
    for bits in (3, 4, 8):
        spent = [
            law.conversions_pj(np.eye(bits + 1, dtype=int)[b], bits, table) for b in range(bits + 1)
        ]
        assert spent[0] == 0
        assert (np.diff(spent) >= 0).all()
        assert spent[-1] == pytest.approx(DESIGN_LAWS[design](bits, table))
    assert DESIGN_LAWS[design](8, table) > DESIGN_LAWS[design](4, table)


def test_sourced_values_are_the_sources():
    table = EnergyTable.load()
    assert DESIGN_LAWS["isaac-saberi"](8, table) == 1.67
    assert DESIGN_LAWS["neurosim"](8, table) == pytest.approx((0.538 * 8 + 4.375) * 9 / 1000)
    assert DESIGN_LAWS["walden"](4, table) == pytest.approx(0.017 * 16)


def test_the_users_table_overrides_and_is_checked(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("row_driver: {value: 0.1, unit: pJ, source: mine}")
    assert EnergyTable.load(path).row_driver == 0.1
    assert EnergyTable.load(path).shift_add == 0.021
    for text, message in (
        ("row_driver: {value: 0.1, unit: nJ}", "unit of row_driver: expected pJ, received 'nJ'"),
        ("row_driver: {value: -1, unit: pJ}", "row_driver: expected a finite number from 0"),
        ("row_driver: {value: many, unit: pJ}", "value of row_driver: expected a decimal number"),
        ("row_drive: {value: 1, unit: pJ}", "expected entries among"),
        ("row_driver: 3", "unit of row_driver"),
        ("- 1", "expected a table of entries"),
        ("a: [", "expected YAML"),
        ("!!python/object/apply:os.system ['true']", "expected a table of entries"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            EnergyTable.load(path)


def test_an_unknown_law_is_refused():
    with pytest.raises(ValueError, match="design: expected one of"):
        AdcLaw("free")
