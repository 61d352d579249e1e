"""Steps as data: written, read, pickled, and nothing but what is listed."""

from __future__ import annotations

import json
import operator
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nvlib.graph.steps import IMAGES, METHODS, Step, Value, read, written

X = Value(IMAGES)
STEPS = {
    "method": Step("y", "method", "view", (X, -1, 4)),
    "keywords": Step("y", "function", torch.flatten, (X,), {"start_dim": 1}),
    "nested": Step("y", "function", torch.cat, ([X, X],), {"dim": 1}),
    "slice": Step("y", "function", operator.getitem, (X, (slice(None), slice(0, 1, 2), None))),
    "functional": Step("y", "function", F.max_pool2d, (X, (2, 1)), {"ceil_mode": True}),
    "run-time function": Step("y", "function", F.adaptive_max_pool2d, (X, 1)),
    "pool": Step("y", "module", nn.MaxPool2d(2, 1, padding=1, ceil_mode=True), (X,)),
    "mean": Step("y", "module", nn.AvgPool2d(3, 2, count_include_pad=False), (X,)),
    "normalization": Step("y", "module", nn.BatchNorm2d(3, eps=0.5).double().eval(), (X,)),
    "convolution": Step("y", "module", nn.Conv2d(3, 2, (1, 2), bias=False).double(), (X,)),
    "relu": Step("y", "module", nn.ReLU6(), (X,)),
    "tensor": Step("y", "tensor", torch.arange(3.0)),
    "bounds": Step("y", "function", operator.getitem, (X, (..., slice(None, 2)))),
    "type": Step("y", "method", "to", (X,), {"dtype": torch.float64}),
    "attribute": Step("y", "function", getattr, (X, "mT")),
    "layer norm": Step("y", "module", nn.LayerNorm((4, 4)).double(), (X,)),
    "gelu": Step("y", "module", nn.GELU("tanh"), (X,)),
    "upsample": Step("y", "module", nn.Upsample(scale_factor=2.0, mode="bilinear"), (X,)),
    "flatten": Step("y", "module", nn.Flatten(1, 2), (X,)),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_written_and_read_gives_the_same(name):
    step = STEPS[name]
    if isinstance(step.target, nn.BatchNorm2d):
        step.target.running_var.mul_(3)
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    facts, tensors = written((step,))
    (from_file,) = read(json.loads(json.dumps(facts)), tensors)
    found = []
    for one in (step, from_file, pickle.loads(pickle.dumps(step))):
        values = {IMAGES: images}
        one.run(values, {})
        found.append(values["y"])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_values_that_nobody_takes_are_dropped():
    values = {IMAGES: torch.ones(1), "a": torch.ones(1)}
    Step("y", "function", operator.add, (X, Value("a")), forget=("a", IMAGES)).run(values, {})
    assert values == {"y": torch.tensor([2.0])}


def test_a_step_of_a_layer_hands_its_input_over():
    values = {IMAGES: torch.ones(1)}
    Step("y", "layer", "fc", (X,)).run(values, {"fc": lambda x: x + 41})
    assert values["y"] == 42


class Own(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize("kind", [Own, type("ReLU", (nn.Module,), {})])
def test_a_module_that_is_not_listed_is_not_written(kind):
    with pytest.raises(ValueError, match=r"digital module 'y': expected a module of .*received"):
        written((Step("y", "module", kind(), (X,)),))


def test_a_module_that_its_arguments_do_not_tell_is_not_written():
    with pytest.raises(ValueError, match=r"'y': expected a module that is known by its arguments"):
        written((Step("y", "module", nn.MultiheadAttention(4, 2, bias=False), (X,)),))


def test_a_file_names_no_function_method_or_module_of_its_choice():
    sound = written((STEPS["keywords"], STEPS["method"], STEPS["relu"]))[0]
    for number, target in (
        (0, "os.system"), (0, "eval"), (0, "torch.load"), (0, "getattr"), (0, "operator.call"),
        (1, "__reduce__"), (1, "numpy"), (2, {"Own": {"dict": {}}}),
        (2, {"DataParallel": {"dict": {}}}),
    ):  # fmt: skip
        facts = json.loads(json.dumps(sound))
        facts[number]["target"] = target
        with pytest.raises((KeyError, AttributeError, IndexError, TypeError)):
            read(facts, {})
    assert not {"exec", "apply_", "map_", "numpy", "__class__"} & METHODS
