"""The harder task: what carries over is decided by the tables, and chips are the claims' own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from artifact import claims, data, fetch, figures, record
from artifact.data import Dataset
from artifact.statistics import paired_interval
from artifact.studies import common, compromise, decomposition, harder, residual
from nvlib import Adc, Chip, Hardware


@pytest.fixture(scope="module")
def lenet():
    """What the notebooks of the claims recorded."""
    known = record.committed()
    needed = ("device_requirements", "converter_requirements")
    trials = pd.concat([known.read_table(name) for name in needed], ignore_index=True)
    return known.read_table("compromise"), trials, known.read_table("parts")


def words(first, second, lost=0, gained=0):
    chips, *others = second  # one training of the other network, and what its chips lose
    one = (chips["seed"] == 0) & chips["scheme"].isin(["none", "differential"])
    second = chips[one].assign(lost=lost, gained=gained), *others
    found = harder.conclusions(*zip(first, second, strict=True))
    assert len(found) == 13
    return found.set_index("statement")["carries over"]


def test_a_network_beside_itself_differs_nowhere(lenet):
    found = words(lenet, lenet)
    assert harder.NO not in set(found)
    assert set(found[found.index.str.startswith(("C5", "C6"))]) == {harder.YES}
    assert found["C4 converters: LeNet-5's lose at most 1 point"] == harder.YES
    limits = found[found.index.str.contains(": LeNet-5's limit")]
    assert set(limits) == {harder.OPEN}  # an interval reaches to both sides of its own value
    ratios = harder.ratios((lenet[1], lenet[1]))
    np.testing.assert_allclose(ratios["ratio"], 1.0)
    assert (ratios["lower"] < 1).all()
    assert (ratios["upper"] > 1).all()


def test_each_statement_sees_what_it_speaks_of(lenet):
    chips, trials, parts = (table.copy() for table in lenet)
    below = (chips["precision"] == "W4A3") & (chips["training"] == "qat")
    chips.loc[below, compromise.ACCURACIES] -= 3.0
    trials["loss"] *= 20
    parts.loc[parts["mechanism"] == "all, sensed", "adc_pj"] *= 1.6
    found = words(lenet, (chips, trials, parts))
    changed = found[found == harder.NO].index
    assert {statement[:2] for statement in changed} >= {"C1", "C4", "C5"}
    assert found["C1 quantization-aware: W4A3 within 1 point of float"] == harder.NO
    assert (harder.ratios((lenet[1], trials))["ratio"] < 1).all()
    untouched = "C1 after training: W4A3 within 1 point of float"
    assert found[untouched] == words(lenet, lenet)[untouched]


def test_paired_intervals_are_the_published_ones():
    # R's PropCIs, diffpropci.mp(b = 40, c = 20, n = 160)
    value, low, high = paired_interval(40, 20, 160)
    assert (value, low, high) == pytest.approx((12.5, 3.089632, 21.601726), abs=1e-3)


def test_converters_are_judged_by_images_lost_and_gained(lenet):
    row = "C4 converters: LeNet-5's lose at most 1 point"
    read = int(lenet[0]["read_images"].max())
    assert words(lenet, lenet, lost=read // 50, gained=1)[row] == harder.NO
    assert words(lenet, lenet, lost=read // 100, gained=1)[row] == harder.OPEN
    assert words(lenet, lenet, lost=read // 200, gained=read // 200)[row] == harder.YES


def test_lenet_may_need_fewer_bits_than_were_read(lenet):
    """As in the quick profile; what both were read with is taken, and said."""
    row = "C4 converters: LeNet-5's lose at most 1 point"
    chips = lenet[0].copy()
    coarse = chips["bits"] == 3
    chips.loc[coarse, "train_right"] = chips.loc[coarse, "bits_images"]
    assert set(harder.bits_needed(chips)[["W8A8", "W4A3"]]) == {3}
    one = lenet[0][(lenet[0]["seed"] == 0) & lenet[0]["scheme"].isin(["none", "differential"])]
    second = one[one["bits"] != 3].assign(lost=0, gained=0), *lenet[1:]
    found = harder.conclusions(*zip((chips, *lenet[1:]), second, strict=True))
    first, other = found.set_index("statement").loc[row, list(harder.COLUMNS)]
    assert first == "3 bits (W8A8), 3 bits (W4A3)"
    assert "lost (W8A8 at 4 bits)" in other


def test_a_saving_at_the_edge_of_its_tolerance_is_undecided(lenet):
    chips, trials, parts = lenet
    tolerance = claims.expected()["C5_W8A8"]["tolerance"]
    mine = (parts["mechanism"] == "all, sensed") & (parts["precision"] == "W8A8")
    saving = decomposition.intervals(parts, "W8A8")["saving"][0]
    told = []
    for times in (0.5, 1.0, 1.5):
        other = parts.copy()
        other.loc[mine, "adc_pj"] *= (1 - saving + times * tolerance) / (1 - saving)
        found = words(lenet, (chips, trials, other))
        told.append(found["C5 at W8A8: ADC energy saved"])
    assert told == [harder.YES, harder.OPEN, harder.NO]


def test_the_sentence_counts_and_names():
    found = pd.DataFrame({"statement": ["C1 x: a", "C1 y: b", "C3: c", "C5: d"],
                          "carries over": ["yes", "yes", "no", "undecided"]})  # fmt: skip
    told = "Of 4 statements 2 carry over (C1 x, C1 y), 1 does not (C3), 1 is undecided (C5)."
    assert harder.sentence(found) == told


def picked(lost, read):
    """C2's picks where a chip of W4A3 has 0.8 points less than float, from the images it read."""
    rows = [("float", 0, "none", 0.0, 90.0), ("W8A8", 8, "differential", 3.0, 90.0),
            ("W4A4", 8, "differential", 2.0, 80.0), ("W4A3", 8, "differential", 9.0, 89.2),
            ("W4A3", 5, "differential", 1.0, 89.2)]  # fmt: skip
    chips = pd.DataFrame(
        [{"training": "qat", "precision": precision, "seed": 0, "bits": bits, "scheme": scheme,
          "energy_nj": energy} | dict.fromkeys(compromise.ACCURACIES, accuracy)
         for precision, bits, scheme, energy, accuracy in rows]
    ).assign(train_right=9, bits_images=9, lost=lost, gained=lost, read_images=read)  # fmt: skip
    return harder.picked(chips)


