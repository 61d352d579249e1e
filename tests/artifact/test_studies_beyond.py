"""Rows in another order: fewer conversions, the same products."""

from __future__ import annotations

import numpy as np

from artifact.studies.beyond import active_rows_first, events_in_order, reordered
from nvlib import ALL_POLICIES, Chip
from nvlib.engine import reference
from nvlib.events import unfold
from nvlib.sparsity import conversions


def test_rows_in_another_order_give_the_same_products(network, digits):
    chip = Chip(network("W4A3"))
    images = digits.test_images[:120]
    orders = active_rows_first(chip, digits.train_images[:50])
    for arrays, codes, order in zip(chip.arrays, chip.layer_codes(images), orders, strict=True):
        assert sorted(order) == list(range(len(order)))
        flat = unfold(codes, arrays).reshape(-1, len(order))[:50]
        moved = reordered(arrays, order)
        keys = np.zeros(len(flat), np.uint64)
        np.testing.assert_array_equal(
            reference.read_layer(moved, flat[:, order], keys)[:, 0],
            flat.astype(int) @ arrays.layer.matrix.astype(int),
        )
    natural, sorted_rows = chip.events(images), events_in_order(chip, images, orders)
    for one, other in zip(natural, sorted_rows, strict=True):
        assert one.accesses == other.accesses
        assert (one.images, one.positions) == (other.images, other.positions)
        assert one.squared_digits.sum() == other.squared_digits.sum()
        order = orders[natural.index(one)]
        np.testing.assert_array_equal(one.squared_digits[order], other.squared_digits)

    def spent(events):
        counts = sum(conversions(event, ALL_POLICIES, 8) for event in events)
        return int(counts @ np.arange(9))

    assert spent(sorted_rows) < spent(natural)
