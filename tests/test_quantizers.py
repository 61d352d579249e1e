"""Codes, scales, gradients, training, and what is written to disk."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from artifact import checkpoints, retraining, training
from artifact.checkpoints import CheckpointError, CheckpointName, pack_codes, unpack_codes
from artifact.paths import CHECKPOINTS
from nvlib.mapping import Mapping, map_weights
from nvlib.network import Network, freeze, image_codes, quantized_logits
from nvlib.quantizers import (
    Precision,
    activation_codes,
    dequantize,
    fake_quantize_activation,
    fake_quantize_weight,
    weight_codes,
)

values = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20)


@given(values, st.floats(0.01, 5), st.integers(1, 8))
def test_codes_stay_in_range_and_are_the_nearest(numbers, scale, bits):
    x, s = torch.tensor(numbers), torch.tensor(scale)
    codes = weight_codes(x, s, bits)
    limit = max(2 ** (bits - 1) - 1, 1)
    assert codes.abs().max() <= limit
    assert (codes == codes.round()).all()
    if bits > 1:
        inside = (x / s).abs() <= limit
        assert ((dequantize(codes, s) - x).abs()[inside] <= s / 2 * 1.001).all()
    else:
        assert set(codes.tolist()) <= {-1.0, 1.0}
    active = activation_codes(x, s, bits)
    assert active.min() >= 0
    assert active.max() <= 2**bits - 1
    assert (active[x <= 0] == 0).all()
    assert torch.equal(dequantize(active, s), fake_quantize_activation(x, s, bits))
    assert torch.equal(dequantize(codes, s), fake_quantize_weight(x, s, bits))


def test_straight_through_gradients_by_hand():
    x = torch.tensor([-3.0, 0.26, 0.6, 9.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    fake_quantize_weight(x, scale, 3).sum().backward()  # codes -3, 1, 1, 3
    assert x.grad.tolist() == [0, 1, 1, 0]
    assert scale.grad.item() == pytest.approx(-3 + (1 - 0.52) + (1 - 1.2) + 3)


@pytest.mark.parametrize(("w", "a"), [(0, 3), (9, 3), (4, 0), (4, 9), (4.0, 3), (True, 3)])
def test_precision_out_of_range_is_refused(w, a):
    with pytest.raises(ValueError, match="expected an integer from 1 to 8"):
        Precision(w, a)
    with pytest.raises(ValueError, match="expected a precision such as 'W4A3'"):
        Precision.parse("4/3")


def test_pixels_become_codes():
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 0, :4] = [0, 18, 19, 255]  # a step of A = 3 is 255 / 7 = 36.4 pixels
    assert image_codes(images, Precision(4, 3))[0, 0, 0, :4].tolist() == [0, 0, 1, 7]
    assert image_codes(images, Precision(4, 8))[0, 0, 0, :4].tolist() == [0, 18, 19, 255]


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_packed_codes_come_back(bits, seed):
    generator = np.random.default_rng(seed)
    limit = max(2 ** (bits - 1) - 1, 1)
    codes = generator.integers(-limit, limit + 1, (3, 7)).astype(np.int8)
    if bits == 1:
        codes[codes == 0] = 1
    packed = pack_codes(codes, bits)
    assert len(packed) == -(-21 * bits // 8)
    np.testing.assert_array_equal(unpack_codes(packed, bits, (3, 7)), codes)


@given(
    st.integers(1, 8), st.integers(1, 8),
    st.sampled_from(["differential", "signed-digit", "offset"]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_levels_put_the_weight_back_together(bits, cell_bits, scheme, seed):
    precision = Precision(bits, 4)
    limit = precision.weight_max
    codes = np.random.default_rng(seed).integers(-limit, limit + 1, (5, 3))
    if bits == 1:
        codes[codes == 0] = 1
    mapping = Mapping(cell_bits=cell_bits, scheme=scheme)
    mapped = map_weights(codes, precision, mapping)
    assert mapped.levels.max() <= mapping.level_max
    back = np.einsum("kbm,b->km", mapped.levels.astype(int), mapped.coefficients) - mapped.offset
    np.testing.assert_array_equal(back, codes)


def test_impossible_mappings_are_refused():
    for bad in ({"rows": 0}, {"columns": 0}, {"cell_bits": 9}, {"dac_bits": 0}, {"rows": 1.5}):
        with pytest.raises(ValueError, match="expected an integer from 1"):
            Mapping(**bad)
    with pytest.raises(ValueError, match="scheme: expected one of"):
        Mapping(scheme="folded")
    with pytest.raises(ValueError, match="magnitudes up to 7 at W4A3, received 8"):
        map_weights(np.array([[8]]), Precision(4, 3), Mapping())


def test_training_learns_and_what_is_saved_is_what_was_trained(digits, tmp_path):
    recipe = training.Recipe(epochs=2)
    floating = training.train(digits, None, 0, recipe=recipe, progress=False)
    again = training.train(digits, None, 0, recipe=recipe, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(
        floating.state_dict().values(), again.state_dict().values(), strict=True))  # fmt: skip
    network = training.train(
        digits, Precision(3, 3), 0, floating, training.Recipe(epochs=2), progress=False
    )
    expected = training.accuracy(network, digits.test_images, digits.test_labels)
    assert expected > 0.85
    name = CheckpointName("embedded", "lenet5", Precision(3, 3), 0)
    checkpoints.save(network, name, {"test_accuracy": str(expected)}, tmp_path)
    checkpoints.write_manifest(tmp_path)
    loaded = checkpoints.load_quantized(name, tmp_path)
    logits = quantized_logits(loaded, digits.test_images)
    np.testing.assert_array_equal(logits, quantized_logits(freeze(network), digits.test_images))
    assert (logits.argmax(1) == digits.test_labels).mean() == pytest.approx(expected, abs=0.002)


def test_a_quantized_network_needs_a_float_start(digits):
    with pytest.raises(ValueError, match="expected a float network to start W4A3 from"):
        training.train(digits, Precision(4, 3), 0)
    with pytest.raises(ValueError, match="expected a network trained at a precision"):
        freeze(Network(()))


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
    names = [name for name in retraining.shipped("embedded") + retraining.shipped("mnist")]
    for name in names:
        assert name.path.as_posix() in manifest
    assert sum(path.stat().st_size for path in CHECKPOINTS.rglob("*.safetensors")) <= 8e6
    accuracy = {
        entry["precision"]: float(entry["test_accuracy"])
        for key, entry in manifest.items()
        if key.startswith("mnist/lenet5") and entry["seed"] == "0"
    }
    assert len(accuracy) == 65
    assert accuracy["W4A3"] >= 0.99
    assert min(accuracy.values()) > 0.9, "a collapsed cell"


def test_the_manifest_says_what_the_networks_do(digits):
    for name in retraining.shipped("embedded"):
        if name.precision is None:
            continue
        net = checkpoints.load_quantized(name)
        logits = quantized_logits(net, digits.test_images)
        stated = float(checkpoints.read_manifest()[name.path.as_posix()]["test_accuracy"])
        assert (logits.argmax(axis=1) == digits.test_labels).mean() == pytest.approx(stated)
