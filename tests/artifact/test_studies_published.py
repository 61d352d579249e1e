"""Published savings: what a row may say, and what stands beside it."""

from __future__ import annotations

import re
from dataclasses import asdict, replace

import pandas as pd
import pytest

from artifact import verdicts
from artifact.studies import decomposition, published
from artifact.studies.common import PAIR
from artifact.studies.readings import MECHANISMS


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"like": "nothing"}, "like"),
        ({"like": "digital"}, "like"),
        ({"least": 0.5, "most": 0.4}, "least"),
        ({"least": -0.1}, "least"),
        ({"most": 1.4}, "most"),
        ({"most": "40 %"}, "most"),
        ({"of": "energy"}, "of"),
        ({"checked": True}, "checked"),
        ({"source": ""}, "source"),
        ({"work": None}, "work"),
    ],
)
def test_a_bad_row_is_refused_by_the_name_of_its_fault(change, named):
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        replace(published.published()[0], **change)


def test_numbers_are_those_of_their_sources():
    """Stated as a range of what is saved, or as what is left."""
    for row in published.published():
        low, high = 100 * row.least, 100 * row.most
        saved = re.search(r"([\d.]+) to ([\d.]+) %", row.source)
        left = re.search(r"([\d.]+) % of the ADC energy of a baseline is left", row.source)
        stated = [float(end) for end in saved.groups()] if saved else [100 - float(left[1])] * 2
        assert [low, high] == pytest.approx(stated)
        assert ("not checked" in row.source) == (row.checked == "note")


def steps():
    """Savings that grow with the mechanisms, less at the second precision."""
    return pd.DataFrame([
        {"precision": name, "mechanism": mechanism, "against": against, "saving": 0.2 * k / (j + 1)}
        for j, name in enumerate(PAIR) for k, mechanism in enumerate(MECHANISMS)
        for against in ("nothing", decomposition.FAIR) if k and (against == "nothing" or k == 3)
    ])  # fmt: skip


def test_each_stands_beside_the_mechanism_most_like_it():
    beside = published.beside(steps())
    assert beside[list(asdict(published.published()[0]))].to_dict("records") == [
        asdict(row) for row in published.published()
    ]
    ours = beside.set_index("work")[list(PAIR)]
    assert ours.loc["ELEX 2025"].tolist() == pytest.approx([0.6, 0.3])  # all
    assert ours.loc["InfoX 2022"].tolist() == pytest.approx([0.2, 0.1])  # static


def test_the_sentence_says_whose_numbers_are_unchecked_and_that_it_is_no_test():
    told = verdicts.published_sentence(published.beside(steps())).split("; ")
    assert [("unchecked" in part) for part in told] == [False, True, False, False]
    assert "ELEX 2025 states 28.5 to 44.4 %" in told[0]
    assert "saves 60 % at W8A8 and 30 % at W4A3" in told[0]
    assert "InfoX 2022 states 91 % (" in told[2]
    assert told[-1].endswith("no test.")
