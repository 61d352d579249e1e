"""One chip: the same bits whatever the batch, order, threads, process or dtype."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from artifact.models import ResNet20
from artifact.paths import ROOT
from nvlib import (
    Adc,
    ArrayMapping,
    Chip,
    Dac,
    DeviceModel,
    FakeQuantized,
    Hardware,
    LevelMeans,
    LognormalVariation,
    Nonlinearity,
    ProportionalVariation,
    RangeVariation,
    ReadNoise,
    RetentionDrift,
    SenseColumn,
    StuckCells,
    report,
)
from tests.conftest import model_of

REAL = Hardware(
    ArrayMapping(cell_bits=2),
    DeviceModel(effects=(RangeVariation(0.05),), read_noise=ReadNoise(0.02)),
    Adc(8, nonlinearity=Nonlinearity(inl_lsb=0.5, shape="random-walk")),
)
NOISY = Hardware(devices=DeviceModel(read_noise=ReadNoise(0.1)), adc=Adc(8))


@pytest.mark.parametrize("precision", ["W8A8", "W4A3", "W2A2"])
@pytest.mark.parametrize(
    "mapping",
    [
        ArrayMapping(),
        ArrayMapping(scheme="signed-digit"),
        ArrayMapping(scheme="twos-complement"),
        ArrayMapping(cell_bits=3, dac_bits=2, scheme="offset"),
    ],
)
def test_ideal_chip_is_the_integer_network(network, digits, precision, mapping):
    net, images = network(precision), digits.test_images[:60]
    chip = Chip(net, Hardware(mapping))
    np.testing.assert_array_equal(chip.logits(images), net.logits(images))
    np.testing.assert_array_equal(chip(images), chip.logits(images))
    np.testing.assert_array_equal(chip.predict(images), net.predict(images))


def test_outputs_do_not_depend_on_batch_order_or_threads(network, digits):
    images = digits.test_images[::10][:70]
    chip = Chip(network("W4A3"), REAL, seed=5)
    whole = chip.logits(images, threads=2)
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(chip.logits(images[order], threads=1), whole[order])
    singles = np.concatenate([chip.logits(images[i : i + 1]) for i in range(12)])
    np.testing.assert_array_equal(singles, whole[:12])


def test_nor_do_those_of_any_other_network():
    model, images = model_of("residual")
    noisy = DeviceModel(effects=(RangeVariation(0.05),), read_noise=ReadNoise(0.05))
    chip = Chip.from_torch(model, images, Hardware(devices=noisy, adc=Adc(8)), seed=3)
    whole = chip.logits(images, threads=2)
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(chip.logits(images[order], threads=1), whole[order])
    singles = np.concatenate([chip.logits(images[i : i + 1]) for i in range(8)])
    np.testing.assert_array_equal(singles, whole[:8])
    assert chip.logits(images[:0]).shape == (0, 10)


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", "torch"])
def test_read_noise_hangs_on_the_values_of_pixels_not_on_their_dtype(network, digits, dtype):
    chip, images = Chip(network("W4A3"), NOISY), digits.test_images[:8]
    other = torch.from_numpy(images).double() if dtype == "torch" else images.astype(dtype)
    np.testing.assert_array_equal(chip.logits(other), chip.logits(images))
    changed = images.astype(float)
    changed[0, 0, 0] += 0.25  # too little for a code, enough for another name
    assert (chip.logits(changed)[0] != chip.logits(images)[0]).any()
    np.testing.assert_array_equal(chip.logits(changed)[1:], chip.logits(images)[1:])


@pytest.mark.parametrize(
    ("first", "compiled"), [("pass", True), ("sys.modules['numba'] = None", False)]
)
def test_another_process_gives_the_same_bits_with_and_without_numba(
    network, digits, first, compiled
):
    code = (
        f"import sys; {first}; sys.path.insert(0, '.');"
        "from tests.nvlib.test_chip import REAL; from artifact import data;"
        f"from nvlib.engine.compiled import COMPILED; assert COMPILED is {compiled};"
        "from artifact.checkpoints import CheckpointName, load_quantized;"
        "from nvlib import Chip, Precision;"
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
    assert one.digest() != other.digest()
    for mine, yours in zip(one.arrays, other.arrays, strict=True):
        assert (mine.conductance != yours.conductance).any()
        assert (mine.curves != yours.curves).any()


def test_two_chips_do_not_share_their_read_noise(network, digits):
    one, other = (Chip(network("W4A3"), NOISY, seed) for seed in (1, 2))  # equal but for the noise
    images = digits.test_images[:9]
    assert (one.logits(images) != other.logits(images)).any()


def test_images_that_are_read_in_two_phases_are_counted_once():
    model, images = model_of("residual")  # of signed images, and nothing else that is signed
    chip = Chip.from_torch(model, images, precision="W4A3")
    events = chip.events(images[:7])
    assert [event.images for event in events] == [7] * len(chip.arrays)
    assert [event.accesses for event in events] == [7 * 3 * 144 * 2] + [7 * 3 * 36] * 3 + [7 * 3]


def test_the_two_phases_of_a_signed_input_meet_noise_of_their_own():
    layer = nn.Linear(2, 40, bias=False)
    nn.init.ones_(layer.weight)
    image = torch.tensor([[1.0, -1.0]])  # both phases give the same current, noise apart
    noisy = Hardware(devices=DeviceModel(read_noise=ReadNoise(0.5)), adc=Adc(8))
    logits = [
        Chip.from_torch(nn.Sequential(layer), image, hardware).logits(image)
        for hardware in (noisy, Hardware())
    ]
    assert logits[0].any()
    assert not logits[1].any()


def test_bad_input_is_refused_before_any_work(network, digits):
    chip = Chip(network("W4A3"), Hardware())
    with pytest.raises(ValueError, match=r"images: expected shape \(N, 28, 28\) as in calibration"):
        chip.logits(digits.test_images[:2, :20])
    broken = digits.test_images[:2].astype(float)
    broken[0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="images: expected finite values, received 'NaN or inf"):
        chip.logits(broken)
    with pytest.raises(ValueError, match="expected codes from 0 to 7, received 8"):
        chip.products(0, np.full((1, 1, 28, 28), 8, np.uint8))
    with pytest.raises(ValueError, match="expected uint8 codes of shape"):
        chip.products(0, np.zeros((1, 28, 28), np.uint8))
    for codes in (np.full((1, 84), -1), np.zeros((1, 84)), np.zeros((1, 83), np.uint8)):
        with pytest.raises(ValueError, match=r"fc3: expected uint8 codes of shape \(N, 84\)"):
            Chip(network("W4A3"), compiled=False).products(4, codes)
    with pytest.raises(ValueError, match="images: expected at least one, received 0; pass some"):
        chip.layer_codes(digits.test_images[:0])
    with pytest.raises(ValueError, match="seed: expected an integer"):
        Chip(network("W4A3"), Hardware(), seed=-1)
    with pytest.raises(ValueError, match="full_scale: expected one value, or one for each of 5"):
        Chip(network("W4A3"), Hardware(adc=Adc(4, full_scale=(15.0, 16.0))))
    assert chip.logits(digits.test_images[:0]).shape == (0, 10)


def test_what_is_no_quantized_network_is_refused_with_the_way_to_one():
    model, images = model_of("residual")
    trained = FakeQuantized(model, images, "W4A3")
    with pytest.raises(ValueError, match=r"(?s)network: expected .*QuantizedNetwork.*quantize\(\)"):
        Chip(model)
    with pytest.raises(ValueError, match=r"quantized already.*Chip\(model.freeze\(\), hardware\)"):
        Chip.from_torch(trained, images)
    chip = Chip.from_torch(model, images)
    with pytest.raises(ValueError, match=r"images: expected shape \(N, 1, 12, 12\)"):
        chip.logits(images[:, :, :5])
    with pytest.raises(ValueError, match="hardware: expected a"):
        Chip(chip.network, ArrayMapping())


class Tokens(nn.Module):
    """Linear layers over rows that are folded out of images."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        return self.layers(x.reshape(-1, 4))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("hardware", [Hardware(), NOISY], ids=["ideal", "noisy"])
