"""Area and latency, added up by hand; a report's rows add up to its last one."""

from __future__ import annotations

import csv
import os
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import (
    ALL_POLICIES,
    Adc,
    ArrayMapping,
    Chip,
    DeviceModel,
    Hardware,
    Precision,
    SenseColumn,
    WriteVerify,
    report,
)
from nvlib.cost import FASTEST, AreaTable, Converters, adc_um2, cost, write_cost
from nvlib.devices import Cells
from nvlib.energy import AdcLaw, EnergyTable, inference_energy
from tests.conftest import model_of

SURVEY = Path(os.environ.get("NVLIB_DATA_DIR", "")) / "adc_survey.csv"


def small(**hardware):
    """A linear layer of 40 x 6 at W3A2 on 2 x 2 arrays of 32 x 16, 24 columns of 2 x 2 cells."""
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Linear(40, 6)), torch.rand(5, 40)
    mapping = ArrayMapping(rows=32, columns=16)
    chip = Chip.from_torch(model, images, Hardware(mapping, **hardware), "W3A2")
    return chip, chip.events(images)


def test_areas_are_counts_times_the_table():
    chip, events = small()
    found = cost(chip, events, Converters(columns_per_adc=5)).iloc[0]
    assert (found["arrays"], found["adcs"]) == (4, 4 * 3)  # 12 columns of an array
    assert found["cells_mm2"] == pytest.approx(4 * 32 * 16 * 48 * 0.032**2 / 1e6)
    assert found["converters_mm2"] == pytest.approx((12 * 627 + 4 * 12 * 0.039) / 1e6)
    assert found["drivers_mm2"] == pytest.approx(4 * 32 * 0.166 / 1e6)
    assert found["digital_mm2"] == pytest.approx(12 * 30 / 1e6)
    assert found["buffers_mm2"] + found["interconnect_mm2"] == pytest.approx(4 * 2596e-6)
    assert found["sense_mm2"] == 0
    sensed = cost(chip, events, Converters(5), ALL_POLICIES).iloc[0]
    assert sensed["sense_mm2"] == pytest.approx(4 * 627e-6)
    assert sensed["digital_mm2"] == pytest.approx(12 * 101 / 1e6)
    parts = [name for name in found.index if name.endswith("_mm2") and name != "area_mm2"]
    assert sensed["area_mm2"] == pytest.approx(sensed[parts].sum())


def test_latency_is_that_of_the_slower_of_array_and_converter():
    chip, events = small()
    fast = cost(chip, events, Converters(16, 1e9)).iloc[0]
    assert fast["reads"] == 2
    assert fast["latency_us"] == pytest.approx(2 * 0.1 + 12e-3)  # 12 conversions of 1 ns
    slow = cost(chip, events, Converters(16, 1e7)).iloc[0]
    assert slow["latency_us"] == pytest.approx(2 * 12 * 0.1 + 0.1)
    shared = cost(chip, events, Converters(4, 1e7)).iloc[0]
    assert shared["latency_us"] == pytest.approx(2 * 4 * 0.1 + 0.1)
    assert fast["standby_pj"] == pytest.approx(4 * 3.2 * fast["latency_us"])


def test_buffers_and_interconnect_are_the_data_movement_and_standby_comes_on_top():
    chip, events = small()
    found = cost(chip, events).iloc[-1]
    energy = inference_energy(events, (), 6, AdcLaw(), EnergyTable.load())
    moved = found["buffers_pj"] + found["interconnect_pj"]
    assert moved == pytest.approx(energy["data movement"])
    assert found["buffers_pj"] == pytest.approx(0.65 * moved)
    # Two planes of two tiles of 24 columns, 0.48 pJ each.
    assert moved == pytest.approx(2 * 2 * 24 * 0.48)
    assert found["standby_pj"] > 0


def test_sensing_comes_first_and_sparsity_shortens_what_follows():
    plain, events = small()
    sensed, sensed_events = small(sense=SenseColumn())
    slow = Converters(16, 1e7)
    whole = cost(plain, events, slow)["latency_us"].iloc[0]
    first = cost(sensed, sensed_events, slow)["latency_us"].iloc[0]
    assert first == pytest.approx(whole + 2 * 0.1)
    assert cost(plain, events, slow, ALL_POLICIES)["latency_us"].iloc[0] < whole


def test_layers_follow_one_another_and_groups_work_at_once():
    model, images = model_of("branches")
    chip = Chip.from_torch(model, images, Hardware(ArrayMapping(rows=32)))
    events = chip.events(images[:3])
    found = cost(chip, events).set_index("layer")
    assert found.index.tolist() == ["wide", "depth", "last", "network"]
    assert found["reads"].tolist()[:2] == [110 * 8 * 2, 81 * 8]
    for name in ("area_mm2", "latency_us", "standby_pj"):
        assert found[name].iloc[:-1].sum() == pytest.approx(found[name].iloc[-1])
    assert found["arrays"].iloc[1] == 12


