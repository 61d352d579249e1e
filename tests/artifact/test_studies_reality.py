"""Real devices: what acts on them, in which order, and what is concluded from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from artifact import figures
from artifact.studies import common, real_devices, reality
from nvlib.devices import RangeVariation, RetentionDrift
from nvlib.measured import read_device
from nvlib.presets import NAMES, preset
from tests.artifact.runs import ladder, pair


@pytest.mark.parametrize("name", NAMES)
def test_cells_of_one_bit_are_the_ends_of_the_preset(name):
    whole, _ = read_device(preset(name))
    cell = real_devices.cell(name)
    assert cell.means_s == (whole.means_s[0], whole.means_s[-1])
    written, *_ = real_devices.hardware(name, ("write errors",)).devices.effects
    span = whole.means_s[-1] - whole.means_s[0]
    assert written.sigma == pytest.approx([whole.sigmas_s[k] / span for k in (0, -1)])
    if whole.drift:
        assert cell.drift.level_nus == (whole.drift.level_nus[0], whole.drift.level_nus[-1])


def test_each_step_adds_its_effect_and_keeps_the_others():
    pcm = reality.ladder("PCM")
    assert next(iter(pcm)) == reality.IDEAL
    assert list(pcm)[-3:] == [reality.CONVERTERS, reality.COMPENSATED, reality.TUNED]
    assert set(real_devices.EFFECTS) < set(pcm)
    assert not {"noise", "ageing"} & set(reality.ladder("RRAM"))  # nobody has published them
    ideal = pcm[reality.IDEAL].devices
    assert (ideal.effects, ideal.on_off_ratio, ideal.slow_noise) == ((), np.inf, None)
    last = pcm[reality.CONVERTERS]
    assert [type(effect) for effect in last.devices.effects] == [RangeVariation, RetentionDrift]
    assert last.devices.on_off_ratio == pytest.approx(25, rel=1e-3)
    assert last.devices.slow_noise is not None
    assert last.wires.ohm_per_segment == real_devices.OHM_PER_SEGMENT
    assert last.adc.nonlinearity.inl_lsb == reality.INL_LSB
    assert pcm[reality.COMPENSATED].compensated
    assert not last.compensated
    assert pcm["ageing"].wires is None
    sonos = reality.ladder("SONOS")[reality.CONVERTERS].devices
    assert sonos.read_noise.sigma == real_devices.SONOS_NOISE
    assert RangeVariation(real_devices.SONOS_AGED) in sonos.effects
    doubled = real_devices.compensated("RRAM", spread=2.0).devices.effects[0].sigma
    single = real_devices.compensated("RRAM").devices.effects[0].sigma
    assert doubled == pytest.approx([2 * sigma for sigma in single])


def test_chips_of_a_point_read_the_same_images_at_every_step(tmp_path, monkeypatch):
    monkeypatch.setattr(reality.sampling, "POINTS", tmp_path)
    point = {"dataset": "embedded", "preset": "PCM", "precision": "W4A3", "images": 20,
             "chips": 2, "train_images": 128, "checkpoints": common.SHIPPED}  # fmt: skip
    found = reality.tidy(pd.DataFrame([point | reality.point(**point)]))
    counts = found.groupby("step", sort=False)["trial"].agg(list)
    assert list(counts.index) == ["float", *reality.ladder("PCM")]
    assert all(trials == [0, 1] for trials in counts)
    again = reality.tidy(pd.DataFrame([point | reality.point(**point)]))
    pd.testing.assert_frame_equal(found, again)
    told = reality.summary(found)
    assert set(told["step"]) == set(reality.ladder("PCM"))
    assert told[told["step"] == reality.IDEAL]["lost"].abs().max() == 0
    figure = figures.real_devices(told, reality.title(told))
    assert len(figure.subfigs[0].axes) == len(NAMES)


def accuracies(values, preset=NAMES[0], step=reality.COMPENSATED):
    """Trials of precisions: name -> accuracy of each, floating point at 99."""
    rows = []
    for name, right in values.items():
        for trial, accuracy in enumerate(right):
            one = {"preset": preset, "precision": name, "trial": trial}
            rows += [one | {"step": step, "accuracy": accuracy},
                     one | {"step": "float", "accuracy": 99.0}]  # fmt: skip
    return pd.DataFrame(rows)


def costs(preset=NAMES[0]):
    return pd.DataFrame({"preset": preset, "precision": ["W8A8", "W4A3", "W2A3"],
                         "energy_nj": [9.0, 3.0, 1.0]})  # fmt: skip


def test_the_choice_is_the_least_energy_within_half_a_point_of_float():
    sure = accuracies({"W8A8": [99.0] * 4, "W4A3": [98.7] * 4, "W2A3": [98.0] * 4})
    share = reality.picked(sure, costs(), NAMES[0], reality.COMPENSATED)
    assert share.to_dict() == {"W4A3": 1.0}
    torn = accuracies({"W8A8": [99.0] * 4, "W4A3": [97.0, 99.0, 98.4, 99.0], "W2A3": [90.0] * 4})
    share = reality.picked(torn, costs(), NAMES[0], reality.COMPENSATED)
    assert set(share.index) == {"W4A3", "W8A8"}
    bad = accuracies({name: [50.0] * 4 for name in ("W8A8", "W4A3", "W2A3")})
    share = reality.picked(bad, costs(), NAMES[0], reality.COMPENSATED)
    assert share.to_dict() == {"none": 1.0}


def test_trends_survive_if_decided_and_the_same():
    low, high = ladder(0), ladder(1)

    def judged(stricter):
        real = pd.concat(
            [pair(*((high, low) if stricter else (low, high)), f"{what}, {name}")
             for name in NAMES for what in ("write errors", "ADC INL")]
        )  # fmt: skip
        known = pd.concat([pair(high, low), pair(high, low, "ADC INL")])
        return [row[-1] for row in reality._trends(real, known)]

    assert judged(True) == [reality.YES] * 2
    assert judged(False) == [reality.NO] * 2


def test_a_device_meets_the_requirement_if_it_may_vary_more_than_it_does():
    easy = pair(ladder(-2), ladder(-2), "write errors, PCM")  # limit far above 1
    claim, _, told, word = reality._requirements(easy)
    assert (claim[:2], word) == ("C4", reality.YES)
    assert told.startswith("times the published spread: PCM ")
    hard = pair(ladder(6), ladder(6), "write errors, PCM")
    assert reality._requirements(hard)[-1] == reality.NO


def test_savings_survive_within_the_tolerance_of_every_device():
    table = pd.DataFrame({"preset": ["ideal", *NAMES], "precision": "W8A8",
                          "saving": [0.80, 0.79, 0.78, 0.81], "gain": [3.0, 2.9, 2.0, 3.0],
                          "guarded_loss": [np.nan, 0.1, 0.0, 0.2]})  # fmt: skip
    assert reality._sparsity(table, "C5", "saving", "W8A8")[-1] == reality.YES
    *_, told, word = reality._sparsity(table, "C6", "gain", "W8A8")
    assert word == reality.NO
    assert "RRAM 2.00 x" in told
    found = pd.DataFrame([reality._sparsity(table, "C5", "saving", "W8A8"),
                          reality._sparsity(table, "C6", "gain", "W8A8")],
                         columns=["claim", "ideal", "real devices", "survives"])  # fmt: skip
    said = "Of 2 conclusions 1 survives (C5 W8A8), 1 does not (C6 W8A8)."
    assert reality.sentence(found) == said


def test_costs_of_real_cells():
    point = {"dataset": "embedded", "precision": "W4A3", "images": 20, "cost_images": 2,
             "chips": 1, "checkpoints": common.SHIPPED}  # fmt: skip
    ideal = reality.cost_point(preset=reality.IDEAL, **point)
    real = reality.cost_point(preset="RRAM", **point)
    assert "guarded_loss" in real
    assert "guarded_loss" not in ideal
    assert real["energy_nj"] > ideal["energy_nj"]  # 40 in place of 10 uS, and cells that are off
    assert real["saving"] < ideal["saving"]  # guard rows
    rows = pd.DataFrame([point | {"preset": "RRAM"} | real])
    beside = reality.beside(rows)
    assert beside["name"].iloc[0] == "W4A3, RRAM cells"
    assert {"macro", "system"} < set(beside["kind"])