@pytest.mark.parametrize(
    "layers", [(nn.Linear(4, 3),), (nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))], ids=len
)
def test_a_linear_that_is_fed_tokens_takes_each_as_a_position(layers, hardware, compiled):
    images = torch.rand(6, 5, 4)
    network = Chip.from_torch(Tokens(nn.Sequential(*layers)), images).network
    assert network.layers[0].input_shape == (4, 5, 1)
    chip = Chip(network, hardware, compiled=compiled)
    found = chip.logits(images)
    assert found.shape == (30, 3)
    np.testing.assert_array_equal(chip.logits(images[2:4]), found[10:20])
    assert chip.events(images)[0].images == 6
    if hardware == Hardware():
        np.testing.assert_array_equal(network.logits(images), found)


#: Everything a file can hold, a few things at a time.
STORED = {
    "real": REAL,
    "converters": Hardware(
        ArrayMapping(64, 96, 2, 2, "offset"),
        DeviceModel(30.0, (LognormalVariation(0.1), StuckCells(0.01, 0.02))),
        Adc(6, full_scale=(70.0, 80.0, 90.0, 100.0, 110.0)),
        Dac(Nonlinearity(inl_lsb=0.2, shape="s-shape")),
    ),
    "sense": Hardware(
        devices=DeviceModel(50.0, (ProportionalVariation(0.1), RetentionDrift(1e3))),
        sense=SenseColumn(2),
    ),
    "means": Hardware(devices=DeviceModel(effects=(LevelMeans((0.02, 0.98)),))),
    "gain": Hardware(adc=Adc(7, nonlinearity=Nonlinearity(gain_error=0.05), noise_lsb=0.3)),
}


