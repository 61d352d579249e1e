"""Rewritings of a network into Conv2d, Linear and digital operations, its numbers kept.

Modules before tracing: torch's quantized and parametrized ones, attention. Nodes after it:
products written as functions, padding that no array has, convolutions of one dimension, tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from nvlib.checks import require
from nvlib.graph.steps import positions_of, tokens_of

WINDOW = ("stride", "padding", "dilation", "groups", "padding_mode")
#: Functions that multiply with a matrix, and their arguments.
PRODUCTS: dict[Any, tuple[str, ...]] = {
    F.linear: ("input", "weight", "bias"),
    **dict.fromkeys((F.conv1d, F.conv2d), ("input", "weight", "bias", *WINDOW[:4])),
}


def floating(model: nn.Module) -> nn.Module:
    """Torch's quantized and parametrized modules become those of the weights they stand for."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):  # by a class that the user's module has too
            names = list(module.parametrizations)  # type: ignore[arg-type]
            weights = {name: getattr(module, name).detach().clone() for name in names}
            module.__class__ = type(module).__bases__[0]
            del module.parametrizations
            for name, weight in weights.items():
                module.register_parameter(name, nn.Parameter(weight))
        if isinstance(module, nn.BatchNorm1d) and not module.affine:  # torch cannot fold it
            module.weight = nn.Parameter(torch.ones(module.num_features))
            module.bias = nn.Parameter(torch.zeros(module.num_features))
            module.affine = True
    if not any(type(module).__module__.startswith("torch.ao.") for module in model.modules()):
        return model
    import torch.ao.nn.intrinsic.quantized as fused  # where torch still has it
    import torch.ao.nn.quantized as quantized

    for path, module in list(model.named_modules()):
        if isinstance(module, (quantized.Quantize, quantized.DeQuantize)):
            real: nn.Module = nn.Identity()
        elif isinstance(module, (quantized.Conv2d, quantized.Linear)):
            window = {name: getattr(module, name) for name in WINDOW if hasattr(module, name)}
            real = product(module.weight().dequantize(), module.bias(), **window)
            if isinstance(module, (fused.ConvReLU2d, fused.LinearReLU)):
                real = nn.Sequential(real, nn.ReLU())
        else:
            continue
        if not path:
            return real.eval()
        model.set_submodule(path, real.eval())
    return model


