"""One quantized network: exact arithmetic, checks of its layers, and its file."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import Chip, QuantizedNetwork, quantize
from nvlib.network import rectified
from tests import oracle
from tests.conftest import CASES, model_of


@pytest.mark.parametrize("precision", ["W8A8", "W4A3"])
def test_a_layer_is_the_product_of_its_codes(network, digits, precision):
    layer, pixels = network(precision).layers[0], digits.test_images[:2, None] / 255.0
    values = torch.from_numpy(pixels)
    found, codes = layer.multiply(values).numpy(), layer.input_codes(values).numpy()
    spec = layer.spec
    for n, y, x in ((0, 0, 0), (1, 14, 13), (1, 27, 27)):
        inputs = oracle.patch(codes[n], spec, y, x)
        exact = np.array(oracle.integer_product(layer.matrix, inputs))
        np.testing.assert_array_equal(found[n, :, y, x], exact * layer.gain + layer.bias)


def test_logits_do_not_depend_on_the_batch(network, digits):
    net, images = network("W8A8"), digits.test_images[:30]
    np.testing.assert_array_equal(net.logits(images, batch=7), net.logits(images))
    assert net.logits(images[:0]).shape == (0, 10)
    assert (net.predict(images) == net.logits(images).argmax(1)).all()


def test_wide_sums_are_exact_too():
    """Beyond 2^24, where float32 would round."""
    layer = nn.Linear(3000, 2, bias=False)
    nn.init.ones_(layer.weight)
    images = torch.cat([torch.ones(1, 3000), torch.linspace(0, 1, 3000)[None]])
    net = quantize(nn.Sequential(layer), images, "W8A8")
    (one,) = net.layers
    codes = np.rint(images.double().numpy() / one.input_scale).clip(0, 255).astype(int)
    exact = codes @ one.matrix.astype(int)
    assert exact.max() > 2**24
    np.testing.assert_array_equal(net.logits(images), exact * one.gain + one.bias)


@pytest.mark.parametrize("name", CASES)
def test_a_file_and_a_pickle_give_the_network_back(name, tmp_path):
    model, images = model_of(name)
    net = quantize(model, images, "W3A5")
    net.save(tmp_path / "network", {"words": "about it"})
    for again in (
        QuantizedNetwork.load(tmp_path / "network"),
        QuantizedNetwork.load((tmp_path / "network").read_bytes()),
        pickle.loads(pickle.dumps(net)),
    ):
        np.testing.assert_array_equal(again.logits(images), net.logits(images))
        assert again.precisions == net.precisions
        assert again.image_shape == net.image_shape
        assert [layer.spec for layer in again.layers] == [layer.spec for layer in net.layers]
        assert [layer.signed for layer in again.layers] == [layer.signed for layer in net.layers]
        assert rectified(again) == rectified(net)
        np.testing.assert_array_equal(Chip(again)(images[:2]), Chip(net)(images[:2]))


class Own(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x)


def test_a_digital_module_of_ones_own_is_computed_and_pickled_but_not_saved(tmp_path):
    model, images = nn.Sequential(nn.Linear(3, 2), Own()), torch.rand(5, 3)
    net = quantize(model, images, digital=("1",))
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.logits(images), net.logits(images))
    with pytest.raises(ValueError, match=r"digital module '_1': expected one of .*received 'Own'"):
        net.save(tmp_path / "network")
    assert not list(tmp_path.iterdir())


def test_a_layer_that_contradicts_itself_is_refused(network):
    layer = network("W4A3").layers[0]
    for change, message in (
        ({"codes": layer.codes[:, :, :3]}, r"int8 weight codes of shape \(6, 1, 5, 5\)"),
        ({"codes": layer.codes.astype(int)}, "expected int8 weight codes"),
        ({"codes": np.full_like(layer.codes, 8)}, r"codes within \+-7 at W4A3, received 8"),
        ({"codes": np.full_like(layer.codes, -128)}, "received 128"),
        ({"bias": layer.bias[:3]}, "6 finite biases"),
        ({"bias": layer.bias * np.nan}, "6 finite biases"),
        ({"weight_scale": 0.0}, "positive finite scales, received 0.0"),
        ({"input_scale": np.inf}, "positive finite scales, received inf"),
        ({"input_shape": (2, 28, 28)}, "inputs of 1 channels or features"),
    ):
        with pytest.raises(ValueError, match=f"conv1: expected .*{message}|conv1: .*{message}"):
            replace(layer, **change)


def test_images_that_do_not_fit_are_refused(network, digits):
    net = network("W4A3")
    for images, message in (
        (digits.test_images[0, 0], r"images: expected shape \(N, \.\.\.\)"),
        (digits.test_images[:2, :, :5], r"images: expected shape \(N, 28, 28\) as in calibration"),
        (np.full((1, 28, 28), np.inf), "images: expected finite values"),
    ):
        with pytest.raises(ValueError, match=message):
            net.logits(images)


def test_no_file_of_a_network_does_harm():
    valid = files("nvlib").joinpath("lenet5-W4A3.safetensors").read_bytes()
    header, generator, refused = int.from_bytes(valid[:8], "little"), random.Random(3), 0
    for _ in range(150):
        content = bytearray(valid)
        for _ in range(generator.randrange(1, 4)):
            content[generator.randrange(8 + header)] = generator.randrange(256)
        try:
            QuantizedNetwork.load(bytes(content))
        except ValueError:  # and nothing else
            refused += 1
    assert refused > 50
