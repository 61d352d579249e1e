"""The search for limits, their bounds, and the decisions made from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from artifact import claims
from artifact.studies import common, requirements
from artifact.studies.requirements import IMPERFECTIONS, Curve
from nvlib import Adc, Hardware


def searched(losses, kind="range variation", precision_="W4A3", images=800):
    """Tidy rows of a search: rung -> images lost by each trial."""
    return pd.DataFrame(
        [{"dataset": "mnist", "precision": precision_, "nonideality": kind, "training": "qat",
          "images": images, "chips": len(lost), "checkpoints": "checkpoints", "rung": rung,
          "size": IMPERFECTIONS[kind].size(rung), "lost": " ".join(map(str, lost))}
         for rung, lost in losses.items()]
    )  # fmt: skip


def test_the_limit_is_where_the_mean_loss_crosses_delta():
    table = searched({-1.0: [0] * 8, 0.0: [0, 1] * 4, 1.0: [2, 3] * 4, 2.0: [9] * 8})
    found = requirements.limits(table, delta=1.0).iloc[0]  # 1 point of 100 images is one image
    kind = IMPERFECTIONS["range variation"]
    assert found["limit"] == pytest.approx(kind.size(0.25), rel=1e-3)
    assert found["lower"] < found["limit"] < found["upper"]
    assert found["bound"] == "="
    assert (found["chips"], found["images"], found["delta_points"]) == (8, 800, 1.0)


def test_the_bound_of_a_steep_curve_is_that_of_the_mean():
    lost = np.array([0, 1, 2, 1, 0, 2, 1, 1])
    table = searched({float(r): list(lost + 10 * r) for r in range(4)})
    curve = Curve.of(table)
    # The loss rises by 10 points a rung, so the rung's error is a tenth of the loss's.
    expected = lost.std(ddof=1) / np.sqrt(8) / 10
    without = curve.jackknife(6.0)
    error = np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())
    assert error == pytest.approx(expected, rel=1e-9)


def test_what_was_not_bracketed_is_said_and_never_a_number():
    tame = searched({0.0: [0] * 8, 1.0: [0] * 8})
    wild = searched({0.0: [20] * 8, 1.0: [30] * 8}, precision_="W8A8")
    written = requirements.as_written(requirements.limits(pd.concat([tame, wild])))
    kind = IMPERFECTIONS["range variation"]
    by_name = written.set_index("precision")
    assert by_name.loc["W4A3", "limit"] == f"> max tested ({kind.size(1):g})"
    assert by_name.loc["W4A3", "upper"] == ""
    assert by_name.loc["W8A8", "limit"] == f"< min tested ({kind.size(0):g})"
    assert by_name.loc["W8A8", "lower"] == ""
    assert list(written.columns) == [
        "precision", "nonideality", "unit", "limit", "lower", "upper", "chips", "images",
        "delta_points",
    ]  # fmt: skip


def test_a_dip_of_the_loss_is_no_second_limit():
    table = searched({0.0: [0] * 8, 1.0: [3] * 8, 2.0: [1] * 8, 3.0: [9] * 8})
    smooth = searched({0.0: [0] * 8, 1.0: [2] * 8, 2.0: [2] * 8, 3.0: [9] * 8})
    assert Curve.of(table).crossing(1.0) == Curve.of(smooth).crossing(1.0) == 0.5


@pytest.mark.parametrize("delta", [0, -1.0, 2.5, float("nan")])
def test_a_delta_that_was_not_searched_is_refused(delta):
    with pytest.raises(ValueError, match="delta: expected points above 0, at most 2"):
        requirements.limits(searched({0.0: [0] * 8, 1.0: [9] * 8}), delta)


def test_an_interval_needs_two_chips_and_an_image_for_each():
    point = {"dataset": "embedded", "precision": "W2A2", "nonideality": "range variation",
             "training": "qat", "size": 0.1, "checkpoints": common.SHIPPED}  # fmt: skip
    with pytest.raises(ValueError, match="chips: expected an integer from 2"):
        requirements.evaluate(**point, images=20, chips=1)
    with pytest.raises(ValueError, match="images: expected an integer from 4"):
        requirements.evaluate(**point, images=3, chips=4)


def pair(high, low, kind="range variation"):
    return pd.concat([searched(high, kind, "W8A8"), searched(low, kind, "W4A3")])


def test_what_trials_share_drops_out_of_a_comparison():
    shared = np.array([0, 6, 1, 7, 2, 5, 0, 3])  # some trials are hard at every precision
    low = {float(r): list(shared + 4 * r) for r in range(-3, 4)}
    high = {float(r): list(shared + 4 * r + 4) for r in range(-3, 4)}  # one rung stricter
    orders = requirements.compare(pair(high, low)).iloc[0]
    assert orders["factor"] == pytest.approx(1 / IMPERFECTIONS["range variation"].step)
    assert orders["upper"] - orders["lower"] < 1e-6
    assert orders["order"] == "stricter"
    same = requirements.compare(pair(low, low)).iloc[0]
    assert (same["factor"], same["order"]) == (1.0, "undecided")


def test_the_order_can_turn_with_the_unit():
    low = {float(r): [r + 3] * 8 for r in range(-3, 4)}
    high = {float(r): [r + 4] * 8 for r in range(-3, 4)}
    orders = requirements.compare(pair(high, low, "range variation, one cell per weight"))
    assert list(orders["order"]) == ["stricter", "looser"]
    steps = orders["factor"].iloc[1] / orders["factor"].iloc[0]
    assert steps == pytest.approx(127 / 7)  # level steps in the range at 8 and at 4 bits


def test_verdicts_on_trends():
    low = {float(r): [r + 3] * 8 for r in range(-3, 4)}
    high = {float(r): [r + 4] * 8 for r in range(-3, 4)}

    def verdict(*pairs):
        return claims.judge_trend("C3a", pd.concat(pairs), 1.0)[0]["verdict"]

    stricter, looser = pair(high, low), pair(low, high)
    undecided = pair(low, low, "read noise")
    assert verdict(stricter) == verdict(stricter, undecided) == "reproduced as trend"
    assert verdict(looser) == "not reproduced"
    assert verdict(stricter, pair(low, high, "read noise")) == "not reproduced"
    assert verdict(undecided) == "not reproduced"


@pytest.mark.parametrize("name", ["range variation", "ADC INL", "ADC resolution", "DAC DNL"])
def test_a_search_brackets_its_losses_and_is_the_same_again(name, tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "POINTS", tmp_path)
    point = requirements.points([name], "embedded", 40, 4, 1, ("W2A2",))[0]
    table = requirements.tidy(pd.DataFrame([point | requirements.search_point(**point)]))
    kind, curve = IMPERFECTIONS[name], Curve.of(table)
    means = dict(zip(curve.rungs, curve.losses.mean(axis=1), strict=True))
    assert max(means.values()) > 2.0 or max(means) == kind.span[1]
    assert min(means.values()) <= 0.5 or min(means) == kind.span[0]
    kept = len(list((tmp_path / "chips").iterdir()))
    assert kept == len(table)

    def refuse(**point):
        raise AssertionError(f"computed again: {point}")

    refuse.__module__ = requirements.evaluate.__module__
    refuse.__qualname__ = requirements.evaluate.__qualname__
    monkeypatch.setattr(requirements, "evaluate", refuse)  # the second time nothing is computed
    again = requirements.tidy(pd.DataFrame([point | requirements.search_point(**point)]))
    pd.testing.assert_frame_equal(table, again)
    with pytest.raises(AssertionError, match="computed again"):
        requirements.search_point(**point | {"images": 41})


def test_every_imperfection_of_no_size_loses_nothing():
    net = common.network("embedded", "W4A3")
    ideal = Hardware(adc=Adc(bits=8))
    for name in ("proportional variation", "range variation", "stuck cells", "read noise"):
        hardware = IMPERFECTIONS[name].hardware(0.0, net, "embedded")
        assert hardware.adc == ideal.adc
        point = {"dataset": "embedded", "precision": "W4A3", "nonideality": name, "size": 0.0,
                 "training": "qat", "images": 20, "chips": 2,
                 "checkpoints": common.SHIPPED}  # fmt: skip
        assert requirements.evaluate(**point) == {"lost": "0 0"}


def test_post_training_quantization_is_another_network_from_the_same_floats():
    trained = common.network("embedded", "W4A3")
    after = common.network("embedded", "W4A3", training="ptq")
    assert after.precision == trained.precision
    assert any(
        (a.codes != b.codes).any() for a, b in zip(after.layers, trained.layers, strict=True)
    )
    with pytest.raises(ValueError, match="this checkpoint and its line .*, found no line"):
        common.network("embedded", "W4A3", training="none")
