"""A torch network as a graph: which of its modules go onto arrays, which stay digital.

Convolutions and linear layers go onto arrays; all else that `steps` lists stays digital. What the
graph computes is compared with the network itself, step by step, before it is believed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from nvlib.checks import refusing, require, require_instance, shown
from nvlib.graph.rewrites import (
    Attention,
    attribute,
    calls_of,
    floating,
    lines_as_maps,
    open_attention,
    pad_digitally,
    products_as_modules,
    stays,
    tokens_as_positions,
    write_shared_modules_twice,
)
from nvlib.graph.steps import ATTRIBUTES, IMAGES, METHODS, MODULES, NAMES, Step, Value, values_of
from nvlib.graph.tracer import Tracer, in_place

#: Modules whose products arrays compute.
ARRAY_MODULES = (nn.Conv1d, nn.Conv2d, nn.Linear)
#: Modules that multiply with a matrix as well, which are digital only where the user says so.
MATRICES = (
    nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase,
    nn.MultiheadAttention, nn.Transformer,
)  # fmt: skip
#: Images of each kind, given and random, that a graph is tried on.
PROBES = 4
#: Relative errors of sums in double precision, and of normalization that is folded in single.
PRECISE, FOLDED = 1e-9, 1e-4


def trace(model: nn.Module, images: torch.Tensor, digital: Sequence[str] = ()) -> fx.GraphModule:
    """A copy of a network as a graph in evaluation mode, its batch normalization folded.

    Modules at the paths in `digital` stay digital, whatever they are. Torch's quantized modules
    (`torch.ao.nn.quantized`) are taken at the real numbers that their codes stand for, and
    parametrizations at their present weights. ValueError refuses, by path, what is neither
    supported nor left digital; and what, tried on some `images`, mixes the images of a batch,
    draws at random, or computes something else than the network.
    """
    mend = "pass a torch network; a QuantizedNetwork goes onto a Chip as it is"
    require_instance("model", model, nn.Module, mend)
    name = type(model).__name__
    known, mend = [path for path, _ in model.named_modules() if path], "name modules of the network"
    for path in digital:
        require(path in known, "digital", f"paths of modules among {shown(known)}", path, mend)
    _require_plain(model)
    model = floating(copy.deepcopy(model).cpu().float().eval())
    whole = copy.deepcopy(model)
    open_attention(model, digital)
    noise = _noise(images, 5, seed=1)
    tracer = Tracer(partial(_is_leaf, digital), (noise[:2], noise[2:]))
    mend = "free forward() of choices that depend on values, or leave the part digital"
    with refusing(name, "a network that torch.fx can trace", mend):
        traced = fx.GraphModule(model, tracer.trace(model))
    nodes = traced.graph.nodes
    taken = [node for node in nodes if node.op == "placeholder"]
    given = next(node for node in nodes if node.op == "output").args[0]
    found = f"{len(taken)} inputs and an output of {type(given).__name__}"
    single = len(taken) == 1 and isinstance(given, fx.Node)
    require(single, name, "a forward() of one tensor to one tensor", found, "wrap the network")
    named = not any(node.name == "self" for node in nodes)
    require(named, name, "no module called 'self'", "one", "give it another name")
    _drop_unused(traced)
    write_shared_modules_twice(traced)
    products_as_modules(traced)
    unknown = [_place(node, traced) for node in nodes if not _is_known(node, traced, digital)]
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    if unknown:
        raise ValueError(
            f"{name}: expected Conv1d, Conv2d and Linear, and what computes without weights of "
            f"its own or normalizes, received {'; '.join(unknown[:3])}{more}; replace them, or "
            "leave modules digital with digital=(path, ...)"
        )
    for node, _ in calls_of(traced, (), *ARRAY_MODULES):  # whose input may be written input=x
        node.args, node.kwargs = (*node.args, *node.kwargs.values()), {}
    pad_digitally(traced, digital)
    tokens_as_positions(traced, digital, tracer.values)
    traced = fuse(traced, inplace=True, no_trace=True)  # type: ignore[assignment]
    lines_as_maps(traced, digital)
    _drop_unused(traced)
    *_, last, output = traced.graph.nodes
    if output.args[0] is not last:  # a change in place stands behind it, or what nobody takes
        with traced.graph.inserting_before(output):
            output.args = (traced.graph.call_method("clone", output.args),)
        traced.recompile()
    _try(traced, whole, images)
    return traced


def _is_leaf(digital: Sequence[str], module: nn.Module, path: str) -> bool:
    """Whether a module is one step: torch's own that hold no layers, and those left digital."""
    own = type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential)
    held = [one for one in module.modules() if one is not module]
    left = stays(path, digital) and not isinstance(module, (Attention, nn.Sequential))
    return left or (own and not any(isinstance(one, ARRAY_MODULES) for one in held))


