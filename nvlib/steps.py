"""One operation of a network after the other, as data: evaluated, pickled, and written as JSON.

Only what is listed here can be written and read: a file cannot name a function of its choice.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nvlib.checks import require

#: Name of the value that the first step takes.
IMAGES = "images"
#: Functions that digital logic computes between arrays, by the name they are written with.
FUNCTIONS: dict[str, Callable] = {
    f"{space}.{name}": getattr(module, name)
    for space, module, names in (
        ("operator", operator, "add iadd getitem truediv"),
        ("torch", torch, "add cat concat flatten relu"),
        ("functional", F, "relu relu6 max_pool2d avg_pool2d adaptive_avg_pool2d "
         "adaptive_max_pool2d dropout dropout2d"),
    )
    for name in names.split()
} | {"getattr": getattr}  # fmt: skip
#: Names of those functions.
NAMES = {function: name for name, function in FUNCTIONS.items()}
#: Methods of a tensor.
METHODS = frozenset(
    ["add", "add_", "relu", "relu_", "flatten", "view", "reshape", "size", "unsqueeze"]
)
#: Modules.
MODULES: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.MaxPool2d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Dropout, nn.Dropout2d,
    nn.Identity, nn.Conv2d, nn.Linear,
)}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """In the arguments of a step: what another step gave."""

    name: str


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of a network; in `args` and `kwargs`, a `Value` is what another step gave."""

    name: str  # of the value that it gives
    kind: str  # "layer", "module", "function" or "method"
    target: Any  # name of a layer or of a tensor's method, a torch module, a function
    args: tuple = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    forget: tuple[str, ...] = ()  # values that no later step takes

    def __getstate__(self) -> dict[str, Any]:
        # Some functions of torch are made at run time, and can only be pickled by name.
        target = NAMES[self.target] if self.kind == "function" else self.target
        return self.__dict__ | {"target": target}

    def __setstate__(self, state: dict[str, Any]) -> None:
        target = FUNCTIONS[state["target"]] if state["kind"] == "function" else state["target"]
        self.__dict__.update(state | {"target": target})

    def run(self, values: dict[str, Any], layers: Mapping[str, Callable]) -> None:
        """Add what this step gives to `values`, and drop what no later step takes."""
        args, kwargs = filled(self.args, values), filled(dict(self.kwargs), values)
        if self.kind == "layer":
            values[self.name] = layers[self.target](*args)
        elif self.kind == "method":
            values[self.name] = getattr(args[0], self.target)(*args[1:], **kwargs)
        else:
            values[self.name] = self.target(*args, **kwargs)
        self.drop(values)

    def drop(self, values: dict[str, Any]) -> None:
        """Drop what no later step takes."""
        for name in self.forget:
            del values[name]


def filled(argument: Any, values: Mapping[str, Any]) -> Any:
    """An argument with every `Value` in it replaced."""
    if isinstance(argument, Value):
        return values[argument.name]
    if isinstance(argument, (tuple, list)):
        return type(argument)(filled(item, values) for item in argument)
    if isinstance(argument, dict):
        return {key: filled(item, values) for key, item in argument.items()}
    return argument


def values_of(argument: Any) -> list[str]:
    """Names of the values in an argument, in order."""
    if isinstance(argument, Value):
        return [argument.name]
    items = argument.values() if isinstance(argument, Mapping) else argument
    if isinstance(argument, (tuple, list, Mapping)):
        return [name for item in items for name in values_of(item)]
    return []


def is_relu(step: Step) -> bool:
    """Whether a step is a ReLU, written as a module, a function or a method."""
    relu = isinstance(step.target, nn.ReLU) or step.target in (torch.relu, F.relu, "relu", "relu_")
    return relu and step.kind != "layer"  # whose target is a name


def written(steps: tuple[Step, ...]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Steps as plain data for JSON, and the tensors of their modules.

    A module of the user's own class, or anything else that is not listed here, is refused.
    """
    facts: list[dict[str, Any]] = []
    tensors: dict[str, np.ndarray] = {}
    for step in steps:
        target = step.target
        if step.kind == "module":
            target = {type(target).__name__: _arguments(step)}
            state = step.target.state_dict()
            # A slash, as no tensor of a layer has before its last point.
            tensors |= {f"{step.name}/{key}": value.numpy() for key, value in state.items()}
        elif step.kind == "function":
            target = NAMES[target]
        taken = {"args": _plain(step.args), "kwargs": _plain(dict(step.kwargs))}
        facts.append(vars(step) | {"target": target, "forget": list(step.forget)} | taken)
    return facts, tensors


def read(facts: list[dict[str, Any]], tensors: Mapping[str, np.ndarray]) -> tuple[Step, ...]:
    """Inverse of `written`."""
    steps = []
    for fact in facts:
        target = fact["target"]
        if fact["kind"] == "module":
            ((kind, arguments),) = target.items()
            target = MODULES[kind](**_read(arguments)).double().eval()
            saved = {key: tensors[f"{fact['name']}/{key}"] for key in target.state_dict()}
            target.load_state_dict({key: torch.from_numpy(saved[key]) for key in saved})
        elif fact["kind"] == "function":
            target = FUNCTIONS[target]
        elif fact["kind"] == "method" and target not in METHODS:
            raise KeyError(target)
        args, kwargs = _read(fact["args"]), _read(fact["kwargs"])
        steps.append(Step(fact["name"], fact["kind"], target, args, kwargs, tuple(fact["forget"])))
    return tuple(steps)


def _arguments(step: Step) -> Any:
    """What a module of torch was made with, from its attributes of the same names."""
    module, kind = step.target, type(step.target)
    known, name = MODULES.get(kind.__name__) is kind, f"digital module '{step.name}'"
    wanted = f"one of {', '.join(MODULES)}, which a file can hold"
    mend = "pickle the network, or use torch's own modules"
    require(known, name, wanted, kind.__name__, mend)
    names = [name for name in inspect.signature(kind).parameters if hasattr(module, name)]
    found = {name: getattr(module, name) for name in names if name not in ("device", "dtype")}
    return _plain(found | ({"bias": module.bias is not None} if "bias" in found else {}))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Value):
        return {"value": argument.name}
    if isinstance(argument, (tuple, list)):
        items = [_plain(item) for item in argument]
        return items if isinstance(argument, list) else {"tuple": items}
    if isinstance(argument, dict):
        return {"dict": {key: _plain(item) for key, item in argument.items()}}
    if isinstance(argument, slice):
        return {"slice": _plain([argument.start, argument.stop, argument.step])}
    simple, wanted = isinstance(argument, (int, float, str)), "numbers, text and what holds them"
    mend = "pickle the network instead"
    require(argument is None or simple, "argument of a step", wanted, argument, mend)
    return argument


def _read(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_read(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "value":
        return Value(content)
    if kind == "dict":
        return {key: _read(item) for key, item in content.items()}
    items = [_read(item) for item in content]
    return slice(*items) if kind == "slice" else tuple(items)
