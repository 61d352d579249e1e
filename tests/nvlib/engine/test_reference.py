"""The readable read and the compiled one agree on whole networks of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from nvlib import Adc, Chip, DeviceModel, Hardware, RangeVariation, ReadNoise
from nvlib.engine.noise import image_keys
from tests.conftest import CASES, model_of

NOISY = DeviceModel(effects=(RangeVariation(0.05),), read_noise=ReadNoise(0.05))


@pytest.mark.parametrize("name", CASES)
def test_a_chip_gives_the_same_bits_compiled_or_not(name):
    model, images = model_of(name)
    network = Chip.from_torch(model, images, precision="W4A3").network
    hardware = Hardware(devices=NOISY, adc=Adc(7))
    fast, slow = (Chip(network, hardware, 1, compiled=compiled) for compiled in (True, False))
    np.testing.assert_array_equal(fast.logits(images[:6]), slow.logits(images[:6]))
    for one, other in zip(fast.layer_codes(images[:6]), slow.layer_codes(images[:6]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_products_of_a_layer_are_the_same_too(network, digits):
    chips = [
        Chip(network("W4A3"), Hardware(devices=NOISY), 1, compiled=compiled)
        for compiled in (True, False)
    ]
    images = digits.test_images[:3]
    codes, keys = chips[0].layer_codes(images), image_keys(images)
    for number in range(5):
        one, other = (chip.products(number, codes[number], keys) for chip in chips)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.int64
