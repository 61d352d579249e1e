"""Trends: what trials share drops out, and every look costs."""

from __future__ import annotations

import numpy as np
import pytest

from artifact.statistics import Estimate, sequential_p
from artifact.studies import limits, trends
from tests.artifact.runs import KIND, ladder, pair


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


def test_every_look_at_the_data_costs():
    estimate = Estimate.jackknife(-1.0, np.array([-1.3, -0.6, -1.1]), np.arange(3))
    ratios = {"one": estimate, "other": estimate}
    pooled = Estimate.weighted([(0.5, ratio) for ratio in ratios.values()])
    row = trends._judged({}, ratios)[-1]
    assert pooled.p_value() < row["p"] == sequential_p(pooled.p_value(), limits.LOOKS)