def _noise(images: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Random images of the shape and range of those given."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand((count, *images.shape[1:]), generator=generator)
    return images.min() + (images.max() - images.min()) * noise


def _drop_unused(traced: fx.GraphModule) -> None:
    """Erase what nobody takes, unless it changes something in place."""
    for node in reversed(traced.graph.nodes):
        module = traced.get_submodule(node.target) if node.op == "call_module" else None
        name = getattr(node.target, "__name__", str(node.target))
        changes = (
            in_place(name) or "out" in node.kwargs or node.kwargs.get("inplace")
            or getattr(module, "inplace", False)
        )  # fmt: skip
        kept = node.op in ("placeholder", "output") or node.users or changes
        if name == "_assert" or not kept:
            traced.graph.erase_node(node)
    traced.recompile()


def _require_plain(model: nn.Module) -> None:
    """Refuse hooks, which no array runs, and weights that are not there or not real."""
    for path, module in model.named_modules():
        hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
        what = [getattr(hook, "__qualname__", type(hook).__name__) for hook in hooks[:3]]
        wanted = "no hooks, which no array runs"
        mend = "make them permanent (prune.remove, remove_weight_norm, ...) or remove them"
        require(not hooks, f"module '{path}'", wanted, ", ".join(what), mend)
    for path, tensor in chain(model.named_parameters(), model.named_buffers()):
        found = f"{tensor.dtype} on the {tensor.device.type} device"
        real = not tensor.is_meta and not tensor.is_complex()
        require(real, f"'{path}'", "real numbers in memory", found, "load real weights first")


def _is_known(node: fx.Node, traced: fx.GraphModule, digital: Sequence[str]) -> bool:
    target: Any = node.target
    if node.op == "call_module":
        module = traced.get_submodule(target)
        # A subclass may compute something else.
        listed = type(module) in MODULES.values() and not isinstance(module, MATRICES)
        return stays(target, digital) or type(module) in ARRAY_MODULES or listed
    if target is getattr:
        return node.args[1] in ATTRIBUTES
    return (
        node.op in ("placeholder", "output", "get_attr")
        or (node.op == "call_function" and target in NAMES)
        or (node.op == "call_method" and target in METHODS)
    )


def _argument(names: dict[fx.Node, str], item: Any) -> Any:
    """Of a step's: another's value, a tensor or dtype in double precision, a device by name."""
    if isinstance(item, fx.Node):
        return Value(names[item])
    if isinstance(item, torch.Tensor):
        return item.clone().double() if item.is_floating_point() else item.clone()
    if isinstance(item, torch.device):
        return str(item)
    return torch.float64 if item is torch.float32 else item


def _place(node: fx.Node, traced: fx.GraphModule) -> str:
    """What a node is, and where in the network it stands."""
    target: Any = node.target
    if node.op == "call_module":
        return f"{type(traced.get_submodule(target)).__name__} at '{target}'"
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack)), "") or "the network itself"
    return f"{getattr(target, '__name__', target)} in the forward() of '{path}'"


@torch.no_grad()
def _try(traced: fx.GraphModule, model: nn.Module, images: torch.Tensor) -> None:
    """Refuse a graph of which an image gets what depends on the batch, or is not the model's."""
    images = images[:PROBES].double()
    images = torch.cat([images, _noise(images, PROBES, seed=0)])
    nodes = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    batches = images, images.flip(0)[:-1], images[-1:]
    whole, fewer, alone = (_values(traced, nodes, batch) for batch in batches)
    for node, value, *others in zip(nodes, whole, fewer, alone):
        if not isinstance(value, torch.Tensor):
            continue
        last, place = node is nodes[-1], _place(node, traced)
        # A mask may hold infinities.
        bad = ~value.isfinite() if last else value.isnan()
        found = "NaN or infinity"
        require(not bad.any(), place, "finite values", found, "check the weights and images")
        same = _each_its_own(len(images), [value, *others], 0 if last else None)
        mend = (
            "leave the first axis to the images, write F.dropout(x, training=self.training), keep "
            "statistics in BatchNorm"
        )
        expected = "for each image the same in any batch, every time"
        require(same, place, expected, "what depends on the other images or on chance", mend)
    mend = "write its layers out in forward(), or leave them digital"
    same = all(
        _close(found[-1], _given(model, batch), FOLDED)
        for found, batch in ((whole, batches[0]), (alone, batches[2]))
    )
    require(same, type(model).__name__, "what its graph computes", "something else", mend)


