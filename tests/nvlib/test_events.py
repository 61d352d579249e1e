"""What a read takes is what the loop oracle counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import (
    ALL_POLICIES,
    ActiveRowBound,
    Adc,
    ArrayMapping,
    Chip,
    ColumnBound,
    Hardware,
    Precision,
    ZeroSkip,
)
from nvlib.events import count, unfold, walk
from nvlib.mapping import SCHEMES, map_weights
from nvlib.network import rectified
from nvlib.sparsity import conversions, conversions_by_column
from tests import oracle
from tests.conftest import model_of, random_layer, written


@pytest.mark.parametrize("kernel", [(), (3, 3)])
@pytest.mark.parametrize(
    ("cell_bits", "dac_bits", "scheme"),
    [(2, 1, "differential"), (2, 2, "differential"), ((1, 2), 1, "differential"),
     (1, 1, "offset"), (2, 2, "offset")],
)  # fmt: skip
def test_events_are_the_oracles(kernel, cell_bits, dac_bits, scheme):
    generator = np.random.default_rng(5)
    precision = Precision(4, 3)
    inputs = 2 if kernel else 40
    layer = random_layer(generator, precision, inputs, 3, kernel, sides=(5, 5))
    layer.codes[0] = np.abs(layer.codes[0])  # an output with an empty negative column
    # Three outputs on arrays of two, so that two lie side by side.
    columns = 2 * map_weights(layer.matrix, precision, ArrayMapping(scheme=scheme)).columns // 3
    mapping = ArrayMapping(16, columns, cell_bits, dac_bits, scheme)
    hardware = Hardware(mapping, adc=Adc(5))
    arrays = written(layer, hardware)
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
    counted = count(arrays, codes)
    for (tile, plane, digits), times in np.ndenumerate(counted.digit_sums):
        assert times == events["access", tile, plane, digits]
    squared = [events["squared", i] for i in range(layer.spec.rows)]
    assert counted.squared_digits.tolist() == squared
    bits = 5
    whole = conversions(counted, (), bits)
    assert whole[-1] == whole.sum() == counted.accesses * counted.columns
    for policies, chosen in (
        ((ZeroSkip(),), {"rows": False, "columns": False}),
        ((ActiveRowBound(),), {"columns": False}),
        ((ColumnBound(),), {"rows": False, "zero": False}),
        (ALL_POLICIES, {}),
    ):
        expected = oracle.count_resolved(arrays, events, bits, **chosen)
        found = conversions_by_column(counted, policies, bits)
        for place, times in np.ndenumerate(found):
            assert times == expected[place]
        assert found.sum() == expected.total()
        assert conversions(counted, policies, bits).tolist() == found.sum(axis=(0, 1)).tolist()


@pytest.mark.parametrize("scheme", ["differential", "offset"])
@pytest.mark.parametrize(("kernel", "dac_bits"), [((), 1), ((3, 2), 2)])
def test_a_walk_meets_every_digit_of_every_row_once(kernel, dac_bits, scheme):
    generator = np.random.default_rng(3)
    window = {"padding": (1, 0), "stride": (2, 1), "sides": (5, 6)} if kernel else {}
    layer = random_layer(generator, Precision(4, 5), 3 if kernel else 37, 2, kernel, **window)
    arrays = written(layer, Hardware(ArrayMapping(rows=8, dac_bits=dac_bits, scheme=scheme)))
    codes = generator.integers(0, 32, (2, *layer.input_shape)).astype(np.uint8)
    inputs = unfold(codes, arrays)
    breadth = layer.spec.output_sides(5, 6)[1] if kernel else 1
    for position in range(inputs.shape[1]):
        place = divmod(position, breadth)
        assert inputs[1, position].tolist() == oracle.patch(codes[1], layer.spec, *place)
    again, met = np.zeros(inputs.shape, int), Counter()
    for read in walk(arrays, inputs):
        again[..., read.rows] += read.digits.astype(int) << (read.plane * dac_bits)
        met[read.plane, read.tile] += 1
        assert read.digits.max() <= arrays.mapping.digit_max
    np.testing.assert_array_equal(again, inputs)
    tiles = -(-layer.spec.rows // 8)
    assert met == {(p, t): 1 for p in range(arrays.planes) for t in range(tiles)}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_column_sums_are_those_of_every_column_of_every_active_read(kernel, scheme):
    generator = np.random.default_rng(4)
    inputs = 2 if kernel else 40
    layer = random_layer(generator, Precision(4, 3), inputs, 3, kernel, sides=(5, 5))
    mapping = ArrayMapping(rows=16, cell_bits=2, dac_bits=2, scheme=scheme)
    arrays = written(layer, Hardware(mapping))
    codes = generator.integers(0, 8, (2, *layer.input_shape)).astype(np.uint8)
    codes[generator.random(codes.shape) < 0.8] = 0
    expected: Counter = Counter()
    for one in unfold(codes, arrays).reshape(-1, layer.spec.rows).astype(int):
        for plane in range(arrays.planes):
            digits = (one >> 2 * plane) & 3
            for first in range(0, layer.spec.rows, 16):
                here = digits[first : first + 16]
                if here.any():
                    levels = arrays.mapped.levels[first : first + 16].astype(int)
                    expected.update(np.einsum("k,kbm->bm", here, levels).ravel().tolist())
    found = count(arrays, codes, column_sums=True)
    assert dict(enumerate(found.column_sums.tolist())) == {
        value: expected[value] for value in range(mapping.largest_sum + 1)
    }
    columns = arrays.mapped.levels[0].size
    active = found.digit_sums[..., 1:].sum()  # accesses with a row that is driven
    assert found.column_sums.sum() == active * columns
    assert count(arrays, codes).column_sums is None


def test_signed_layers_read_twice_and_count_their_images_once():
    model, images = model_of("residual")  # whose images have pixels of both signs
    chip = Chip.from_torch(model, images, precision="W4A3")
    assert [a.layer.signed for a in chip.arrays] == [True, False, False, False, False]
    events, codes = chip.events(images[:5]), chip.layer_codes(images[:5])
    assert [event.images for event in events] == [5] * 5
    assert events[0].accesses == 2 * 5 * 144 * 3  # phases, images, positions, planes
    assert events[1].accesses == 5 * 36 * 3
    assert [len(code) for code in codes] == [10, 5, 5, 5, 5]
    positive, negative = np.split(codes[0], 2)
    assert not (positive & negative).any()
    exact = chip.network.layers[0].input_codes(images[:5]).numpy()
    np.testing.assert_array_equal(positive.astype(int) - negative, exact)
    separate = [count(chip.arrays[0], part) for part in (positive, negative)]
    np.testing.assert_array_equal(
        events[0].digit_sums, separate[0].digit_sums + separate[1].digit_sums
    )
    np.testing.assert_array_equal(
        events[0].squared_digits, separate[0].squared_digits + separate[1].squared_digits
    )


def test_counts_of_parts_add_up(network, digits):
    net, many = network("W4A3"), digits.test_images[:130]
    one_shot = Hardware(ArrayMapping(rows=512, cell_bits=3, dac_bits=3))  # ReLUs are decided
    for chip, images in ((Chip(net), many), (Chip(net, one_shot), many[:8])):
        half = len(images) // 3
        every, first, last = (
            chip.events(part, column_sums=True) for part in (images, images[:half], images[half:])
        )
        for whole, one, other in zip(every, first, last, strict=True):
            added = one + other
            for field in fields(whole):
                if field.name not in ("arrays", "known"):
                    pair = (getattr(each, field.name) for each in (whole, added))
                    np.testing.assert_array_equal(*pair, err_msg=field.name)
    assert every[0].zero_outputs is not None


def test_a_layer_that_is_called_relu_is_none():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.relu = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.relu(self.one(x)).relu()

    images = torch.rand(6, 4)
    assert rectified(Chip.from_torch(Named(), images).network) == {"relu"}


def test_events_of_no_image_are_refused(network, digits):
    with pytest.raises(ValueError, match="images: expected at least one, received 0"):
        Chip(network("W4A3")).events(digits.test_images[:0])
