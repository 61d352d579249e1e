"""Device models: their statistics, how they compose, what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nvlib.devices import (
    Cells,
    DeviceModel,
    EmpiricalVariation,
    LevelMeans,
    LognormalVariation,
    ProportionalReadNoise,
    ProportionalVariation,
    RangeVariation,
    ReadNoise,
    RetentionDrift,
    StuckCells,
    WriteVerify,
)

LEVELS = np.repeat([0, 1, 3], 200_000).reshape(3, -1)


def programmed(*effects, ratio=math.inf, seed=0):
    return DeviceModel(ratio, effects).program(LEVELS, 3, np.random.default_rng(seed))


def test_ideal_cells_hold_their_level_and_the_pedestal():
    np.testing.assert_array_equal(programmed(), LEVELS)
    np.testing.assert_allclose(programmed(ratio=4.0), LEVELS + 1.0)  # G_off = 3 steps / 3


@pytest.mark.parametrize(
    ("effect", "spreads"),
    [
        (ProportionalVariation(0.1), (0.0, 0.1, 0.3)),
        (RangeVariation(0.02), (None, 0.06, 0.06)),
        (RangeVariation((0.0, 0.01, 0.5, 0.03)), (0.0, 0.03, 0.09)),
    ],
)
def test_spread_of_each_level(effect, spreads):
    for conductance, level, spread in zip(programmed(effect), (0, 1, 3), spreads, strict=True):
        if spread is not None:  # level 0 is cut off at zero conductance
            assert conductance.std() == pytest.approx(spread, rel=0.02, abs=1e-12)
            assert conductance.mean() == pytest.approx(level, abs=0.002)


def test_lognormal_keeps_the_median():
    conductance = programmed(LognormalVariation(0.3))[2]
    assert np.median(conductance) == pytest.approx(3, rel=0.01)
    assert np.log(conductance).std() == pytest.approx(0.3, rel=0.02)


def test_faults_have_their_rates_and_overrule_what_was_written():
    conductance = programmed(RangeVariation(0.01), StuckCells(0.02, 0.03), ratio=31.0)
    assert (conductance[1] == 3.1).mean() == pytest.approx(0.02, rel=0.1)
    assert np.isclose(conductance[1], 0.1).mean() == pytest.approx(0.03, rel=0.1)


def test_drift_follows_its_power_law():
    drifted = programmed(RetentionDrift(2000.0, nu=0.05, reference_seconds=20.0))
    np.testing.assert_allclose(drifted[2], 3 * 100**-0.05)


def test_exponents_and_logarithmic_spreads_of_each_level():
    drift = RetentionDrift(2000.0, (0.0, 0.05, 0.2, 0.1), (0.0, 0.01, 0.0, 0.02))
    exponents = -np.log(programmed(drift, ratio=4.0) / (LEVELS + 1)) / np.log(100)
    np.testing.assert_allclose(exponents.mean(axis=1), [0.0, 0.05, 0.1], atol=2e-4)
    np.testing.assert_allclose(exponents.std(axis=1), [0.0, 0.01, 0.02], rtol=0.01)
    spread = LognormalVariation((0.5, 0.1, 0.0, 0.3))
    logs = np.log(programmed(spread, ratio=4.0) / (LEVELS + 1))
    np.testing.assert_allclose(logs.std(axis=1), [0.5, 0.1, 0.3], rtol=0.01)


def test_one_exponent_for_each_level_draws_what_one_for_all_does():
    one = programmed(RetentionDrift(1e4, 0.05, 0.01), seed=3)
    np.testing.assert_array_equal(
        one, programmed(RetentionDrift(1e4, (0.05,) * 4, (0.01,) * 4), seed=3)
    )


def test_errors_that_no_distribution_fits_are_drawn_from_their_quantiles():
    two_peaks = (-0.1, -0.1, 0.2, 0.2)  # a third each: at -0.1, between, at 0.2
    error = programmed(EmpiricalVariation(((), two_peaks, (), ()))) - LEVELS
    assert not error[[0, 2]].any()
    shares = np.quantile(error[1] / 3, [0.2, 0.5, 0.8])
    np.testing.assert_allclose(shares, [-0.1, 0.05, 0.2], atol=0.002)


def test_numbers_of_numpy_make_the_same_device():
    own = DeviceModel(8.0, (RangeVariation(0.5), LevelMeans((0.0, 1.0))))
    other = DeviceModel(
        np.float32(8), [RangeVariation(np.float32(0.5)), LevelMeans(np.arange(2.0))]
    )
    assert own == other
    assert hash(own) == hash(other)
    assert repr(own) == repr(other)


def test_conductance_is_never_negative():
    assert programmed(RangeVariation(0.5)).min() == 0


def test_one_seed_one_chip():
    same = programmed(RangeVariation(0.1), seed=4)
    np.testing.assert_array_equal(same, programmed(RangeVariation(0.1), seed=4))
    assert (same != programmed(RangeVariation(0.1), seed=5)).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ProportionalVariation(-0.1), "sigma: expected a finite number from 0"),
        (lambda: RangeVariation(float("nan")), "sigma: expected a finite number"),
        (lambda: StuckCells(1.2), "on_rate: expected a finite number from 0 to 1"),
        (lambda: StuckCells(0.6, 0.6), "at most 1, received 1.2"),
        (lambda: RetentionDrift(1e3, nu=0.3), "nu: expected a finite number from 0 to 0.2"),
        (lambda: RetentionDrift(1e3, 0.1, 0.2), "nu_sigma: expected a finite number from 0 to 0.1"),
        (lambda: RetentionDrift(1.0), "seconds: expected a finite number from 20"),
        (lambda: DeviceModel(on_off_ratio=1.0), "on_off_ratio: expected a number above 1"),
        (lambda: programmed(RangeVariation((0.1,))), "sigma: expected one for each of 4 levels"),
        # A table of 8 levels would give cells of 4 levels the wrong half of its range.
        (lambda: programmed(LevelMeans(tuple(np.linspace(0, 1, 8)))), "means: .* received 8; mea"),
        (lambda: programmed(RetentionDrift(1e3, (0.1,) * 8)), "nu: expected one for each of 4"),
        (lambda: programmed(EmpiricalVariation(((0.0,),))), "quantiles: expected one for each of"),
        (lambda: EmpiricalVariation(((0.1, 0.0),)), r"quantiles\[0\]: expected an ascending tuple"),
        (lambda: EmpiricalVariation((0.1,)), r"quantiles\[0\]: expected a tuple, received 0.1"),
        (lambda: RetentionDrift(1e300), "seconds: expected a finite number from 20 to 1e\\+12"),
        (lambda: ProportionalVariation(True), "sigma: expected .* received True"),
        (lambda: LognormalVariation((0.1, math.nan)), r"sigma\[1\]: expected a finite number"),
        (
            lambda: DeviceModel(effects=RangeVariation(0.1)),
            r"effects: expected a tuple, received RangeVariation\(sigma=0.1\); list effects",
        ),
        (lambda: DeviceModel(effects=(RangeVariation,)), r"effects\[0\]: expected an effect"),
        (lambda: DeviceModel(effects=(ReadNoise(0.1),)), r"effects\[0\]: expected an effect"),
        (
            lambda: ReadNoise((0.1, 0.2)).spread(np.ones(1), Cells(np.array([3]), 3, 0.0)),
            "sigma: expected one for each of 4 levels, received 2",
        ),
        (lambda: ProportionalReadNoise(-0.1), "sigma: expected a finite number from 0 to 2"),
        (lambda: DeviceModel(read_noise=0.1), r"read_noise: expected .* write ReadNoise\(0.1\)"),
        (lambda: DeviceModel(on_off_ratio=math.nan), "on_off_ratio: expected a number above 1"),
        (
            lambda: DeviceModel().program(np.array([4]), 3, np.random.default_rng(0)),
            "levels: expected integers from 0 to 3",
        ),
    ],
)
def test_impossible_devices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_pulses_are_counted_and_what_is_left_is_a_truncated_normal():
    cells = Cells(np.repeat([0, 1], 20_000), level_max=1, pedestal=0.1)
    written = WriteVerify((0.05, 0.2), tolerance=0.05, most_pulses=3)
    target = cells.levels + 0.1
    held, pulses = written.write(target, cells, np.random.default_rng(0))
    right = np.abs(held - target) <= 0.05
    np.testing.assert_array_equal(pulses > 3, ~right)
    for level, share in ((0, math.erf(1 / math.sqrt(2))), (1, math.erf(0.25 / math.sqrt(2)))):
        here = cells.levels == level
        failed = (1 - share) ** 3
        assert (~right[here]).mean() == pytest.approx(failed, abs=0.01)
        assert np.minimum(pulses[here], 3).mean() == pytest.approx((1 - failed) / share, rel=0.02)
    near = held[:20_000][right[:20_000]] - 0.1
    assert near.std() == pytest.approx(0.05 * 0.5396, rel=0.03)  # normal, cut at one sigma
    same = DeviceModel(11.0, (written,)).program(cells.levels, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(same, np.maximum(held, 0))
    for name, value in (("tolerance", 0.0), ("most_pulses", 0)):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            WriteVerify(**{"sigma": 0.1, "tolerance": 0.1, name: value})


def test_slow_noise_has_the_spread_of_each_level():
    devices = DeviceModel(slow_noise=RangeVariation((0.0, 0.1, 0.0, 0.3)))
    levels = np.repeat(np.arange(4), 20_000)
    held = devices.program(levels, 3, np.random.default_rng(0)).reshape(4, -1)
    np.testing.assert_allclose(held.std(axis=1), [0, 0.3, 0, 0.9], rtol=0.02)
    with pytest.raises(ValueError, match="sigma: expected one for each of 2 levels, received 4"):
        devices.program(levels % 2, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="slow_noise: expected an effect, with apply"):
        DeviceModel(slow_noise=0.1)


def test_no_cell_drifts_upwards():
    drift = RetentionDrift(1e6, nu=0.0, nu_sigma=0.1)  # half of the exponents would be below 0
    levels = np.full((50, 20), 3)
    held = DeviceModel(9.0, (drift,)).program(levels, 3, np.random.default_rng(0))
    written_ = DeviceModel(9.0).program(levels, 3, np.random.default_rng(0))
    assert (held <= written_).all()
    assert 0.4 < (held < written_).mean() < 0.6
