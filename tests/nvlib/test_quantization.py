"""From a float network to codes: scales, precisions, and what training in the loop computes."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from nvlib import ArrayMapping, Chip, FakeQuantized, Hardware, Precision, quantize
from nvlib.quantization import FITTED_VALUES
from tests.conftest import CASES, model_of


def computed(trained, images):
    """What the network of the training computes, in double precision by torch's own layers."""
    with torch.no_grad():
        return copy.deepcopy(trained).double()(images.double()).numpy()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("precision", ["W8A8", "W4A3", "W1A2"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_frozen_computes_what_was_trained(name, precision, per_channel):
    model, images = model_of(name)
    trained = FakeQuantized(model, images, precision, per_channel=per_channel)
    wanted = computed(trained, images[:9])
    np.testing.assert_allclose(trained.freeze().logits(images[:9]), wanted, rtol=1e-5, atol=1e-6)
    assert trained(images[:9]).requires_grad


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "cells", [ArrayMapping(), ArrayMapping(rows=20, cell_bits=2, scheme="offset")]
)
@pytest.mark.parametrize("precision", ["W8A8", "W4A3", "W1A2"])
@pytest.mark.parametrize("name", CASES)
def test_an_ideal_chip_computes_the_quantized_network(name, precision, cells, compiled):
    model, images = model_of(name)
    trained = FakeQuantized(model, images, precision)
    chip = Chip(trained.freeze(), Hardware(cells), compiled=compiled)
    wanted = computed(trained, images[:9])  # torch's own convolutions
    np.testing.assert_allclose(chip.logits(images[:9]), wanted, rtol=1e-5, atol=1e-6)
    exact = chip.network.logits(images[:9])
    np.testing.assert_allclose(chip.logits(images[:9]), exact, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_convolution_is_computed(data):
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    conv = nn.Conv2d(
        groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3)), kernel,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=(draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        groups=groups, bias=draw(st.booleans()),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    images = torch.randn(3, conv.in_channels, 8, 9, generator=generator)
    images = images.abs() if draw(st.booleans()) else images
    precision = Precision(draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    trained = FakeQuantized(nn.Sequential(conv), images, precision)
    mapping = ArrayMapping(rows=draw(st.integers(3, 128)), cell_bits=draw(st.integers(1, 3)))
    chip = Chip(trained.freeze(), Hardware(mapping))
    # Training rounds by a scale in single precision: on a tie the two may go different ways.
    steps = images.double() / chip.network.layers[0].input_scale
    assume(bool(((steps.abs() % 1 - 0.5).abs() > 1e-6).all()))
    wanted = computed(trained, images)
    np.testing.assert_allclose(chip.logits(images), wanted, rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(CASES)), st.integers(1, 8), st.integers(1, 8), st.booleans(),
       st.integers(0, 2**31))  # fmt: skip
def test_an_ideal_chip_of_any_channel_scales_gives_the_same_bits(
    name, weight_bits, activation_bits, compiled, seed
):
    model, images = model_of(name)
    network = quantize(model, images, Precision(weight_bits, activation_bits), per_channel=True)
    generator = np.random.default_rng(seed)
    layers = [
        replace(layer, weight_scale=layer.weight_scale * generator.lognormal(size=len(layer.bias)))
        for layer in network.layers
    ]
    network = replace(network, layers=tuple(layers))
    chip = Chip(network, Hardware(ArrayMapping(rows=64)), compiled=compiled)
    np.testing.assert_array_equal(chip.logits(images[:5]), network.logits(images[:5]))


@pytest.mark.parametrize("precision", ["W4A4", "W2A4", "W1A4"])
@pytest.mark.parametrize("groups", [1, 8])
def test_channels_that_differ_need_scales_of_their_own(precision, groups):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(8, 8, 3, groups=groups), nn.BatchNorm2d(8)
    with torch.no_grad():  # folded, the normalization spreads the weights of the channels
        norm.weight.copy_(4.0 ** torch.arange(-4, 4))
    model, images = nn.Sequential(conv, norm).eval(), torch.rand(50, 8, 6, 6)
    wanted = model(images).detach().numpy()

    def errors(per_channel):
        """Of each channel, relative to its spread."""
        network = quantize(model, images, precision, per_channel=per_channel)
        difference = network.logits(images) - wanted
        return difference.std((0, 2, 3)) / wanted.std((0, 2, 3))

    one, each = errors(False), errors(True)
    assert one[:3].min() > 0.9  # one scale leaves nothing of the weakest channels
    assert each.max() < {"W4A4": 0.2, "W2A4": 0.8, "W1A4": 0.9}[precision]
    assert each.max() / each.min() < 3  # and each channel is as good as any


def test_an_output_of_zeros_has_a_positive_scale_and_stays_zero():
    model, images = nn.Sequential(nn.Linear(4, 3)), torch.rand(20, 4)
    nn.init.zeros_(model[0].weight[1].data), nn.init.zeros_(model[0].bias)
    for precision in ("W4A4", "W1A4"):
        network = quantize(model, images, precision, per_channel=True)
        assert np.abs(network.logits(images)[:, 1]).max() < 1e-12


def test_eight_bits_are_close_to_floating_point():
    for name in CASES:
        model, images = model_of(name)
        chip = Chip.from_torch(model, images)
        wanted = model(images).detach().numpy()
        assert np.abs(chip.logits(images) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_precisions_can_differ_by_layer():
    model, images = model_of("residual")
    wide = {"stem": Precision(8, 8), "fc": "W6A5"}
    chip = Chip.from_torch(model, images, precision="W3A2", overrides=wide)
    found = {a.layer.spec.name: str(a.layer.precision) for a in chip.arrays}
    assert found == {"stem": "W8A8", "fc": "W6A5"} | dict.fromkeys(("one", "two", "short"), "W3A2")
    assert [arrays.planes for arrays in chip.arrays] == [8, 2, 2, 2, 5]
    assert list(map(str, chip.network.precisions)) == ["W8A8", "W3A2", "W3A2", "W3A2", "W6A5"]
    with pytest.raises(ValueError, match="precision: expected one for all layers"):
        _ = chip.network.precision


@pytest.mark.parametrize("method", ["max", "percentile", "mse"])
def test_calibration_scales_are_what_they_say(method):
    values = torch.cat([torch.linspace(0, 1, 2000), torch.tensor([50.0])])[:, None]
    network = quantize(nn.Sequential(nn.Linear(1, 2)), values, Precision(8, 4), method=method)
    scale = network.layers[0].input_scale
    expected = {"max": 50 / 15, "percentile": 1 / 15, "mse": None}[method]
    if expected is None:  # no other scale does better

        def error(s):
            return float(((values / s).clamp(0, 15).round() * s - values).square().mean())

        assert all(error(scale) <= error(50 / 15 * k / 100) + 1e-9 for k in range(2, 101))
    else:
        assert scale == pytest.approx(expected, rel=0.01)


def test_calibration_meets_every_pixel_of_large_inputs():
    images = torch.ones(2048, 8, 8, 8)
    images[..., 0, 0] = 0.1  # the only pixel that even steps through the values would meet
    assert images.numel() % (64 * FITTED_VALUES) == 0
    network = quantize(nn.Sequential(nn.Conv2d(8, 1, 3)), images, "W8A4")
    assert network.layers[0].input_scale == pytest.approx(1 / 15, rel=0.02)


def test_calibration_finds_the_few_pixels_that_are_not_zero():
    images = torch.zeros(100, 1, 64, 64)
    images[::20, 0, 10, 20] = 1.0
    for method in ("mse", "max", "percentile"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4096, 3))
        scale = quantize(model, images, "W8A8", method=method).layers[0].input_scale
        assert scale == pytest.approx(1 / 255, rel=0.02)


def test_a_known_largest_value_sets_the_first_scale_for_good():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    trained = FakeQuantized(model, 0.1 * torch.rand(8, 1, 2, 2), "W4A3", input_max=1.0)
    assert trained.freeze().layers[0].input_scale == pytest.approx(1 / 7)
    assert not trained.layers["1"].log_input_scale.requires_grad
    assert trained.layers["3"].log_input_scale.requires_grad


def test_a_network_in_training_survives_pickling_and_copying():
    model, images = model_of("residual")
    trained = FakeQuantized(model, images, "W4A3", {"fc": "W8A8"})
    for again in (pickle.loads(pickle.dumps(trained)), copy.deepcopy(trained)):
        torch.testing.assert_close(again(images), trained(images), rtol=0, atol=0)
        np.testing.assert_array_equal(
            again.freeze().logits(images), trained.freeze().logits(images)
        )
        again.layers["stem"].module.weight.data.zero_()  # what is trained is what is frozen
        assert not again.freeze().layers[0].codes.any()
        assert trained.freeze().layers[0].codes.any()


def test_bad_arguments_are_refused():
    model, images = model_of("residual")
    with pytest.raises(ValueError, match="method: expected one of"):
        quantize(model, images, "W4A3", method="best")
    with pytest.raises(ValueError, match=r"overrides: expected paths among .* received 'stm'"):
        quantize(model, images, "W4A3", overrides={"stm": "W8A8"})
    with pytest.raises(ValueError, match="per_channel: expected True or False, received 'all'"):
        quantize(model, images, "W4A3", per_channel="all")
    with pytest.raises(ValueError, match="precision: expected a name such as 'W4A3'"):
        quantize(model, images, "4 bits")
    with pytest.raises(ValueError, match="images: expected at least one for calibration"):
        quantize(model, images[:0], "W4A3")
    with pytest.raises(ValueError, match="expected finite values, received 'NaN or infinity'"):
        quantize(model, images / 0, "W4A3")
    with pytest.raises(ValueError, match="images: expected something on them, received 'only zer"):
        quantize(model, 0 * images)
    trained = FakeQuantized(model, images, "W4A3")
    with pytest.raises(ValueError, match=r"quantized already.*Chip\(model.freeze\(\), hardware\)"):
        quantize(trained, images, "W8A8", method="max", digital=("fc",))
    with pytest.raises(ValueError, match="quantized already"):
        quantize(trained.freeze(), images)
    with pytest.raises(ValueError, match="model: expected an instance of Module"):
        quantize(torch.relu, images)
    with pytest.raises(
        ValueError, match=r"hardware: expected .*W4A3|.*precision='W4A3' by its name"
    ):
        Chip.from_torch(model, images, Precision(4, 3))
