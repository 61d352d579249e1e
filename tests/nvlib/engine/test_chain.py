"""The fused chain is the layer-by-layer path, to the last bit, and takes nothing it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import nvlib.chip
from nvlib import (
    Adc,
    ArrayMapping,
    Chip,
    Dac,
    DeviceModel,
    Hardware,
    Nonlinearity,
    RangeVariation,
    ReadNoise,
    quantize,
)
from nvlib.engine.chain import Chain
from nvlib.network import rectified


def pair(network, hardware, seed=3):
    """The same chip, fused and layer by layer."""
    fused, plain = Chip(network, hardware, seed), Chip(network, hardware, seed)
    assert fused._program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nvlib.chip, "fuse", lambda steps, layers: (steps, layers))
        assert plain._program
    return fused, plain


def chains(chip):
    """Names of the layers that are read together, in groups."""
    return [
        [link.reader.arrays.layer.spec.name for link in layer.links]
        for layer in chip._program[1].values()
        if isinstance(layer, Chain)
    ]


def same(network, hardware, images):
    """Both paths give the same bits, events and codes; the chains that are fused."""
    fused, plain = pair(network, hardware)
    assert not chains(plain)
    np.testing.assert_array_equal(fused.logits(images), plain.logits(images))
    for one, other in zip(fused.layer_codes(images), plain.layer_codes(images), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(fused.events(images), plain.events(images), strict=True):
        np.testing.assert_array_equal(one.digit_sums, other.digit_sums)
    return chains(fused)


HARDWARE = {
    "ideal": Hardware(),
    "cells and drivers of 2 bits": Hardware(
        ArrayMapping(64, 64, 2, 2), DeviceModel(effects=(RangeVariation(0.05),)), Adc(7)
    ),
    "offset": Hardware(ArrayMapping(cell_bits=3, scheme="offset"), adc=Adc(8)),
    "noisy": Hardware(devices=DeviceModel(read_noise=ReadNoise(0.1)), adc=Adc(6)),
    "nonlinear": Hardware(
        ArrayMapping(dac_bits=2),
        DeviceModel(effects=(RangeVariation(0.05),)),
        Adc(6, nonlinearity=Nonlinearity(inl_lsb=0.8, shape="random-walk", offset_lsb=0.4)),
        Dac(Nonlinearity(inl_lsb=0.3, shape="s-shape")),
    ),
}


@pytest.mark.parametrize("name", HARDWARE)
@pytest.mark.parametrize(
    ("kind", "precision"),
    [("lenet5", "W8A8"), ("lenet5", "W4A3"), ("lenet5", "W2A2"), ("wide", "W8A8"),
     ("wide", "W4A3")],
)  # fmt: skip
def test_shipped_networks_are_one_chain_of_the_same_bits(network, digits, kind, precision, name):
    names = ["conv1", "conv2", "fc1", "fc2"] + ["fc3"] * (kind == "lenet5")
    found = same(network(precision, kind), HARDWARE[name], digits.test_images[:6])
    assert found == [names]


@st.composite
def models(draw):
    """Convolutions and linear layers with everything between them that may or must not fuse."""
    channels, sides = draw(st.integers(1, 2)), (draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    shape, layers = (channels, *sides), []
    between = [
        nn.ReLU(), nn.ReLU6(), nn.MaxPool2d(2), nn.MaxPool2d(3), nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d((1, 2)), nn.MaxPool2d(2, padding=1),
        nn.AvgPool2d(2), nn.Identity(), nn.Dropout(), nn.AdaptiveMaxPool2d(2),
    ]  # fmt: skip

    def some(choices, most):
        return draw(st.lists(st.sampled_from(choices), max_size=most))

    for _ in range(draw(st.integers(0, 3))):
        kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        window = {"stride": draw(st.integers(1, 2)), "padding": draw(st.integers(0, 2)),
                  "dilation": draw(st.sampled_from([1, 1, 2]))}  # fmt: skip
        outputs = 2 * draw(st.integers(1, 3))
        groups = draw(st.sampled_from([1, 1, 1, 2])) if channels % 2 == 0 else 1
        layers.append(nn.Conv2d(channels, outputs, kernel, groups=groups, **window))
        channels = outputs
        layers += some(between, 3)
    layers.append(draw(st.sampled_from([nn.Flatten(), nn.Flatten(1, 3)])))
    layers += some([nn.ReLU(), nn.Flatten()], 2)
    seed = draw(st.integers(0, 2**31))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        images = torch.randn(3, *shape)
        images = images.abs() if draw(st.booleans()) else images
        try:
            features = nn.Sequential(*layers)(images).shape[1]
        except RuntimeError:  # an image too small for all of that
            return None
        for _ in range(draw(st.integers(1, 3))):
            outputs = draw(st.integers(1, 12))
            layers += [nn.Linear(features, outputs), *some([nn.ReLU(), nn.ReLU6()], 2)]
            features = outputs
        model = nn.Sequential(*layers)
        for layer in model:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.reset_parameters()
    precision = f"W{draw(st.integers(1, 8))}A{draw(st.integers(1, 8))}"
    return quantize(model, images, precision, per_channel=draw(st.booleans())), images


@settings(max_examples=120, deadline=None)
@given(models(), st.sampled_from(list(HARDWARE)))
def test_any_chain_of_layers_gives_the_same_bits(case, name):
    if case is None:
        return
    network, images = case
    same(network, HARDWARE[name], images)


class Between(nn.Module):
    """Two layers and a step between them."""

    def __init__(self, step):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(64, 3)
        self.step = step

    def forward(self, x):
        return self.two(self.step(self.one(x)))


@pytest.mark.parametrize(
    ("step", "fuses"),
    [
        (lambda x: torch.flatten(F.max_pool2d(F.relu(x), 2), 1), True),
        (lambda x: F.relu(F.max_pool2d(x, kernel_size=2, stride=2)).flatten(1), True),
        (lambda x: torch.flatten(F.max_pool2d(x, (2, 2)), start_dim=1).relu(), True),
        (lambda x: F.max_pool2d(x, 3, 2, 1).flatten(1), False),
        (lambda x: F.max_pool2d(x, 5, 1).flatten(1), False),
        (lambda x: F.max_pool2d(x, 1, 2).flatten(1), False),
        (lambda x: F.max_pool2d(x, (1, 4)).flatten(1), False),
        (lambda x: F.avg_pool2d(F.relu(x), 2).flatten(1), False),
        (lambda x: F.relu6(F.max_pool2d(x, 2)).flatten(1), False),
        (lambda x: (F.max_pool2d(F.relu(x), 2) + 1).flatten(1), False),
        (lambda x: F.max_pool2d(F.relu(x), 2).view(-1, 64), False),
        (lambda x: torch.cat([x[:, :2, ::2, ::2], x[:, 2:, ::2, ::2]], 1).flatten(1), False),
    ],
)
def test_only_relu_pooling_and_flattening_are_fused(step, fuses):
    torch.manual_seed(0)
    images = torch.rand(5, 1, 8, 8)
    found = same(quantize(Between(step), images, "W4A3"), Hardware(), images)
    assert found == ([["one", "two"]] if fuses else [])


class Twice(nn.Module):
    """A value that two layers take, and a signed one."""

    def __init__(self, sign):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.sign = sign

    def forward(self, x):
        x = self.one(x)
        x = x if self.sign else x.relu()
        y = self.two(x)
        return self.three(y.relu() if self.sign else (y + x).relu())


@pytest.mark.parametrize(("sign", "found"), [(True, [["two", "three"]]), (False, [])])
def test_signed_inputs_and_values_that_others_take_end_a_chain(sign, found):
    torch.manual_seed(1)
    images = torch.rand(20, 4)
    network = quantize(Twice(sign), images, "W4A3")
    assert network.layers[1].signed is sign
    fused = same(network, Hardware(), images)
    assert fused == ([] if sign else found)


class Shifted(nn.ReLU):
    """A ReLU of another threshold."""

    def forward(self, x):
        return F.relu(x - 0.5)


class Smallest(nn.MaxPool2d):
    """The least of a window."""

    def forward(self, x):
        return -super().forward(-x)


class Reversed(nn.Flatten):
    """The last comes first."""

    def forward(self, x):
        return super().forward(x).flip(1)


@pytest.mark.parametrize("steps", [
    (Shifted(), nn.Flatten()), (nn.ReLU(), Reversed()), (Smallest(2, 1), nn.Flatten()),
])  # fmt: skip
def test_a_module_made_of_one_that_is_fused_is_called(steps):
    torch.manual_seed(0)
    sizes = 4 * (5 if isinstance(steps[0], Smallest) else 6) ** 2
    images = torch.rand(9, 1, 8, 8)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), *steps, nn.Linear(sizes, 5))
    network = quantize(model, images, "W8A8", digital=("1", "2"))
    chip = Chip(network)
    assert not chains(chip)
    np.testing.assert_array_equal(chip(images), network.logits(images))
    assert rectified(network) == ({"0"} if type(steps[0]) is nn.ReLU else frozenset())
