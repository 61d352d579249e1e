"""Any torch network on arrays: what is computed, what is refused, what training gives back."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from nvlib.arrays import Hardware, held_codes
from nvlib.calibration import calibrated_full_scale
from nvlib.chip import Chip
from nvlib.converters import Adc
from nvlib.devices import DeviceModel, RangeVariation, ReadNoise, StuckCells
from nvlib.energy import operations
from nvlib.finetune import fine_tune
from nvlib.graph import FITTED_VALUES, GraphNetwork
from nvlib.layer_report import layer_report
from nvlib.mapping import Mapping
from nvlib.quantizers import Precision
from nvlib.sparsity import count_events
from nvlib.training import Recipe, fit


class Residual(nn.Module):
    """Batch normalization, a strided block with a projection, an addition."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.one, self.first = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.two, self.second = nn.Conv2d(8, 8, 3, padding="same"), nn.BatchNorm2d(8)
        self.short = nn.Conv2d(6, 8, 1, stride=2)
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        y = F.relu(self.first(self.one(x)))
        x = F.relu6(self.second(self.two(y)) + self.short(x))
        return self.fc(self.drop(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)))


class Branches(nn.Module):
    """Grouped, dilated and rectangular kernels, a concatenation, normalization before the ReLU."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.wide = nn.Conv2d(1, 12, (1, 5), padding=(0, 2))
        self.depth = nn.Conv2d(12, 24, (3, 2), padding=(1, 0), dilation=(2, 1), groups=12)
        self.pool, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(3, 2)
        self.last = nn.Conv2d(36, 10, 1)
        self.fold = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())

    def forward(self, x):
        x = self.wide(self.norm(x))
        deep = self.pool(self.depth(F.relu(x)))
        flat = self.mean(x)[:, :, :4, :4]
        return self.fold(self.last(torch.cat([deep[:, :, :4, :4], flat], dim=1)))


class Shared(nn.Module):
    """One module called twice, and a normalized linear layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.fc, self.last = nn.Linear(48, 16), nn.BatchNorm1d(16)

    def forward(self, x):
        x = self.norm(self.conv(self.conv(x))).relu()
        return self.last(self.fc(torch.flatten(F.max_pool2d(x, 2), 1)))


CASES = {"residual": (Residual, (1, 12, 12)), "branches": (Branches, (1, 11, 10)),
         "shared": (Shared, (3, 8, 8))}  # fmt: skip


def model_of(name):
    """A network whose normalizations have seen data, and images; some pixels are negative."""
    torch.manual_seed(7)
    kind, shape = CASES[name]
    model, images = kind(), torch.randn(40, *shape)
    model.train()
    for _ in range(3):
        model(images)
    return model.eval(), images


