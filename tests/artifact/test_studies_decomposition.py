"""Parts of the saving, draws over the literature, and single choices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from artifact.studies import common, decomposition
from artifact.studies.readings import Reading
from nvlib.energy import AdcLaw, EnergyTable, adc_saving, efficiency_gain, inference_energy
from nvlib.sparsity import ALL_POLICIES

EMBEDDED = {"dataset": "embedded", "images": 4, "checkpoints": common.SHIPPED}


def test_a_reading_counts_what_the_library_counts():
    numbers = Reading().four("embedded", 4)
    chip = Reading().chip("embedded", "W4A3")
    events = chip.events(common.test_images("embedded", 4)[0])
    before, after = (
        inference_energy(events, policies, 4, AdcLaw(), EnergyTable.load())
        for policies in ((), ALL_POLICIES)
    )
    assert numbers["saving_W4A3"] == adc_saving(before, after)
    assert numbers["net_W4A3"] == adc_saving(before, after, detection=True)
    assert numbers["gain_W4A3"] == efficiency_gain(before, after)


def test_each_mechanism_saves_more_and_sensing_alone_costs():
    point = {"training": "ptq", "precision": "W8A8", "seed": 0} | EMBEDDED
    rows = common.tidy(pd.DataFrame([point | decomposition.point(**point)]))
    assert rows["block"].nunique() == 4
    means = rows.groupby("mechanism", sort=False)[decomposition.COSTS].mean()
    adc = means["adc_pj"].tolist()
    assert adc == sorted(adc, reverse=True)
    assert (means["detection_pj"] > 0).tolist() == [False, False, False, True]
    steps = decomposition.steps(rows, "ptq").set_index(["mechanism", "against"])
    last = steps.loc[("all, sensed", "nothing")]
    assert last["saving"] == pytest.approx(1 - adc[3] / adc[0])
    fair = steps.loc[("all, sensed", decomposition.FAIR)]
    assert fair["saving"] == pytest.approx(1 - adc[3] / adc[2])
    assert 0 < fair["gain"] < last["gain"]


def rows(savings):
    """Of training seeds by blocks of images."""
    return pd.DataFrame([
        {"training": "qat", "precision": "W8A8", "seed": seed, "block": block, "cycles": 1.0,
         "mechanism": mechanism, "adc_pj": adc, "detection_pj": 0.0, "total_pj": adc + 50}
        for seed, of_seed in enumerate(savings) for block, saving in enumerate(of_seed)
        for mechanism, adc in (("nothing", 100.0), ("all, sensed", 100 * (1 - saving)))
    ])  # fmt: skip


def test_intervals_cover_seeds_and_images():
    half = 0.1 * stats.t.ppf(0.975, 1) / stats.norm.ppf(0.975)
    value, lower, upper = decomposition.intervals(rows([[0.8, 0.8], [0.8, 0.8]]), "W8A8")["saving"]
    assert (value, lower, upper) == pytest.approx((0.8, 0.8, 0.8))
    for spread in ([[0.7, 0.7], [0.9, 0.9]], [[0.7, 0.9], [0.7, 0.9]]):  # of seeds, of images
        value, lower, upper = decomposition.intervals(rows(spread), "W8A8")["saving"]
        assert (value, lower, upper) == pytest.approx((0.8, 0.8 - half, 0.8 + half))
    gain = decomposition.intervals(rows([[0.8, 0.8], [0.8, 0.8]]), "W8A8")["gain"]
    assert gain[0] == pytest.approx(150 / 70)


@pytest.mark.parametrize("of_images", [0.0, 1.0])
def test_so_many_intervals_hold_the_true_mean(of_images):
    generator, held = np.random.default_rng(0), 0
    for _ in range(80):
        spread = generator.standard_normal((5, 1)) + of_images * generator.standard_normal(10)
        _, lower, upper = decomposition.intervals(
            rows(0.5 + 0.01 * spread), "W8A8", samples=200
        )["saving"]  # fmt: skip
        held += lower <= 0.5 <= upper
    assert held >= 0.92 * 80  # of the bootstrap's own ends 0.87


def test_draws_are_the_same_for_every_network():
    tables = [
        decomposition.draw_point(training=training, seed=0, **EMBEDDED)["results"]
        for training in ("ptq", "qat")
    ]
    laws = [[(row["draw"], row["design"], row["partial"]) for row in rows] for rows in tables]
    assert laws[0] == laws[1]
    assert len({row[1] for row in laws[0]}) > 3
    assert any(row["column_current"] for row in tables[0])
    assert tables[0] != tables[1]


def test_a_single_choice_changes_what_it_names():
    as_it_is = decomposition.single_point(choice="as it is", **EMBEDDED)
    dearer = decomposition.single_point(choice="Walden 30 fJ a step", **EMBEDDED)
    assert dearer["saving_W8A8"] == pytest.approx(as_it_is["saving_W8A8"])
    assert dearer["gain_W8A8"] > as_it_is["gain_W8A8"]
    plain, current = (
        decomposition.single_point(choice=f"converters designed as neurosim{more}", **EMBEDDED)
        for more in ("", ", with column currents")
    )
    assert current["saving_W8A8"] < plain["saving_W8A8"]  # currents flow in every cycle
