"""One chip: the same bits whatever the batch, order, threads or process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from artifact.paths import ROOT
from nvlib.arrays import Hardware
from nvlib.chip import Chip
from nvlib.converters import Adc, Nonlinearity
from nvlib.devices import DeviceModel, RangeVariation, ReadNoise
from nvlib.mapping import Mapping
from nvlib.network import quantized_logits

REAL = Hardware(
    Mapping(cell_bits=2),
    DeviceModel(effects=(RangeVariation(0.05),), read_noise=ReadNoise(0.02)),
    Adc(8, nonlinearity=Nonlinearity(inl_lsb=0.5, shape="random-walk")),
)


@pytest.mark.parametrize("precision", ["W8A8", "W4A3", "W2A2"])
@pytest.mark.parametrize(
    "mapping",
    [Mapping(), Mapping(scheme="signed-digit"), Mapping(cell_bits=3, dac_bits=2, scheme="offset")],
)
def test_ideal_chip_is_the_integer_network(network, digits, precision, mapping):
    net, images = network(precision), digits.test_images[:60]
    chip = Chip(net, Hardware(mapping))
    np.testing.assert_array_equal(chip.logits(images), quantized_logits(net, images))


def test_outputs_do_not_depend_on_batch_order_or_threads(network, digits):
    images = digits.test_images[::10][:70]
    chip = Chip(network("W4A3"), REAL, seed=5)
    whole = chip.logits(images, threads=2)
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(chip.logits(images[order], threads=1), whole[order])
    singles = np.concatenate([chip.logits(images[i : i + 1]) for i in range(12)])
    np.testing.assert_array_equal(singles, whole[:12])


@pytest.mark.parametrize(
    ("first", "compiled"), [("pass", True), ("sys.modules['numba'] = None", False)]
)
def test_another_process_gives_the_same_bits_with_and_without_numba(
    network, digits, first, compiled
):
    code = (
        f"import sys; {first}; sys.path.insert(0, '.');"
        "from tests.test_chip import REAL; from nvlib.chip import Chip; from artifact import data;"
        f"from nvlib.compiled import COMPILED; assert COMPILED is {compiled};"
        "from artifact.checkpoints import CheckpointName, load_quantized;"
        "from nvlib.quantizers import Precision;"
        "net = load_quantized(CheckpointName('embedded', 'lenet5', Precision(4, 3), 0));"
        "logits = Chip(net, REAL, 5).logits(data.load_embedded().test_images[:6]);"
        "print(logits.tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    here = Chip(network("W4A3"), REAL, 5).logits(digits.test_images[:6])
    assert done.stdout.strip() == here.tobytes().hex()


def test_seeds_are_chips_and_accesses_are_reads(network, digits):
    images, net = digits.test_images[:20], network("W4A3")
    chip = Chip(net, REAL, seed=1)
    assert (chip.logits(images) != Chip(net, REAL, seed=2).logits(images)).any()
    np.testing.assert_array_equal(chip.logits(images), chip.logits(images))
    assert (chip.logits(images, access=1) != chip.logits(images)).any()


def test_the_seed_draws_the_cells_and_the_converters(network, digits):
    net, images = network("W4A3"), digits.test_images[:9]
    varied = Hardware(devices=DeviceModel(effects=(RangeVariation(0.05),)), adc=REAL.adc)
    one, other = (Chip(net, varied, seed) for seed in (1, 2))  # read noise has a key of its own
    assert (one.logits(images) != other.logits(images)).any()
    for mine, yours in zip(one.layers, other.layers, strict=True):
        assert (mine.conductance != yours.conductance).any()
        assert (mine.curves != yours.curves).any()


def test_two_chips_do_not_share_their_read_noise(network, digits):
    noisy = Hardware(devices=DeviceModel(read_noise=ReadNoise(0.1)), adc=Adc(8))
    one, other = (Chip(network("W4A3"), noisy, seed) for seed in (1, 2))  # equal but for the noise
    images = digits.test_images[:9]
    assert (one.logits(images) != other.logits(images)).any()


def test_bad_input_is_refused_before_any_work(network, digits):
    chip = Chip(network("W4A3"), Hardware())
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 28, 28\)"):
        chip.logits(digits.test_images[:2, :20])
    broken = digits.test_images[:2].astype(float)
    broken[0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="expected finite pixels"):
        chip.logits(broken)
    with pytest.raises(ValueError, match="expected pixels from 0 to 255"):
        chip.logits(digits.test_images[:2].astype(float) * 2)
    with pytest.raises(ValueError, match="expected codes from 0 to 7, received 8"):
        chip.products(0, np.full((1, 1, 28, 28), 8, np.uint8))
    with pytest.raises(ValueError, match="expected uint8 codes of shape"):
        chip.products(0, np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(ValueError, match="seed: expected an integer"):
        Chip(network("W4A3"), Hardware(), seed=-1)
    assert chip.logits(digits.test_images[:0]).shape == (0, 10)
