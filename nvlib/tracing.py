"""A torch network as a graph: which of its modules go onto arrays, which stay digital.

Any network that `torch.fx` can trace is taken, if it is built of what `nvlib.steps` lists. What
the graph computes is compared with the network itself, step by step, before it is believed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils import parametrize

from nvlib.checks import require, require_instance, shown
from nvlib.steps import FUNCTIONS, IMAGES, METHODS, MODULES, Step, Value, values_of

#: Modules whose products arrays compute.
ARRAY_MODULES = (nn.Conv2d, nn.Linear)
#: Images of each kind, given and random, that a graph is tried on.
PROBES = 4
#: Relative errors of sums in double precision, and of normalization that is folded in single.
PRECISE, FOLDED = 1e-9, 1e-4


def trace(
    model: nn.Module, digital: Sequence[str] = (), images: torch.Tensor | None = None
) -> fx.GraphModule:
    """A copy of a network as a graph in evaluation mode, its batch normalization folded.

    Modules at the paths in `digital` stay digital, whatever they are. Torch's quantized modules
    (`torch.ao.nn.quantized`) are taken at the real numbers that their codes stand for, and
    parametrizations at their present weights. ValueError refuses, by path, what is neither
    supported nor left digital; and, where `images` are given to try it on, what mixes the images
    of a batch, draws at random, or computes something else than the network.
    """
    mend = "pass a torch network; a QuantizedNetwork goes onto a Chip as it is"
    require_instance("model", model, nn.Module, mend)
    name = type(model).__name__
    known, mend = [path for path, _ in model.named_modules() if path], "name modules of the network"
    for path in digital:
        require(path in known, "digital", f"paths of modules among {shown(known)}", path, mend)
    _require_plain(model)
    model = _floating(copy.deepcopy(model).cpu().float().eval())
    tracer = fx.Tracer()
    is_leaf = tracer.is_leaf_module  # torch's own modules are leaves, and those left digital
    tracer.is_leaf_module = lambda m, path: path in digital or is_leaf(m, path)  # type: ignore
    try:
        traced = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # whatever the network's own code raises while it is traced
        raise ValueError(
            f"{name}: expected a network that torch.fx can trace, received: {str(error)[:200]}; "
            "free forward() of choices that depend on values, or leave the part digital"
        ) from error
    taken = [node for node in traced.graph.nodes if node.op == "placeholder"]
    given = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    found = f"{len(taken)} inputs and an output of {type(given).__name__}"
    single = len(taken) == 1 and isinstance(given, fx.Node)
    require(single, name, "a forward() of one tensor to one tensor", found, "wrap the network")
    nodes = list(traced.graph.nodes)
    named = not any(node.name == "self" for node in nodes)
    require(named, name, "no module called 'self'", "one", "give it another name")
    for node in reversed(nodes[nodes.index(given) + 1 : -1]):  # computed, and not given out
        traced.graph.erase_node(node)
    unknown = [_place(node, traced) for node in traced.graph.nodes
               if not _is_known(node, traced, digital)]  # fmt: skip
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    if unknown:
        raise ValueError(
            f"{name}: expected Conv2d, Linear, BatchNorm, ReLU, ReLU6, pooling, flatten, dropout, "
            f"add and concat, received {'; '.join(unknown[:3])}{more}; replace them, or leave "
            "modules digital with digital=(path, ...)"
        )
    for node in traced.graph.nodes:
        module = traced.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(module, ARRAY_MODULES):  # whose input may be written input=x
            node.args, node.kwargs = (*node.args, *node.kwargs.values()), {}
    _write_shared_modules_twice(traced)
    traced = fuse(traced, inplace=True, no_trace=True)  # type: ignore[assignment]
    if images is not None:
        _try(traced, model, images)
    return traced


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


def _floating(model: nn.Module) -> nn.Module:
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
        real: nn.Module
        if isinstance(module, (quantized.Quantize, quantized.DeQuantize)):
            real = nn.Identity()
        elif isinstance(module, (quantized.Conv2d, quantized.Linear)):
            weight, bias = module.weight().dequantize(), module.bias()
            if isinstance(module, quantized.Conv2d):
                real = nn.Conv2d(
                    module.in_channels, module.out_channels, module.kernel_size, module.stride,
                    module.padding, module.dilation, module.groups, bias is not None,
                    module.padding_mode,
                )  # fmt: skip
            else:
                real = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
            real.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
            if isinstance(module, (fused.ConvReLU2d, fused.LinearReLU)):
                real = nn.Sequential(real, nn.ReLU())
        else:
            continue
        if not path:
            return real.eval()
        model.set_submodule(path, real.eval())
    return model


def _is_known(node: fx.Node, traced: fx.GraphModule, digital: Sequence[str]) -> bool:
    target: Any = node.target
    if node.op == "call_module":
        module = traced.get_submodule(target)
        padded = not isinstance(module, nn.Conv2d) or not _unsupported_padding(module)
        # A subclass may compute something else.
        return target in digital or (type(module) in MODULES.values() and padded)
    return (
        node.op in ("placeholder", "output")
        or (node.op == "call_function" and target in FUNCTIONS.values())
        or (node.op == "call_method" and target in METHODS)
    )


def _place(node: fx.Node, traced: fx.GraphModule) -> str:
    """What a node is, and where in the network it stands."""
    target: Any = node.target
    if node.op == "call_module":
        module = traced.get_submodule(target)
        padding = _unsupported_padding(module) if isinstance(module, nn.Conv2d) else ""
        return f"{padding or type(module).__name__} at '{target}'"
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack)), "") or "the network itself"
    return f"{getattr(target, '__name__', target)} in the forward() of '{path}'"


def _unsupported_padding(module: nn.Conv2d) -> str:
    if module.padding_mode != "zeros":
        return f"padding_mode='{module.padding_mode}'"
    uneven = any(d * (k - 1) % 2 for d, k in zip(module.dilation, module.kernel_size))
    return "uneven padding='same'" if module.padding == "same" and uneven else ""


def padding_of(module: nn.Conv2d) -> tuple[int, int]:
    """Rows and columns of zeros on each side, whichever way the module says it."""
    sides: Any = (0, 0) if module.padding == "valid" else module.padding
    if module.padding == "same":
        sides = (d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size))
    down, across = sides
    return int(down), int(across)


def _write_shared_modules_twice(traced: fx.GraphModule) -> None:
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


@torch.no_grad()
def _try(traced: fx.GraphModule, model: nn.Module, images: torch.Tensor) -> None:
    """Refuse a graph of which an image gets what depends on the batch, or is not the model's."""
    images = images[:PROBES].double()
    noise = torch.rand((PROBES, *images.shape[1:]), generator=torch.Generator().manual_seed(0))
    images = torch.cat([images, images.min() + (images.max() - images.min()) * noise])
    nodes = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    batches = images, images.flip(0)[:-1], images[-1:]
    whole, fewer, alone = (_values(traced, nodes, batch) for batch in batches)
    for node, value, *others in zip(nodes, whole, fewer, alone):
        if not isinstance(value, torch.Tensor):
            continue
        place = _place(node, traced)
        finite = bool(torch.isfinite(value).all())
        require(finite, place, "finite values", "NaN or infinity", "check the weights and images")
        same = value.numel() % len(images) == 0
        if same:
            each = value.reshape(len(images), -1)
            wanted = each.flip(0)[:-1].flatten(), each[-1]
            same = all(_close(one, other.flatten()) for one, other in zip(wanted, others))
        mend = (
            "leave the first axis to the images, write F.dropout(x, training=self.training), keep "
            "statistics in BatchNorm"
        )
        expected = "for each image the same in any batch, every time"
        require(same, place, expected, "what depends on the other images or on chance", mend)
    own = copy.deepcopy(model).double()(images.clone())
    mend = "write its layers out in forward(), or leave them digital"
    same = _close(whole[-1], own, FOLDED)
    require(same, type(model).__name__, "what its graph computes", "something else", mend)