@pytest.mark.parametrize("name", STORED)
def test_a_chip_pickles_and_a_file_gives_it_back_to_the_bit(network, digits, name, tmp_path):
    chip, images = Chip(network("W4A3"), STORED[name], seed=4), digits.test_images[:5]
    path = tmp_path / "chip.safetensors"
    chip.save(path, {"made": "here"})
    for again in (pickle.loads(pickle.dumps(chip)), Chip.load(path), Chip.load(path.read_bytes())):
        assert again.hardware == chip.hardware
        assert again.seed == 4
        assert again.digest() == chip.digest()
        np.testing.assert_array_equal(again.logits(images), chip.logits(images))


def test_a_deep_network_on_a_chip_fits_a_small_file_and_is_reported_by_layer(tmp_path):
    torch.manual_seed(0)
    model, images = ResNet20().eval(), torch.rand(4, 3, 32, 32)
    chip = Chip.from_torch(model, images, REAL, "W4A3", seed=5)
    chip.save(tmp_path / "chip")
    size = (tmp_path / "chip").stat().st_size
    assert size < 272_000 // 2 + 40_000  # 4 bits for a weight, and the rest
    again = Chip.load(tmp_path / "chip")
    np.testing.assert_array_equal(again.logits(images[:2]), chip.logits(images[:2]))
    layers = report(again, images[:1]).layers
    assert len(layers) == 22 + 1
    assert (layers[["arrays", "area_mm2", "latency_us"]] > 0).all(axis=None)
    assert layers["area_mm2"].iloc[:-1].sum() == pytest.approx(layers["area_mm2"].iloc[-1])


def test_a_pickled_chip_reads_as_it_did(network):
    chip = Chip(network("W4A3"), compiled=False)
    again = pickle.loads(pickle.dumps(chip))
    assert type(again.readers[0]) is type(chip.readers[0])
    assert type(again.readers[0]).__name__ == "ReferenceReader"


@dataclass(frozen=True)
class Mine:
    """An effect of the user's own."""

    size: float

    def apply(self, conductance, cells, generator):
        """Every cell conducts less."""
        return conductance * (1 - self.size)


