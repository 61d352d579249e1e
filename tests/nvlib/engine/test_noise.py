"""The noise of a read: normal, independent, and hung on what is read alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nvlib import (
    Adc,
    ArrayMapping,
    DeviceModel,
    Hardware,
    Precision,
    ProportionalReadNoise,
    RangeVariation,
    ReadNoise,
)
from nvlib.engine.kernel import CompiledReader
from nvlib.engine.noise import ReadKeys, hash64, normal
from tests.conftest import random_layer, written

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


LEVELS = (0.02, 0.01, 0.05, 0.03, 0.2, 0.04, 0.1, 0.15)


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("noise", [ReadNoise(LEVELS), ProportionalReadNoise(0.1)])
def test_columns_fluctuate_by_what_their_cells_do_and_independently(noise, bits):
    devices = DeviceModel(20.0, (RangeVariation(0.05),), noise)
    mapping = ArrayMapping(rows=64, cell_bits=3, dac_bits=bits)
    scale = (2**16 - 1) / 16  # an LSB of 1/16 unit: converters add next to nothing
    layer = random_layer(np.random.default_rng(1), Precision(4, bits), 50, 40)
    arrays = written(layer, Hardware(mapping, devices, Adc(16, full_scale=scale)), seed=2)
    drive = np.random.default_rng(3).integers(0, 2**bits, 50)
    keys = np.random.default_rng(4).integers(0, 2**63, 8000).astype(np.uint64)
    codes = np.tile(drive.astype(np.uint8), (len(keys), 1))
    found = CompiledReader(arrays)(codes, keys) * arrays.lsb  # (keys, 40)
    held = arrays.conductance / 2.0**arrays.grid_bits
    if isinstance(noise, ProportionalReadNoise):
        sigma = 0.1 * (held + arrays.pedestal)
    else:
        sigma = 7 * np.array(LEVELS)[arrays.mapped.levels]
    spread = np.sqrt(drive.astype(float) ** 2 @ (sigma**2).sum(axis=1))  # of a pair of columns
    assert spread.max() > 1.2 * spread.min()
    moved = (found - drive @ (held[:, 0] - held[:, 1])) / spread
    for order, expected in enumerate((0, 1, 0, 3), 1):
        error = np.sqrt(stats.norm.moment(2 * order) - expected**2)
        assert abs((moved**order).mean() - expected) < 4 * error / np.sqrt(moved.size) + 0.002
        assert abs((moved**order).mean(axis=0) - expected).max() < 5 * error / np.sqrt(len(keys))
    others = np.corrcoef(moved.T) - np.eye(40)
    assert np.abs(others).max() < 5 / np.sqrt(len(keys))


def test_rows_that_are_no_images_have_no_keys():
    keys = ReadKeys(np.zeros(2, np.uint64), seed=0, access=0)
    keys.check("fc", 2)
    for rows in (1, 3, 8):
        message = f"input of fc: expected one row for each of 2 images, received {rows}; keep"
        with pytest.raises(ValueError, match=message):
            keys.check("fc", rows)
