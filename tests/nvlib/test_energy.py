"""Energies are counted events times sourced values, and no table of them is misread."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from nvlib.converters import Adc
from nvlib.devices import DeviceModel
from nvlib.energy import (
    DESIGN_LAWS,
    PARTIAL_LAWS,
    AdcLaw,
    EnergyTable,
    adc_saving,
    efficiency_gain,
    inference_energy,
    tops_per_watt,
)
from nvlib.events import count
from nvlib.hardware import Hardware
from nvlib.mapping import ArrayMapping
from nvlib.measured import read_adc_energies
from nvlib.quantizers import Precision
from nvlib.sparsity import SignSkip, ZeroSkip
from tests.conftest import random_layer, written

#: pJ that a cell at G_on takes in a read: 10 uS, 0.2 V, 100 ns.
ON_CELL_PJ = 10e-6 * 0.2**2 * 100e-9 * 1e12


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


def test_a_law_of_the_users_own(tmp_path):
    table, counts = EnergyTable.load(), np.array([5, 0, 0, 0, 2])
    mine = AdcLaw(lambda bits: 1e-13 * bits, "linear")
    assert mine.conversions_pj(counts, 4, table) == pytest.approx(2 * 0.4)
    path = tmp_path / "mine.csv"
    path.write_text("bits,energy_j\n4,6.8e-12\n5,0.8e-12\n")  # need not grow
    law = AdcLaw(read_adc_energies(path), "whole")
    assert law.conversions_pj(counts, 4, table) == pytest.approx(2 * 6.8)
    with pytest.raises(ValueError, match=r"bits of .*: expected one of \[4, 5\], received 8"):
        law.full_pj(8, table)
    for bad in (0.0, -1e-12, np.nan, 1.0, None):
        with pytest.raises(ValueError, match="joules of 8 bits: expected a finite number from"):
            AdcLaw(lambda bits, bad=bad: bad).full_pj(8, table)
    for text, message in (
        (
            "bits,energy_j\n4,1e-12\n4,1e-12",
            "row 3, bits: expected a number from 1 to 16 that is not there yet",
        ),
        ("bits,energy_j\n4.5,1e-12", "row 2, bits: expected a number from 1 to 16"),
        ("bits,energy_pj\n4,1", "expected columns bits, energy_j"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_adc_energies(path)


def test_the_columns_current_is_neurosims():
    layer = random_layer(np.random.default_rng(1), Precision(2, 1), 3, 2)
    arrays = written(layer, Hardware(ArrayMapping(rows=4, columns=8), adc=Adc(3)))
    codes = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    table, law = EnergyTable.load(), AdcLaw("neurosim", column_current=True)
    event = count(arrays, codes, column_sums=True)
    plain = inference_energy([event], (), 3, AdcLaw("neurosim"), table)
    whole = inference_energy([event], (), 3, law, table)
    # exp(-2.303 log10 R), as NeuroSim writes 1 / R, with R of a unit at 0.2 in place of 0.5 V.
    unit = 0.072341 * np.exp(-2.303 * np.log10(1 / 10e-6 * 0.5 / 0.2)) * 1e-9 * 1e12
    assert unit == pytest.approx(0.00029, rel=0.01)
    units = np.abs(layer.matrix[[0, 2]].astype(int)).sum() / 2  # of an image
    cycles = 4  # of 3 bits
    assert whole["adc"] - plain["adc"] == pytest.approx(units * cycles * unit, rel=0.01)
    with pytest.raises(ValueError, match="events: expected column sums"):
        inference_energy([count(arrays, codes)], (), 3, law, table)


def test_sourced_values_are_the_sources():
    table = EnergyTable.load()
    assert DESIGN_LAWS["isaac-saberi"](8, table) == 1.67
    assert DESIGN_LAWS["neurosim"](8, table) == pytest.approx((0.538 * 8 + 4.375) * 9 / 1000)
    assert DESIGN_LAWS["walden"](4, table) == pytest.approx(0.017 * 16)


def test_the_users_table_overrides_and_is_checked(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("row_driver: {value: 0.1, unit: pJ, source: mine}")
    assert EnergyTable.load(path).row_driver == 0.1
    assert EnergyTable.load(str(path)).shift_add == 0.021
    path.write_text("row_driver: {value: 1e-1, unit: pJ}")  # text to YAML 1.1
    assert EnergyTable.load(path).row_driver == 0.1
    for text, message in (
        ("row_driver: {value: 0.1, unit: nJ}", "unit of row_driver: expected pJ, received 'nJ'"),
        ("row_driver: {value: -1, unit: pJ}", "row_driver: expected a finite number from 0"),
        ("row_driver: {value: many, unit: pJ}", "value of row_driver: expected a decimal number"),
        ("row_driver: {value: 010, unit: pJ}", "a decimal number, received '010'"),  # octal 8
        ("row_driver: {value: 1:30, unit: pJ}", "a decimal number, received '1:30'"),  # 90 s
        ("row_driver: {value: 1_000, unit: pJ}", "a decimal number, received '1_000'"),
        ("row_driver: {value: 0x1F, unit: pJ}", "a decimal number, received '0x1F'"),
        ("row_driver: {value: true, unit: pJ}", "a decimal number, received 'true'"),
        ("row_driver: {value: null, unit: pJ}", "a decimal number, received 'null'"),
        ("row_driver: {value: , unit: pJ}", "a decimal number, received ''"),
        ("row_driver: {value: .nan, unit: pJ}", "a decimal number, received '.nan'"),
        ("row_driver: {value: [1], unit: pJ}", r"a decimal number, received \['1'\]"),
        ("row_driver: {unit: pJ}", "a decimal number, received None"),
        (f"row_driver: {{value: 1{'0' * 400}, unit: pJ}}", "row_driver: expected a finite number"),
        ("row_driver: {value: 1e400, unit: pJ}", "row_driver: expected a finite number"),
        # 10 microsiemens, written as 10 S
        ("on_conductance: {value: 10, unit: S}", "on_conductance: expected .* from 0 to 0.1"),
        ("row_driver: {value: 1, value: 2, unit: pJ}", "'value' twice; remove one"),
        (
            "row_driver: {value: 1, unit: pJ}\nrow_driver: {value: 2, unit: pJ}",
            "'row_driver' twice",
        ),
        ("row_driver: &a {value: 1, unit: pJ}\nshift_add: *a", "an alias; write the value out"),
        ("? [row_driver]\n: 1", "expected YAML"),
        ("[" * 5000, "expected YAML"),
        ("#" * 70_000, "expected 65536 characters"),
        ("row_drive: {value: 1, unit: pJ}", "table: expected one of .*row_driver"),
        ("row_driver: 3", "unit of row_driver"),
        ("- 1", "expected a table of entries"),
        ("a: [", "expected YAML"),
        ("!!python/object/apply:os.system ['true']", "expected a table of entries"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            EnergyTable.load(path)


def read_once(hardware):
    """Events of a small layer whose rows 0 and 2 are driven once, and its weights."""
    precision = Precision(2, 1)
    layer = random_layer(np.random.default_rng(1), precision, 3, 5)
    arrays = written(layer, hardware)
    return count(arrays, np.array([[1, 0, 1]], np.uint8)), layer.matrix[[0, 2]]


@pytest.mark.parametrize("ratio", [2.0, 11.0, np.inf])
def test_a_cell_takes_the_energy_of_its_conductance(ratio):
    hardware = Hardware(ArrayMapping(rows=4, columns=16), DeviceModel(ratio), Adc(3))
    event, weights = read_once(hardware)
    energy = inference_energy([event], (), 3, AdcLaw(), EnergyTable.load())
    on = np.abs(weights.astype(int)).sum()
    off = 2 * weights.size - on  # pairs
    assert energy["array"] == pytest.approx((on + off / ratio) * ON_CELL_PJ)


def test_reference_cells_take_energy_too():
    hardware = Hardware(ArrayMapping(rows=4, columns=4, cell_bits=2, scheme="offset"), adc=Adc(3))
    event, weights = read_once(hardware)
    assert event.column_tiles == 2  # five columns, and a reference column in each array
    energy = inference_energy([event], (), 3, AdcLaw(), EnergyTable.load())
    levels = (weights.astype(int) + 1).sum() + 2 * len(weights) * 1
    assert energy["array"] == pytest.approx(levels / 3 * ON_CELL_PJ)


def test_a_converter_for_nothing_saves_nothing_that_can_be_compared():
    event, _ = read_once(Hardware(ArrayMapping(rows=4, columns=16), adc=Adc(3)))
    free = replace(EnergyTable.load(), walden_step=0)
    energy = inference_energy([event], (), 3, AdcLaw(), free)
    assert energy["adc"] == 0
    with pytest.raises(ValueError, match="before: expected conversions that take energy"):
        adc_saving(energy, energy)
    nothing = dict.fromkeys(energy, 0.0)
    with pytest.raises(ValueError, match="after: expected an energy above 0"):
        efficiency_gain(energy, nothing)
    with pytest.raises(ValueError, match="energy: expected above 0"):
        tops_per_watt([event], nothing)
    with pytest.raises(ValueError, match="events: expected those of a layer or more"):
        inference_energy([], (), 3, AdcLaw(), free)


def test_laws_and_tables_are_checked_when_made():
    for bad in ("free", None, ["walden"]):
        with pytest.raises(ValueError, match="design: expected one of"):
            AdcLaw(bad)
        with pytest.raises(ValueError, match="partial: expected one of"):
            AdcLaw("walden", bad)
    with pytest.raises(ValueError, match="row_driver: expected a finite number .* received True"):
        replace(EnergyTable.load(), row_driver=True)
    table = EnergyTable.load()
    assert replace(table, row_driver=np.float32(0.5)) == replace(table, row_driver=0.5)


def test_a_file_that_is_no_table_is_one_clear_message(tmp_path):
    for path in (tmp_path / "none.yaml", str(tmp_path / "none.yaml"), tmp_path):
        with pytest.raises(ValueError, match="expected YAML, received .* its path"):
            EnergyTable.load(path)
    with pytest.raises(ValueError, match="override: expected a path, received 3"):
        EnergyTable.load(3)


def test_aliases_of_aliases_take_no_time_and_no_memory(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]"
              for old, new in zip("abcdefgh", "bcdefghi", strict=True)]  # fmt: skip
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, "row_driver: {value: 1, unit: *i}"]))
    tracemalloc.start()
    with pytest.raises(ValueError, match="an alias; write the value out"):
        EnergyTable.load(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("adc_bits", [2, 4])
def test_every_array_across_is_driven_sensed_and_converted(adc_bits):
    layer = random_layer(np.random.default_rng(1), Precision(2, 1), 7, 3)
    hardware = Hardware(ArrayMapping(rows=4, columns=4, scheme="offset"), adc=Adc(adc_bits))
    arrays = written(layer, hardware)
    event = count(arrays, np.array([[1, 0, 1, 1, 0, 0, 1]], np.uint8))
    across = int(arrays.column_tile.max()) + 1
    assert (event.column_tiles, event.accesses) == (across, 2)
    assert across > 1
    table, law = EnergyTable.load(), AdcLaw("walden", "linear")
    energy = inference_energy([event], (ZeroSkip(),), adc_bits, law, table)
    converted = arrays.mapped.levels[0].size + across  # a reference column in each
    assert event.columns == converted
    assert energy["row drivers"] == pytest.approx(7 * across * 0.39)
    assert energy["data movement"] == pytest.approx(2 * converted * 0.48)
    assert energy["adc"] == pytest.approx(2 * converted * 0.017 * 2**adc_bits)
    sense_bits = min(3, adc_bits)  # 4 rows are counted with 3 bits
    sensed = 2 * across * 0.017 * 2**sense_bits + 2 * converted * 0.029 + 4 * across * ON_CELL_PJ
    assert energy["detection"] == pytest.approx(sensed)


def test_skipping_by_the_sign_takes_a_comparison_for_each_pair():
    layer = random_layer(np.random.default_rng(1), Precision(2, 2), 7, 3)
    arrays = written(layer, Hardware(ArrayMapping(rows=8, dac_bits=2), adc=Adc(5)))
    event = count(arrays, np.array([[1, 0, 3, 1, 0, 0, 1], [0] * 7], np.uint8), relu=True)
    energy = inference_energy([event], (SignSkip(),), 5, AdcLaw(), EnergyTable.load())
    assert energy["detection"] == pytest.approx(2 * 3 * 0.029 / event.images)


def test_a_decimal_comma_in_a_table_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("row_driver: {value: 0,5, unit: pJ}\n")  # to YAML an entry "5"
    with pytest.raises(ValueError, match="entry of row_driver: expected value, unit"):
        EnergyTable.load(path)