def test_a_file_cannot_hold_an_effect_of_ones_own_but_a_pickle_can(network, digits, tmp_path):
    chip = Chip(network("W4A3"), Hardware(devices=DeviceModel(effects=(Mine(0.1),))))
    with pytest.raises(ValueError, match=r"Mine: expected one of .*received Mine\(size=0.1\)"):
        chip.save(tmp_path / "chip")
    assert not list(tmp_path.iterdir())
    images = digits.test_images[:3]
    again = pickle.loads(pickle.dumps(chip))
    np.testing.assert_array_equal(again.logits(images), chip.logits(images))
    stranger = type("RangeVariation", (Mine,), {})  # nor one that only has a known name
    with pytest.raises(ValueError, match="RangeVariation: expected one of"):
        Chip(network("W4A3"), Hardware(devices=DeviceModel(effects=(stranger(0.1),)))).save(
            tmp_path / "chip"
        )


def test_a_file_that_is_no_chip_is_a_value_error(network, tmp_path):
    chip, path = Chip(network("W2A2"), REAL), tmp_path / "chip"
    chip.save(path)
    whole = path.read_bytes()
    network("W2A2").save(tmp_path / "network")
    for content in (b"", b"garbage", whole[:-100], whole[:50], whole[: len(whole) // 2],
                    whole.replace(b'\\"seed\\":0', b'\\"seed\\":1'),
                    whole.replace(b"RangeVariation", b"RangeVariatiom"),
                    (tmp_path / "network").read_bytes()):  # fmt: skip
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(ValueError, match="expected"):
            Chip.load(path)


def test_cells_that_this_machine_would_draw_otherwise_are_refused(network, tmp_path, monkeypatch):
    chip = Chip(network("W2A2"), REAL)
    monkeypatch.setattr(Chip, "digest", lambda self: "another machine's")
    chip.save(tmp_path / "chip")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="chip: expected cells as they were saved"):
        Chip.load(tmp_path / "chip")


def test_eight_bit_converters_of_half_the_scale_are_another_chip(network, digits):
    net, images = network("W4A3"), digits.test_images[:5]
    fine, coarse = Hardware(adc=Adc(4)), Hardware(adc=Adc(4, full_scale=40.0))
    assert (Chip(net, fine).logits(images) != Chip(net, coarse).logits(images)).any()
    assert replace(coarse, adc=Adc(4)) == fine


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_chips_read_on_a_gpu_give_the_same_bits(network, digits):
    chips = [Chip(network("W4A3"), REAL, 1, device=device) for device in ("cpu", "cuda")]
    one, other = (chip.logits(digits.test_images[:10]) for chip in chips)
    np.testing.assert_array_equal(one, other)  # integers in float64 are exact anywhere


def test_slow_noise_is_the_same_over_an_inference_and_another_one_next_time(network, digits):
    devices = DeviceModel(effects=(RangeVariation(0.02),), slow_noise=RangeVariation(0.05))
    chips = [
        Chip(network("W2A2"), Hardware(devices=devices), 4, compiled=compiled)
        for compiled in (True, False)
    ]
    images = digits.test_images[:4]
    for access in (0, 1):
        one, other = (chip.logits(images, access=access) for chip in chips)
        np.testing.assert_array_equal(one, other)
        alone = np.concatenate([chips[0].logits(image[None], access=access) for image in images])
        np.testing.assert_array_equal(one, alone)
    chip = chips[0]
    first, second = chip.arrays[2].conductance, chip.at(1).arrays[2].conductance
    written = Chip(chip.network, Hardware(devices=replace(devices, slow_noise=None)), 4)
    quiet, step = written.arrays[2].conductance, 2.0 ** chip.arrays[2].grid_bits
    for found in (first, second):  # around the cells that were written; no cell falls below zero
        error = (found - quiet)[chip.arrays[2].mapped.levels == 1] / step
        assert error.std() == pytest.approx(0.05, rel=0.05)
    assert np.corrcoef((first - quiet).ravel(), (second - quiet).ravel())[0, 1] < 0.4
    assert written.at(1) is written
    assert Chip(chip.network, Hardware(devices=devices), 4).at(1).digest() == chip.at(1).digest()
    with pytest.raises(ValueError, match="access: expected an integer from 0"):
        chip.logits(images, access=-1)


