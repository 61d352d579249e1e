"""The search for limits, their intervals, and what is decided from them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from artifact.studies import common, requirements
from artifact.studies.nonidealities import AXES, NONIDEALITIES, ON_OFF, VARIATIONS

POINT = {"dataset": "embedded", "nonideality": "range variation", "scheme": "differential",
         "training": "qat", "seed": 0, "images": 20, "checkpoints": common.SHIPPED}  # fmt: skip


@pytest.mark.parametrize("name", ["range variation", "wire resistance", "ADC resolution"])
def test_a_search_brackets_its_losses_and_is_the_same_again(name, tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "POINTS", tmp_path)
    point = POINT | {"nonideality": name, "precisions": "W2A2", "trials": 2}
    table = requirements.tidy(pd.DataFrame([point | requirements.search_point(**point)]))
    kind, means = NONIDEALITIES[name], table.groupby("rung")["loss"].mean()
    assert means.iloc[-1] > 2.0 or means.index[-1] == kind.span[1]
    assert means.iloc[0] <= 0.25 or means.index[0] == kind.span[0]
    row = table.iloc[-1]
    again = requirements.trial_loss(**{key: row[key] for key in requirements.PARAMETERS})
    assert again == {"loss": row["loss"]}

    def refuse(**point):
        raise AssertionError(f"computed again: {point}")

    refuse.__module__ = requirements.losses_of.__module__
    refuse.__qualname__ = requirements.losses_of.__qualname__
    monkeypatch.setattr(requirements, "losses_of", refuse)  # the second time nothing is computed
    other = requirements.tidy(pd.DataFrame([point | requirements.search_point(**point)]))
    pd.testing.assert_frame_equal(table, other)


def test_more_trials_begin_with_those_of_fewer_and_another_seed_has_others():
    shared = POINT | {"precision": "W2A2", "size": 0.2}
    few, more = (requirements.losses_of(trials=n, **shared)["losses"] for n in (2, 3))
    assert more[:2] == few
    assert requirements.losses_of(trials=2, **shared | {"seed": 1})["losses"] != few


@pytest.mark.parametrize("scheme", requirements.SCHEMES)
def test_a_nonideality_of_no_size_loses_nothing(scheme):
    for name in AXES:
        point = POINT | {"scheme": scheme, "nonideality": name, "precision": "W4A3", "size": 0.0}
        assert requirements.losses_of(trials=1, **point) == {"losses": [0.0]}


@pytest.mark.parametrize("ratio", [10, 50])
@pytest.mark.parametrize("name", VARIATIONS)
def test_a_variation_at_another_on_off_ratio_is_the_same_of_other_cells(name, ratio):
    usual, other = NONIDEALITIES[name], NONIDEALITIES[f"{name}, on/off {ratio}"]
    assert (other.unit, other.family, other.size(1)) == (usual.unit, "device", usual.size(1))
    assert usual.counted
    assert not other.counted  # C3 does not rest on it
    before, after = (kind.hardware(0.1, None, "offset", "mnist") for kind in (usual, other))
    assert before.devices.on_off_ratio == ON_OFF
    assert after == replace(before, devices=replace(before.devices, on_off_ratio=ratio))


def test_too_few_trials_for_an_interval_are_refused():
    with pytest.raises(ValueError, match="trials: expected an integer from 2"):
        requirements.search_point(**POINT, precisions="W2A2", trials=1)


def test_post_training_quantization_is_another_network_from_the_same_floats():
    trained = common.network("embedded", "W4A3")
    after = common.network("embedded", "W4A3", training="ptq")
    assert after.precision == trained.precision
    assert any(
        (a.codes != b.codes).any() for a, b in zip(after.layers, trained.layers, strict=True)
    )
