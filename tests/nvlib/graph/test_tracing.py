"""Any torch network as a graph: what is folded, what is followed, what is refused by name."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from nvlib import Chip
from nvlib.graph.tracing import array_paths, steps_of, trace
from tests.conftest import CASES, model_of


@pytest.mark.parametrize("name", CASES)
def test_folding_and_tracing_change_nothing(name):
    model, images = model_of(name)
    traced = trace(model, images)
    torch.testing.assert_close(traced(images), model(images), atol=1e-5, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in traced.modules()) or (
        name == "branches"  # where one stands before its convolution, and stays
    )
    values = {"images": images.double()}
    steps = steps_of(traced, ())
    for step in steps:
        step.run(values, {})
    wanted = model.double()(images.double()).detach()
    torch.testing.assert_close(values[steps[-1].name], wanted, atol=1e-5, rtol=1e-4)
    assert set(values) == {steps[-1].name}  # nothing is kept that nobody takes


def test_the_model_of_the_user_is_left_as_it_was():
    model, images = model_of("residual")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trace(model.train(), images)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert array_paths(trace(model, images)) == ("stem", "one", "two", "short", "fc")


def test_what_cannot_go_onto_arrays_is_named_by_its_path():
    other = nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.Hardswish())
    strange = nn.Sequential(nn.Conv2d(1, 2, 3), other, nn.ConvTranspose2d(3, 2, 1))
    images = torch.rand(4, 1, 6, 6)
    with pytest.raises(ValueError, match=r"Transpose2d at '1.0'; \w*d at '2'.*leave modules"):
        Chip.from_torch(strange, images)
    chip = Chip.from_torch(strange, images, digital=("1", "2"))
    wanted = strange(images).detach().numpy()
    assert np.abs(chip.logits(images) - wanted).max() < 0.02
    with pytest.raises(ValueError, match=r"digital: expected paths .* received 'nowhere'"):
        Chip.from_torch(strange, images, digital=("nowhere",))
    with pytest.raises(ValueError, match="expected a Conv2d or Linear to put onto arrays"):
        Chip.from_torch(strange, images, digital=("0", "1", "2"))


class Two(nn.Module):
    def __init__(self, both):
        super().__init__()
        self.fc, self.both = nn.Linear(3, 2), both

    def forward(self, x):
        return (self.fc(x), x) if self.both else self.fc(x)


def test_one_tensor_comes_and_one_goes():
    images = torch.rand(4, 3)
    with pytest.raises(ValueError, match="1 inputs and an output of tuple'; wrap the network"):
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
        return F.conv_transpose2d(x, x[:1])


def test_code_that_cannot_be_traced_or_is_unknown_is_named():
    images = torch.rand(4, 1, 6, 6)
    with pytest.raises(
        ValueError, match=r"network that torch.fx can trace, received TraceError: symbolic"
    ):
        Chip.from_torch(nn.Sequential(nn.Conv2d(1, 1, 3), Choice()), images)
    with pytest.raises(ValueError, match=r"conv_transpose2d in the forward\(\) of 'inner.scores'"):
        Chip.from_torch(Attention(), images)


def small(*layers):
    """A network on images (N, 1, 6, 6), some of its layers given."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), *layers, nn.Flatten(), nn.Linear(32, 3)).eval()


PIXELS = torch.rand(16, 1, 6, 6, generator=torch.Generator().manual_seed(1))
norms = nn.utils.parametrizations


@pytest.mark.parametrize("normalized", [norms.weight_norm, norms.spectral_norm])
def test_parametrized_weights_are_taken_as_they_are(normalized):
    model = small()
    normalized(model[0])
    before = model(PIXELS)
    chip = Chip.from_torch(model, PIXELS)
    assert torch.equal(model(PIXELS), before)  # the user's model still has its own
    assert np.abs(chip(PIXELS) - before.detach().numpy()).max() < 0.01


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        (nn.utils.spectral_norm, "SpectralNorm"),
        (nn.utils.weight_norm, "WeightNorm"),
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "L1Unstructured"),
        (lambda layer: layer.register_forward_hook(lambda m, args, out: 2 * out), "<lambda>"),
    ],
)
def test_hooks_that_no_array_would_run_are_refused_by_name(hook, name):
    model = small()
    hook(model[0])
    with pytest.raises(ValueError, match=f"module '0': expected no hooks.*{name}.*prune.remove"):
        Chip.from_torch(model, PIXELS)


