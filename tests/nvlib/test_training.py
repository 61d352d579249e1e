"""Training with rounding and devices in the loop, and what it refuses."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import (
    Adc,
    ArrayMapping,
    Chip,
    Dac,
    DeviceModel,
    FakeQuantized,
    Hardware,
    Nonlinearity,
    Precision,
    RangeVariation,
    ReadNoise,
    Recipe,
    fine_tune,
    quantize,
    report,
    train,
)
from nvlib.programming import held_codes
from nvlib.training import _augmented, _cropped, _scheduled, _shifted, meet, write_errors
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
    coarse = Hardware(ArrayMapping(cell_bits=1), adc=Adc(bits=2, full_scale=16.0))
    short = Recipe(epochs=6, learning_rate=5e-3)  # each step reads arrays
    met = fine_tune(model, images, labels, "W2A2", hardware=coarse, recipe=short, progress=False)
    assert accuracy(met, coarse) > accuracy(tuned, coarse) + 0.02


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


def test_the_defaults_are_adam_with_a_cosine():
    images, labels = torch.rand(64, 4), torch.arange(64) % 2
    torch.manual_seed(3)
    mine, theirs = nn.Linear(4, 2), nn.Linear(4, 2)
    theirs.load_state_dict(mine.state_dict())
    train(mine, images, labels, Recipe(3, batch=16, learning_rate=0.1), seed=5, progress=False)
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    for _ in range(3):
        for batch in torch.randperm(64, generator=generator).split(16):
            optimizer.zero_grad()
            nn.functional.cross_entropy(theirs(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    assert torch.equal(mine.weight, theirs.weight)


def test_the_learning_rate_rises_to_its_highest_and_ends_at_zero():
    weight = nn.Parameter(torch.ones(1))
    optimizer, schedule = _scheduled([weight], Recipe(1, learning_rate=0.5, warm_up=0.25), 40)
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates[:11], np.linspace(0.05, 0.5, 11), atol=1e-9)
    assert max(rates) == pytest.approx(0.5)
    assert (np.diff(rates[10:]) < 0).all()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_weights_decay_by_their_share_of_the_learning_rate():
    weight = nn.Parameter(torch.full((3,), 2.0))
    recipe = Recipe(1, learning_rate=0.1, weight_decay=0.5)
    optimizer, _ = _scheduled([weight], recipe, 10)
    weight.grad = torch.zeros(3)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 2.0 * (1 - 0.1 * 0.5)))


def test_with_momentum_it_is_nesterovs_gradient_descent():
    images, labels = torch.rand(64, 4), torch.arange(64) % 2
    torch.manual_seed(3)
    mine = nn.Linear(4, 2)
    weight = mine.weight.detach().clone().requires_grad_()
    bias = mine.bias.detach().clone().requires_grad_()
    rate, momentum, decay = 0.1, 0.9, 0.01
    recipe = Recipe(2, 32, rate, momentum=momentum, weight_decay=decay)
    train(mine, images, labels, recipe, seed=5, progress=False)
    generator, moved, step = torch.Generator().manual_seed(5), [0.0, 0.0], 0
    for _ in range(2):
        for batch in torch.randperm(64, generator=generator).split(32):
            logits = images[batch] @ weight.T + bias
            nn.functional.cross_entropy(logits, labels[batch]).backward()
            now = rate * (1 + np.cos(np.pi * step / 4)) / 2
            with torch.no_grad():
                for k, one in enumerate((weight, bias)):
                    gradient = one.grad + decay * one
                    moved[k] = momentum * moved[k] + gradient
                    one -= now * (gradient + momentum * moved[k])  # a step ahead (Nesterov)
                    one.grad = None
            step += 1
    torch.testing.assert_close(mine.weight, weight)
    torch.testing.assert_close(mine.bias, bias)


def test_windows_are_cut_from_every_image_on_its_own_and_reach_its_margin():
    images = 1 + torch.arange(20.0).reshape(1, 1, 4, 5).repeat(400, 1, 1, 1)
    padded = nn.functional.pad(images[0, 0], [1] * 4)
    seen = _cropped(images, 1, (3, 2), torch.Generator().manual_seed(0))
    assert seen.shape == (400, 1, 3, 2)
    known = {padded[y : y + 3, x : x + 2].flatten() for y in range(4) for x in range(6)}
    known = {tuple(window.tolist()) for window in known}
    assert {tuple(image.flatten().tolist()) for image in seen} == known  # all of them, no other
    recipe, sides = Recipe(3, 8, crop=2, crop_epochs=1), []

    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            sides.append(tuple(x.shape[-2:]))
            return x.mean(dim=(1, 2, 3))[:, None] * self.weight

    train(Seen(), images[:16], torch.zeros(16), recipe, 0, progress=False)
    assert sides == [(2, 2)] * 2 + [(4, 5)] * 4
    with pytest.raises(ValueError, match=r"crop: expected at most 4 for images of sides \(4, 5\)"):
        train(Seen(), images, torch.zeros(400), Recipe(1, 8, crop=5), 0, progress=False)


def test_a_random_half_of_the_images_is_mirrored_each_on_its_own():
    images = torch.arange(12.0).reshape(1, 1, 3, 4).repeat(200, 1, 1, 1)
    sides, generator = (3, 4), torch.Generator().manual_seed(0)
    seen = _augmented(images.clone(), Recipe(1, flip=True), sides, generator)
    mirrored = (seen == images.flip(-1)).all(dim=(1, 2, 3))
    same = (seen == images).all(dim=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 70 < int(mirrored.sum()) < 130
    both = Recipe(1, shift=1, flip=True)
    seen = _augmented(images.clone(), both, sides, generator)
    assert len({tuple(image.flatten().tolist()) for image in seen}) == 2  # shifted together
    with pytest.raises(ValueError, match="flip: expected at most False for images of sides"):
        train(nn.Linear(4, 2), torch.rand(8, 4), torch.zeros(8), Recipe(1, 8, flip=True), 0)


def test_errors_of_a_step_are_those_of_freshly_written_cells():
    hardware = Hardware(devices=DeviceModel(effects=(RangeVariation(0.1),)))
    codes = torch.arange(-6.0, 6.0).reshape(3, 2, 2)
    errors, precision = partial(write_errors, hardware, np.random.default_rng(5)), Precision(4, 3)
    first, second = errors(codes, precision), errors(codes, precision)
    asked = codes.reshape(3, 4).T.numpy()
    wanted = held_codes(asked, precision, hardware, np.random.default_rng(5)) - asked
    np.testing.assert_allclose(first.reshape(3, 4).T, wanted, rtol=1e-6)
    assert (first != second).all()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("scheme", ["differential", "offset"])
def test_training_meets_the_errors_of_the_chip_in_grouped_layers_too(scheme, per_channel):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(24, 24, 3, groups=24, bias=False))
    images = torch.rand(64, 24, 5, 5)
    devices = DeviceModel(effects=(RangeVariation(0.1),))
    hardware = Hardware(ArrayMapping(scheme=scheme), devices, Adc(12, full_scale=256.0))
    trained = FakeQuantized(model, images, "W4A4", per_channel=per_channel)
    ideal, network = trained(images).detach().numpy(), trained.freeze()
    meet(Hardware(hardware.mapping, devices), trained, seed=0)
    assert all(layer.disturb and not layer.read for layer in trained.layers.values())
    met = np.std([trained(images).detach().numpy() - ideal for _ in range(40)])
    real = np.std([Chip(network, hardware, seed)(images) - ideal for seed in range(40)])
    assert met == pytest.approx(real, rel=0.1)


IMPERFECT = {
    "converters": Hardware(adc=Adc(4)),
    "drivers": Hardware(dac=Dac(Nonlinearity(gain_error=0.3))),
    "reads": Hardware(devices=DeviceModel(read_noise=ReadNoise(0.1))),
    "compensation": Hardware(devices=DeviceModel(effects=(RangeVariation(0.1),)), compensated=True),
}


@pytest.mark.parametrize("name", IMPERFECT)
@pytest.mark.parametrize("groups", [1, 4])
def test_a_step_reads_what_a_new_chip_reads_and_has_ideal_gradients(name, groups):
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Conv2d(4, 8, 3, groups=groups)), torch.randn(6, 4, 7, 7)
    ideal, met = (FakeQuantized(model, images, "W4A3", per_channel=True) for _ in range(2))
    hardware = IMPERFECT[name]
    meet(hardware, met, seed=3)
    draws = np.random.default_rng(3)
    for _ in range(2):
        outputs = met(images)
        chip = Chip(met.freeze(), hardware, seed=int(draws.integers(2**63)))
        np.testing.assert_allclose(outputs.detach(), chip(images), rtol=1e-6, atol=1e-7)
    assert (outputs - ideal(images)).abs().max() > 1e-3
    outputs.sum().backward()
    ideal(images).sum().backward()
    for one, other in zip(met.parameters(), ideal.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


def test_each_layer_in_training_has_the_full_scale_of_its_own_arrays():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    images = torch.rand(5, 2, 5, 5)
    trained = FakeQuantized(model, images, "W4A3")
    meet(Hardware(adc=Adc(4, full_scale=(15.0, 20.0, 30.0))), trained, seed=0)
    found = [layer.read.args[0].adc.full_scale for layer in trained.layers.values()]
    assert found == [(15.0, 20.0), (30.0,)]
    with pytest.raises(ValueError, match="full_scale: expected one value, or one for each of 3"):
        meet(Hardware(adc=Adc(4, full_scale=(15.0, 20.0))), trained, seed=0)


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
    with pytest.raises(ValueError, match="labels: expected classes below the network's 10, .* 10"):
        fine_tune(model, images, np.full(40, 10), "W4A3", recipe=Recipe(1, 8), progress=False)
    whole = fine_tune(model, images, np.zeros(40, np.uint16), "W4A3", recipe=Recipe(1, 8),
                      progress=False)  # fmt: skip
    assert str(whole.precision) == "W4A3"
    with pytest.raises(ValueError, match="at least 128 for one step, received 40"):
        fine_tune(model, images, np.zeros(40), "W4A3", progress=False)
    for wrong in ({"epochs": 0}, {"epochs": 2.5}, {"epochs": "3"}, {"batch": 0}, {"shift": -1},
                  {"learning_rate": 0}, {"learning_rate": np.nan}, {"flip": 1},
                  {"weight_decay": -1}, {"warm_up": 1.5}, {"momentum": 1}, {"crop": -1},
                  {"crop_epochs": 2, "crop": 8}, {"crop_epochs": 1}):  # fmt: skip
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected .*; choose one"):
            Recipe(**{"epochs": 1} | wrong)
    assert Recipe(np.int64(3), np.int32(8)) == Recipe(3, 8)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(40, np.nan), "labels: expected finite values"),
        (["cat"] * 40, "labels: expected an array of real numbers, received list"),
        (np.full(40, 0.5), "labels: expected whole numbers from 0 on"),
        (np.full(40, -1), "labels: expected whole numbers from 0 on"),
        (np.eye(40), r"labels: expected shape \(40,\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    model, images = model_of("residual")
    with pytest.raises(ValueError, match=message):
        fine_tune(model, images, labels, "W4A3", recipe=Recipe(1, 8), progress=False)
    with pytest.raises(ValueError, match=message):
        report(Chip.from_torch(model, images), images, labels)


@pytest.mark.parametrize("seed", [-1, "a", 1.5])
def test_a_seed_that_is_none_is_refused_with_hardware_too(seed):
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(9, 1, 4, 4)
    with pytest.raises(ValueError, match="seed: expected an integer from 0"):
        fine_tune(model, images, torch.arange(9) % 3, "W4A3", hardware=Hardware(), seed=seed)


def test_shifts_keep_the_shape_of_images_and_leave_features_alone():
    tall = torch.arange(2 * 5 * 9.0).reshape(2, 5, 9)
    places = set()
    for seed in range(250):
        shifted = _shifted(tall, 2, torch.Generator().manual_seed(seed))
        assert shifted.shape == tall.shape
        y, x = np.argwhere(shifted[1].numpy() == tall[1, 2, 4].item())[0]
        places.add((y - 2, x - 4))
    assert len(places) == 25  # every way, down as far as across
    with pytest.raises(ValueError, match="shift: expected at most .* for images of sides"):
        train(nn.Linear(4, 2), torch.rand(8, 4), torch.zeros(8), Recipe(1, 8, shift=1), 0)
    with pytest.raises(ValueError, match="shift: expected at most .* for images of sides"):
        train(nn.Flatten(), tall, torch.zeros(2), Recipe(1, 2, shift=5), 0)


def test_weights_that_diverge_are_refused():
    images = 3e38 * torch.rand(64, 4)
    with pytest.raises(ValueError, match="weights: expected finite values after training"):
        train(nn.Linear(4, 2), images, torch.zeros(64), Recipe(9, 8, 1e3), 0, progress=False)


class Stopped(nn.Module):
    """Passes values on until it has been called so many times."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def forward(self, values):
        self.calls -= 1
        if not self.calls:
            raise KeyboardInterrupt
        return values


