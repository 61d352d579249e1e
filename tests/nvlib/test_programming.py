"""Cells of a layer, programmed whole or tile after tile."""

from __future__ import annotations

import numpy as np
import pytest

from nvlib import (
    ArrayMapping,
    DeviceModel,
    Hardware,
    LognormalVariation,
    Precision,
    ProportionalReadNoise,
    RangeVariation,
    RetentionDrift,
    SenseColumn,
    Wires,
    programming,
)
from nvlib.engine.reference import read_layer
from tests.conftest import random_layer, written

FIELDS = ("conductance", "reference", "sense", "noise_weights", "on_conductance")
#: Whose errors are drawn once for each cell, or not at all, so that their order is the cells'.
HARDWARE = {
    "ideal": Hardware(),
    "range, offset columns": Hardware(
        ArrayMapping(scheme="offset"), DeviceModel(9.0, (RangeVariation(0.1),))
    ),
    "wires, sensed": Hardware(
        devices=DeviceModel(effects=(LognormalVariation(0.1),)), sense=SenseColumn(),
        wires=Wires(5.0),
    ),
    "fluctuating": Hardware(
        devices=DeviceModel(5.0, (RangeVariation(0.1),), ProportionalReadNoise(0.1))
    ),
    "compensated": Hardware(
        devices=DeviceModel(effects=(RetentionDrift(1e5, 0.05, 0.01),)), compensated=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HARDWARE)
def test_tile_after_tile_the_same_cells_are_written(name, monkeypatch):
    layer = random_layer(np.random.default_rng(0), Precision(4, 3), 300, 11)
    whole = written(layer, HARDWARE[name], 2)
    monkeypatch.setattr(programming, "MOST_CELLS", 1000)
    tiled = written(layer, HARDWARE[name], 2)
    for field in FIELDS:
        one, other = getattr(whole, field), getattr(tiled, field)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    assert tiled.cell_noise_steps == whole.cell_noise_steps
    assert tiled.correction == pytest.approx(whole.correction, rel=1e-12)
    assert (tiled.correction > 1.2) == (name == "compensated")


def test_several_errors_of_a_large_layer_are_as_large_as_they_should_be(monkeypatch):
    monkeypatch.setattr(programming, "MOST_CELLS", 1000)
    layer = random_layer(np.random.default_rng(0), Precision(4, 3), 400, 40)
    devices = DeviceModel(9.0, (RangeVariation(0.03), RangeVariation(0.04)))
    arrays = written(layer, Hardware(devices=devices))
    error = arrays.conductance / 2.0**arrays.grid_bits - arrays.mapped.levels
    assert error.std() == pytest.approx(0.05, rel=0.02)  # 0 lies 0.125 above the least
    assert abs(np.corrcoef(error[:128].ravel(), error[128:256].ravel())[0, 1]) < 0.02


def test_cells_too_large_for_two_bytes_take_four():
    layer = random_layer(np.random.default_rng(0), Precision(4, 3), 60, 7)
    assert written(layer, Hardware()).conductance.dtype == np.int16
    spread = Hardware(devices=DeviceModel(effects=(LognormalVariation(0.9),)))
    arrays = written(layer, spread)
    assert arrays.conductance.dtype == np.int32
    assert arrays.conductance.max() >= 2**15
    few = written(layer, Hardware(ArrayMapping(rows=8)))
    assert few.conductance.dtype == np.int32
    codes = np.full((1, 60), 7, np.uint8)
    found = read_layer(few, codes, np.zeros(1, np.uint64))[0, 0]
    assert found.tolist() == (7 * layer.matrix.astype(int).sum(axis=0)).tolist()


def test_cells_whose_sums_float32_does_not_hold_are_refused():
    layer = random_layer(np.random.default_rng(0), Precision(4, 3), 2000, 7)
    wild = Hardware(ArrayMapping(4096), DeviceModel(effects=(LognormalVariation(2.0),) * 3))
    with pytest.raises(ValueError, match=r"conductances: expected column sums below 2\^24"):
        written(layer, wild)
