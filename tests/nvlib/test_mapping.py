"""Levels put weights back together; impossible mappings are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvlib import Adc, ArrayMapping, Hardware, Precision, SenseColumn
from nvlib.mapping import SCHEMES, count_arrays, map_weights, signed_digits


@given(
    st.integers(1, 8), st.integers(1, 8),
    st.sampled_from(SCHEMES),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_levels_put_the_weight_back_together(bits, cell_bits, scheme, seed):
    precision = Precision(bits, 4)
    limit = precision.weight_max
    codes = np.random.default_rng(seed).integers(-limit, limit + 1, (5, 3))
    if bits == 1:
        codes[codes == 0] = 1
    mapping = ArrayMapping(cell_bits=cell_bits, scheme=scheme)
    mapped = map_weights(codes, precision, mapping)
    assert mapped.levels.max() <= mapping.level_max
    back = np.einsum("kbm,b->km", mapped.levels.astype(int), mapped.coefficients) - mapped.offset
    np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize(
    ("scheme", "widths"),
    [("differential", (1, 2, 4)), ("signed-digit", (1, 1, 2, 4)), ("offset", (1, 1, 2, 4)),
     ("twos-complement", (1, 1, 2, 4))],
)  # fmt: skip
def test_slices_of_their_own_widths_put_the_weight_back_together(scheme, widths):
    codes = np.arange(-127, 128)[:, None]
    mapping = ArrayMapping(cell_bits=widths, scheme=scheme)
    mapped = map_weights(codes, Precision(8, 8), mapping)
    own = mapped.levels // mapped.multiples[:, None]
    assert (own * mapped.multiples[:, None] == mapped.levels).all()
    weights = np.abs(mapped.coefficients[:: 1 + mapping.paired])
    highest = 15 // mapped.multiples[:: 1 + mapping.paired]
    assert highest.tolist() == [2**bits - 1 for bits in reversed(widths)]  # the lowest first
    assert weights.tolist() == np.cumprod([1, *(highest[:-1] + 1)]).tolist()
    if scheme != "signed-digit":  # whose neighbours are not both set
        assert (mapped.levels.max(axis=(0, 2)) == 15).all()  # G_on, whatever the width
    back = np.einsum("kbm,b->km", own.astype(int), mapped.coefficients) - mapped.offset
    np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize(
    ("bits", "scheme", "widths", "wanted"),
    [(8, "differential", (1, 1, 2, 4), "slices of 7 bits in all, at W8A8"),
     (7, "offset", (1, 1, 2, 4), "slices of 7 bits in all, at W7A8"),
     (8, "twos-complement", (1, 2, 4), "slices of 7 bits in all, behind a sign of 1, at W8A8"),
     (8, "twos-complement", (2, 2, 4), "behind a sign of 1")],
)  # fmt: skip
def test_widths_that_the_precision_does_not_fill_are_refused(bits, scheme, widths, wanted):
    with pytest.raises(ValueError, match=f"cell_bits: expected {wanted}|{wanted}"):
        map_weights(
            np.array([[1]]), Precision(bits, 8), ArrayMapping(cell_bits=widths, scheme=scheme)
        )


def test_impossible_mappings_are_refused():
    for widths in ((), (2, 3), (1, 3, 4)):
        with pytest.raises(ValueError, match="cell_bits: expected widths whose levels are among"):
            ArrayMapping(cell_bits=widths)
    with pytest.raises(ValueError, match="cell_bits: expected an integer from 1 to 8"):
        ArrayMapping(cell_bits=(1, 0))
    sliced = ArrayMapping(cell_bits=(1, 2, 4))
    for unfit in ({"adc": Adc(4, full_scale=30.0)}, {"sense": SenseColumn()}):
        with pytest.raises(ValueError, match=r"expected None with slices of \(1, 2, 4\) bits"):
            Hardware(sliced, **unfit)
    for bad in ({"rows": 0}, {"columns": 0}, {"cell_bits": 9}, {"dac_bits": 0}, {"rows": 1.5}):
        with pytest.raises(ValueError, match="expected an integer from 1"):
            ArrayMapping(**bad)
    with pytest.raises(ValueError, match="scheme: expected one of"):
        ArrayMapping(scheme="folded")
    with pytest.raises(ValueError, match="magnitudes up to 7 at W4A3, received 8"):
        map_weights(np.array([[8]]), Precision(4, 3), ArrayMapping())


def test_signed_digits_have_no_neighbours_and_are_the_fewest():
    magnitudes = np.arange(256)
    plus, minus = signed_digits(magnitudes)
    assert (plus - minus == magnitudes).all()
    either = plus | minus
    assert not (plus & minus).any()
    assert not (either & either >> 1).any()
    assert (np.bitwise_count(either) <= np.bitwise_count(magnitudes)).all()


def test_arrays_are_counted_with_their_reserved_columns():
    found = count_arrays(300, 43, Precision(4, 3), ArrayMapping(), sense_columns=1)
    assert (found.row_tiles, found.column_tiles, found.cells) == (3, 3, 300 * 43 * 6)
    with pytest.raises(ValueError, match="columns: expected room for one weight column"):
        count_arrays(3, 1, Precision(2, 2), ArrayMapping(columns=1, scheme="offset"))
