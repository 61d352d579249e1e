"""What a precision is worth over the next lower one, and where imperfections take it away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from artifact import figures, verdicts
from artifact.studies import advantage, limits
from artifact.studies.compromise import ACCURACIES, LOSSLESS_BITS
from artifact.studies.nonidealities import NONIDEALITIES
from tests.artifact.runs import searched

KIND = NONIDEALITIES["range variation"]
TRIALS, RUNGS = 20, (0, 1, 2, 3)


def accuracies(**points):
    """Of ideal hardware, by precision: per cent, about which training seeds spread."""
    return pd.DataFrame(
        [{"dataset": "mnist", "training": "qat", "precision": name, "seed": seed,
          "images": 10_000, "bits": bits}
         | dict.fromkeys(ACCURACIES, percent + 0.01 * sign * (seed - 2) - (bits < LOSSLESS_BITS))
         for (name, percent), sign in zip(points.items(), (1, -1), strict=False)
         for seed in range(5) for bits in (4, LOSSLESS_BITS)]
    )  # fmt: skip


def trials(high, low, kind="range variation", names=("W8A8", "W6A6")):
    """Losses that are even over trials but for what both share, and a little of their own."""
    generator = np.random.default_rng(0)
    shared, own = generator.standard_normal(TRIALS), generator.standard_normal((2, TRIALS))
    wobble = [2 * shared + 0.01 * mine for mine in own]
    parts = [
        searched({r: list(lost + noise) for r, lost in zip(RUNGS, losses, strict=True)}, kind, name)
        for losses, noise, name in zip((high, low), wobble, names, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


FLAT = (0.5, 0.5, 0.5, 0.5)
#: Points lost more than FLAT: 0.125, 0.5 and so on, whose cube roots lie on a line.
STEEP = tuple(0.5 + (0.25 * k) ** 3 for k in (1, 2, 3, 4))
AHEAD = accuracies(W8A8=99.0, W6A6=98.75)


def only(table, ideal):
    (row,) = advantage.advantages(table, ideal).to_dict("records")
    return row


def test_an_advantage_is_gone_where_the_difference_of_losses_crosses_it():
    row = only(trials(STEEP, FLAT), AHEAD)  # 0.25 points: the cube root is 0.63, rung 1.52
    assert row["outcome"] == advantage.GONE
    assert row["ideal"] == pytest.approx(0.25)
    assert row["ideal_lower"] < 0.25 < row["ideal_upper"]
    where = np.cbrt(0.25) / 0.25 - 1
    assert row["limit"] == pytest.approx(KIND.size(where), rel=0.01)
    assert row["lower"] <= KIND.size(where) <= row["upper"]
    assert row["upper"] / row["lower"] < 1.2  # what trials share, 2 points, drops out
    assert row["advantage"] == pytest.approx(0.25 - 1, abs=0.02)
    assert (row["bound"], row["trials"], row["over"]) == ("=", TRIALS, "W6A6")
    assert row["largest"] == KIND.size(RUNGS[-1])


def test_an_advantage_gone_at_the_mildest_size_is_marked():
    row = only(trials((2.0, 3.0, 4.0, 5.0), FLAT), AHEAD)
    assert (row["outcome"], row["bound"]) == (advantage.GONE, "<")
    assert row["limit"] == pytest.approx(KIND.size(RUNGS[0]), rel=1e-3)


def test_swapped_precisions_flip_the_sign():
    swapped = only(trials(FLAT, STEEP), AHEAD)
    assert swapped["advantage"] == pytest.approx(0.25 + 1, abs=0.02)
    assert swapped["outcome"] == advantage.KEPT
    assert np.isnan(swapped["limit"])
    behind = only(trials(FLAT, STEEP), accuracies(W8A8=98.75, W6A6=99.0))
    assert behind["ideal"] == pytest.approx(-0.25)
    assert behind["outcome"] == advantage.NONE  # whatever the lower one loses


def test_an_advantage_of_zero_on_ideal_hardware_is_undecided_whatever_is_lost():
    for losses in ((STEEP, FLAT), (FLAT, STEEP)):
        ideal = accuracies(W8A8=99.0, W6A6=99.0)
        more = np.where(ideal["precision"] == "W8A8", 0.1 * (ideal["seed"] % 2), 0.04)
        ideal[ACCURACIES] = ideal[ACCURACIES].add(more, axis=0)
        assert only(trials(*losses), ideal)["outcome"] == advantage.UNDECIDED


def test_the_images_that_all_seeds_share_count_in_the_interval_on_ideal_hardware():
    table, wavy = trials(STEEP, FLAT), AHEAD.copy()
    waves = np.where(np.arange(len(ACCURACIES)) % 2, 1.5, -1.5)  # between blocks, of W8A8 alone
    wavy[ACCURACIES] += np.outer(wavy["precision"] == "W8A8", waves)
    sure, open_ = only(table, AHEAD), only(table, wavy)
    assert open_["ideal"] == pytest.approx(sure["ideal"])
    assert sure["ideal_lower"] > 0 > open_["ideal_lower"]
    assert (sure["outcome"], open_["outcome"]) == (advantage.GONE, advantage.UNDECIDED)
    seeds, blocks = 0.02 * np.std(np.arange(5), ddof=1) / 5**0.5, np.std(waves, ddof=1) / 10**0.5
    half = stats.t.ppf(0.975, 4) * np.hypot(seeds, blocks)
    assert open_["ideal_upper"] - open_["ideal"] == pytest.approx(half)


def test_too_few_trials_in_common_are_said_and_drawn_and_are_no_error():
    """As in the quick profile, whose second trial is of a seed that notebook 01 leaves out."""
    few, ideal = trials(STEEP, FLAT).query("trial < 2"), AHEAD[AHEAD["seed"] == 0]
    table, sizes = advantage.advantages(few, ideal), advantage.by_size(few, ideal)
    assert table.empty
    assert sizes.empty
    assert list(table) == list(advantage.advantages(trials(STEEP, FLAT), AHEAD))
    assert advantage.told_table(table).empty
    assert verdicts.advantage_sentence(table).endswith("too few to tell an advantage.")
    title = verdicts.advantage_title(table)
    assert title.endswith("too few trials in common to tell")
    assert figures.advantage(sizes, title).get_suptitle()


def test_one_training_seed_tells_nothing_of_ideal_hardware():
    ideal = AHEAD[AHEAD["seed"] == 2]
    row = only(trials(STEEP, FLAT).query("training_seed == 2"), ideal)
    assert row["outcome"] == advantage.UNDECIDED
    assert np.isnan(row["ideal_lower"])
    assert advantage.told_ideal(pd.Series(row)) == "+0.25 (one training seed)"


def test_trials_that_stray_leave_it_undecided():
    table = trials(STEEP, FLAT)
    stray = np.random.default_rng(1).normal(0, 5, len(table))
    row = only(table.assign(loss=table["loss"] + stray), AHEAD)
    assert row["outcome"] == advantage.UNDECIDED
    assert row["advantage_lower"] < 0 < row["advantage_upper"]


@pytest.mark.parametrize(("worse", "among"), [(1.4, advantage.UNDECIDED), (3, advantage.GONE)])
def test_what_one_alone_decides_is_held_to_more_among_four(worse, among):
    generator = np.random.default_rng(3)
    kinds = ("range variation", "stuck cells", "read noise", "proportional variation")
    tables = [trials(FLAT, FLAT, kind) for kind in kinds]
    for table in tables:
        table["loss"] += generator.normal(0, 1, len(table))
    first = tables[0]
    first.loc[(first["rung"] == RUNGS[-1]) & (first["precision"] == "W8A8"), "loss"] += worse
    alone, found = only(first, AHEAD), advantage.advantages(pd.concat(tables), AHEAD).iloc[0]
    assert (alone["outcome"], found["outcome"]) == (advantage.GONE, among)
    assert found["p_holm"] == pytest.approx(4 * alone["p_holm"])


def test_only_trials_sizes_and_seeds_that_both_have_are_compared():
    table = trials(STEEP, FLAT)
    fewer = table[(table["precision"] == "W8A8") | (table["trial"] < 10)]
    fewer = fewer[(fewer["precision"] == "W6A6") | (fewer["rung"] < 3)]
    row = only(fewer, AHEAD)
    assert (row["trials"], row["largest"]) == (10, KIND.size(2))
    assert only(table, AHEAD[AHEAD["seed"] < 2])["trials"] == 8
    sizes = advantage.by_size(fewer, AHEAD)
    assert sizes["size"].tolist() == [0.0, *(KIND.size(rung) for rung in (0, 1, 2))]
    assert sizes["advantage"].iloc[0] == pytest.approx(0.25)
    assert sizes["advantage"].iloc[-1] == pytest.approx(row["advantage"])


def test_nonidealities_that_are_variants_or_count_from_another_chip_are_left_out():
    known = trials(STEEP, FLAT)
    kinds = ("ADC DNL", "range variation, on/off 10", "ADC thermal noise")
    others = [trials(FLAT, STEEP, kind) for kind in kinds]
    found = advantage.advantages(pd.concat([known, *others]), AHEAD)
    assert found["nonideality"].tolist() == ["range variation"]


def test_missing_precisions_are_refused():
    alone = searched({0: [0.1] * 5, 1: [1.0] * 5}, name="W4A3")
    with pytest.raises(ValueError, match=r"trials: expected .* received W4A3; search both"):
        advantage.advantages(alone, AHEAD)
    apart = trials(STEEP, FLAT, names=("W8A8", "W4A3"))  # not each other's neighbours
    with pytest.raises(ValueError, match=r"received W4A3, W8A8; search both"):
        advantage.advantages(apart, accuracies(W8A8=99, W4A3=98))
    with pytest.raises(
        ValueError, match=r"expected W8A8 and W6A6 on ideal hardware, received W8A8; run notebook"
    ):
        advantage.advantages(trials(STEEP, FLAT), accuracies(W8A8=99.0))
    with pytest.raises(ValueError, match=r"received none; run notebook 01"):
        advantage.advantages(trials(STEEP, FLAT), AHEAD.assign(training="ptq"))


def test_words_follow_the_table():
    gone = advantage.advantages(trials(STEEP, FLAT), AHEAD)
    kept = advantage.advantages(trials(FLAT, STEEP), AHEAD)
    told = advantage.told_table(gone).set_index("nonideality")["W8A8 over W6A6"]
    assert told["range variation"] == f"gone at {limits.told(gone.iloc[0])}"
    assert told["ideal hardware (points)"].startswith("+0.25 [+0.2")
    assert verdicts.advantage_title(gone) == "Advantage of W8A8 over W6A6: gone"
    assert verdicts.advantage_title(kept) == "Advantage of W8A8 over W6A6: kept"
    both = pd.concat([gone, kept.assign(nonideality="read noise")])
    assert verdicts.advantage_title(both) == (
        "Advantage of W8A8 over W6A6: gone with range variation, kept with read noise"
    )
    said = verdicts.advantage_sentence(both)
    assert "W8A8 over W6A6 +0.25 [+0.2" in said
    assert "of 2 advantages: 1 kept, 1 gone, 0 undecided, 0 none on ideal hardware" in said
    assert "too few trials" not in said
    vague = both.assign(outcome=advantage.UNDECIDED)
    assert "2 undecided" in verdicts.advantage_sentence(vague)
    assert "too few trials to tell" in verdicts.advantage_sentence(vague)