class Each(nn.Module):
    """Layers, and an operation on what they give."""

    def __init__(self, operation, **layers):
        super().__init__()
        self.layers, self.operation = nn.Module(), operation
        for name, layer in (layers or {"first": small()}).items():
            self.layers.add_module(name, layer)

    def forward(self, x):
        layers = dict(self.layers.named_children())
        return self.operation(next(iter(layers.values()))(x), layers)


@pytest.mark.parametrize(
    ("operation", "place"),
    [
        (lambda x, _: F.dropout(x), "dropout in the forward"),
        (lambda x, _: F.dropout2d(x[:, :, None, None]).flatten(1), "dropout2d in the forward"),
        (lambda x, _: x + x[0:1], "getitem in the forward"),
        (lambda x, _: x[::2], "getitem in the forward"),
        (lambda x, _: torch.cat([x, x], 0), "cat in the forward"),
        (lambda x, _: torch.cat([x, x]), "cat in the forward"),
        (lambda x, _: x.view(4, -1), "view in the forward"),
        (lambda x, _: x.T, "getattr in the forward"),
        (lambda x, _: x.mean(), "mean in the forward"),
        (lambda x, _: x.sum(0), "sum in the forward"),
        (lambda x, _: x.permute(1, 0), "permute in the forward"),
    ],
)
def test_what_mixes_the_images_of_a_batch_or_draws_is_refused_by_name(operation, place):
    with pytest.raises(ValueError, match=rf"{place}\(\) of '[^;]*[;:].*") as refusal:
        Chip.from_torch(Each(operation), PIXELS)
    assert len(str(refusal.value)) < 500


def test_statistics_of_the_batch_are_refused_and_those_of_an_image_are_not():
    with pytest.raises(ValueError, match="BatchNorm2d at '1'"):
        Chip.from_torch(small(nn.BatchNorm2d(2, track_running_stats=False)), PIXELS)
    model = small(nn.InstanceNorm2d(2))
    wanted = model(PIXELS).detach().numpy()
    assert np.abs(Chip.from_torch(model, PIXELS)(PIXELS) - wanted).max() < 0.03


def test_names_that_look_like_others_are_told_apart(tmp_path):
    for names in (("a/b", "a.b"), ("keys", "images"), ("images", "input"), ("bias", "a_bias")):
        layers = {name.replace(".", "-"): nn.Conv2d(1, 1, 3, padding=1) for name in names}
        layers["norm"] = nn.BatchNorm2d(1)
        layers["norm"].running_mean.fill_(0.3)
        torch.manual_seed(0)
        model = Each(lambda x, layers: layers["norm"](x.relu()) + list(layers.values())[1](x),
                     **layers).eval()  # fmt: skip
        chip = Chip.from_torch(model, PIXELS)
        wanted = model(PIXELS).detach().numpy()
        assert np.abs(chip(PIXELS) - wanted).max() < 0.03
        chip.save(tmp_path / "chip")
        np.testing.assert_array_equal(Chip.load(tmp_path / "chip")(PIXELS), chip(PIXELS))
    model = nn.Sequential()
    model.add_module("self", nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match="expected no module called 'self'"):
        Chip.from_torch(model, PIXELS)


def test_a_digital_module_and_a_layer_whose_names_meet_keep_their_own_tensors(tmp_path):
    inner = nn.ModuleDict({"b": nn.BatchNorm2d(1)})
    inner["b"].running_mean.fill_(0.5)
    model = Each(lambda x, layers: layers["a"]["b"](x.relu()), a_b=nn.Conv2d(1, 1, 3), a=inner)
    chip = Chip.from_torch(model.eval(), PIXELS)
    chip.save(tmp_path / "chip")
    np.testing.assert_array_equal(Chip.load(tmp_path / "chip")(PIXELS), chip(PIXELS))


