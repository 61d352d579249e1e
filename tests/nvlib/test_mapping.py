"""Levels put weights back together; impossible mappings are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvlib import ArrayMapping, Precision
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


def test_impossible_mappings_are_refused():
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