@pytest.mark.parametrize("lost", [0, 20])
def test_the_pick_of_c2_holds_the_chance_in_which_images_a_chip_reads(lost):
    # 0.2 points from the border; what it gains is known to 0.33 points, or to 2.1
    error = 100 * np.sqrt(2 * lost + 1) / 302
    expected = stats.norm.cdf(0.2 / error)
    assert picked(lost, read=300)["W4A3"] == pytest.approx(expected, abs=0.03)
    assert picked(0, read=10**6)["W4A3"] == 1.0


def test_points_lost_have_the_interval_of_their_blocks():
    blocks = np.arange(10.0)
    rows = [("float", 0, "none", 90 + blocks), ("W4A3", 8, "differential", 88 + blocks)]
    chips = pd.DataFrame(
        [{"training": "qat", "precision": p, "bits": bits, "scheme": scheme}
         | dict(zip(compromise.ACCURACIES, values, strict=True))
         for p, bits, scheme, values in rows]
    )  # fmt: skip
    value, low, high = harder.lost(chips, "qat", "W4A3")
    assert (value, low, high) == pytest.approx((2, 2, 2))  # the same images: their spread drops out


def test_without_data_it_says_so(monkeypatch, capsys):
    assert not harder.at_hand("embedded")
    assert "needs MNIST" in capsys.readouterr().out

    def load(_):
        raise fetch.DataUnavailableError("could not fetch it")

    monkeypatch.setattr(data, "load", load)
    assert not harder.at_hand("mnist")
    assert "could not fetch it. Nothing is computed here" in capsys.readouterr().out


