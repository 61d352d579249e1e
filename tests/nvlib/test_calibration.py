"""Full scales are fitted to the images that calibrate them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import Adc, ArrayMapping, Chip, Hardware, calibrate, quantize
from nvlib.chip import fit_scales, ideal_sums
from tests.conftest import model_of


def test_few_converter_bits_are_made_the_most_of():
    model, images = model_of("residual")
    chip = Chip.from_torch(model, images)
    few = Hardware(adc=Adc(5))
    fitted = calibrate(chip.network, few, images[:20])

    def error(hardware):
        logits = Chip(chip.network, hardware).logits(images)
        return np.abs(logits - chip.logits(images)).mean()

    assert len(fitted.adc.full_scale) == len(chip.arrays)
    assert error(fitted) < 0.5 * error(few)


def test_the_scale_is_the_one_of_least_squared_error(network, digits):
    net, images = network("W4A3"), digits.train_images[:8]
    found = calibrate(net, Hardware(adc=Adc(4)), images).adc.full_scale
    for event, scale in zip(Chip(net).events(images, column_sums=True), found, strict=True):
        sums = np.repeat(np.arange(129.0), event.column_sums)

        def error(step, sums=sums):
            return ((np.clip(np.floor(sums / step + 0.5), 0, 15) * step - sums) ** 2).mean()

        steps = np.append(np.arange(1.0, 128 / 15, 0.25), 128 / 15)
        assert error(scale / 15) == pytest.approx(min(map(error, steps)))


def test_nothing_but_the_full_scale_changes_and_lossless_converters_need_none(network, digits):
    before = Hardware(adc=Adc(6, noise_lsb=0.2))
    after = calibrate(network("W4A3"), before, digits.train_images[:4])
    assert replace(after, adc=replace(after.adc, full_scale=None)) == before
    with pytest.raises(ValueError, match="a lossless converter needs no calibration"):
        calibrate(network("W4A3"), Hardware(), digits.train_images[:4])


def test_a_full_scale_that_reaches_to_the_largest_sum_is_taken():
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 8))
    nn.init.ones_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    images = torch.ones(64, 1, 1, 128)
    net = quantize(model, images, "W2A5")
    found = calibrate(net, Hardware(ArrayMapping(dac_bits=5), adc=Adc(4)), images)
    assert found.adc.full_scale == (31 * 128,)  # 31 x 128 / 15 x 15 is above it
    assert Chip(net, found).logits(images).shape == (64, 8)


def test_converters_of_all_resolutions_share_the_sums(network, digits):
    net, images = network("W4A3"), digits.train_images[:8]
    sums = ideal_sums(net, ArrayMapping(), images)
    for bits in (3, 4, 5):
        hardware = Hardware(adc=Adc(bits))
        assert fit_scales(hardware, sums) == calibrate(net, hardware, images)
