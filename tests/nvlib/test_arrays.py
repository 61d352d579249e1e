"""One layer written onto arrays: groups, limits, what the cells hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import (
    Adc,
    ArrayMapping,
    Chip,
    DeviceModel,
    Hardware,
    Nonlinearity,
    Precision,
    RangeVariation,
    SenseColumn,
    StuckCells,
)
from nvlib.energy import operations
from nvlib.engine.reference import read_layer
from nvlib.programming import held_codes
from tests.conftest import model_of, random_layer, written


def test_groups_have_arrays_of_their_own():
    model, images = model_of("branches")
    chip = Chip.from_torch(model, images)
    depth = [a for a in chip.arrays if a.layer.spec.name.startswith("depth")]
    assert [a.layer.spec.name for a in depth] == [f"depth[{group}]" for group in range(12)]
    assert chip.layer_names.count("depth") == 12
    whole = next(layer for layer in chip.network.layers if layer.spec.name == "depth")
    np.testing.assert_array_equal(depth[7].layer.matrix, whole.codes[14:16].reshape(2, 6).T)
    events = chip.events(images[:2])
    assert operations(events[:1]) == 2 * (11 * 10) * 12 * 5
    assert operations(events[1:13]) == 2 * (9 * 9) * 24 * 6


def test_a_layer_too_tall_for_its_precision_is_refused():
    tall, images = nn.Sequential(nn.Linear(40_000, 1)), torch.rand(2, 40_000)
    with pytest.raises(
        ValueError, match="products of 0: expected below 2.30 LSB, received 1295400000;"
    ):
        Chip.from_torch(tall, images)
    logits = Chip.from_torch(tall, images, precision=Precision(4, 4)).logits(images)
    assert np.abs(logits - tall(images).detach().numpy()).max() < 0.5


def test_held_codes_are_what_a_chip_of_fine_converters_multiplies_with():
    generator = np.random.default_rng(0)
    codes = generator.integers(-7, 8, (30, 5))
    devices = DeviceModel(effects=(RangeVariation(0.05), StuckCells(0.02, 0.02)))
    for scheme in ("differential", "offset"):
        hardware = Hardware(ArrayMapping(cell_bits=2, scheme=scheme), devices)
        held = np.mean(
            [held_codes(codes, Precision(4, 3), hardware, generator) for _ in range(300)], axis=0
        )
        assert np.abs(held - codes).max() > 0.02  # stuck cells
        assert np.abs(held - codes).max() < 2.0
        ideal = held_codes(
            codes, Precision(4, 3), replace(hardware, devices=DeviceModel()), generator
        )
        np.testing.assert_array_equal(ideal, codes)
    leaky = Hardware(devices=DeviceModel(on_off_ratio=5))
    np.testing.assert_allclose(held_codes(codes, Precision(4, 3), leaky, generator), codes)


def test_a_full_scale_that_belongs_to_other_bits_is_refused():
    layer = random_layer(np.random.default_rng(1), Precision(2, 1), 3, 2)
    for scale in (0.1, 99.0):
        hardware = Hardware(ArrayMapping(rows=16, columns=8), adc=Adc(3, full_scale=scale))
        with pytest.raises(ValueError, match="full_scale: expected 0.109375 to 16 units for 8"):
            written(layer, hardware)


def test_arrays_too_large_for_exact_sums_are_refused():
    layer = random_layer(np.random.default_rng(1), Precision(8, 1), 3, 2)
    hardware = Hardware(ArrayMapping(rows=4096, cell_bits=8))
    with pytest.raises(ValueError, match=r"rows x \(2\^cell_bits - 1\): expected below 2\^15"):
        written(layer, hardware)


def test_hardware_whose_parts_contradict_each_other_is_refused():
    with pytest.raises(ValueError, match="sense: expected linear converters of full scale"):
        Hardware(adc=Adc(4, full_scale=15.0), sense=SenseColumn())
    with pytest.raises(ValueError, match="guard_rows: expected an integer from 0"):
        SenseColumn(-1)


def test_a_finer_converter_rounds_varied_cells_less():
    layer = random_layer(np.random.default_rng(1), Precision(4, 3), 40, 30)
    codes = np.random.default_rng(2).integers(0, 8, (8, 40)).astype(np.uint8)
    exact = codes.astype(int) @ layer.matrix.astype(int)

    def spread(cells, **adc):
        arrays = written(layer, Hardware(devices=DeviceModel(effects=cells), adc=Adc(**adc)))
        found = read_layer(arrays, codes, np.zeros(8, np.uint64))[:, 0] * arrays.lsb
        return (found - exact).std()

    fine = {"bits": 12, "full_scale": 4095 / 16}
    assert spread((), **fine) == 0
    whole = spread((RangeVariation(0.05),), bits=8)
    assert 0.3 < spread((RangeVariation(0.05),), **fine) / whole < 0.9


def test_codes_of_converters_that_err_stay_within_the_sums_of_products():
    layer = random_layer(np.random.default_rng(0), Precision(8, 8), 600, 4)
    mapping = ArrayMapping(rows=1, columns=64, scheme="offset")
    written(layer, Hardware(mapping, adc=Adc(16)))  # which gives no such code
    for adc in (Adc(16, noise_lsb=1.0), Adc(16, nonlinearity=Nonlinearity(offset_lsb=1.0))):
        with pytest.raises(ValueError, match=r"products of layer: expected below 2\^31 LSB"):
            written(layer, Hardware(mapping, adc=adc))
