"""The search for limits, their intervals, and what is decided from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from artifact import claims
from artifact.statistics import Estimate, sequential_p
from artifact.studies import common, limits, requirements, sampling, trends
from artifact.studies.limits import CONFIDENCE, Curve
from artifact.studies.nonidealities import AXES, NONIDEALITIES, ON_OFF, VARIATIONS

KIND = NONIDEALITIES["range variation"]


def searched(losses, kind="range variation", name="W4A3", scheme="differential"):
    """Tidy rows of a search: rung -> loss of each trial, in points."""
    return pd.DataFrame(
        [{"dataset": "mnist", "nonideality": kind, "scheme": scheme, "training": "qat",
          "precision": name, "size": NONIDEALITIES[kind].size(rung), "seed": 0, "trial": trial,
          "images": 100, "checkpoints": "checkpoints", "rung": float(rung),
          "training_seed": trial % 5, "loss": loss}
         for rung, lost in losses.items() for trial, loss in enumerate(lost)]
    )  # fmt: skip


def test_the_limit_is_where_the_mean_loss_crosses_delta():
    losses = {0: [0.125 - 0.01, 0.125 + 0.01] * 5, 1: [3.375 - 0.01, 3.375 + 0.01] * 5}
    found = limits.limits(searched(losses), delta=1.0).iloc[0]
    assert found["limit"] == pytest.approx(KIND.size(0.5), rel=1e-3)  # cube roots 0.5, 1, 1.5
    assert found["lower"] < found["limit"] < found["upper"]
    assert (found["bound"], found["trials"], found["images"]) == ("=", 10, 100)


def test_a_limit_beyond_what_was_tested_is_marked_and_its_far_end_left_empty():
    tame = searched({0: [0.0, 0.1] * 5, 1: [0.1, 0.2] * 5})
    wild = searched({0: [20.0, 21.0] * 5, 1: [30.0, 31.0] * 5}, name="W8A8")
    found = limits.limits(pd.concat([tame, wild])).set_index("precision")
    assert dict(found["bound"]) == {"W4A3": ">", "W8A8": "<"}
    written = limits.as_written(found)
    assert written.loc["W4A3", "upper"] == written.loc["W8A8", "lower"] == ""
    assert limits.told(found.loc["W4A3"]) == f"> {KIND.size(1):.2g}"


def test_a_dip_of_the_loss_is_no_second_limit():
    dip = {0: [0.0] * 8, 1: [3.0] * 8, 2: [1.0] * 8, 3: [9.0] * 8}
    smooth = {0: [0.0] * 8, 1: [2.0] * 8, 2: [2.0] * 8, 3: [9.0] * 8}
    first, second = (Curve.of(searched(losses)).crossing(1.0) for losses in (dip, smooth))
    assert first == second


@pytest.mark.parametrize("delta", [0, -1.0, 2.5, float("nan")])
def test_a_delta_that_was_not_searched_is_refused(delta):
    with pytest.raises(ValueError, match=r"delta: expected 0.25 to 2 points"):
        limits.limits(searched({0: [0.0] * 8, 1: [9.0] * 8}), delta)


def pair(high, low, kind="range variation", scheme="differential"):
    parts = (searched(high, kind, "W8A8", scheme), searched(low, kind, "W4A3", scheme))
    return pd.concat(parts, ignore_index=True)


def ladder(shift, noise=0.0, trials=10):
    """A loss that grows as the cube of severity, shifted by some rungs."""
    wobble = noise * np.random.default_rng(0).standard_normal(trials)
    return {r: list((KIND.step ** (r + shift) + wobble).round(6)) for r in range(-6, 5)}


def test_what_trials_share_drops_out_of_a_comparison():
    low, high = ladder(0, 0.3), ladder(1, 0.3)  # one rung stricter
    found = trends.ratios(pair(high, low)).iloc[0]
    single = limits.limits(pair(high, low)).iloc[0]
    assert found["factor"] == pytest.approx(1 / KIND.step, rel=0.05)
    assert found["order"] == "stricter"
    width = np.log(found["upper"] / found["lower"])
    assert width < 0.3 * np.log(single["upper"] / single["lower"])
    same = trends.ratios(pair(low, low)).iloc[0]
    assert (same["factor"], same["order"]) == (1.0, "undecided")


def test_verdicts_on_trends():
    def verdict(*pairs):
        return claims.judge_trend("C3a", pd.concat(pairs, ignore_index=True), 1.0)[0]

    low, high, noisy = ladder(0), ladder(1), ladder(0.02, 0.9)
    stricter = pair(high, low)
    assert verdict(stricter)["verdict"] == "reproduced as trend"
    assert verdict(pair(low, high))["verdict"] == "not reproduced"
    assert verdict(pair(noisy, low))["verdict"] == "undecided"
    offset = verdict(pair(noisy, low), pair(high, low, scheme="offset"))
    assert offset["verdict"] == "reproduced as trend"
    assert offset["measured"].startswith("undecided with differential pairs (")
    assert "stricter with offset columns (" in offset["measured"]
    mixed = verdict(stricter, pair(low, high, "read noise"))
    assert mixed["measured"].startswith("contradictory with differential pairs")
    assert mixed["verdict"] == "not reproduced"


def test_what_a_trend_rests_on_is_shown_by_leaving_out_each_in_turn():
    low, high = ladder(0, 0.1), ladder(1, 0.1)
    alone = pair(high, low, scheme="offset")
    both = pd.concat([pair(high, low), pair(low, low, "read noise"), alone], ignore_index=True)
    told = claims.without_one(both, "C3a", 1.0)
    assert told.startswith("With differential pairs: undecided without range variation (1.00 [")
    assert f"stricter without read noise ({1 / KIND.step:.2f} [" in told
    assert "offset" not in told  # a single one has nothing to leave out


def test_intervals_cover_what_they_say_whether_or_not_seeds_differ():
    generator, hits = np.random.default_rng(1), 0
    for share in (0.0, 0.3, 3.0):  # variance of training seeds over that of trials
        for _ in range(200):
            seeds = np.sqrt(share) * generator.standard_normal(5)
            x = generator.standard_normal(20) + seeds[np.arange(20) % 5]
            without = (x.sum() - x) / 19
            found = limits.Estimate.jackknife(x.mean(), without, np.arange(20) % 5)
            lower, upper = found.interval()
            hits += lower <= 0 <= upper
    assert 0.93 <= hits / 600 <= 0.985


def test_looking_three_times_errs_in_one_run_of_twenty():
    generator, wrong = np.random.default_rng(2), 0
    for _ in range(600):
        x = generator.standard_normal(limits.LOOKS[-1])
        apart = []
        for look in limits.LOOKS:
            part = x[:look]
            without = (part.sum() - part) / (look - 1)
            found = limits.Estimate.jackknife(part.mean(), without, np.arange(look))
            apart.append(not found.interval(CONFIDENCE)[0] <= 0 <= found.interval(CONFIDENCE)[1])
        wrong += any(apart)
    assert 0.025 <= wrong / 600 <= 0.075


def test_a_weighted_sample_estimates_the_mean_of_all_images():
    generator = np.random.default_rng(0)
    lost = (generator.random(2000) < 0.2 * np.exp(-np.arange(2000) / 200)).astype(float)
    order = np.arange(2000)  # in order of difficulty, as the losses are
    means = [
        sample.weights @ lost[sample.chosen]
        for sample in (sampling.draw(order, 100, np.random.default_rng(k)) for k in range(2000))
    ]
    error = np.std(means) / np.sqrt(len(means))
    assert np.mean(means) == pytest.approx(lost.mean(), abs=4 * error)
    assert np.std(means) < 0.75 * np.sqrt(lost.mean() / 100)  # what a plain sample would stray


POINT = {"dataset": "embedded", "nonideality": "range variation", "scheme": "differential",
         "training": "qat", "seed": 0, "images": 20, "checkpoints": common.SHIPPED}  # fmt: skip


def test_as_many_images_are_drawn_as_were_asked_for():
    for images in (6, 30, 60, 100):
        sample = sampling.draw(np.arange(100), images, np.random.default_rng(0))
        assert len(set(sample.chosen)) == images
        assert sample.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["range variation", "wire resistance", "ADC resolution"])
def test_a_search_brackets_its_losses_and_is_the_same_again(name, tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "POINTS", tmp_path)
    point = POINT | {"nonideality": name, "precisions": "W2A2", "trials": 2}
    table = requirements.tidy(pd.DataFrame([point | requirements.search_point(**point)]))
    kind, means = NONIDEALITIES[name], table.groupby("rung")["loss"].mean()
    assert means.iloc[-1] > 2.0 or means.index[-1] == kind.span[1]
    assert means.iloc[0] <= 0.25 or means.index[0] == kind.span[0]
    row = table.iloc[-1]
    again = requirements.trial_loss(**{key: row[key] for key in requirements.PARAMETERS})
    assert again == {"loss": row["loss"]}

    def refuse(**point):
        raise AssertionError(f"computed again: {point}")

    refuse.__module__ = requirements.losses_of.__module__
    refuse.__qualname__ = requirements.losses_of.__qualname__
    monkeypatch.setattr(requirements, "losses_of", refuse)  # the second time nothing is computed
    other = requirements.tidy(pd.DataFrame([point | requirements.search_point(**point)]))
    pd.testing.assert_frame_equal(table, other)


def test_more_trials_begin_with_those_of_fewer_and_another_seed_has_others():
    shared = POINT | {"precision": "W2A2", "size": 0.2}
    few, more = (requirements.losses_of(trials=n, **shared)["losses"] for n in (2, 3))
    assert more[:2] == few
    assert requirements.losses_of(trials=2, **shared | {"seed": 1})["losses"] != few


@pytest.mark.parametrize("scheme", requirements.SCHEMES)
def test_a_nonideality_of_no_size_loses_nothing(scheme):
    for name in AXES:
        point = POINT | {"scheme": scheme, "nonideality": name, "precision": "W4A3", "size": 0.0}
        assert requirements.losses_of(trials=1, **point) == {"losses": [0.0]}


@pytest.mark.parametrize("ratio", [10, 50])
@pytest.mark.parametrize("name", VARIATIONS)
def test_a_variation_at_another_on_off_ratio_is_the_same_of_other_cells(name, ratio):
    usual, other = NONIDEALITIES[name], NONIDEALITIES[f"{name}, on/off {ratio}"]
    assert (other.unit, other.family, other.size(1)) == (usual.unit, "device", usual.size(1))
    assert usual.counted
    assert not other.counted  # C3 does not rest on it
    before, after = (kind.hardware(0.1, None, "offset", "mnist") for kind in (usual, other))
    assert before.devices.on_off_ratio == ON_OFF
    assert after == replace(before, devices=replace(before.devices, on_off_ratio=ratio))


def test_too_few_trials_for_an_interval_are_refused():
    with pytest.raises(ValueError, match="trials: expected an integer from 2"):
        requirements.search_point(**POINT, precisions="W2A2", trials=1)


def test_post_training_quantization_is_another_network_from_the_same_floats():
    trained = common.network("embedded", "W4A3")
    after = common.network("embedded", "W4A3", training="ptq")
    assert after.precision == trained.precision
    assert any(
        (a.codes != b.codes).any() for a, b in zip(after.layers, trained.layers, strict=True)
    )


def test_between_two_rungs_the_cube_root_of_the_loss_is_interpolated():
    losses = np.array([[1.0, 1.0], [8.0, 8.0]])  # of two rungs and two trials
    curve = Curve(NONIDEALITIES["range variation"], np.array([3.0, 4.0]), losses, np.zeros(2))
    assert curve.crossing(1.1**3) == pytest.approx(3.1)


def test_every_look_at_the_data_costs():
    estimate = Estimate.jackknife(-1.0, np.array([-1.3, -0.6, -1.1]), np.arange(3))
    ratios = {"one": estimate, "other": estimate}
    pooled = Estimate.weighted([(0.5, ratio) for ratio in ratios.values()])
    row = trends._judged({}, ratios)[-1]
    assert pooled.p_value() < row["p"] == sequential_p(pooled.p_value(), limits.LOOKS)
