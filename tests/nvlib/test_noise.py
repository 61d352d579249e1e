"""The noise of a read: normal, independent, and hung on what is read alone."""

from __future__ import annotations

import numpy as np
from scipy import stats

from nvlib.noise import hash64, normal

KEYS = np.random.default_rng(0).integers(0, 2**63, 2000).astype(np.uint64)


def draws(keys, reads, columns):
    """Values (keys, reads, columns)."""
    bits = hash64(keys[:, None], np.asarray(reads, np.uint64))[..., None]
    halves = (bits & np.uint64(0xFFFFFFFF)).astype(np.uint32), (bits >> np.uint64(32))
    return normal(halves[0], halves[1].astype(np.uint32), np.asarray(columns, np.uint32))


def test_hashes_are_those_of_splitmix64():
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # seed 0
    assert hash64(np.uint64([0]), np.arange(1, 4, dtype=np.uint64)).tolist() == published


def test_values_are_normal_up_to_the_sixth_moment_and_in_the_tails():
    values = draws(KEYS, range(50), range(50)).ravel().astype(float)  # 5 million
    assert abs(values).max() < 5.3
    for order, expected in enumerate((0, 1, 0, 3, 0, 15), 1):
        error = np.sqrt(stats.norm.moment(2 * order) - expected**2) / np.sqrt(len(values))
        assert abs((values**order).mean() - expected) < 4 * error + 0.0005 * expected
    for sigmas in (1, 2, 3, 4):
        expected = len(values) * stats.norm.sf(sigmas)
        assert abs((values > sigmas).sum() - expected) < 0.04 * expected + 4 * np.sqrt(expected)
    grid = np.linspace(-4, 4, 801)
    found = np.searchsorted(np.sort(values), grid) / len(values)
    assert np.abs(found - stats.norm.cdf(grid)).max() < 0.0002 + 2 / np.sqrt(len(values))


def test_columns_reads_and_images_are_independent():
    values = draws(KEYS, range(40), range(64)).astype(float)  # (2000, 40, 64)
    for moved in (values, values**2 - 1, np.abs(values) - np.sqrt(2 / np.pi)):
        for axis, size in enumerate(values.shape):
            for lag in (1, 2, 7, size // 2):
                one = np.take(moved, range(size - lag), axis).ravel()
                other = np.take(moved, range(lag, size), axis).ravel()
                r = np.corrcoef(one, other)[0, 1]
                assert abs(r) < 4.5 / np.sqrt(len(one)), (axis, lag, r)
    columns = np.corrcoef(values.reshape(-1, 64).T) - np.eye(64)
    assert np.abs(columns).max() < 5 / np.sqrt(80_000)


def test_a_value_hangs_on_its_key_read_and_column_alone():
    whole = draws(KEYS[:5], range(6), range(7))
    np.testing.assert_array_equal(draws(KEYS[2:3], [4], [1, 6])[0, 0], whole[2, 4, [1, 6]])
    assert len(np.unique(whole)) == whole.size