class Attention(nn.Module):
    """What `nn.MultiheadAttention` computes, in layers and functions that can be traced."""

    def __init__(self, path: str, module: nn.MultiheadAttention) -> None:
        super().__init__()
        biases: Any = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
        weights: Any = module.q_proj_weight, module.k_proj_weight, module.v_proj_weight
        if module.in_proj_weight is not None:
            weights = module.in_proj_weight.chunk(3)
        self.query, self.key, self.value = map(product, weights, biases)
        self.out_proj = product(module.out_proj.weight, module.out_proj.bias)
        self.path, self.heads, self.batch_first = path, module.num_heads, module.batch_first
        self.in_proj_bias = None  # so torch's encoders take no short cut around forward()

    def forward(
        self, query: Any, key: Any, value: Any, key_padding_mask: Any = None,
        need_weights: bool = True, attn_mask: Any = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Outputs, and weights of the attention."""
        _require_attention(self.path, key_padding_mask is None, "key_padding_mask")
        given = query, key, value
        if not self.batch_first:
            given = tuple(x.transpose(0, 1) for x in given)
        layers = self.query, self.key, self.value
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (N, heads, T, C / heads)
            for layer, x in zip(layers, given)
        )
        scale = (self.query.out_features // self.heads) ** -0.5
        scores = torch.matmul(q, k.transpose(-2, -1)) * scale
        if attn_mask is not None:
            masked = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(attn_mask, -torch.inf) if masked else scores + attn_mask
        weights = scores.softmax(-1)
        out = self.out_proj(torch.matmul(weights, v).transpose(1, 2).flatten(2))
        out = out if self.batch_first else out.transpose(0, 1)
        return out, weights.mean(1) if average_attn_weights else weights


def open_attention(model: nn.Module, digital: Sequence[str]) -> None:
    """Put `Attention` in place of torch's, but of kinds it has no form for and that are digital."""
    for path, module in list(model.named_modules()):
        if path and type(module) is nn.MultiheadAttention:
            plain = module.bias_k is None and not module.add_zero_attn
            _require_attention(path, plain or stays(path, digital), "bias_k and add_zero_attn")
            if plain:
                model.set_submodule(path, Attention(path, module).eval())


def _require_attention(path: str, plain: bool, without: str) -> None:
    mend = f"leave it digital with digital=('{path}',)"
    require(plain, f"'{path}'", f"attention without {without}", "one", mend)


def stays(path: str, digital: Collection[str]) -> bool:
    """Whether a module stays digital: named itself, or a part of what is."""
    return any(f"{path}.".startswith(f"{named}.") for named in digital)


def product(weight: torch.Tensor, bias: torch.Tensor | None = None, **window: Any) -> nn.Module:
    """A Linear, Conv1d or Conv2d of that weight and bias; `window` is stride, padding and such."""
    outputs, inputs, *sides = weight.shape
    shape = inputs * window.get("groups", 1), outputs, *([tuple(sides)] if sides else [])
    kind: Any = (nn.Linear, nn.Conv1d, nn.Conv2d)[len(sides)]
    layer = kind(*shape, bias=bias is not None, **window)
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer.eval()


def products_as_modules(traced: fx.GraphModule) -> None:
    """F.linear, F.conv1d and F.conv2d of weights become modules, at the path of the weights."""
    for node in list(traced.graph.nodes):
        if node.op != "call_function" or node.target not in PRODUCTS:
            continue
        given = dict(zip(PRODUCTS[node.target], node.args)) | node.kwargs
        factor, *held = (given.pop(name, None) for name in ("input", "weight", "bias"))
        held = [item for item in held if item is not None]
        if any(not isinstance(item, fx.Node) or item.op != "get_attr" for item in held):
            continue  # a product of two values
        layer = product(*(attribute(traced, str(item.target)) for item in held), **given)
        path = str(held[0].target).removesuffix("weight").strip("._")
        if path.startswith("tensor_constant"):  # computed of weights, where it is used
            path = next(reversed(list(node.meta.get("nn_module_stack") or {})), path)
        calls = {str(other.target) for other in traced.graph.nodes if other.op == "call_module"}
        if not path or path in calls or path == held[0].target:  # where weights stand already
            path = f"{path}_{node.name}".strip("_")
        _set(traced, path, layer)
        node.op, node.target, node.args, node.kwargs = "call_module", path, (factor,), {}


def _set(traced: fx.GraphModule, path: str, module: nn.Module) -> None:
    """Put a module at a path, what else stands there being kept."""
    held = dict(traced.named_modules()).get(path)
    if held is not None:
        for name, child in held.named_children():
            module.add_module(name, child)
    traced.add_submodule(path, module)


def attribute(traced: fx.GraphModule, path: str) -> torch.Tensor:
    """A parameter, buffer or constant of a graph."""
    found: Any = reduce(getattr, path.split("."), traced)
    return found.detach()


def calls_of(
    traced: fx.GraphModule, digital: Sequence[str], *kinds: type[nn.Module]
) -> list[tuple[fx.Node, Any]]:
    """Nodes that call modules of these kinds which go onto arrays, and the modules."""
    calls = {node: str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    found = [(n, traced.get_submodule(p)) for n, p in calls.items() if not stays(p, digital)]
    return [(node, module) for node, module in found if type(module) in kinds]


def pad_digitally(traced: fx.GraphModule, digital: Sequence[str]) -> None:
    """Padding other than with zeros, alike on both sides, becomes a step of its own."""
    for node, module in calls_of(traced, digital, nn.Conv1d, nn.Conv2d):
        sides: Any = module._reversed_padding_repeated_twice
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        if mode == "constant" and sides[::2] == sides[1::2]:
            module.padding = tuple(sides[::-2])  # a number for each side, however it was said
            continue
        with traced.graph.inserting_before(node):
            padded = traced.graph.call_function(F.pad, (node.args[0], tuple(sides)), {"mode": mode})
        padded.meta = dict(node.meta)
        node.args = (padded,)
        module.padding, module.padding_mode = (0,) * len(module.kernel_size), "zeros"


def lines_as_maps(traced: fx.GraphModule, digital: Sequence[str]) -> None:
    """A Conv1d becomes a Conv2d on maps (N, C, 1, L)."""
    for node, module in calls_of(traced, digital, nn.Conv1d):
        flat = product(
            module.weight.unsqueeze(2), module.bias, stride=(1, *module.stride),
            padding=(0, *module.padding), dilation=(1, *module.dilation), groups=module.groups,
        )  # fmt: skip
        _between(traced, node, flat, ("call_method", "unsqueeze", (2,)),
                 ("call_method", "squeeze", (2,)))  # fmt: skip


def tokens_as_positions(
    traced: fx.GraphModule, digital: Sequence[str], values: Mapping[fx.Node, tuple]
) -> None:
    """A Linear on tokens becomes a 1 x 1 convolution of which each is a position.

    So its arrays count, and draw their noise, for each token of each image.
    """
    images = next(node for node in traced.graph.nodes if node.op == "placeholder")
    for node, module in calls_of(traced, digital, nn.Linear):
        tokens: Any = node.args[0]
        taken = values.get(tokens)
        if taken is None or (taken[0].ndim, len(taken[0])) == (2, len(values[images][0])):
            continue
        flat = product(module.weight[:, :, None, None], module.bias)
        _between(traced, node, flat, ("call_function", positions_of, (images,)),
                 ("call_function", tokens_of, (tokens,)))  # fmt: skip


def _between(
    traced: fx.GraphModule, node: fx.Node, module: nn.Module, before: tuple, after: tuple
) -> None:
    """Put a module in place of a node's, between two operations; each is (op, target, args)."""
    _set(traced, str(node.target), module)
    made = []
    for (op, target, args), first in ((before, node.args[0]), (after, node)):
        place = traced.graph.inserting_after if first is node else traced.graph.inserting_before
        with place(node):
            made.append(traced.graph.create_node(op, target, (first, *args)))
        made[-1].meta = dict(node.meta)
    node.args = (made[0],)
    node.replace_all_uses_with(made[1], delete_user_cb=lambda user: user is not made[1])


def write_shared_modules_twice(traced: fx.GraphModule) -> None:
    """A module that is called again gets arrays, scales and a folded normalization of its own."""
    called = set()
    for node in traced.graph.nodes:
        if node.op != "call_module":
            continue
        if node.target in called:
            again = f"{node.target}_{node.name}"
            traced.add_submodule(again, copy.deepcopy(traced.get_submodule(str(node.target))))
            node.target = again
        called.add(node.target)
    traced.recompile()