@pytest.mark.parametrize("name", CASES)
def test_folding_and_tracing_change_nothing(name):
    model, images = model_of(name)
    torch.testing.assert_close(GraphNetwork(model)(images), model(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("cells", [Mapping(), Mapping(rows=20, cell_bits=2, scheme="offset")])
@pytest.mark.parametrize("precision", [Precision(8, 8), Precision(4, 3), Precision(1, 2)])
@pytest.mark.parametrize("name", CASES)
def test_an_ideal_chip_computes_the_quantized_network(name, precision, cells, compiled):
    model, images = model_of(name)
    network = GraphNetwork(model)
    network.quantize(images, precision)
    chip = Chip(network.freeze(cells.rows), Hardware(cells), compiled=compiled)
    with torch.no_grad():
        expected = network.double()(images[:9].double()).numpy()  # torch's own convolutions
    np.testing.assert_allclose(chip.logits(images[:9]), expected, rtol=1e-5, atol=1e-6)


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
    network = GraphNetwork(nn.Sequential(conv))
    network.quantize(images, Precision(draw(st.integers(1, 8)), draw(st.integers(1, 8))))
    mapping = Mapping(rows=draw(st.integers(3, 128)), cell_bits=draw(st.integers(1, 3)))
    chip = Chip(network.freeze(mapping.rows), Hardware(mapping))
    with torch.no_grad():
        expected = network.double()(images.double()).numpy()
    np.testing.assert_allclose(chip.logits(images), expected, rtol=1e-5, atol=1e-6)


def test_eight_bits_are_close_to_floating_point():
    for name in CASES:
        model, images = model_of(name)
        chip = Chip.from_torch(model, images)
        wanted = model(images).detach().numpy()
        assert np.abs(chip.logits(images) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_outputs_do_not_depend_on_batch_order_or_threads():
    model, images = model_of("residual")
    noisy = DeviceModel(effects=(RangeVariation(0.05),), read_noise=ReadNoise(0.05))
    chip = Chip.from_torch(model, images, Hardware(devices=noisy, adc=Adc(8)), seed=3)
    whole = chip.logits(images, threads=2)
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(chip.logits(images[order], threads=1), whole[order])
    singles = np.concatenate([chip.logits(images[i : i + 1]) for i in range(8)])
    np.testing.assert_array_equal(singles, whole[:8])
    assert chip.logits(images[:0]).shape == (0, 10)


def test_the_two_phases_of_a_signed_input_meet_noise_of_their_own():
    layer = nn.Linear(2, 40, bias=False)
    nn.init.ones_(layer.weight)
    image = torch.tensor([[1.0, -1.0]])  # both phases give the same current, noise apart
    noisy = Hardware(devices=DeviceModel(read_noise=ReadNoise(0.5)), adc=Adc(8))
    logits = [Chip.from_torch(nn.Sequential(layer), image, chip).logits(image)
              for chip in (noisy, Hardware())]  # fmt: skip
    assert logits[0].any()
    assert not logits[1].any()


def test_few_converter_bits_are_made_the_most_of():
    model, images = model_of("residual")
    chip = Chip.from_torch(model, images)
    few = Hardware(adc=Adc(5))
    scales = calibrated_full_scale(chip.network, few, images[:20])
    fitted = replace(few, adc=Adc(5, full_scale=scales))

    def error(hardware):
        logits = Chip(chip.network, hardware).logits(images)
        return np.abs(logits - chip.logits(images)).mean()

    assert len(scales) == len(chip.layers)
    assert error(fitted) < 0.5 * error(few)


def test_precisions_can_differ_by_layer():
    model, images = model_of("residual")
    network = GraphNetwork(model)
    wide = {"stem": Precision(8, 8), "fc": Precision(6, 5)}
    network.quantize(images, Precision(3, 2), wide)
    chip = Chip.from_torch(network, images)
    found = {layer.layer.spec.name: str(layer.precision) for layer in chip.layers}
    assert found == {"stem": "W8A8", "fc": "W6A5"} | dict.fromkeys(("one", "two", "short"), "W3A2")
    assert [arrays.planes for arrays in chip.layers] == [8, 2, 2, 2, 5]


def test_groups_share_arrays_on_the_diagonal_where_they_fit():
    model, images = model_of("branches")
    chip = Chip.from_torch(model, images, Hardware(Mapping(rows=32)))
    depth = [arrays.layer for arrays in chip.layers if arrays.layer.spec.name.startswith("depth")]
    assert [layer.spec.groups for layer in depth] == [5, 5, 2]  # 6 rows to a group
    block = depth[0].matrix.reshape(5, 6, 5, 2)  # groups down, groups across
    assert all(block[i, :, j].any() == (i == j) for i in range(5) for j in range(5))
    events = count_events(chip, images.numpy()[:2])
    assert operations(events[:1]) == 2 * (11 * 10) * 12 * 5
    assert operations(events[1:4]) == 2 * (9 * 9) * 24 * 6


@pytest.mark.parametrize("method", ["max", "percentile", "mse"])
def test_calibration_scales_are_what_they_say(method):
    values = torch.cat([torch.linspace(0, 1, 2000), torch.tensor([50.0])])[:, None]
    network = GraphNetwork(nn.Sequential(nn.Linear(1, 2)))
    network.quantize(values, Precision(8, 4), method=method)
    scale = float(network.log_input_scales["0"].detach().exp())
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
    network = GraphNetwork(nn.Sequential(nn.Conv2d(8, 1, 3)))
    network.quantize(images, Precision(8, 4))
    assert float(network.log_input_scales["0"].detach().exp()) == pytest.approx(1 / 15, rel=0.02)


def test_a_quantized_network_survives_its_state(tmp_path):
    model, images = model_of("residual")
    network = GraphNetwork(model)
    network.quantize(images, Precision(4, 3), {"fc": Precision(8, 8)})
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    again = GraphNetwork(model_of("residual")[0])
    again.load_state_dict(load_file(tmp_path / "network.safetensors"))
    assert again.precisions == network.precisions
    one, other = (Chip.from_torch(net, images) for net in (network, again))
    np.testing.assert_array_equal(one.logits(images), other.logits(images))


def test_what_cannot_go_onto_arrays_is_named_by_its_path():
    strange = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.Sigmoid(), nn.Hardswish()))
    images = torch.rand(4, 1, 6, 6)
    with pytest.raises(ValueError, match=r"Sigmoid at '1.0'; Hardswish at '1.1'.*leave modules"):
        Chip.from_torch(strange, images)
    chip = Chip.from_torch(strange, images, digital=("1",))
    wanted = strange(images).detach().numpy()
    assert np.abs(chip.logits(images) - wanted).max() < 0.02
    with pytest.raises(ValueError, match=r"digital: expected paths .* received 'nowhere'"):
        Chip.from_torch(strange, images, digital=("nowhere",))
    with pytest.raises(ValueError, match="expected a Conv2d or Linear to put onto arrays"):
        Chip.from_torch(strange, images, digital=("0", "1"))
    with pytest.raises(ValueError, match=r"padding_mode='reflect' at '0'"):
        Chip.from_torch(nn.Sequential(nn.Conv2d(1, 1, 3, padding_mode="reflect")), images)
    with pytest.raises(ValueError, match=r"uneven padding='same' at '0'"):
        Chip.from_torch(nn.Sequential(nn.Conv2d(1, 1, 2, padding="same")), images)


class Two(nn.Module):
    def __init__(self, both):
        super().__init__()
        self.fc, self.both = nn.Linear(3, 2), both

    def forward(self, x):
        return (self.fc(x), x) if self.both else self.fc(x)


def test_one_tensor_comes_and_one_goes():
    images = torch.rand(4, 3)
    with pytest.raises(ValueError, match="1 inputs and an output of tuple; wrap the network"):
        Chip.from_torch(Two(both=True), images)
    with pytest.raises(ValueError, match="2 inputs and an output of Node"):
        Chip.from_torch(nn.Bilinear(3, 3, 2), images)
    assert type(Chip.from_torch(Two(both=False).double(), images).logits(images)) is np.ndarray


def test_steps_in_place_and_shapes_are_followed():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
            self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(64, 3)

        def forward(self, x):
            x = self.relu(self.one(x))
            y = self.two(x)
            y += x
            y = F.avg_pool2d(self.relu(y), 2)
            return self.fc(y.reshape(y.shape[0], -1))

    torch.manual_seed(1)
    model, images = Net(), torch.rand(30, 1, 8, 8)
    chip = Chip.from_torch(model, images)
    wanted = model(images).detach().numpy()
    assert np.abs(chip.logits(images) - wanted).max() < 0.03 * np.abs(wanted).max()


class Choice(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"scores": Scores()})

    def forward(self, x):
        return self.inner["scores"](x)