def test_an_input_may_be_named():
    model = Each(lambda x, layers: layers["fc"](input=x), first=small(), fc=nn.Linear(3, 2)).eval()
    wanted = model(PIXELS).detach().numpy()
    assert np.abs(Chip.from_torch(model, PIXELS)(PIXELS) - wanted).max() < 0.01


def test_what_is_computed_and_not_given_out_is_left_away():
    def operation(x, layers):
        layers["other"](x)
        return x

    model = Each(operation, first=small(), other=nn.Linear(3, 7)).eval()
    chip = Chip.from_torch(model, PIXELS)
    assert np.abs(chip(PIXELS) - model(PIXELS).detach().numpy()).max() < 0.01


def test_a_step_in_place_leaves_the_images_of_the_user_alone():
    images = torch.randn(8, 1, 6, 6)
    before = images.clone()
    Chip.from_torch(nn.Sequential(nn.ReLU(inplace=True), *small()), images)(images)
    assert torch.equal(images, before)


def test_weights_that_are_not_there_or_not_real_are_refused():
    with pytest.raises(ValueError, match=r"'0.weight': expected real numbers .*meta.*load real"):
        Chip.from_torch(small().to("meta"), PIXELS)
    with pytest.raises(ValueError, match=r"'0.weight': expected real numbers .*complex64"):
        Chip.from_torch(small().to(torch.complex64), PIXELS)
    broken = small()
    broken[0].weight.data[0] = np.nan
    with pytest.raises(ValueError, match="Conv2d at '0': expected finite values"):
        Chip.from_torch(broken, PIXELS)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert Chip.from_torch(small().to(dtype).train(), PIXELS)(PIXELS).shape == (16, 3)


def test_tied_weights_of_two_layers_have_scales_of_their_own():
    layers = {"first": small(), "one": nn.Linear(3, 3), "two": nn.Linear(3, 3)}
    layers["two"].weight = layers["one"].weight
    model = Each(lambda x, layers: layers["two"](layers["one"](x).relu()), **layers).eval()
    chip = Chip.from_torch(model, PIXELS)
    scales = [layer.input_scale for layer in chip.network.layers[-2:]]
    assert scales[0] != scales[1]
    assert np.abs(chip(PIXELS) - model(PIXELS).detach().numpy()).max() < 0.02


def test_a_long_refusal_is_cut():
    model = small(*[nn.ConvTranspose2d(2, 2, 1) for _ in range(300)])
    with pytest.raises(
        ValueError, match="Transpose2d at '3' and 297 more; replace them"
    ) as refusal:
        Chip.from_torch(model, PIXELS)
    assert len(str(refusal.value)) < 500
    with pytest.raises(ValueError, match="digital: expected paths of modules") as refusal:
        Chip.from_torch(model, PIXELS, digital=("no",))
    assert len(str(refusal.value)) < 400


def test_networks_are_traced_where_torch_has_no_quantized_modules(monkeypatch):
    for name in ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized"):
        monkeypatch.setitem(sys.modules, name, None)  # whoever imports it fails
    assert Chip.from_torch(small(), PIXELS)(PIXELS).shape == (16, 3)


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


class Bare(nn.Module):
    """A product of weights that have another name."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(5, 16))
        self.several = nn.ParameterList([torch.randn(3, 5)])

    def forward(self, x):
        return F.linear(F.relu(F.linear(x, self.w)), self.several[0])


class Single(nn.Module):
    """Single precision by name, and a change of values in place at the end."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, x):
        y = self.conv(x.float() / 2)
        y[y < 0] = 0
        return y


@pytest.mark.parametrize(("kind", "shape", "layers"), [(Bare, (16,), 2), (Single, (1, 4, 4), 1)])
def test_weights_of_any_name_and_values_in_any_precision(kind, shape, layers):
    torch.manual_seed(1)
    model = kind()
    images = torch.randn(9, *shape)
    chip = Chip.from_torch(model, images)
    assert len(chip.arrays) == layers
    ours, theirs = chip(images), model(images).detach().numpy()
    assert np.abs(ours - theirs).max() < 0.03 * np.abs(theirs).max()
    np.testing.assert_array_equal(chip(images), chip.network.logits(images))
