"""Recipes: what is trained from what, and that training learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from artifact import checkpoints, recipes
from artifact.checkpoints import CheckpointName
from artifact.paths import CHECKPOINTS
from nvlib import Precision, QuantizedNetwork, Recipe, quantize


def test_training_learns_and_what_is_saved_is_what_was_trained(digits, tmp_path, monkeypatch):
    fast = {"epochs": 1, "crop_epochs": 0}
    short = {kind: replace(recipe, **fast) for kind, recipe in recipes.RECIPES.items()}
    monkeypatch.setattr(recipes, "RECIPES", short)
    monkeypatch.setattr(recipes, "EMBEDDED_TIMES", {"float": 2, "qat": 2})
    floating = CheckpointName("embedded", "lenet5", None, 0)
    start, again = (recipes.trained(floating, digits, None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(
        start.state_dict().values(), again.state_dict().values(), strict=True))  # fmt: skip
    name = CheckpointName("embedded", "lenet5", Precision(3, 3), 0)
    network = recipes.trained(name, digits, start)
    assert isinstance(network, QuantizedNetwork)
    assert str(network.precision) == "W3A3"
    assert network.layers[0].input_scale == pytest.approx(1 / 7)  # of pixels over 255
    assert recipes.accuracy("lenet5", network, digits) > 0.85
    checkpoints.save(network, name, {}, tmp_path)
    checkpoints.write_manifest(tmp_path)
    loaded = checkpoints.load_quantized(name, tmp_path)
    np.testing.assert_array_equal(
        loaded.logits(digits.test_images), network.logits(digits.test_images)
    )


def test_a_missing_float_network_is_trained_first_and_nothing_twice(digits, tmp_path, monkeypatch):
    calls = []

    def trained(name, _, start, progress, kept):
        calls.append((name.path.stem, start is not None))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(b"")
        model = checkpoints.MODELS[name.network]().eval()
        if name.precision is None:
            return model
        return quantize(model, digits.train_images[:8], name.precision)

    monkeypatch.setattr(recipes, "trained", trained)
    name = CheckpointName("embedded", "lenet5", Precision(4, 3), 0)
    recipes.train_one(name, tmp_path)
    recipes.train_one(name, tmp_path)
    assert calls == [("lenet5-float-seed0", False), ("lenet5-W4A3-seed0", True)]
    assert not list(tmp_path.rglob("*.training"))
    other = recipes.RECIPES | {"qat": Recipe(epochs=1)}
    monkeypatch.setattr(recipes, "RECIPES", other)
    recipes.train_one(name, tmp_path)  # of another recipe
    assert calls[2:] == [("lenet5-W4A3-seed0", True)]
    monkeypatch.setattr(recipes, "RECIPES", other | {"float": Recipe(epochs=1)})
    recipes.train_one(name, tmp_path)  # from another float network
    assert calls[3:] == [("lenet5-float-seed0", False), ("lenet5-W4A3-seed0", True)]


def test_shipped_networks_are_not_trained_again(monkeypatch):
    monkeypatch.setattr(recipes, "trained", lambda *_: pytest.fail("begins to train"))
    for name in recipes.shipped("embedded"):
        recipes.train_one(name, CHECKPOINTS)


def test_pixels_of_a_shipped_network_become_codes(network):
    layer = network("W4A3").layers[0]
    pixels = torch.zeros(1, 1, 28, 28, dtype=torch.float64)
    pixels[0, 0, 0, :4] = torch.tensor([0, 18, 19, 255]) / 255  # a step of A = 3 is 255 / 7
    assert layer.input_codes(pixels)[0, 0, 0, :4].tolist() == [0, 0, 1, 7]
    layer = network("W8A8").layers[0]
    assert layer.input_codes(pixels)[0, 0, 0, :4].tolist() == [0, 18, 19, 255]


def test_shipped_names_are_unique_and_their_starts_are_shipped():
    for dataset in ("embedded", "mnist", "cifar10"):
        names = recipes.shipped(dataset)
        assert len({name.path for name in names}) == len(names)
        for name in names:
            assert replace(name, precision=None, recipe="qat") in names


@pytest.mark.parametrize("network", ["lenet5", "residual"])
@pytest.mark.filterwarnings("error")
def test_images_that_cannot_be_written_are_trained_on_without_a_word(network, digits, monkeypatch):
    """As a memory map of another process, or the bytes of a file, holds them."""
    monkeypatch.setattr(recipes, "recipe_of", lambda *_: Recipe(epochs=1, batch=8))
    few = {name: getattr(digits, name)[:16].copy() for name in vars(digits) if name != "name"}
    for array in few.values():
        array.flags.writeable = False
    held = replace(digits, **few)
    torch.set_warn_always(True)  # else torch warns once, whichever test is first
    try:
        model = recipes.trained(CheckpointName("embedded", network, None, 0), held, None)
        assert 0 <= recipes.accuracy(network, model, held) <= 1
    finally:
        torch.set_warn_always(False)