class Scores(nn.Module):
    def forward(self, x):
        return torch.softmax(x, 1)


def test_code_that_cannot_be_traced_or_is_unknown_is_named():
    images = torch.rand(4, 1, 6, 6)
    with pytest.raises(ValueError, match=r"network that torch.fx can trace, received: symbolic"):
        Chip.from_torch(nn.Sequential(nn.Conv2d(1, 1, 3), Choice()), images)
    with pytest.raises(ValueError, match=r"softmax in the forward\(\) of 'inner.scores'"):
        Chip.from_torch(Attention(), images)
    with pytest.raises(ValueError, match=r"input of '0': expected 2 dimensions.*flatten"):
        Chip.from_torch(nn.Sequential(nn.Linear(6, 2)), images)


def test_a_layer_too_tall_for_its_precision_is_refused():
    tall, images = nn.Sequential(nn.Linear(40_000, 1)), torch.rand(2, 40_000)
    with pytest.raises(ValueError, match="products of 0: expected below 2.30, received 1295400000"):
        Chip.from_torch(tall, images)
    logits = Chip.from_torch(tall, images, precision=Precision(4, 4)).logits(images)
    assert np.abs(logits - tall(images).detach().numpy()).max() < 0.5


def test_bad_arguments_are_refused():
    model, images = model_of("residual")
    network = GraphNetwork(model)
    with pytest.raises(ValueError, match=r"expected a quantized one.*call quantize"):
        network.freeze()
    with pytest.raises(ValueError, match="method: expected one of"):
        network.quantize(images, Precision(4, 3), method="best")
    with pytest.raises(ValueError, match=r"overrides: expected paths among .* received 'stm'"):
        network.quantize(images, Precision(4, 3), {"stm": Precision(8, 8)})
    network.quantize(images, Precision(4, 3))
    with pytest.raises(ValueError, match="quantized already, received W8A8"):
        Chip.from_torch(network, images, precision=Precision(8, 8))
    chip = Chip.from_torch(network, images)
    with pytest.raises(ValueError, match=r"images: expected shape \(N, 1, 12, 12\)"):
        chip.logits(images[:, :, :5])
    with pytest.raises(ValueError, match="expected finite values, received 'NaN or infinity'"):
        chip.logits(images / 0)
    with pytest.raises(ValueError, match=r"labels: expected shape \(40,\)"):
        layer_report(chip, images, np.zeros(3))
    with pytest.raises(ValueError, match=r"labels: expected shape \(40,\)"):
        fine_tune(model, images, np.zeros(3), Precision(4, 3))
    with pytest.raises(ValueError, match="at least 128 for one step, received 40"):
        fine_tune(model, images, np.zeros(40), Precision(4, 3), progress=False)


