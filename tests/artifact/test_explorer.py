"""Sliders: what they show is what the library computes, and bad settings are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from artifact import explorer
from artifact.explorer import Setting, evaluate, shipped
from nvlib import (
    ALL_POLICIES,
    AdcLaw,
    Chip,
    DeviceModel,
    EnergyTable,
    Hardware,
    StuckCells,
    adc_saving,
    inference_energy,
)


def test_what_is_shown_is_what_the_library_computes(network, digits):
    net, images = network("W4A3"), digits.test_images[:40]
    found = evaluate(Setting(adc_bits=8), shipped("embedded", 40))
    labels = digits.test_labels[:40]
    right = int((net.predict(images) == labels).sum())
    assert found.correct == found.ideal_correct == right  # 8 bits lose nothing
    events = Chip(net, Hardware()).events(digits.test_images[: explorer.EVENT_IMAGES])
    energy = inference_energy(events, ALL_POLICIES, 8, AdcLaw(), EnergyTable.load())
    assert found.after == pytest.approx(energy)


def test_precisions_without_a_checkpoint_are_quantized_after_training():
    found = evaluate(Setting(5, 7), shipped("embedded", 40))
    assert found.trained == "quantized after training"
    assert found.ideal_correct >= 36


def test_cells_of_ones_own_are_read():
    subject = shipped("embedded", 40)
    broken = replace(subject, devices=DeviceModel(effects=(StuckCells(0.03, 0.03),)))
    good, bad = (evaluate(Setting(adc_bits=8), each) for each in (subject, broken))
    assert bad.ideal_correct == good.correct > bad.correct
    worse = evaluate(Setting(adc_bits=8, variation=0.3), broken)
    assert worse.correct < bad.correct


def test_moving_a_slider_draws_the_new_setting(monkeypatch):
    shown, draw = [], explorer.draw
    monkeypatch.setattr(explorer, "draw", lambda *what: shown.append(draw(*what)) or shown[-1])
    box = explorer.explore(shipped("embedded", 20))
    first = bytes(box.picture.value)
    assert first.startswith(b"\x89PNG")
    box.controls["adc_bits"].value = 2
    box.controls["partial"].value = "whole"
    assert bytes(box.picture.value) != first
    assert len(shown) == 3
    assert "2-bit ADC" in shown[-1].get_suptitle()
    assert "not comparable with the paper" in shown[-1].get_supxlabel()
    whole = evaluate(Setting(adc_bits=2, partial="whole"), shipped("embedded", 20))
    able = evaluate(Setting(adc_bits=2), shipped("embedded", 20))
    assert adc_saving(able.before, able.after) > adc_saving(whole.before, whole.after)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="adc_bits: expected an integer from 1 to 10"):
        Setting(adc_bits=0)
    with pytest.raises(ValueError, match="weight_bits: expected an integer from 1 to 8"):
        Setting(weight_bits=9)
    with pytest.raises(ValueError, match="design: expected one of"):
        Setting(design="free")
    with pytest.raises(ValueError, match="images: expected 1 to 1000 of embedded"):
        shipped("embedded", 5000)
