"""Trained networks on disk: only what the manifest vouches for, and as good as it says."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from artifact import checkpoints, recipes
from artifact.checkpoints import CheckpointError, CheckpointName
from artifact.paths import CHECKPOINTS, ROOT
from artifact.studies import common, harder
from nvlib import Precision
from tests.fuzzing import fuzz


def test_an_altered_or_missing_checkpoint_is_refused(tmp_path):
    name = CheckpointName("embedded", "lenet5", Precision(4, 3), 0)
    folder = tmp_path / "copy"
    shutil.copytree(CHECKPOINTS / "embedded", folder / "embedded")
    checkpoints.write_manifest(folder)
    checkpoints.load_quantized(name, folder)
    path = folder / name.path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="expected SHA-256 .* the file was altered"):
        checkpoints.load_quantized(name, folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="found no file"):
        checkpoints.load_quantized(name, folder)
    with pytest.raises(CheckpointError, match="expected a manifest"):
        checkpoints.load_quantized(name, tmp_path / "nowhere")
    (tmp_path / checkpoints.MANIFEST).write_text("[1]")
    with pytest.raises(CheckpointError, match="expected a JSON manifest"):
        checkpoints.read_manifest(tmp_path)


def test_every_shipped_checkpoint_is_there_small_and_as_accurate_as_it_says():
    manifest = json.loads((CHECKPOINTS / checkpoints.MANIFEST).read_text())
    names = [name for name in recipes.shipped("embedded") + recipes.shipped("mnist")]
    for name in names:
        assert name.path.as_posix() in manifest
    assert sum(path.stat().st_size for path in CHECKPOINTS.glob("*/*.safetensors")) <= 10e6
    accuracy = {
        entry["precision"]: float(entry["test_accuracy"])
        for key, entry in manifest.items()
        if key.startswith("mnist/lenet5")
        and (entry["seed"], entry.get("recipe", "qat")) == ("0", "qat")
    }
    assert len(accuracy) == 65
    assert accuracy["W4A3"] >= 0.99
    assert min(accuracy.values()) > 0.9, "a collapsed cell"


def test_the_networks_of_the_harder_task_are_there_and_small():
    folder = ROOT / harder.CHECKPOINTS
    manifest = checkpoints.read_manifest(folder)
    assert set(manifest) == {name.path.as_posix() for name in recipes.shipped("cifar10")}
    assert sum((folder / key).stat().st_size for key in manifest) <= 3e6
    accuracy = {key: float(entry["test_accuracy"]) for key, entry in manifest.items()}
    floating = accuracy["cifar10/resnet20-float-seed0.safetensors"]
    assert floating > 0.85
    assert accuracy["cifar10/resnet20-W8A8-seed0.safetensors"] > floating - 0.01


@pytest.mark.parametrize(
    "name", [name for name in recipes.shipped("embedded") if name.recipe != "ptq"],
    ids=lambda name: name.path.stem,
)  # fmt: skip
def test_the_manifest_says_what_the_networks_do(digits, name):
    load = checkpoints.load_float if name.precision is None else checkpoints.load_quantized
    found = recipes.accuracy(name.network, load(name), digits)
    stated = checkpoints.read_manifest()[name.path.as_posix()]["test_accuracy"]
    assert found == pytest.approx(float(stated), abs=1e-9)


def test_what_is_saved_is_what_is_loaded(tmp_path, digits):
    name = CheckpointName("embedded", "lenet5", Precision(3, 3), 0)
    network, again = checkpoints.load_quantized(name), replace(name, seed=7)
    checkpoints.save(network, again, {"epochs": "2"}, tmp_path)
    checkpoints.write_manifest(tmp_path)
    entry = json.loads((tmp_path / checkpoints.MANIFEST).read_text())[again.path.as_posix()]
    assert set(entry) == {"epochs", "sha256"}  # not the network itself
    loaded, images = checkpoints.load_quantized(again, tmp_path), digits.test_images[:50]
    np.testing.assert_array_equal(loaded.logits(images), network.logits(images))


def test_a_name_says_which_network_and_how_it_is_quantized():
    with pytest.raises(ValueError, match="expected a network among"):
        CheckpointName("mnist", "lenet6", None, 0)
    with pytest.raises(ValueError, match="expected a quantized checkpoint"):
        checkpoints.load_quantized(CheckpointName("embedded", "lenet5", None, 0))


def test_no_manifest_does_harm(tmp_path):
    valid = json.dumps({"mnist/a.safetensors": {"sha256": "0" * 64, "seed": "0"}}).encode()

    def read(content):
        checkpoints.read_manifest.cache_clear()
        (tmp_path / checkpoints.MANIFEST).write_bytes(content)
        checkpoints.read_manifest(tmp_path)

    read(valid)
    fuzz("manifest", valid, read, checkpoints.CheckpointError)
    checkpoints.read_manifest.cache_clear()


def test_no_checkpoint_is_read_that_its_manifest_does_not_vouch_for(tmp_path):
    name = checkpoints.CheckpointName("embedded", "lenet5", common.Precision(2, 2), 0)
    valid = (ROOT / "checkpoints" / name.path).read_bytes()
    target = tmp_path / name.path
    target.parent.mkdir()
    target.write_bytes(valid)
    checkpoints.write_manifest(tmp_path)
    checkpoints.read_manifest.cache_clear()
    assert checkpoints.load_quantized(name, tmp_path).precision == common.Precision(2, 2)

    def read(content):
        target.write_bytes(content)
        checkpoints.load_quantized(name, tmp_path)

    fuzz("checkpoint", valid, read, checkpoints.CheckpointError)


def test_the_manifest_names_every_checkpoint_and_its_hash():
    manifest = checkpoints.read_manifest(ROOT / "checkpoints")
    found = {p.relative_to(ROOT / "checkpoints").as_posix(): hashlib.sha256(p.read_bytes())
             for p in (ROOT / "checkpoints").glob("*/*.safetensors")}  # fmt: skip
    assert {name: entry["sha256"] for name, entry in manifest.items()} == {
        name: digest.hexdigest() for name, digest in found.items()
    }