def test_a_network_that_torch_quantized_is_taken_at_its_weights():
    ao = pytest.importorskip("torch.ao.quantization")
    torch.manual_seed(0)
    model = nn.Sequential(
        ao.QuantStub(), nn.Conv2d(1, 4, 3, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5),
        ao.DeQuantStub(),
    ).eval()  # fmt: skip
    images = torch.rand(16, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fused = ao.fuse_modules(model, [["1", "2"]])
        fused.qconfig = ao.get_default_qconfig(torch.backends.quantized.engine)
        observed = ao.prepare(fused)
        observed(images)
        quantized = ao.convert(observed)
    wanted = quantized(images).detach().numpy()
    chip = Chip.from_torch(quantized, images)
    assert np.abs(chip.logits(images) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_held_codes_are_what_a_chip_of_fine_converters_multiplies_with():
    generator = np.random.default_rng(0)
    codes = generator.integers(-7, 8, (30, 5))
    devices = DeviceModel(effects=(RangeVariation(0.05), StuckCells(0.02, 0.02)))
    for scheme in ("differential", "offset"):
        hardware = Hardware(Mapping(cell_bits=2, scheme=scheme), devices)
        held = np.mean(
            [held_codes(codes, Precision(4, 3), hardware, generator) for _ in range(300)], axis=0
        )
        assert np.abs(held - codes).max() > 0.02  # stuck cells
        assert np.abs(held - codes).max() < 2.0
        ideal = held_codes(
            codes, Precision(4, 3), replace(hardware, devices=DeviceModel()), generator
        )
        np.testing.assert_array_equal(ideal, codes)
    leaky = Hardware(devices=DeviceModel(on_off_ratio=5, pedestal_removed=False))
    np.testing.assert_allclose(held_codes(codes, Precision(4, 3), leaky, generator), codes)


def test_training_gives_back_what_low_precision_and_devices_take(digits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
    images = torch.from_numpy(digits.train_images[:, None].astype(np.float32) / 255)
    labels = torch.from_numpy(digits.train_labels.astype(np.int64))
    tests = torch.from_numpy(digits.test_images[:, None].astype(np.float32) / 255)
    fit(model, images, labels, Recipe(epochs=8, shift=0), 0, progress=False)
    worn = Hardware(devices=DeviceModel(effects=(RangeVariation(0.4),)))
    recipe = Recipe(epochs=10, learning_rate=2e-3, shift=0)
    precision = Precision(2, 2)

    def accuracy(network, hardware=None, chips=1):
        hits = [(Chip.from_torch(network, images[:200], hardware, seed=s).predict(tests)
                 == digits.test_labels).mean() for s in range(chips)]  # fmt: skip
        return np.mean(hits)

    plain = GraphNetwork(model)
    plain.quantize(images[:200], precision)
    tuned = fine_tune(model, images, labels, precision, recipe=recipe, progress=False)
    aware = fine_tune(
        model, images, labels, precision, hardware=worn, recipe=recipe, progress=False
    )
    assert accuracy(tuned) > accuracy(plain) + 0.01
    assert accuracy(aware, worn, 4) > accuracy(tuned, worn, 4) + 0.02


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@cuda
def test_chips_read_on_a_gpu_give_the_same_bits(network, digits):
    worn = DeviceModel(effects=(RangeVariation(0.05),), read_noise=ReadNoise(0.05))
    chips = [
        Chip(network("W4A3"), Hardware(devices=worn, adc=Adc(6)), 1, device=device)
        for device in ("cpu", "cuda")
    ]
    one, other = (chip.logits(digits.test_images[:10]) for chip in chips)
    np.testing.assert_array_equal(one, other)  # integers in float64 are exact anywhere


@cuda
def test_training_on_a_gpu_agrees_with_the_cpu():
    model, images = model_of("residual")
    labels, recipe = torch.arange(40) % 10, Recipe(epochs=1, batch=8, shift=0)
    cpu, gpu = (
        fine_tune(model, images, labels, Precision(8, 8), recipe=recipe, device=device,
                  progress=False)
        for device in ("cpu", "cuda")
    )  # fmt: skip
    torch.testing.assert_close(gpu(images), cpu(images), rtol=0.02, atol=0.02)


def test_the_report_adds_up(tmp_path):
    model, images = model_of("residual")
    chip = Chip.from_torch(model, images, precision=Precision(4, 3))
    report = layer_report(chip, images, torch.zeros(40))
    layers, whole = report.layers.iloc[:-1], report.layers.iloc[-1]
    assert layers["layer"].tolist() == ["stem", "one", "two", "short", "fc"]
    for name in ("arrays", "reads", "conversions", "energy_pj", "energy_share"):
        assert layers[name].sum() == pytest.approx(whole[name])
    assert layers["reads"].tolist() == [2 * 144 * 3, 36 * 3, 36 * 3, 36 * 3, 3]  # signed images
    assert whole["utilization"] == pytest.approx(
        sum(k * m * 6 for k, m in ((9, 6), (54, 8), (72, 8), (6, 8), (8, 10)))
        / (whole["arrays"] * 128 * 128)
    )
    assert report.latency_s == pytest.approx(whole["reads"] * 100e-9)
    assert "accuracy" in str(report)
    report.save(tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_text().startswith("layer,matrix,precision,arrays")
