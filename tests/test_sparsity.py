"""Policies lose nothing, and what they save is counted to the last event."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies import common, sparsity
from nvlib import reference
from nvlib.arrays import Hardware, SenseColumn, write_layer
from nvlib.chip import Chip
from nvlib.converters import Adc
from nvlib.devices import DeviceModel, RangeVariation
from nvlib.energy import operations
from nvlib.mapping import Mapping
from nvlib.network import requantization
from nvlib.quantizers import Precision
from nvlib.sparsity import (
    ALL_POLICIES,
    Access,
    ActiveRowBound,
    ColumnBound,
    SignSkip,
    ZeroSkip,
    active_rows_first,
    count_events,
    layer_events,
    reordered,
    resolved_bits,
)
from tests import oracle
from tests.conftest import random_layer


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3),
    st.integers(1, 3), st.sampled_from([None, 2, 4]),
)  # fmt: skip
def test_no_code_exceeds_its_bound(seed, w, a, cell_bits, dac_bits, adc_bits):
    generator = np.random.default_rng(seed)
    precision = Precision(w, a)
    mapping = Mapping(rows=13, cell_bits=cell_bits, dac_bits=min(dac_bits, a))
    layer = random_layer(generator, precision, 30, 4)
    full_scale = None if adc_bits is None else max(mapping.largest_sum / 2, 2.0**adc_bits - 1)
    hardware = Hardware(mapping, adc=Adc(adc_bits, full_scale))
    arrays = write_layer(layer, 0, precision, hardware, np.random.SeedSequence(0))
    codes = generator.integers(0, 2**a, 30) * (generator.random(30) < 0.4)
    bits = arrays.code_max.bit_length()
    for plane in range(arrays.planes):
        digits = (codes >> plane * mapping.dac_bits) & mapping.digit_max
        for tile in mapping.tiles(30):
            levels = arrays.mapped.levels[tile].astype(int)
            sums = np.einsum("k,kbm->bm", digits[tile], levels)
            written = np.minimum(np.floor(sums / arrays.lsb + 0.5), arrays.code_max)
            bound = np.minimum(
                digits[tile].sum() * mapping.level_max, levels.sum(axis=0) * mapping.digit_max
            )
            allowed = 2 ** resolved_bits(bound, arrays.lsb, bits) - 1
            assert (written <= allowed).all()


@pytest.mark.parametrize("precision", ["W8A8", "W4A3"])
def test_stopping_at_the_sensed_bound_changes_no_code_on_ideal_chips(network, digits, precision):
    images, net = digits.test_images[::20], network(precision)
    plain = Chip(net, Hardware()).logits(images)
    sensed = Chip(net, Hardware(sense=SenseColumn())).logits(images)
    np.testing.assert_array_equal(plain, sensed)


def test_guard_rows_give_back_what_a_varied_sense_column_costs(network, digits):
    images, net = digits.test_images[::20], network("W4A3")
    devices = DeviceModel(effects=(RangeVariation(0.15),))

    def error(sense):
        logits = Chip(net, Hardware(devices=devices, sense=sense), seed=3).logits(images)
        return np.abs(logits - Chip(net, Hardware(devices=devices), seed=3).logits(images)).mean()

    bare, guarded = error(SenseColumn(0)), error(SenseColumn(4))
    assert bare > 2 * guarded


@pytest.mark.parametrize("kernel", [(), (3, 3)])
@pytest.mark.parametrize("dac_bits", [1, 2])
def test_events_are_the_oracles(kernel, dac_bits):
    generator = np.random.default_rng(5)
    precision = Precision(4, 3)
    inputs = 2 if kernel else 40
    layer = random_layer(generator, precision, inputs, 3, kernel)
    layer.codes[0] = np.abs(layer.codes[0])  # an output with an empty negative column
    hardware = Hardware(Mapping(rows=16, cell_bits=2, dac_bits=dac_bits), adc=Adc(5))
    arrays = write_layer(layer, 0, precision, hardware, np.random.SeedSequence(0))
    shape = (2, inputs, 5, 5) if kernel else (2, inputs)
    codes = generator.integers(0, 8, shape).astype(np.uint8)
    codes[generator.random(shape) < 0.7] = 0
    side = 3 if kernel else 1
    events: Counter = Counter()
    for n in range(2):
        for y in range(side):
            for x in range(side):
                inputs_here = oracle.patch(codes[n], layer.spec, y, x)
                oracle.read_position(arrays, inputs_here, events=events)
    counted = layer_events(arrays, codes)
    for (tile, plane, digits), times in np.ndenumerate(counted.digit_sums):
        assert times == events["access", tile, plane, digits]
    assert counted.drive_events.tolist() == [events["driven", i] for i in range(layer.spec.rows)]
    bits = 5
    whole = counted.conversions((), bits)
    assert whole[-1] == whole.sum() == counted.accesses * counted.columns
    for policies, chosen in (
        ((ZeroSkip(),), {"rows": False, "columns": False}),
        ((ActiveRowBound(),), {"columns": False}),
        ((ColumnBound(),), {"rows": False, "zero": False}),
        (ALL_POLICIES, {}),
    ):
        expected = oracle.count_resolved(arrays, events, bits, **chosen)
        found = counted.conversions_by_column(policies, bits)
        for place, times in np.ndenumerate(found):
            assert times == expected[place]
        assert found.sum() == expected.total()
        assert counted.conversions(policies, bits).tolist() == found.sum(axis=(0, 1)).tolist()


def test_a_pair_whose_output_is_zero_is_never_converted_and_no_code_changes():
    generator, precision = np.random.default_rng(2), Precision(4, 3)
    layer = random_layer(generator, precision, 2, 5, kernel=(3, 3))
    hardware = Hardware(Mapping(rows=32, cell_bits=3, dac_bits=3))
    arrays = write_layer(layer, 0, precision, hardware, np.random.SeedSequence(0))
    codes = generator.integers(0, 8, (3, 2, 6, 6)).astype(np.uint8)
    event = layer_events(arrays, codes)
    bits = hardware.adc.resolution(hardware.mapping.largest_sum)
    products = reference.read_layer(arrays, codes, np.zeros(3, np.uint64))  # (N, P, M)
    gain, offset = requantization(layer, 1.0)
    zero = products * gain + offset <= 0
    assert 0 < zero.sum() < zero.size
    spared = event.conversions((SignSkip(),), bits)
    assert spared[0] == 2 * zero.sum()
    assert spared.sum() == event.accesses * event.columns
    # The ReLU of a spared output is the zero that it would have been.
    np.testing.assert_array_equal(
        np.maximum(np.where(zero, -1.0, products * gain + offset), 0),
        np.maximum(products * gain + offset, 0),
    )
    both = event.conversions((*ALL_POLICIES, SignSkip()), bits)
    alone = event.conversions(ALL_POLICIES, bits)
    assert both[0] >= max(alone[0], spared[0])
    assert (both[1:] <= alone[1:]).all()


@pytest.mark.parametrize(
    ("mapping", "relu"),
    [
        (Mapping(rows=16, cell_bits=3, dac_bits=3), True),  # two tiles
        (Mapping(rows=32, cell_bits=3, dac_bits=1), True),  # three planes
        (Mapping(rows=32, cell_bits=1, dac_bits=3), True),  # three slices
        (Mapping(rows=32, cell_bits=3, dac_bits=3), False),  # the last layer
        (Mapping(rows=32, cell_bits=4, dac_bits=3, scheme="offset"), True),
    ],
)
def test_sign_skip_does_nothing_where_one_read_does_not_decide(mapping, relu):
    generator, precision = np.random.default_rng(2), Precision(4, 3)
    layer = random_layer(generator, precision, 20, 5)
    arrays = write_layer(layer, 0, precision, Hardware(mapping), np.random.SeedSequence(0))
    event = layer_events(arrays, generator.integers(0, 8, (9, 20)).astype(np.uint8), relu)
    assert event.zero_outputs is None
    np.testing.assert_array_equal(event.conversions((SignSkip(),), 6), event.conversions((), 6))


def test_rows_in_another_order_give_the_same_products(network, digits):
    chip = Chip(network("W4A3"), Hardware())
    images = digits.test_images[:20]
    orders = active_rows_first(chip, digits.train_images[:50])
    for arrays, codes, order in zip(chip.layers, chip.layer_codes(images), orders, strict=True):
        assert sorted(order) == list(range(len(order)))
        flat = reference.unfold(codes, arrays).reshape(-1, len(order))[:50]
        moved = reordered(arrays, order)
        keys = np.zeros(len(flat), np.uint64)
        np.testing.assert_array_equal(
            reference.read_layer(moved, flat[:, order], keys)[:, 0],
            flat.astype(int) @ arrays.layer.matrix.astype(int),
        )
    natural, sorted_rows = count_events(chip, images), count_events(chip, images, orders)
    for one, other in zip(natural, sorted_rows, strict=True):
        assert one.accesses == other.accesses
        assert one.drive_events.sum() == other.drive_events.sum()

    def spent(events):
        counts = sum(event.conversions(ALL_POLICIES, 8) for event in events)
        return int(counts @ np.arange(9))

    assert spent(sorted_rows) < spent(natural)


def test_the_policys_guard_rows_are_those_of_the_sense_column():
    arrays = write_layer(
        random_layer(np.random.default_rng(0), Precision(4, 3), 12, 3), 0, Precision(4, 3),
        Hardware(Mapping(rows=16), adc=Adc(5), sense=SenseColumn(3)), np.random.SeedSequence(0),
    )  # fmt: skip
    sums = np.arange(17)[:, None]
    bound = ActiveRowBound(3).bound(Access(sums, np.zeros(3, int), 1, 1))
    allowed = 2 ** resolved_bits(bound[:, 0], arrays.lsb, 5) - 1
    np.testing.assert_array_equal(allowed, arrays.limits)


def test_a_clipped_network_has_empty_high_slices(network):
    net = network("W8A8")
    levels = Chip(sparsity.clipped(net, 63), Hardware()).layers[0].mapped.levels
    assert not levels[:, -2:].any()
    assert levels[:, -4:-2].any()


def test_counting_conversions_of_studies_loses_none(network, digits):
    table = sparsity.zeros_point("embedded", "W4A3", 64, 10, common.SHIPPED)
    rows = pd.DataFrame([{"dataset": "embedded", "precision": "W4A3", "images": 10} | table])
    counted = sparsity.conversions(sparsity.with_layers(rows))
    assert counted["before"].sum() == counted["after"].sum()
    chip = sparsity._default_chip("embedded", "W4A3", 64, common.SHIPPED)
    events = count_events(chip, common.test_images("embedded", 10)[0])
    assert counted["before"].sum() == sum(event.accesses * event.columns for event in events)
    macs = sum(event.positions * event.arrays.layer.matrix.size for event in events)
    assert operations(events) == 2 * macs == 2 * 416_520


def test_a_full_scale_that_belongs_to_other_bits_is_refused():
    layer = random_layer(np.random.default_rng(1), Precision(2, 1), 3, 2)
    for scale in (6.0, 99.0):
        hardware = Hardware(Mapping(rows=16, columns=8), adc=Adc(3, full_scale=scale))
        with pytest.raises(ValueError, match="full_scale: expected 7 to 16 units for 8 codes"):
            write_layer(layer, 0, Precision(2, 1), hardware, np.random.SeedSequence(0))


def test_counts_of_parts_add_up(network, digits):
    chip, images = Chip(network("W4A3"), Hardware()), digits.test_images[:130]
    whole = count_events(chip, images)
    parts = [a + b for a, b in zip(
        count_events(chip, images[:50]), count_events(chip, images[50:]), strict=True)]  # fmt: skip
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.digit_sums, other.digit_sums)
        assert one.images == other.images == 130


def test_a_bound_that_would_not_hold_is_refused():
    with pytest.raises(ValueError, match="sense: expected linear converters of full scale"):
        Hardware(adc=Adc(4, full_scale=15.0), sense=SenseColumn())
    with pytest.raises(ValueError, match="guard_rows: expected an integer of at least 0"):
        SenseColumn(-1)
