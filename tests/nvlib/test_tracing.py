"""Any torch network as a graph: what is folded, what is followed, what is refused by name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nvlib import Chip
from nvlib.tracing import array_paths, steps_of, trace
from tests.conftest import CASES, model_of


@pytest.mark.parametrize("name", CASES)
def test_folding_and_tracing_change_nothing(name):
    model, images = model_of(name)
    traced = trace(model)
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
    model, _ = model_of("residual")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trace(model.train())
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert array_paths(trace(model)) == ("stem", "one", "two", "short", "fc")


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
