"""Policies lose nothing, and what they spare is counted to the last conversion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvlib import (
    ALL_POLICIES,
    ActiveRowBound,
    Adc,
    ArrayMapping,
    Chip,
    ColumnBound,
    DeviceModel,
    Hardware,
    Precision,
    RangeVariation,
    SenseColumn,
    SignSkip,
    ZeroSkip,
)
from nvlib.energy import AdcLaw, EnergyTable, inference_energy
from nvlib.engine import reference
from nvlib.events import count
from nvlib.sparsity import NO_BOUND, Access, conversions, conversions_by_column, resolved_bits
from tests.conftest import random_layer, written


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3),
    st.integers(1, 3), st.sampled_from([None, 2, 4]),
)  # fmt: skip
def test_no_code_exceeds_its_bound(seed, w, a, cell_bits, dac_bits, adc_bits):
    generator = np.random.default_rng(seed)
    precision = Precision(w, a)
    mapping = ArrayMapping(rows=13, cell_bits=cell_bits, dac_bits=min(dac_bits, a))
    layer = random_layer(generator, precision, 30, 4)
    full_scale = None if adc_bits is None else max(mapping.largest_sum / 2, 2.0**adc_bits - 1)
    hardware = Hardware(mapping, adc=Adc(adc_bits, full_scale))
    arrays = written(layer, hardware)
    codes = generator.integers(0, 2**a, 30) * (generator.random(30) < 0.4)
    bits = arrays.code_max.bit_length()
    for plane in range(arrays.planes):
        digits = (codes >> plane * mapping.dac_bits) & mapping.digit_max
        for tile in mapping.tiles(30):
            levels = arrays.mapped.levels[tile].astype(int)
            sums = np.einsum("k,kbm->bm", digits[tile], levels)
            codes_read = np.minimum(np.floor(sums / arrays.lsb + 0.5), arrays.code_max)
            bound = np.minimum(
                digits[tile].sum() * mapping.level_max, levels.sum(axis=0) * mapping.digit_max
            )
            allowed = 2 ** resolved_bits(bound, arrays.lsb, bits) - 1
            assert (codes_read <= allowed).all()


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


def test_a_pair_whose_output_is_zero_is_never_converted_and_no_code_changes():
    generator, precision = np.random.default_rng(2), Precision(4, 3)
    layer = random_layer(generator, precision, 2, 5, kernel=(3, 3), sides=(6, 6))
    hardware = Hardware(ArrayMapping(rows=32, cell_bits=3, dac_bits=3))
    arrays = written(layer, hardware)
    codes = generator.integers(0, 8, (3, 2, 6, 6)).astype(np.uint8)
    event = count(arrays, codes, relu=True)
    bits = hardware.adc.resolution(hardware.mapping.largest_sum)
    products = reference.read_layer(arrays, codes, np.zeros(3, np.uint64))  # (N, P, M)
    gain, offset = layer.gain, layer.bias
    zero = products * gain + offset <= 0
    assert 0 < zero.sum() < zero.size
    spared = conversions(event, (SignSkip(),), bits)
    assert spared[0] == 2 * zero.sum()
    assert spared.sum() == event.accesses * event.columns
    # The ReLU of a spared output is the zero that it would have been.
    np.testing.assert_array_equal(
        np.maximum(np.where(zero, -1.0, products * gain + offset), 0),
        np.maximum(products * gain + offset, 0),
    )
    both = conversions(event, (*ALL_POLICIES, SignSkip()), bits)
    alone = conversions(event, ALL_POLICIES, bits)
    assert both[0] >= max(alone[0], spared[0])
    assert (both[1:] <= alone[1:]).all()


@pytest.mark.parametrize(
    ("mapping", "relu"),
    [
        (ArrayMapping(rows=16, cell_bits=3, dac_bits=3), True),  # two tiles
        (ArrayMapping(rows=32, cell_bits=3, dac_bits=1), True),  # three planes
        (ArrayMapping(rows=32, cell_bits=1, dac_bits=3), True),  # three slices
        (ArrayMapping(rows=32, cell_bits=3, dac_bits=3), False),  # the last layer
        (ArrayMapping(rows=32, cell_bits=4, dac_bits=3, scheme="offset"), True),
    ],
)
def test_sign_skip_does_nothing_where_one_read_does_not_decide(mapping, relu):
    generator, precision = np.random.default_rng(2), Precision(4, 3)
    layer = random_layer(generator, precision, 20, 5)
    arrays = written(layer, Hardware(mapping))
    event = count(arrays, generator.integers(0, 8, (9, 20)).astype(np.uint8), relu)
    assert event.zero_outputs is None
    bits = arrays.code_max.bit_length()
    skipped, plain = (conversions(event, policies, bits) for policies in ((SignSkip(),), ()))
    np.testing.assert_array_equal(skipped, plain)


def test_sign_skip_leaves_signed_inputs_alone_for_they_are_read_twice():
    generator = np.random.default_rng(2)
    layer = random_layer(generator, Precision(4, 3), 20, 5)
    hardware = Hardware(ArrayMapping(rows=32, cell_bits=3, dac_bits=3))
    codes = generator.integers(0, 8, (9, 20)).astype(np.uint8)
    assert count(written(layer, hardware), codes, relu=True).zero_outputs is not None
    signed = written(replace(layer, signed=True), hardware)
    assert count(signed, codes, relu=True).zero_outputs is None


def test_the_policys_guard_rows_are_those_of_the_sense_column():
    layer = random_layer(np.random.default_rng(0), Precision(4, 3), 12, 3)
    arrays = written(layer, Hardware(ArrayMapping(rows=16), adc=Adc(5), sense=SenseColumn(3)))
    sums = np.arange(17)[:, None]
    bound = ActiveRowBound(3).bound(Access(sums, np.zeros(3, int), 1, 1))
    allowed = 2 ** resolved_bits(bound[:, 0], arrays.lsb, 5) - 1
    np.testing.assert_array_equal(allowed, arrays.limits)


def test_bounds_by_hand():
    sums, levels = np.array([[0], [3]]), np.array([2, 5, 0])  # of the digits; of the columns
    access = Access(sums, levels, level_max=3, digit_max=7)
    assert ZeroSkip().bound(access).tolist() == [[0], [NO_BOUND]]
    assert ActiveRowBound(guard_rows=1).bound(access).tolist() == [[3], [12]]
    assert ColumnBound().bound(access).tolist() == [[14, 35, 0]]


def test_bits_that_are_not_the_converters_are_refused_where_they_decide_what_is_spared(
    network, digits
):
    event = Chip(network("W4A3"), Hardware(adc=Adc(4))).events(digits.test_images[:2])[0]
    assert conversions(event, ALL_POLICIES, 4).sum() == conversions(event, (), 8).sum()
    for counted in (conversions, conversions_by_column):
        with pytest.raises(ValueError, match="adc_bits: expected the chip's 4, received 8"):
            counted(event, ALL_POLICIES, 8)


def test_counts_that_are_kept_cannot_be_changed(network, digits):
    event = Chip(network("W4A3")).events(digits.test_images[:2])[0]
    with pytest.raises(ValueError, match="read-only"):
        conversions_by_column(event, (), 8)[:] = 0
    for policies in (ZeroSkip(), "all"):
        with pytest.raises(ValueError, match=r"policies: expected a tuple, .* write \(ZeroSkip"):
            inference_energy([event], policies, 8, AdcLaw(), EnergyTable.load())
    assert (
        conversions(event, [ZeroSkip()], 8).tolist()
        == conversions(event, (ZeroSkip(),), 8).tolist()
    )
    listed = inference_energy([event], [ZeroSkip()], 8, AdcLaw(), EnergyTable.load())
    assert listed == inference_energy([event], (ZeroSkip(),), 8, AdcLaw(), EnergyTable.load())


@pytest.mark.parametrize("rows", [-1, 1.5, "x", 10**20])
def test_guard_rows_of_a_policy_are_a_number_of_rows(rows):
    with pytest.raises(ValueError, match="guard_rows: expected an integer from 0"):
        ActiveRowBound(rows)


@pytest.mark.parametrize("policies", [(ZeroSkip,), ("zero",), ([],), ZeroSkip()])
def test_what_is_no_policy_is_refused(network, digits, policies):
    event = Chip(network("W4A3")).events(digits.test_images[:1])[0]
    with pytest.raises(ValueError, match=r"policies: expected .*write \(ZeroSkip\(\),\)"):
        conversions(event, policies, 8)
    with pytest.raises(ValueError, match="adc_bits: expected an integer from 1"):
        conversions(event, (), 0)