def _values(traced: fx.GraphModule, nodes: list[fx.Node], images: torch.Tensor) -> list[Any]:
    """What each node gives for a batch, in double precision."""
    values: dict[str, Any] = {IMAGES: images.clone()}
    found = []
    for node, step in zip(nodes, steps_of(traced, ())):
        try:
            step.run(values, {})
        except Exception as error:  # whatever torch says of such shapes
            raise ValueError(
                f"{_place(node, traced)}: expected to take any number of images of shape "
                f"{tuple(images.shape[1:])}, received: {str(error)[:200]}; flatten all but the "
                "first axis before a Linear, give a Conv2d (N, C, H, W), fix no batch in forward()"
            ) from error
        value = values[step.name]
        found.append(value.clone() if isinstance(value, torch.Tensor) else value)
    return found


def _close(one: torch.Tensor, other: torch.Tensor, precise: float = PRECISE) -> bool:
    error = precise * float(one.abs().max()) if one.numel() else 0.0
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=error)


def array_paths(traced: fx.GraphModule, digital: Sequence[str] = ()) -> tuple[str, ...]:
    """Paths of the modules that go onto arrays, in order."""
    called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    on_arrays = [path for path in called if isinstance(traced.get_submodule(path), ARRAY_MODULES)]
    return tuple(path for path in on_arrays if path not in digital)


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
        args, kwargs = fx.node.map_arg(taken, lambda other: Value(names[other]))  # type: ignore
        last |= dict.fromkeys(values_of((args, kwargs)), place)
        kind, target = node.op.removeprefix("call_"), node.target
        if kind == "module" and target in on_arrays:
            kind = "layer"
        elif kind == "module":
            target = copy.deepcopy(traced.get_submodule(str(target))).double()
        steps.append(Step(names[node], kind, target, tuple(args), dict(kwargs)))
    return tuple(
        replace(step, forget=tuple(name for name, end in last.items() if end == place))
        for place, step in enumerate(steps)
    )