def test_compensation_is_one_number_for_a_layer(network, digits):
    worn = DeviceModel(20.0, (RetentionDrift(1e6, 0.05, 0.01),))
    for scheme in ("differential", "offset", "twos-complement"):
        hardware = Hardware(ArrayMapping(scheme=scheme), worn, compensated=True)
        fast, slow = (Chip(network("W4A3"), hardware, 1, compiled=c) for c in (True, False))
        images = digits.test_images[:2]
        np.testing.assert_array_equal(fast.logits(images), slow.logits(images))
        plain = Chip(network("W4A3"), replace(hardware, compensated=False), 1)
        for one, other in zip(fast.arrays, plain.arrays, strict=True):
            np.testing.assert_array_equal(one.conductance, other.conductance)
            assert (other.correction, other.unit) == (1.0, other.lsb)
            assert one.correction == pytest.approx((1e6 / 20) ** 0.05, rel=0.02)
    ideal = Chip(network("W4A3"), Hardware(compensated=True))
    assert {arrays.correction for arrays in ideal.arrays} == {1.0}


def test_a_compiled_chip_without_numba_is_refused_with_the_way_to_one(network, monkeypatch):
    monkeypatch.setattr("nvlib.chip.COMPILED", False)
    with pytest.raises(ValueError, match="compiled: expected Numba, .* pass compiled=False"):
        Chip(network("W4A3"), compiled=True)
    Chip(network("W4A3"), compiled=False)


def test_layers_and_arrays_err_each_in_its_own_way():
    torch.manual_seed(0)
    same = nn.Linear(300, 300)
    model = nn.Sequential(same, nn.ReLU(), nn.Linear(300, 300))
    model[2].load_state_dict(same.state_dict())
    varied = DeviceModel(3.0, (RangeVariation(0.1),))  # no cell is cut off at 0
    nonlinear = Nonlinearity(inl_lsb=1.0, shape="random-walk", monotone=False)
    chip = Chip.from_torch(model, torch.rand(9, 300), Hardware(devices=varied, adc=Adc(8)))
    first, second = (a.conductance / 2.0**a.grid_bits - a.mapped.levels for a in chip.arrays)
    assert (chip.arrays[0].mapped.levels == chip.arrays[1].mapped.levels).all()
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    curved = Hardware(adc=Adc(8, nonlinearity=nonlinear))
    chips = [Chip(chip.network, curved, seed) for seed in (0, 1)]
    curves = np.concatenate([a.curves.reshape(-1, 255) for one in chips for a in one.arrays])
    assert len(curves) == 2 * 2 * 3 * chips[0].arrays[0].column_tile.max() + 12
    assert len(np.unique(curves, axis=0)) == len(curves)  # one converter to each array
    digests = {one.digest() for one in (*chips, Chip(chip.network))}
    assert len(digests) == 3  # though all have ideal cells


@pytest.mark.parametrize("device", ["gpu", "cuda:99", 3.5])
def test_a_device_that_is_none_is_refused_when_a_chip_is_made(network, device):
    with pytest.raises(ValueError, match="device: expected one that torch has, received .*; write"):
        Chip(network("W4A3"), device=device)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_chip_as_an_access_finds_it_stays_so(network, digits, compiled, tmp_path):
    images = digits.test_images[:3]
    slow = Hardware(devices=DeviceModel(slow_noise=RangeVariation(0.5)))
    chip = Chip(network("W4A3"), slow, 1, compiled)
    third = chip.at(3)
    assert (third(images) != chip(images)).any()
    for again in (pickle.loads(pickle.dumps(third)), pickle.loads(pickle.dumps(chip)).at(3)):
        np.testing.assert_array_equal(again(images), third(images))
    np.testing.assert_array_equal(third.at(0)(images), chip(images))
    third.save(tmp_path / "third.safetensors")
    np.testing.assert_array_equal(Chip.load(tmp_path / "third.safetensors")(images), third(images))


@pytest.mark.parametrize(
    ("number", "codes", "message"),
    [
        (-1, np.ones((1, 84), np.uint8), "number: expected an integer from 0 to 4"),
        ("fc3", np.ones((1, 84), np.uint8), "number: expected an integer from 0 to 4"),
        (4, np.ones((0, 84), np.uint8), "codes: expected at least one"),
    ],
)
def test_products_of_no_array_or_of_nothing_are_refused(network, number, codes, message):
    with pytest.raises(ValueError, match=message):
        Chip(network("W4A3")).products(number, codes)