def test_drivers_of_more_bits_are_more_unit_drivers():
    chip, events = small()
    wide = replace(chip.hardware, mapping=replace(chip.hardware.mapping, dac_bits=2))
    other = Chip(chip.network, wide)
    ratio = (
        cost(other, other.events(torch.rand(2, 40)))["drivers_mm2"]
        / cost(chip, events)["drivers_mm2"]
    )
    assert ratio.tolist() == [3, 3]
    full = torch.ones(1, 40)  # the highest code: two reads of 1 bit, or one of 2 bits
    serial, at_once = (
        inference_energy(c.events(full), (), 6, AdcLaw(), EnergyTable.load())["row drivers"]
        for c in (chip, other)
    )
    assert at_once / serial == pytest.approx(3 / 2)


def test_converters_nobody_has_are_refused():
    chip, events = small()
    with pytest.raises(ValueError, match="columns_per_adc: expected at most the 16 columns of an"):
        cost(chip, events, Converters(17))
    with pytest.raises(ValueError, match=r"sample_rate_hz: expected at most 1e\+10, the fastest"):
        cost(chip, events, Converters(16, 2e10))
    with pytest.raises(ValueError, match="columns_per_adc: expected an integer from 1"):
        Converters(0)
    exact = Hardware(adc=Adc(15))  # for which ISAAC's rate is not known
    assert Converters().seconds(exact) == pytest.approx(1 / 4e7)
    with pytest.raises(ValueError, match="sample_rate_hz: .* of 15 bits, received 1280000000.0"):
        Converters(128, 1.28e9).seconds(exact)


