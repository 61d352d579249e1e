"""Networks of all kinds: small copies of what others write, on arrays to the bit."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.zoo import multiply_adds
from nvlib import Adc, Chip, Hardware, QuantizedNetwork, quantize
from nvlib.devices import DeviceModel, ReadNoise
from nvlib.graph.steps import Step


class Gate(nn.Module):
    """Squeeze and excitation with Hardswish (MobileNetV3), inverted and residual."""

    def __init__(self):
        super().__init__()
        self.expand, self.norm = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.less, self.more = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.project, self.act = nn.Conv2d(8, 3, 1), nn.Hardswish(inplace=True)

    def forward(self, x):
        y = self.act(self.depth(F.silu(self.norm(self.expand(x)))))
        scale = F.hardsigmoid(self.more(F.relu(self.less(y.mean((2, 3), keepdim=True)))))
        return (x + self.project(scale * y)).flatten(1)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """Layer norm on channels last, a Linear on maps, a learned scale, global response."""

    def __init__(self):
        super().__init__()
        self.depth, self.norm = nn.Conv2d(3, 3, 5, padding=2, groups=3), LayerNorm2d(3)
        self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.full((3, 1, 1), 0.5))

    def forward(self, x):
        y = self.norm(self.depth(x)).permute(0, 2, 3, 1)
        y = self.two(F.gelu(self.one(y))).permute(0, 3, 1, 2)
        return (x + self.scale * y).mean([-2, -1])


class Vit(nn.Module):
    """Patches, class token, position embedding, torch's attention, pre-normalization."""

    def __init__(self, batch_first=True):
        super().__init__()
        self.patch, self.first = nn.Conv2d(3, 8, 4, 4), batch_first
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.mlp = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        n, _, height, _ = x.shape
        torch._assert(height == 8, "images of 8 rows")
        x = self.patch(x).reshape(n, 8, -1).permute(0, 2, 1)
        x = torch.cat([self.token.expand(n, -1, -1), x], dim=1) + self.position
        y = self.norm(x) if self.first else self.norm(x).transpose(0, 1)
        y, _ = self.attention(y, y, y, need_weights=False)
        x = x + (y if self.first else y.transpose(0, 1))
        return self.head((x + self.mlp(x))[:, 0])


