"""Verdicts on C1, C2, C5 and C6, and that their sentences follow the tables."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from artifact import claims, verdicts
from artifact.studies import compromise, one_hardware, precision, schemes
from tests.artifact.test_studies_compromise import chips_of


def grid(**shares):
    """Right answers of 10,000 images at W4A3, by recipe, for several training seeds."""
    return pd.DataFrame([
        {"dataset": "mnist", "training": training, "precision": "W4A3", "seed": seed,
         "images": 10_000, "correct": correct}
        for training, found in shares.items() for seed, correct in enumerate(found)
    ])  # fmt: skip


def test_one_recipe_that_gives_the_accuracy_is_enough_and_none_is_not():
    table = grid(ptq=[9860, 9890, 9900], qat=[9921, 9922, 9923])
    explained = precision.explains(table, 98.82)
    assert explained["explains"].tolist() == [True, False]
    judged = verdicts.judge_accuracy(explained, "mnist")[0]
    assert judged["verdict"] == claims.REPRODUCED
    assert "Quantization after training gives the paper's" in judged["note"]
    assert "quantization-aware training does not give" in judged["note"]
    explained = precision.explains(grid(qat=[9921, 9922, 9923]), 98.82)
    assert verdicts.judge_accuracy(explained, "mnist")[0]["verdict"] == claims.FAILED
    embedded = verdicts.judge_accuracy(explained, "embedded")
    assert embedded[0]["verdict"] == claims.INCOMPARABLE
    assert "98.82" not in claims.table(embedded).to_string()
    for told in (embedded[0]["note"], verdicts.accuracy_title(explained, "embedded")):
        assert "99.2" in told
        assert "paper" not in told


def test_the_tolerance_is_two_deviations_of_seeds_and_images():
    (row,) = precision.explains(grid(ptq=[9872, 9882, 9892]), 98.82).to_dict("records")
    images = 100 * np.sqrt(0.9882 * 0.0118 / 10_000)
    assert row["tolerance (points)"] == pytest.approx(2 * np.hypot(0.1, images))


@pytest.mark.parametrize(
    ("right", "verdict"), [(99, claims.REPRODUCED), (90, claims.FAILED)], ids=["chosen", "lost"]
)
def test_the_compromise_is_judged_by_the_stated_rule(right, verdict):
    chips = chips_of(
        ("W8A8", 8, 9.0, 100, 99), ("W4A3", 8, 2.0, 100, right), ("W2A2", 8, 1.0, 100, 80),
        ("float", 0, float("nan"), float("nan"), 99),
    )  # fmt: skip
    certain = compromise.certainty(chips, draws=20)
    judged = verdicts.judge_compromise(chips, certain)[0]
    assert judged["verdict"] == verdict
    assert ("W4A3" if right == 99 else "W8A8") in judged["measured"]


def test_a_choice_that_samples_disagree_on_is_undecided_whatever_the_whole_picks():
    chips = chips_of(
        ("W8A8", 8, 9.0, 100, 99), ("W4A3", 8, 2.0, 100, 98), ("W2A2", 8, 1.0, 100, 80),
        ("float", 0, float("nan"), float("nan"), 99),
    )  # fmt: skip
    shares = {"W4A3": 0.4, "W8A8": 0.6}
    rows = [{"training": "ptq", "scheme": "differential", "tolerance": verdicts.JUDGED,
             "precision": name, "share": share} for name, share in shares.items()]  # fmt: skip
    judged = verdicts.judge_compromise(chips, pd.DataFrame(rows))[0]
    assert judged["verdict"] == claims.UNDECIDED
    assert judged["measured"].startswith("W8A8 (60 %)")
    assert "W4A3 in this share of the samples: 40 % quantization after training" in judged["note"]


def parts(saving, detection=0.0):
    rows = [
        {"dataset": "mnist", "training": "qat", "precision": name, "seed": seed, "block": 0,
         "cycles": 1.0, "mechanism": mechanism, "adc_pj": adc, "detection_pj": spent,
         "total_pj": adc + rest}
        for name, rest in (("W8A8", 20.0), ("W4A3", 350.0)) for seed in (0, 1)
        for mechanism, adc, spent in (
            ("nothing", 100.0, 0.0), ("all, sensed", 100 * (1 - saving) + seed * 1e-3, detection))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_savings_are_judged_gross_and_net():
    paper = pd.DataFrame([{name: claims.paper(verdicts._key(name)) for name in verdicts.FOUR}])
    singles = pd.concat([paper.assign(choice=choice) for choice in verdicts.OTHERS])
    networks = [
        {"training": training, "seed": seed} for training in ("ptq", "qat") for seed in (0, 1)
    ]
    draws = pd.concat(
        [paper.assign(draw=draw, **network) for draw in (0, 1, 2) for network in networks]
    )
    found = verdicts.judge_savings(parts(0.79, detection=20.0), draws, singles)
    judged = {claim["id"]: claim for claim in found}
    assert list(judged) == ["C5_W8A8", "C5_W4A3", "C6_W8A8", "C6_W4A3"]
    assert judged["C5_W8A8"]["verdict"] == claims.REPRODUCED
    assert "net of detection 59.0 %: not reproduced" in judged["C5_W8A8"]["note"]
    assert judged["C5_W4A3"]["verdict"] == claims.FAILED
    assert "79.0 % with two's-complement slices" in judged["C5_W8A8"]["note"]
    for told in (judged["C6_W8A8"]["note"], verdicts.draws_title(draws)):
        assert re.search(r"100(.0)? ?% of 3 random draws of .*, each on 4 networks, give ", told)


def test_a_hardware_is_named_only_as_near_as_it_is():
    paper = verdicts.the_paper()
    row = {"training": "ptq", "scheme": "twos-complement", "cell_bits": 1, "memintelli": False,
           "low_bits": 5, "picked": 2, "accuracy": paper["accuracy"],
           "variation_lost_W8A8": 9.0, "variation_lost_W4A3": 1.0, "inl_lost_W8A8": 9.0,
           "inl_lost_W4A3": 1.0, "partial": "linear", "walden_step": 0.017,
           "mechanism": "all, sensed"}  # fmt: skip
    row |= {f"{w}_error_{p}": 0.5 for w in ("variation", "inl") for p in ("W8A8", "W4A3")}
    row |= {name: paper[name] for name in verdicts.FOUR}
    ranked = one_hardware.distances(pd.DataFrame([row | {"picked": 0}, row]), paper)
    assert ranked["held"].tolist() == [8, 7]
    assert "1 give all 8 numbers" in verdicts.hardware_sentence(ranked)
    mixed = row | {"scheme": "mixed", "inl_lost_W8A8": 1.5, "picked": 0}
    ranked = one_hardware.distances(pd.DataFrame([mixed, row]), paper)
    told = verdicts.widths_sentence(ranked)
    assert "slices of mixed width give at most 6 (missing: C2, C3b)" in told
    assert told.endswith("two's-complement slices give at most 8.")
    ranked = one_hardware.distances(pd.DataFrame([row | {"inl_lost_W8A8": 1.5}]), paper)
    assert ranked["held"].tolist() == [7]
    assert "missing there: C3b" in verdicts.hardware_sentence(ranked)


def test_the_region_is_told_by_combinations_and_by_readings_of_the_hardware():
    rows = [
        {"network": "lenet5", "cell_bits": bits, "inputs": "bit-serial", "adc_rule": "B = W",
         "design": design, "images": 1000, "explains": bits == 1}
        for bits in (1, 2) for design in ("walden", "survey")
    ]  # fmt: skip
    told = verdicts.region_sentence(pd.DataFrame(rows))
    assert "2 of 4 combinations, counted on 1,000 test images" in told
    assert "of 1 among 2 readings" in told


def test_each_recipe_and_tolerance_has_its_own_verdict():
    shares = {0.5: {"W4A3": 0.96, "W2A3": 0.04}, 1.0: {"W4A3": 0.05, "W2A3": 0.95},
              0.1: {"W4A3": 0.5, "none": 0.5}}  # fmt: skip
    certain = pd.DataFrame([
        {"training": "ptq", "scheme": "offset", "tolerance": tolerance, "precision": name,
         "seeds": 5, "share": share}
        for tolerance, found in shares.items() for name, share in found.items()
    ])  # fmt: skip
    table = verdicts.compromise_by_tolerance(certain).set_index("tolerance")
    assert table["verdict"].tolist() == [claims.REPRODUCED, claims.FAILED, claims.UNDECIDED]
    assert table.loc[1.0, ["picked", "W4A3"]].tolist() == ["W2A3", 0.05]
    told = verdicts.tolerances_sentence(verdicts.compromise_by_tolerance(certain))
    assert "reproduced in 1, undecided in 1, not reproduced in 1" in told
    assert "(reproduced: quantization after training, offset columns, 0.5 points)" in told


def test_the_schemes_are_told_with_the_bits_they_need_and_what_too_few_lose():
    paper = verdicts.the_paper()
    rows = [
        {"scheme": scheme, "precision": name, "converters": kind, "bits": bits, "loss": loss,
         "saving": paper[f"saving_{name}"] + off, "gain": paper[f"gain_{name}"]}
        for scheme, need, off in (("differential", 4, 0.0), ("offset", 6, 0.2))
        for name in ("W8A8", "W4A3")
        for kind, bits, loss in (
            (schemes.STATED, 8 if name == "W8A8" else 4, 90.0 if need > 4 else 0.0),
            (schemes.NEEDED, need, 0.0))
    ]  # fmt: skip
    summary = pd.DataFrame(rows)
    told = verdicts.schemes_sentence(summary)
    assert "differential pairs need 4 and 4 bits; offset columns need 6 and 6 bits, and" in told
    assert "lose 90.0 points at W8A8 with 8 and 90.0 points at W4A3 with 4" in told
    assert verdicts.schemes_title(summary).startswith("1 of 2 mappings")
