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


def test_counting_conversions_of_studies_loses_none(network, digits):
    table = sparsity.zeros_point("embedded", "W4A3", 64, 10, common.SHIPPED)
    rows = pd.DataFrame([{"dataset": "embedded", "precision": "W4A3", "images": 10} | table])
    counted = sparsity.conversions(sparsity.with_layers(rows))
    assert counted["before"].sum() == counted["after"].sum()
    chip = sparsity.default_chip("embedded", "W4A3", 64, common.SHIPPED)
    events = chip.events(common.test_images("embedded", 10)[0])
    assert counted["before"].sum() == sum(event.accesses * event.columns for event in events)
    macs = sum(event.positions * event.arrays.layer.matrix.size for event in events)
    assert operations(events) == 2 * macs == 2 * 416_520