def windows(x, weight, bias, table, size, shift):
    n, height, breadth, channels = x.shape
    x = torch.roll(x, (-shift, -shift), (1, 2))
    x = x.view(n, height // size, size, breadth // size, size, channels)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, channels)
    q, k, v = (
        F.linear(x, weight, bias).reshape(x.shape[0], size**2, 3, 2, -1).permute(2, 0, 3, 1, 4)
    )
    scores = q * (channels // 2) ** -0.5 @ k.transpose(-2, -1) + table
    mask = x.new_zeros((height, breadth))
    for region, rows in enumerate((slice(0, -size), slice(-size, -shift), slice(-shift, None))):
        mask[rows] = region
    count = (height // size) * (breadth // size)
    mask = mask.view(height // size, size, breadth // size, size).permute(0, 2, 1, 3)
    mask = mask.reshape(count, size * size)
    mask = mask.unsqueeze(1) - mask.unsqueeze(2)
    mask = mask.masked_fill(mask != 0, -torch.inf)[:, None]
    scores = scores.view(n, count, 2, size**2, size**2) + mask
    x = torch.einsum("nwhij,nwhjc->nwihc", scores.softmax(-1), v.view(n, count, 2, size**2, -1))
    x = x.reshape(n, height // size, breadth // size, size, size, channels)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(n, height, breadth, channels)
    return torch.roll(x, (shift, shift), dims=(1, 2))


class Swin(nn.Module):
    """Shifted windows with roll, a mask written in place, a table of relative positions."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)
        self.stem, self.table = nn.Conv2d(3, 4, 1), nn.Parameter(torch.randn(9, 2))
        steps = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
        step = steps[:, None] - steps[None] + 1
        self.register_buffer("index", step[..., 0] * 3 + step[..., 1])

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        table = self.table[self.index.view(-1)].view(4, 4, 2).permute(2, 0, 1).unsqueeze(0)
        x = x + self.out(windows(x, self.qkv.weight, self.qkv.bias, table, 2, 1))
        even = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        merged = torch.cat([even[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
        return merged.flatten(1)


class Mixer(nn.Module):
    """Linear across tokens and across channels."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, 4)
        self.norm, self.tokens, self.channels = nn.LayerNorm(6), nn.Linear(4, 4), nn.Linear(6, 6)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + F.gelu(self.tokens(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return (x + self.channels(self.norm(x))).mean(dim=1)


class Shuffle(nn.Module):
    """Channels split and shuffled, a branch resized, group normalization (ShuffleNet, FPN)."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8)
        self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x):
        a, b = self.norm(self.stem(x)).chunk(2, dim=1)
        x = torch.cat((a, self.two(self.one(b).sigmoid())), 1)
        n, channels, height, breadth = x.size()
        x = x.view(n, 2, channels // 2, height, breadth).transpose(1, 2).contiguous()
        x = x.view(n, -1, height, breadth)
        first, second = torch.split(x, 4, dim=1)
        size = (int(height) * 2, breadth * 2)
        first = F.interpolate(first, size=size, mode="bilinear", align_corners=False)
        return (first.amax((2, 3)) - math.sqrt(channels) * F.adaptive_avg_pool2d(second, 1)
                .squeeze(-1).squeeze(-1)) / 3  # fmt: skip


class Standardized(nn.Conv2d):
    """A convolution of weights that are normalized each time."""

    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        spread = self.weight.var((1, 2, 3), keepdim=True, unbiased=False)
        return self._conv_forward(x, (self.weight - mean) / torch.sqrt(spread + 1e-5), self.bias)


def sequence():
    return nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 4, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(4),
        nn.ELU(), nn.Conv1d(4, 4, 3, dilation=2, groups=2, padding="same"), nn.Flatten(),
    )  # fmt: skip


def padded():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), nn.SiLU(),
        nn.Conv2d(4, 4, (2, 3), padding="same"), nn.Upsample(scale_factor=2), nn.PixelUnshuffle(2),
        Standardized(16, 4, 1), nn.PReLU(4), nn.Flatten(),
    )  # fmt: skip


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, norm_first=True)
        self.stem, self.encoder = nn.Conv2d(3, 6, 4, 4), nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return self.encoder(self.stem(x).flatten(2).transpose(1, 2)).mean(1)


PATTERNS = {
    "gate": Gate, "convnext": ConvNext, "vit": Vit, "vit, tokens first": lambda: Vit(False),
    "swin": Swin, "mixer": Mixer, "shuffle": Shuffle, "sequence": sequence, "padded": padded,
    "encoder": Encoder,
}  # fmt: skip


def made(name):
    torch.manual_seed(0)
    model = PATTERNS[name]()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model.eval(), torch.randn(12, 3, 8, 8)


@pytest.mark.parametrize("name", PATTERNS)
def test_networks_of_others_go_onto_arrays_as_they_are(name, tmp_path):
    model, images = made(name)
    network = quantize(model, images, "W8A8")
    wanted = model(images).detach().double().numpy()
    exact = network.logits(images)
    assert np.linalg.norm(exact - wanted) < 0.03 * np.linalg.norm(wanted)
    np.testing.assert_array_equal(Chip(network)(images), exact)
    np.testing.assert_array_equal(network.logits(images[:5]), exact[:5])
    network.save(tmp_path / "network")
    for again in (QuantizedNetwork.load(tmp_path / "network"), pickle.loads(pickle.dumps(network))):
        np.testing.assert_array_equal(again.logits(images), exact)
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Linear))]
    attention = sum(isinstance(module, nn.MultiheadAttention) for module in model.modules())
    assert len(network.layers) == len(layers) + 3 * attention  # queries, keys and values apart


@pytest.mark.parametrize("name", ["vit", "swin", "mixer", "sequence"])
def test_every_token_has_read_noise_of_its_own_whatever_the_batch(name):
    model, images = made(name)
    network = quantize(model, images, "W4A4")
    noisy = Hardware(devices=DeviceModel(read_noise=ReadNoise(0.3)), adc=Adc(bits=8))
    chip = Chip(network, noisy, seed=3)
    found = chip(images)
    assert np.abs(found - chip(images, access=1)).max() > 0
    np.testing.assert_array_equal(chip(images[4:7], threads=1), found[4:7])
    reference = Chip(network, noisy, seed=3, compiled=False)
    np.testing.assert_array_equal(reference(images[:2]), found[:2])


def test_noise_differs_between_tokens_of_the_same_numbers():
    model = nn.Sequential(nn.Flatten(2), nn.Linear(4, 3)).eval()
    images = torch.ones(2, 5, 2, 2)
    images[0] /= 2
    noisy = Hardware(devices=DeviceModel(read_noise=ReadNoise(0.3)), adc=Adc(bits=8))
    found = Chip(quantize(model, images, "W8A8"), noisy)(images)  # (2, 5, 3)
    assert found.shape == (2, 5, 3)
    assert len(np.unique(found[0], axis=0)) > 1


def test_tokens_are_counted_as_positions():
    model, images = made("mixer")
    network = quantize(model, images)
    matrices = {layer.spec.name: layer.input_shape for layer in network.layers}
    assert matrices == {"patch": (3, 8, 8), "tokens": (4, 6, 1), "channels": (6, 4, 1)}
    on_arrays = 48 * 6 * 4 + 4 * 4 * 6 + 6 * 6 * 4
    assert multiply_adds(network) == (on_arrays, on_arrays)


def test_products_of_attention_stay_digital_and_are_counted(tmp_path):
    model, images = made("vit")
    on_arrays, whole = multiply_adds(quantize(model, images))
    assert whole - on_arrays == 2 * 2 * 5 * 5 * 4  # two products, two heads, 5 x 5 pairs of tokens
    network = quantize(model, images, digital=("attention", "mlp"))
    left = multiply_adds(network)
    assert left == (on_arrays - 2 * 5 * 8 * 16 - 4 * 5 * 8 * 8, whole)
    network.save(tmp_path / "network")
    again = QuantizedNetwork.load(tmp_path / "network")
    np.testing.assert_array_equal(again.logits(images), network.logits(images))


def test_a_mask_may_close_pairs_of_tokens():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True, bias=False)
            self.register_buffer("mask", torch.ones(5, 5, dtype=torch.bool).triu(1))

        def forward(self, x):
            y, weights = self.attention(x, x, x, attn_mask=self.mask)
            return torch.cat([y.flatten(1), weights.flatten(1)], 1)

    torch.manual_seed(0)
    model, images = Masked().eval(), torch.randn(8, 5, 4)
    wanted = model(images).detach().numpy()
    assert np.abs(quantize(model, images).logits(images) - wanted).max() < 0.02


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.Conv3d(1, 2, 3), "Conv3d at '0'"),
        (nn.ConvTranspose2d(1, 2, 3), "ConvTranspose2d at '0'"),
    ],
)
def test_products_that_arrays_have_no_form_for_are_refused_by_name(module, name):
    images = torch.rand(4, *(1, 4, 5, 6)[-module.weight.ndim + 1 :])
    images = images if images.ndim == module.weight.ndim else images[:, None]
    model = nn.Sequential(
        module, nn.Conv2d(2, 2, 1) if "2d" in name else nn.Flatten(), nn.Flatten()
    )
    with pytest.raises(ValueError, match=rf"{name}.*digital=\(path"):
        quantize(model, images)


class Item(nn.Module):
    def forward(self, x):
        return x * 2 if x.abs().sum().item() > 0 else x


class First(nn.Module):
    def forward(self, x):
        return x - x.reshape(-1, len(x)).sum(0)[:, None]


@pytest.mark.parametrize("part", [Item, First])
def test_what_hangs_on_values_or_on_the_batch_is_refused(part):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), part())
    with pytest.raises(ValueError, match=r"trace|same in any batch"):
        quantize(model, torch.rand(8, 6))


def test_tokens_before_images_are_refused_not_mixed():
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(x.transpose(0, 1)).transpose(0, 1)

    with pytest.raises(ValueError, match=r"same in any batch.*leave the first axis to the images"):
        quantize(Swapped(), torch.rand(8, 5, 4))


def test_tensors_that_are_changed_in_place_are_whole_again_for_the_next_images():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            offset = torch.ones(3).mul(2)
            offset += self.fc.bias * 0 + 1
            return self.fc(x) + offset

    torch.manual_seed(0)
    network = quantize(Counter().eval(), torch.rand(8, 3))
    assert any(isinstance(step, Step) and step.kind == "tensor" for step in network.steps)
    images = torch.rand(4, 3)
    np.testing.assert_array_equal(network.logits(images), network.logits(images))