def _given(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Output of the network itself, in double precision unless its forward() asks for single."""
    try:
        return model.double()(images.clone())
    except RuntimeError:  # of operands in two precisions
        return model.float()(images.float())


def _each_its_own(count: int, values: list[torch.Tensor], axis: int | None = None) -> bool:
    """Whether a value is for each of `count` images the same in three batches, along some axis.

    Or else the same altogether, as what hangs on no image is.
    """
    whole, *others = values
    if len({value.ndim for value in values}) > 1:
        return False
    axes = [i for i, sides in enumerate(zip(*(v.shape for v in values))) if len(set(sides)) > 1]
    if not axes and axis is None:
        return all(_close(whole, other) for other in others)
    if len(axes) != 1 or (axis is not None and axes != [axis]) or whole.shape[axes[0]] % count:
        return False
    each, part, last = (value.movedim(axes[0], 0) for value in values)
    each = each.reshape(count, -1)
    wanted = each.flip(0)[:-1].flatten(), each[-1]
    return all(_close(one, other.flatten()) for one, other in zip(wanted, (part, last)))


def _values(traced: fx.GraphModule, nodes: list[fx.Node], images: torch.Tensor) -> list[Any]:
    """What each node gives for a batch, in double precision."""
    values: dict[str, Any] = {IMAGES: images.clone()}
    wanted = f"to take any number of images of shape {tuple(images.shape[1:])}"
    mend = (
        "flatten all but the first axis before a Linear, give a Conv2d (N, C, H, W), fix no batch "
        "in forward()"
    )
    found = []
    for node, step in zip(nodes, steps_of(traced, ())):
        with refusing(_place(node, traced), wanted, mend):
            step.run(values, {})
        value = values[step.name]
        found.append(value.clone() if isinstance(value, torch.Tensor) else value)
    return found


def _close(one: torch.Tensor, other: torch.Tensor, precise: float = PRECISE) -> bool:
    if one.shape != other.shape or not one.numel():
        return one.shape == other.shape
    one, other = one.double(), other.double()
    error = precise * float(one.nan_to_num(posinf=0, neginf=0).abs().max())
    return torch.allclose(one, other, rtol=0, atol=error)


def array_paths(traced: fx.GraphModule, digital: Sequence[str] = ()) -> tuple[str, ...]:
    """Paths of the modules that go onto arrays, in order."""
    return tuple(str(node.target) for node, _ in calls_of(traced, digital, *ARRAY_MODULES))


def steps_of(traced: fx.GraphModule, on_arrays: Collection[str]) -> tuple[Step, ...]:
    """A traced network as steps; those modules are layers, the rest digital and in double."""
    nodes = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    # A blank is in no name of a node, so none is that of the images.
    names = {node: node.name + " " * (node.name == IMAGES) for node in traced.graph.nodes}
    names |= {node: IMAGES for node in traced.graph.nodes if node.op == "placeholder"}
    last: dict[str, int] = {}
    steps = []
    for place, node in enumerate(nodes):
        taken: Any = (node.args, node.kwargs)
        args, kwargs = fx.node.map_aggregate(taken, partial(_argument, names))  # type: ignore[misc]
        last |= dict.fromkeys(values_of((args, kwargs)), place)
        kind, target = node.op.removeprefix("call_"), node.target
        if kind == "module" and target in on_arrays:
            kind = "layer"
        elif kind == "module":
            target = copy.deepcopy(traced.get_submodule(str(target))).double()
        elif kind == "get_attr":
            kind, target = "tensor", _argument(names, attribute(traced, str(target)))
        elif target == "float":
            target = "double"
        steps.append(Step(names[node], kind, target, tuple(args), dict(kwargs)))
    return tuple(
        replace(step, forget=tuple(name for name, end in last.items() if end == place))
        for place, step in enumerate(steps)
    )