def test_a_table_of_areas_is_read_as_one_of_energies(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("cell: {value: 4, unit: F2, source: passive}")
    assert AreaTable.load(path).cell == 4.0
    assert AreaTable.load(path).buffers == AreaTable.load().buffers
    with pytest.raises(ValueError, match="table: expected one of .*cell"):
        EnergyTable.load(path)
    path.write_text("cell: {value: 4, unit: um2, source: mine}")
    with pytest.raises(ValueError, match="unit of cell: expected F2"):
        AreaTable.load(path)


def test_areas_of_converters_grow_with_their_bits():
    areas = [adc_um2(bits) for bits in range(1, 17)]
    assert (np.diff(areas) > 0).all()


@pytest.mark.skipif(not SURVEY.is_file(), reason="the survey of converters is not here")
def test_the_fastest_converters_are_those_of_the_survey():
    with SURVEY.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    known = [
        (float(row["enob"]), float(row["nyquist_rate_hz"]))
        for row in rows
        if row["enob"] and "TI" not in row["architecture"] and "SD" not in row["architecture"]
    ]
    for bits in range(1, 17):
        limit = max(rate for enob, rate in FASTEST if enob >= bits - 1)
        real = max(rate for enob, rate in known if enob >= bits - 1)
        assert limit == pytest.approx(real, rel=0.03), bits


def test_writing_takes_the_pulses_that_cells_are_given():
    verified = WriteVerify((0.05, 0.2), tolerance=0.05, most_pulses=4)
    chip, _ = small(devices=DeviceModel(effects=(verified,)))
    found = write_cost(chip, 2e-6, 5e-12).iloc[0]
    levels = chip.arrays[0].mapped.levels
    cells = Cells(np.tile(levels, (200, 1, 1)), 1, 0.0)
    _, pulses = verified.write(cells.levels.astype(float), cells, np.random.default_rng(0))
    assert found["cells"] == levels.size == 40 * 24
    assert found["pulses"] == pytest.approx(np.minimum(pulses, 4).sum() / 200, rel=0.01)
    assert found["failed"] == pytest.approx((pulses > 4).sum() / 200, rel=0.02)
    assert found["energy_uj"] == pytest.approx(found["pulses"] * 5e-6)
    # Of 2 x 2 arrays the upper two hold 32 of 40 rows.
    assert 0.32 < found["time_s"] / (found["pulses"] * 2e-6) < 0.5
    with pytest.raises(ValueError, match="effects: expected one WriteVerify"):
        write_cost(small()[0], 1e-6, 1e-12)


def test_the_report_adds_up(tmp_path):
    model, images = model_of("residual")
    chip = Chip.from_torch(model, images, precision=Precision(4, 3))
    found = report(chip, images, torch.zeros(40))
    layers, whole = found.layers.iloc[:-1], found.layers.iloc[-1]
    assert layers["layer"].tolist() == ["stem", "one", "two", "short", "fc"]
    for name in ("arrays", "reads", "conversions", "energy_pj", "energy_share"):
        assert layers[name].sum() == pytest.approx(whole[name])
    assert layers["reads"].tolist() == [2 * 144 * 3, 36 * 3, 36 * 3, 36 * 3, 3]  # signed images
    assert whole["utilization"] == pytest.approx(
        sum(k * m * 6 for k, m in ((9, 6), (54, 8), (72, 8), (6, 8), (8, 10)))
        / (whole["arrays"] * 128 * 128)
    )
    # Converters are done before the arrays have settled to the next read.
    assert whole["reads"] * 0.1 < whole["latency_us"] < (whole["reads"] + 5) * 0.1
    assert layers["area_mm2"].sum() == pytest.approx(whole["area_mm2"])
    assert "accuracy" in str(found)
    found.save(tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_text().startswith("layer,matrix,precision,arrays")


def test_the_reported_accuracy_is_the_chips(network, digits):
    chip, images = Chip(network("W4A3")), digits.test_images[:100]
    found = report(chip, images, digits.test_labels[:100])
    assert found.accuracy == (chip.predict(images) == digits.test_labels[:100]).mean()
    assert found.interval[0] < found.accuracy <= found.interval[1]
    assert report(chip, images[:2]).accuracy is None


def test_groups_on_arrays_of_their_own_are_read_at_once():
    model, images = model_of("branches")
    found = report(Chip.from_torch(model, images), images[:5]).layers
    assert found["layer"].tolist() == ["wide", "depth", "last", "network"]
    assert found["reads"].tolist() == [110 * 8 * 2, 81 * 8, 16 * 8 * 2, 1760 + 648 + 256]
    assert found["arrays"].tolist()[1] == 12


def test_labels_and_images_that_do_not_fit_are_refused(monkeypatch):
    model, images = model_of("residual")
    chip = Chip.from_torch(model, images)
    with pytest.raises(ValueError, match=r"labels: expected shape \(40,\)"):
        report(chip, images, np.zeros(3))
    with monkeypatch.context() as patched:  # before the images are read
        patched.setattr(Chip, "logits", None)
        with pytest.raises(ValueError, match=r"labels: expected shape \(40,\)"):
            report(chip, images, np.zeros(3))
    with pytest.raises(ValueError, match="images: expected at least one, received 0"):
        report(chip, images[:0])
    maps = Chip.from_torch(nn.Sequential(nn.Conv2d(1, 3, 3)), torch.rand(4, 1, 4, 4))
    assert report(maps, torch.rand(2, 1, 4, 4)).accuracy is None
    with pytest.raises(ValueError, match=r"network: .* received \(2, 3, 2, 2\); leave the labels"):
        report(maps, torch.rand(2, 1, 4, 4), [0, 1])


def test_a_layer_that_is_called_network_keeps_its_row():
    model = nn.Sequential(
        OrderedDict(network=nn.Linear(6, 4), relu=nn.ReLU(), last=nn.Linear(4, 2))
    )
    chip = Chip.from_torch(model, torch.rand(20, 6, generator=torch.Generator().manual_seed(0)))
    found = report(chip, torch.ones(3, 6)).layers
    assert found["matrix"].tolist() == ["6 x 4", "4 x 2", ""]
    assert found["arrays"].tolist() == [1, 1, 2]


def test_a_report_is_of_the_chips_own_cells(network, digits):
    images = digits.test_images[:2]
    found = [
        report(Chip(network("W4A3"), Hardware(devices=DeviceModel(on_conductance_s=siemens))),
               images, policies=()).layers["energy_pj"].iloc[-1]
        for siemens in (10e-6, 100e-6)
    ]  # fmt: skip
    events = Chip(network("W4A3")).events(images)
    array = inference_energy(events, (), 8, AdcLaw(), EnergyTable.load())["array"]
    assert found[1] - found[0] == pytest.approx(9 * array)


def test_events_of_another_chip_are_refused():
    chip, events = small()
    images = torch.rand(3, 40)
    for others in (events[:0], events * 2, Chip(chip.network).events(images)):
        with pytest.raises(ValueError, match="events: expected those of the 1 arrays of this chip"):
            cost(chip, others)
    for given, wrong in ({"law": "walden"}, "law"), ({"policies": (1,)}, "policies"):
        with pytest.raises(ValueError, match=f"{wrong}: expected"):
            report(chip, images, **given)
    with pytest.raises(ValueError, match="chip: expected an instance of Chip"):
        report(chip.network, images)


def test_converters_finer_than_any_published_are_refused():
    with pytest.raises(ValueError, match="ADC bits: expected at most 18, .* received 19"):
        Converters().seconds(Hardware(ArrayMapping(cell_bits=4, dac_bits=8)))
