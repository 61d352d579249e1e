"""Training with rounding and devices in the loop, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import (
    Adc,
    ArrayMapping,
    Chip,
    DeviceModel,
    FakeQuantized,
    Hardware,
    Precision,
    RangeVariation,
    Recipe,
    fine_tune,
    quantize,
    train,
)
from nvlib.arrays import held_codes
from nvlib.training import WriteErrors
from tests.conftest import model_of


def test_training_gives_back_what_low_precision_and_devices_take(digits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
    images = torch.from_numpy(digits.train_images[:, None].astype(np.float32) / 255)
    labels = torch.from_numpy(digits.train_labels.astype(np.int64))
    tests = torch.from_numpy(digits.test_images[:, None].astype(np.float32) / 255)
    train(model, images, labels, Recipe(epochs=8), 0, progress=False)
    varied = Hardware(devices=DeviceModel(effects=(RangeVariation(0.4),)))
    recipe = Recipe(epochs=10, learning_rate=2e-3)

    def accuracy(network, hardware=None, chips=1):
        return np.mean([
            (Chip(network, hardware, seed=s).predict(tests) == digits.test_labels).mean()
            for s in range(chips)
        ])  # fmt: skip

    plain = quantize(model, images[:200], "W2A2")
    tuned = fine_tune(model, images, labels, "W2A2", recipe=recipe, progress=False)
    aware = fine_tune(model, images, labels, "W2A2", hardware=varied, recipe=recipe, progress=False)
    assert accuracy(tuned) > accuracy(plain) + 0.01
    assert accuracy(aware, varied, 4) > accuracy(tuned, varied, 4) + 0.02


def test_training_takes_nothing_from_the_generators_of_the_user():
    images, labels = torch.rand(32, 4), torch.arange(32) % 2
    results = []
    for seed in (1, 2):  # torch's own generator does not matter
        torch.manual_seed(3)
        model = nn.Linear(4, 2)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        train(model, images, labels, Recipe(2, batch=8), seed=0, progress=False)
        assert torch.equal(torch.get_rng_state(), before)
        results.append(model.weight.detach())
    assert torch.equal(*results)
    torch.manual_seed(3)
    other = nn.Linear(4, 2)
    train(other, images, labels, Recipe(2, batch=8), seed=1, progress=False)
    assert not torch.equal(other.weight, results[0])


def test_errors_of_a_step_are_those_of_freshly_written_cells():
    hardware = Hardware(devices=DeviceModel(effects=(RangeVariation(0.1),)))
    codes = torch.arange(-6.0, 6.0).reshape(3, 2, 2)
    errors, precision = WriteErrors(hardware, seed=5), Precision(4, 3)
    first, second = errors(codes, precision), errors(codes, precision)
    asked = codes.reshape(3, 4).T.numpy()
    wanted = held_codes(asked, precision, hardware, np.random.default_rng(5)) - asked
    np.testing.assert_allclose(first.reshape(3, 4).T, wanted, rtol=1e-6)
    assert (first != second).all()


@pytest.mark.parametrize("scheme", ["differential", "offset"])
def test_training_meets_the_errors_of_the_chip_in_grouped_layers_too(scheme):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(24, 24, 3, groups=24, bias=False))
    images = torch.rand(64, 24, 5, 5)
    devices = DeviceModel(effects=(RangeVariation(0.1),))
    hardware = Hardware(ArrayMapping(scheme=scheme), devices, Adc(12, full_scale=256.0))
    trained = FakeQuantized(model, images, "W4A4")
    ideal, network = trained(images).detach().numpy(), trained.freeze()
    for layer in trained.layers.values():
        layer.disturb = WriteErrors(hardware, seed=0)
    met = np.std([trained(images).detach().numpy() - ideal for _ in range(40)])
    real = np.std([Chip(network, hardware, seed)(images) - ideal for seed in range(40)])
    assert met == pytest.approx(real, rel=0.1)
    packed = replace(hardware, mapping=replace(hardware.mapping, pack_groups=True))
    with pytest.raises(ValueError, match="pack_groups: expected False for a grouped layer"):
        fine_tune(model, images, np.zeros(64), "W4A4", hardware=packed, recipe=Recipe(1, 64))
    assert np.std(Chip(network, packed)(images) - ideal) > 1.5 * real  # what packing does


def test_dropout_is_off_and_the_users_model_is_left_alone():
    model, images = model_of("residual")
    model.train()
    before = model.stem.weight.clone()
    labels, recipe = torch.arange(40) % 10, Recipe(epochs=1, batch=8)
    one, other = (
        fine_tune(model, images, labels, "W8A8", recipe=recipe, progress=False) for _ in range(2)
    )
    np.testing.assert_array_equal(one.logits(images), other.logits(images))
    assert torch.equal(model.stem.weight, before)
    assert model.training


def test_bad_arguments_are_refused():
    model, images = model_of("residual")
    with pytest.raises(ValueError, match=r"labels: expected shape \(40,\)"):
        fine_tune(model, images, np.zeros(3), "W4A3")
    with pytest.raises(ValueError, match="at least 128 for one step, received 40"):
        fine_tune(model, images, np.zeros(40), "W4A3", progress=False)
    with pytest.raises(ValueError, match="expected epochs and batch of at least 1"):
        Recipe(epochs=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_gpu_agrees_with_the_cpu():
    model, images = model_of("residual")
    labels, recipe = torch.arange(40) % 10, Recipe(epochs=1, batch=8)
    cpu, gpu = (
        fine_tune(model, images, labels, "W8A8", recipe=recipe, device=device, progress=False)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu.logits(images), cpu.logits(images), rtol=0.02, atol=0.02)
