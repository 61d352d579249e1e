"""One operation of a network after the other, as data: evaluated, pickled, and written as JSON.

Only what is listed here can be written and read: a file cannot name a function of its choice, but
one that computes from tensors, and a module of torch.
"""

from __future__ import annotations

import inspect
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F

from nvlib.checks import refusing, require
from nvlib.storage import plain, restored

#: Name of the value that the first step takes.
IMAGES = "images"


def positions_of(tokens: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Tokens (N P, ..., C) of N images as a map (N, C, P, 1), of which each is a position.

    Examples
    --------
    >>> tokens = torch.rand(6, 5, 4)  # of 2 images: 3 windows of 5 tokens each
    >>> positions_of(tokens, torch.rand(2, 1)).shape
    torch.Size([2, 4, 15, 1])
    >>> bool((tokens_of(positions_of(tokens, torch.rand(2, 1)), tokens) == tokens).all())
    True
    """
    whole = tokens.reshape(images.shape[0], -1, tokens.shape[-1])
    return whole.transpose(1, 2).unsqueeze(-1).contiguous()


def tokens_of(positions: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A map (N, C, P, 1) as tokens (..., C), their places those in `like`."""
    return positions.squeeze(-1).transpose(1, 2).reshape(like.shape[:-1] + positions.shape[1:2])


_OVERRIDABLE = torch.overrides.get_overridable_functions()
_OPERATORS = (
    "abs add and_ eq floordiv ge getitem gt iadd imul invert isub itruediv le lt matmul mod mul ne "
    "neg not_ or_ pow setitem sub truediv"
)
#: Functions that multiply with a matrix of weights, and for which arrays have no form.
_MATRICES = (
    "conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d bilinear convolution lstm "
    "lstm_cell gru gru_cell rnn_tanh rnn_tanh_cell rnn_relu rnn_relu_cell embedding_bag "
    "multi_head_attention_forward"
)
#: Functions that digital logic computes between arrays, by the name they are written with: those
#: which torch lets tensor-like objects override, so they compute from tensors and do nothing else.
FUNCTIONS: dict[str, Callable] = {
    f"{space}.{function.__name__}": function
    for space, functions in (
        ("operator", [getattr(operator, name) for name in _OPERATORS.split()]),
        ("math", [math.ceil, math.floor, math.sqrt]),
        ("linalg", _OVERRIDABLE[torch.linalg]),
        ("torch", [*_OVERRIDABLE[torch], *_OVERRIDABLE[torch.functional]]),
        ("functional", [function for function in vars(F).values() if isinstance(
            function, (FunctionType, BuiltinFunctionType)
        ) and function.__module__ in ("torch", "torch._C._nn", "torch.nn.functional")]),
        ("nvlib", [positions_of, tokens_of]),
    )
    for function in functions
    if function.__name__ not in _MATRICES.split()
} | {"getattr": getattr}  # fmt: skip
#: Names of those functions.
NAMES = {function: name for name, function in FUNCTIONS.items()}
#: Attributes of a tensor.
ATTRIBUTES = frozenset(["shape", "T", "mT", "dtype", "device", "ndim"])
_IN_TORCH = {function.__name__ for function in _OVERRIDABLE[torch]}
_OF_SHAPES = (
    "contiguous dim double expand expand_as float masked_fill new_full new_ones new_zeros numel "
    "repeat reshape_as size to type_as unflatten unfold view view_as"
)
_METHODS = (getattr(method, "__name__", "") for method in _OVERRIDABLE[torch.Tensor])
#: Methods of a tensor: those that are functions of torch too, arithmetic, and what gives a shape.
METHODS = frozenset(
    name
    for name in (*_METHODS, *_OF_SHAPES.split())
    if name.removesuffix("_") in {*_IN_TORCH, *_OF_SHAPES.split()}
    or re.fullmatch("__i?r?(add|sub|mul|div|truediv|pow|matmul|getitem)__", name)
)
#: Modules.
MODULES: dict[str, type[nn.Module]] = {
    name: kind
    for name, kind in vars(nn).items()
    if isinstance(kind, type) and issubclass(kind, nn.Module)
}


@dataclass(frozen=True)
class Value:
    """In the arguments of a step: what another step gave."""

    name: str


#: What a file can hold in the arguments of a step, beside numbers and text.
KNOWN = {"value": Value}


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of a network; in `args` and `kwargs`, a `Value` is what another step gave."""

    name: str  # of the value that it gives
    kind: str  # "layer", "module", "function", "method" or "tensor"
    target: Any  # name of a layer or of a tensor's method, a torch module, a function, a tensor
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
        taken: Any = (self.args, self.kwargs)
        args, kwargs = map_aggregate(  # type: ignore[misc]
            taken, lambda item: values[item.name] if isinstance(item, Value) else item
        )
        if self.kind == "layer":
            values[self.name] = layers[self.target](*args)
        elif self.kind == "method":
            values[self.name] = getattr(args[0], self.target)(*args[1:], **kwargs)
        elif self.kind == "tensor":  # which a later step may change in place
            values[self.name] = self.target.clone()
        else:
            values[self.name] = self.target(*args, **kwargs)
        for name in self.forget:
            del values[name]


def values_of(argument: Any) -> list[str]:
    """Names of the values in an argument, in order."""
    found: list[str] = []

    def look(item: Any) -> None:
        if isinstance(item, Value):
            found.append(item.name)

    map_aggregate(argument, look)
    return found


def is_relu(step: Step) -> bool:
    """Whether a step is a ReLU, written as a module (none that is made of it), function, method."""
    relu = type(step.target) is nn.ReLU or step.target in (torch.relu, F.relu, "relu", "relu_")
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
        elif step.kind == "tensor":
            target, tensors[f"{step.name}/tensor"] = None, step.target.numpy()
        elif step.kind == "function":
            target = NAMES[target]
        taken = {"args": plain(step.args, KNOWN), "kwargs": plain(dict(step.kwargs), KNOWN)}
        facts.append(vars(step) | {"target": target, "forget": list(step.forget)} | taken)
    return facts, tensors


def read(facts: list[dict[str, Any]], tensors: Mapping[str, np.ndarray]) -> tuple[Step, ...]:
    """Inverse of `written`."""
    steps = []
    for fact in facts:
        target = fact["target"]
        if fact["kind"] == "module":
            ((kind, arguments),) = target.items()
            target = MODULES[kind](**restored(arguments, KNOWN)).double().eval()
            names = {key: f"{fact['name']}/{key}" for key in target.state_dict()}
            target.load_state_dict({k: torch.from_numpy(tensors[v]) for k, v in names.items()})
        elif fact["kind"] == "tensor":
            target = torch.from_numpy(tensors[f"{fact['name']}/tensor"])
        elif fact["kind"] == "function":
            target = FUNCTIONS[target]
        args, kwargs = (restored(fact[name], KNOWN) for name in ("args", "kwargs"))
        named = target if fact["kind"] == "method" else args[1] if target is getattr else None
        if named is not None and named not in (ATTRIBUTES if target is getattr else METHODS):
            raise KeyError(named)
        steps.append(Step(fact["name"], fact["kind"], target, args, kwargs, tuple(fact["forget"])))
    return tuple(steps)


def _arguments(step: Step) -> Any:
    """What a module of torch was made with, from its attributes of the same names."""
    module, kind = step.target, type(step.target)
    name, mend = f"digital module '{step.name}'", "pickle the network, or use torch's own modules"
    wanted = "a module of torch.nn, which a file can hold"
    require(MODULES.get(kind.__name__) is kind, name, wanted, kind.__name__, mend)
    names = [name for name in inspect.signature(kind).parameters if hasattr(module, name)]
    found = {name: getattr(module, name) for name in names if name not in ("device", "dtype")}
    found |= {"bias": module.bias is not None} if "bias" in found else {}
    with refusing(name, "a module that is known by its arguments", mend):
        kind(**found).load_state_dict(module.state_dict())
    return plain(found, KNOWN)
