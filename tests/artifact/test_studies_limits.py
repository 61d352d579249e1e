"""Limits: where a curve of losses crosses what is tolerated, and what is said beyond it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from artifact.studies import limits
from artifact.studies.limits import Curve
from artifact.studies.nonidealities import NONIDEALITIES
from tests.artifact.runs import KIND, searched


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


def test_between_two_rungs_the_cube_root_of_the_loss_is_interpolated():
    losses = np.array([[1.0, 1.0], [8.0, 8.0]])  # of two rungs and two trials
    curve = Curve(NONIDEALITIES["range variation"], np.array([3.0, 4.0]), losses, np.zeros(2))
    assert curve.crossing(1.1**3) == pytest.approx(3.1)
