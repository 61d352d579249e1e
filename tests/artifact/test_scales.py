"""Networks quantized after training: the kept scales give what quantizing anew gives."""

from __future__ import annotations

import numpy as np
import pytest

from artifact import checkpoints, scales
from artifact.checkpoints import CheckpointName
from artifact.recipes import CALIBRATION_IMAGES
from nvlib import Precision, quantize


@pytest.fixture(scope="module")
def model():
    return checkpoints.load_float(CheckpointName("embedded", "lenet5", None, 0))


@pytest.fixture(scope="module")
def fitted(model, digits):
    return scales.fit(model, digits.train_images[:CALIBRATION_IMAGES], input_max=1.0)


@pytest.mark.parametrize("precision", ["W1A1", "W4A3", "W3A5", "W8A8"])
def test_codes_from_scales_are_those_of_quantization(model, fitted, digits, precision):
    images = digits.train_images[:CALIBRATION_IMAGES]
    wanted = quantize(model, images, precision, input_max=1.0)
    found = scales.quantized(model, fitted, Precision.parse(precision))
    for ours, theirs in zip(found.layers, wanted.layers, strict=True):
        np.testing.assert_array_equal(ours.codes, theirs.codes)
        assert ours.input_scale == pytest.approx(theirs.input_scale, rel=1e-6)
    images = digits.test_images[:100]
    np.testing.assert_allclose(found.logits(images), wanted.logits(images), rtol=1e-4, atol=1e-4)


def test_shipped_scales_give_a_network_of_any_precision(digits):
    networks = {
        name: checkpoints.load_quantized(
            CheckpointName("embedded", "lenet5", Precision.parse(name), 0, "ptq")
        )
        for name in ("W2A2", "W8A8")
    }
    right = {
        name: (network.predict(digits.test_images) == digits.test_labels).mean()
        for name, network in networks.items()
    }
    assert right["W8A8"] > 0.95 > right["W2A2"]


def test_scales_of_another_network_are_refused(model, fitted):
    short = {name: table[:, :2] for name, table in fitted.items()}
    with pytest.raises(ValueError, match=r"expected scales of shape \(8, 5\)"):
        scales.quantized(model, short, Precision(4, 3))
