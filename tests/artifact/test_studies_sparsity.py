"""The sparsity study counts what the library counts."""

from __future__ import annotations

import pandas as pd

from artifact.studies import beyond, common, sparsity
from nvlib import Chip, Hardware
from nvlib.energy import operations


def test_a_clipped_network_has_empty_high_slices(network):
    net = network("W8A8")
    levels = Chip(beyond.clipped(net, 63), Hardware()).arrays[0].mapped.levels
    assert not levels[:, -2:].any()
    assert levels[:, -4:-2].any()


def test_counting_conversions_of_studies_loses_none():
    point = {"dataset": "embedded", "precision": "W4A3", "array_size": 64, "images": 10,
             "checkpoints": common.SHIPPED}  # fmt: skip
    rows = pd.DataFrame([point | sparsity.conversions_point(**point)])
    counted = common.tidy(rows)
    assert counted["before"].sum() == counted["after"].sum()
    chip = sparsity.default_chip("embedded", "W4A3", 64, common.SHIPPED)
    events = chip.events(common.test_images("embedded", 10)[0])
    assert counted["before"].sum() == sum(event.accesses * event.columns for event in events)
    macs = sum(event.positions * event.arrays.layer.matrix.size for event in events)
    assert operations(events) == 2 * macs == 2 * 416_520


def test_a_cell_of_the_zeros_holds_a_value_and_no_read_is_lost():
    point = {"dataset": "embedded", "precision": "W4A3", "array_size": 128, "images": 5,
             "checkpoints": common.SHIPPED}  # fmt: skip
    zeros = common.tidy(pd.DataFrame([point | sparsity.zeros_point(**point)]))
    assert not zeros.map(lambda cell: isinstance(cell, list | dict)).any(axis=None)
    (row,) = sparsity.with_layers(zeros).to_dict("records")
    chip = sparsity.default_chip("embedded", "W4A3", 128, common.SHIPPED)
    pixels, _ = common.test_images("embedded", 5)
    layers = zip(row["layers"], chip.events(pixels), chip.layer_codes(pixels), strict=True)
    for layer, event, codes in layers:
        assert layer["zero activations"] == (codes == 0).mean()
        assert layer["zero bits by plane"][1] == (codes & 2 == 0).mean()
        assert sum(layer["active rows"]) == event.digit_sums.sum()
