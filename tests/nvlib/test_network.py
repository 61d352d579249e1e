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

from nvlib import Chip, Precision, QuantizedNetwork, example_network, quantize
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


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_file_and_a_pickle_give_the_network_back(name, per_channel, tmp_path):
    model, images = model_of(name)
    net = quantize(model, images, "W3A5", per_channel=per_channel)
    net.save(tmp_path / "network", {"words": "about it"})
    for path in (3, "", "a\0b"):
        for use in (net.save, QuantizedNetwork.load, Chip(net).save, Chip.load):
            with pytest.raises(ValueError, match="path: expected a path"):
                use(path)
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
        for one, other in zip(again.layers, net.layers, strict=True):
            assert type(one.weight_scale) is type(other.weight_scale)
            np.testing.assert_array_equal(one.weight_scale, other.weight_scale)
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
    with pytest.raises(
        ValueError, match=r"digital module '_1': expected a module of .*received 'Own'"
    ):
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
        ({"weight_scale": np.ones(5)}, r"one for each of 6 outputs, received .shape \(5,\)"),
        ({"weight_scale": np.ones((6, 1))}, r"one for each of 6 outputs, .*shape \(6, 1\)"),
        ({"weight_scale": [1, 1, 0, 1, 1, 1]}, "positive finite scales, received 0.0"),
        ({"weight_scale": [1, 1, 1, 1, -2, 1]}, "positive finite scales, received -2.0"),
        ({"weight_scale": [1, 1, 1, 1, 1, np.nan]}, "positive finite scales, received nan"),
        ({"input_scale": np.inf}, "positive finite scales, received inf"),
        ({"input_shape": (2, 28, 28)}, "inputs of 1 channels or features"),
    ):
        with pytest.raises(ValueError, match=f"conv1: expected .*{message}|conv1: .*{message}"):
            replace(layer, **change)
    with pytest.raises(ValueError, match="conv1: expected binary weight codes, .*a 0 among them"):
        replace(layer, precision=Precision(1, 3), codes=np.sign(layer.codes))


def test_images_that_do_not_fit_are_refused(network, digits):
    net = network("W4A3")
    for images, message in (
        (digits.test_images[0, 0], r"images: expected shape \(N, \.\.\.\)"),
        (digits.test_images[:2, :, :5], r"images: expected shape \(N, 28, 28\) as in calibration"),
        (np.full((1, 28, 28), np.inf), "images: expected finite values"),
        (np.full((1, 28, 28), 1e39), "images: expected values that float32 holds"),
    ):
        with pytest.raises(ValueError, match=message):
            net.logits(images)
    with pytest.raises(ValueError, match="batch: expected an integer from 1"):
        net.logits(digits.test_images[:2], batch=0)


@pytest.mark.parametrize("change", [
    lambda images: images[:, ::-1, ::-1].copy()[:, ::-1, ::-1], lambda images: images.astype(">f4"),
    lambda images: np.asfortranarray(images), lambda images: images.astype(np.uint16),
], ids=["flipped", "big-endian", "by columns", "uint16"])  # fmt: skip
def test_images_may_lie_in_memory_in_any_way(network, digits, change):
    net, images = network("W4A3"), digits.test_images[:4]
    assert (net.logits(change(images)) == net.logits(images)).all()


@pytest.mark.parametrize("change", [
    lambda images: images / 255.0, lambda images: images > 128, lambda images: images * 255.0,
    lambda images: (images / 255.0 - 0.13) / 0.31, lambda images: images / 127.5 - 1,
], ids=["/255", "bool", "x255", "normalized", "-1 to 1"])  # fmt: skip
def test_images_far_from_the_range_of_the_calibration_are_refused(network, digits, change):
    images = change(digits.test_images[:9])
    message = "images: expected values like the calibration's 0 to 255, received .* to .*; scale"
    for reader in (network("W4A3"), Chip(network("W4A3")), Chip(example_network())):
        with pytest.raises(ValueError, match=message):
            reader.predict(images)
    assert replace(network("W4A3"), image_range=None).predict(images).shape == (9,)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 28, 28)), np.linspace(-255, 255, 784).reshape(1, 28, 28)],
    ids=["blank", "negative"],
)  # fmt: skip
def test_blank_and_negative_images_are_warned_of(network, images):
    with pytest.warns(UserWarning, match="images: expected values like the calibration's 0 to 255"):
        network("W4A3").predict(images)


@pytest.mark.filterwarnings("error")
def test_images_like_those_of_the_calibration_trouble_nobody(network, digits):
    net, generator = network("W4A3"), np.random.default_rng(0)
    for image in digits.test_images[:40, None]:
        net.predict(image)
        net.predict(image // 8)  # a dark one
        net.predict(image + generator.normal(0, 25, image.shape))
    net.predict(generator.integers(0, 256, (3, 28, 28)))
    net.predict(digits.test_images[:0])


def test_the_range_of_the_calibration_is_stored(tmp_path):
    model, images = model_of("residual")
    net = quantize(model, images)
    assert net.image_range == (float(images.min()), float(images.max()))
    net.save(tmp_path / "network")
    assert QuantizedNetwork.load(tmp_path / "network").image_range == net.image_range


@pytest.mark.parametrize("images", [
    np.ones((2, 28, 28), complex), torch.ones(2, 28, 28, dtype=torch.complex64), "images", None,
    [["a"]], torch.ones(2, 28, 28, device="meta"), [[1, 2], [3]],
], ids=str)  # fmt: skip
def test_what_is_no_array_of_real_numbers_is_refused(network, images):
    with pytest.raises(ValueError, match="images: expected an array of real numbers, received"):
        network("W4A3").predict(images)


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


def test_images_with_a_mask_are_refused(network, digits):
    masked = np.ma.masked_greater(digits.test_images[:2], 100)
    with pytest.raises(ValueError, match="images: expected an array without a mask"):
        network("W4A3").logits(masked)