def residual(calls=-1):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), Stopped(calls), nn.Linear(4, 3),
    ).to(memory_format=torch.channels_last)  # fmt: skip


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path, momentum):
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels, kept = torch.arange(40) % 3, tmp_path / "folder" / "kept"
    recipe = Recipe(5, 8, 0.01, 1, True, 1e-3, 0.3, momentum, crop=3, crop_epochs=3)

    def run(network, **options):
        train(network, images, labels, recipe, 7, progress=False, **options)
        return {name: value.clone() for name, value in network.state_dict().items()}

    whole = run(residual())
    with pytest.raises(KeyboardInterrupt):
        run(residual(calls=5 * 2 + 3), kept=kept)  # within the third epoch
    saved = torch.load(kept, weights_only=True)
    assert saved["epochs"] == 2
    other = residual()
    rest = run(other, kept=kept)
    assert other[5].calls == -1 - 3 * 5  # the last three epochs alone
    again = run(residual(calls=1), kept=str(kept))  # nothing is left to train
    for name, value in whole.items():
        assert torch.equal(rest[name], value)
        assert torch.equal(again[name], value)


def test_what_was_kept_of_another_training_is_refused(tmp_path):
    images, labels, kept = torch.rand(16, 1, 4, 4), torch.arange(16) % 3, tmp_path / "kept"
    recipe = Recipe(1, 8)
    train(residual(), images, labels, recipe, 0, progress=False, kept=kept)
    begun = residual()
    nn.init.zeros_(begun[0].weight)
    for network, pixels, classes, other, seed in (
        (residual(), images, labels, Recipe(2, 8), 0), (residual(), images, labels, recipe, 1),
        (residual(), images + 1, labels, recipe, 0), (residual(), images, 2 - labels, recipe, 0),
        (begun, images, labels, recipe, 0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="kept: expected a training by .*; delete"):
            train(network, pixels, classes, other, seed, progress=False, kept=kept)
    for content in (b"", b"no file of torch", kept.read_bytes()[:200]):
        kept.write_bytes(content)
        with pytest.raises(ValueError, match="kept: expected a file of train.*; delete"):
            train(residual(), images, labels, recipe, 0, progress=False, kept=kept)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_gpu_agrees_with_the_cpu():
    model, images = model_of("residual")
    labels, recipe = torch.arange(40) % 10, Recipe(epochs=1, batch=8)
    cpu, gpu = (
        fine_tune(model, images, labels, "W8A8", recipe=recipe, device=device, progress=False)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu.logits(images), cpu.logits(images), rtol=0.02, atol=0.02)
