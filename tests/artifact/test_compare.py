"""A run beside the record."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from artifact import claims, compare, record
from artifact.studies import reality
from tests.artifact.runs import CLAIM, FULL, GRID, made


def answers(known, mine):
    table = compare.beside(known, mine)
    return dict(zip(table["what"], table["agrees?"], strict=True))


def test_a_run_equal_to_the_record_agrees_in_everything(tmp_path):
    known, mine = made(tmp_path / "known"), made(tmp_path / "mine", FULL | {"code": "c2"})
    assert answers(known, mine) == {"claim C1": "yes", "table grid": "yes"}


def test_a_planted_difference_is_found(tmp_path):
    known, mine = made(tmp_path / "known"), made(tmp_path / "mine")
    mine.write_table("grid", GRID.assign(correct=[9, 7]), FULL)
    claims.write([CLAIM | {"verdict": "not reproduced"}], mine, FULL)
    found = answers(known, mine)
    assert found["table grid"] == "NO: correct is 7 for 8"
    assert found["claim C1"] == "NO: the verdict differs"
    assert compare.counted(compare.beside(known, mine)).startswith("0 agree, 2 do NOT")
    mine.write_table("grid", GRID[:1], FULL)
    assert answers(known, mine)["table grid"] == "NO: other rows"
    last_bit = GRID.assign(correct=[9, 8.000000000000002])
    mine.write_table("grid", last_bit, FULL)
    assert answers(known, mine)["table grid"] == "yes, to rounding (2e-16)"
    for rows in (last_bit[:1], last_bit[1:]):  # whose common row may differ by rounding alone
        mine.write_table("grid", rows, FULL)
        assert answers(known, mine)["table grid"] == "NO: other rows"


def test_an_undecided_run_contradicts_nothing(tmp_path):
    known, mine = made(tmp_path / "known"), made(tmp_path / "mine")
    claims.write([CLAIM | {"verdict": "undecided"}], mine, FULL)
    assert answers(known, mine)["claim C1"] == compare.TOO_SMALL
    assert answers(mine, known)["claim C1"] == compare.TOO_SMALL
    assert ", 1 too small to say, " in compare.counted(compare.beside(known, mine))
    claims.write([CLAIM | {"verdict": "undecided"}], known, FULL)
    claims.write([CLAIM | {"verdict": "undecided", "note": "in other words"}], mine, FULL)
    assert answers(known, mine)["claim C1"] == "yes"


def test_limits_of_two_profiles_are_compared_by_their_intervals(tmp_path):
    table = pd.DataFrame(
        {"nonideality": ["x", "y"], "precision": "W4A3", "bound": ["=", ">"], "limit": [1.0, 5.0],
         "lower": [0.8, 5.0], "upper": [1.25, None], "images": 100}
    )  # fmt: skip
    known, standard = made(tmp_path / "known"), FULL | {"profile": "standard"}
    known.write_table("requirements", table, FULL)

    def answer(limit):
        mine = made(tmp_path / "mine", standard)
        other = table.assign(limit=[limit, 9.0], lower=[0.8 * limit, 9.0])
        mine.write_table("requirements", other.assign(upper=[1.25 * limit, None]), standard)
        return answers(known, mine)["table requirements"]

    assert answer(1.2) == "yes: 1 limits within joint intervals"
    assert answer(2.0) == "NO: x, W4A3 is 2 for 1"


def test_other_images_networks_and_profiles_are_said(tmp_path):
    known = made(tmp_path / "known")

    def answer(table, change, name="grid"):
        mine = made(tmp_path / "mine", FULL | change)
        mine.write_table(name, table, FULL | change)
        return answers(known, mine)[f"table {name}"]

    assert answer(GRID, {"data": "d2"}) == "not comparable: other images"
    assert answer(GRID, {"checkpoints": "n2"}) == "not comparable: other networks"
    fewer, quick = GRID.assign(images=5), {"profile": "quick"}
    assert answer(fewer, quick) == "not comparable: quick for full profile"
    both = pd.concat([GRID[:1], fewer])
    assert answer(both, quick) == "yes: all 1 common rows"
    assert answer(both.assign(correct=1), quick) == "NO: 0 of 1 common rows; correct is 1 for 9"
    known.write_table("shares", GRID[["precision", "correct"]], FULL)
    other = GRID[["precision", "correct"]].assign(correct=3)
    assert answer(other, quick, "shares") == "not comparable: quick for full profile"
    assert answer(GRID, {}, "new") == "not recorded"


def test_an_altered_record_compares_with_nothing(tmp_path):
    known, mine = made(tmp_path / "known"), made(tmp_path / "mine")
    for name in ("grid.csv", "claims.json"):
        (known.results / name).write_text("[]\n")
    assert answers(known, mine) == {
        "claim C1": "not comparable: the recorded ones were altered",
        "table grid": "not comparable: the recorded one was altered"
    }  # fmt: skip


def test_every_recorded_table_agrees_with_itself_and_tells_its_parameters():
    place = record.committed()
    for name in place.tables():
        table = place.read_table(name)
        count, same, worst = compare.common_points(table, table)
        assert (count, same, worst) == (len(table), len(table), ""), name
        assert len(compare._keys(table)) < len(table.columns), name


def test_a_table_with_limits_but_no_bounds_is_compared_row_by_row(tmp_path):
    known, mine = made(tmp_path / "known"), made(tmp_path / "mine")
    parts = pd.DataFrame({"part": ["x", "y"], "limit": [1.0, 2.0], "lower": 0.5, "upper": 3.0})
    known.write_table("parts", parts, FULL)
    mine.write_table("parts", parts.assign(upper=[3.0, 4.0]), FULL)
    assert answers(known, mine)["table parts"] == "NO: upper is 4.0 for 3.0"


def test_networks_that_a_run_trains_itself_may_differ_between_processors(tmp_path):
    table = pd.DataFrame({"preset": "PCM", "step": ["writing", reality.TUNED],
                          "images": 40, "accuracy": [90.0, 95.0]})  # fmt: skip
    known, mine = made(tmp_path / "known"), made(tmp_path / "mine")
    known.write_table("reality", table, FULL)
    mine.write_table("reality", table.assign(accuracy=[90.0, 94.0]), FULL)
    assert answers(known, mine)["table reality"] == "yes"
    mine.write_table("reality", table.assign(accuracy=[91.0, 95.0]), FULL)
    assert answers(known, mine)["table reality"] == "NO: accuracy is 91.0 for 90.0"


def entries(**accuracies):
    """A manifest: of each kind, the accuracies of its seeds."""
    return {
        f"mnist/{kind}-seed{seed}.safetensors": {"sha256": "0", "test_accuracy": f"{value}"}
        for kind, values in accuracies.items()
        for seed, value in enumerate(values)
    }


def test_retrained_networks_are_compared_kind_by_kind():
    shipped = entries(a=[0.98, 0.99, 0.97], b=[0.9], c=[0.8], d=[0.7]) | {
        "mnist/s": {"sha256": "0"}
    }
    trained = entries(a=[0.99, 0.99, 0.99], b=[0.92], c=[0.8]) | {"mnist/s": {"sha256": "1"}}
    found = compare.networks(shipped, trained).set_index("networks")
    assert list(found.index) == ["mnist/a", "others, one seed each", "all"]
    assert found["count"].tolist() == [3, 2, 5]
    assert found["gained"].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert found.loc["mnist/a", ["shipped", "shipped_sd", "trained", "trained_sd"]].tolist() == (
        pytest.approx([98.0, 1.0, 99.0, 0.0])
    )
    # Student's t with two degrees of freedom: 4.303 x 1 / sqrt(3) points
    assert found.loc["mnist/a", ["lower", "upper"]].tolist() == pytest.approx(
        [-1.484, 3.484], abs=1e-3
    )


def test_one_retrained_network_has_no_interval():
    found = compare.networks(entries(a=[0.98]), entries(a=[0.99]))
    assert found["lower"].isna().all()
    assert found["gained"].tolist() == pytest.approx([1.0, 1.0])


def test_few_trials_tell_nothing_and_many_limits_are_held_to_more():
    names = [f"x{k}" for k in range(20)]
    known = pd.DataFrame({"nonideality": names, "bound": "=", "limit": 1.0, "lower": 0.9,
                          "upper": 1 / 0.9, "trials": 10})  # fmt: skip
    astray = np.exp(np.where(np.arange(20) == 7, 2.3 / 1.96 * 2**0.5 * np.log(1 / 0.9), 0))
    now = known.assign(limit=astray, lower=0.9 * astray, upper=astray / 0.9)  # 2.3 sigma
    assert compare.limits_agree(known, now).startswith("yes: 20 limits")
    assert compare.limits_agree(known[7:8], now[7:8]).startswith("NO: x7 is ")
    assert compare.limits_agree(known, now.assign(trials=3)) == compare.TOO_SMALL