@pytest.fixture
def noise(monkeypatch):
    """Random images in place of CIFAR-10."""
    generator = np.random.default_rng(0)
    images = generator.random((40, 3, 32, 32), np.float32)
    labels = generator.integers(0, 10, 40).astype(np.uint8)
    found = Dataset("cifar10", images, labels, images[:20], labels[:20])
    monkeypatch.setattr(data, "load", lambda _: found)
    common.calibrated.cache_clear()
    common._sums.cache_clear()
    yield found
    common.calibrated.cache_clear()
    common._sums.cache_clear()


def test_a_chip_of_lossless_converters_says_what_its_network_says(noise, monkeypatch):
    monkeypatch.setattr(harder, "READ_BITS", (4,))
    point = {"dataset": "cifar10", "training": "qat", "precision": "W4A3", "seed": 0, "images": 20,
             "read_images": 4, "bits_images": 4, "cost_images": 1,
             "checkpoints": harder.CHECKPOINTS}  # fmt: skip
    coarse, whole = harder.chip_point(**point)["results"]
    net = common.network("cifar10", "W4A3", 0, harder.CHECKPOINTS)
    right = net.predict(noise.test_images) == noise.test_labels
    assert [whole[name] for name in compromise.ACCURACIES] == [
        100 * right[2 * block : 2 * block + 2].mean() for block in range(10)
    ]
    chip = Chip(net, common.calibrated(net, Hardware(adc=Adc(bits=4)), "cifar10"))
    read = chip.predict(noise.test_images[:4]) == noise.test_labels[:4]
    assert (whole["lost"], whole["gained"]) == (0, 0)
    assert coarse["lost"] == (right[:4] & ~read).sum()
    assert coarse["gained"] == (read & ~right[:4]).sum()
    gain = np.mean([coarse[k] - whole[k] for k in compromise.ACCURACIES])
    assert gain == pytest.approx(25 * (read.sum() - right[:4].sum()), abs=1e-3)
    assert coarse["energy_nj"] < whole["energy_nj"]
    assert whole["sparse_nj"] < whole["energy_nj"]
    (floating,) = harder.chip_point(**point | {"precision": "float"})["results"]
    assert (floating["scheme"], floating["bits"]) == ("none", 0)


def test_chips_with_ideal_cells_read_their_own_images_as_the_network_does(noise):
    asked = {"dataset": "cifar10", "training": "noise-aware", "images": 6,
             "checkpoints": harder.CHECKPOINTS}  # fmt: skip
    found = harder.varied_point(sigma=0.0, seed=1, **asked)["correct"]
    chosen = np.random.default_rng(1).choice(20, 6, replace=False)
    net = common.network("cifar10", "W4A3", 0, harder.CHECKPOINTS, "noise-aware")
    assert found == (net.predict(noise.test_images[chosen]) == noise.test_labels[chosen]).sum()


def test_figures_say_what_their_tables_say(lenet):
    chips, trials, parts = ((table, table) for table in lenet)
    lost, ratios, steps = harder.losses(chips), harder.ratios(trials), harder.savings(parts)
    told = harder.title(lost, ratios, steps)
    assert "of 6 limits 0 surely lower, 0 higher; ADC savings up to 0 points apart" in told
    halved = harder.title(lost, ratios.assign(upper=0.9), steps)
    assert "of 6 limits 6 surely lower, 0 higher" in halved
    figure = figures.harder(lost, ratios, steps, told)
    assert told == " ".join(figure.get_suptitle().split())
    plt.close(figure)
    varied = pd.DataFrame(
        [{"training": training, "sigma": sigma, "images": 10, "correct": right}
         for training, sigma, right in (("qat", 0.0, 9), ("qat", 0.0, 8), ("qat", 0.1, 4),
                                        ("qat", 0.1, 5), ("noise-aware", 0.0, 8),
                                        ("noise-aware", 0.0, 9), ("noise-aware", 0.1, 7),
                                        ("noise-aware", 0.1, 8))]
    )  # fmt: skip
    figure = figures.aware(residual.chip_summary(varied, "sigma"), 0.1)
    assert "turns 45 % on such cells into 75 %, and 85 %" in " ".join(figure.get_suptitle().split())
    plt.close(figure)
