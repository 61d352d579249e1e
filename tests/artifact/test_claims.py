"""Verdicts, and the paper's numbers."""

from __future__ import annotations

import pytest

from artifact import claims
from tests.artifact.runs import CLAIM, FULL, made


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
