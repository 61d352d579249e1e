"""Verdicts, and the paper's numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from artifact import claims
from tests.artifact.runs import CLAIM, FULL, KIND, ladder, made, pair


def test_the_papers_numbers_stand_in_one_place():
    numbers = {name: entry["paper"] for name, entry in claims.expected().items()}
    assert numbers["C1"] == 0.9882
    assert (numbers["C5_W8A8"], numbers["C5_W4A3"]) == (0.79, 0.53)
    share = {p: (1 - 1 / numbers[f"C6_{p}"]) / numbers[f"C5_{p}"] for p in ("W8A8", "W4A3")}
    assert share["W8A8"] == pytest.approx(0.841, abs=1e-3)
    assert share["W4A3"] == pytest.approx(0.246, abs=1e-3)


def test_claims_of_two_notebooks_stand_beside_each_other_in_the_papers_order(tmp_path):
    place = made(tmp_path)
    later, better = CLAIM | {"id": "C6_W8A8"}, CLAIM | {"measured": 0.995}
    claims.write([later], place, FULL)
    claims.write([CLAIM | {"id": "C5_W4A3"}, better], place, FULL)
    assert [claim["id"] for claim in claims.read(place)] == ["C1", "C5_W4A3", "C6_W8A8"]
    assert claims.read(place)[0] == better


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
