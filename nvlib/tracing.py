"""A torch network as a graph: which of its modules go onto arrays, which stay digital.

Any network that `torch.fx` can trace is taken, if it is built of what is listed here.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from nvlib.steps import FUNCTIONS, IMAGES, METHODS, MODULES, Step, Value, values_of

#: Modules whose products arrays compute.
ARRAY_MODULES = (nn.Conv2d, nn.Linear)
#: Modules that digital logic computes between arrays.
DIGITAL_MODULES = tuple(kind for kind in MODULES.values() if kind not in ARRAY_MODULES)


def trace(model: nn.Module, digital: Sequence[str] = ()) -> fx.GraphModule:
    """A copy of a network as a graph in evaluation mode, its batch normalization folded.

    Modules at the paths in `digital` stay digital, whatever they are. Torch's quantized modules
    (`torch.ao.nn.quantized`) are taken at the real numbers that their codes stand for. Refused is
    a network that cannot be traced, or has something neither supported nor left digital.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    >>> [str(node.target) for node in trace(net).graph.nodes]
    ['input', '0', '2', 'output']
    """
    paths = dict(model.named_modules())
    unknown = [path for path in digital if path not in paths or not path]
    if unknown:
        raise ValueError(
            f"digital: expected paths of modules among {sorted(filter(None, paths))}, received "
            f"{unknown[0]!r}; name modules of the network"
        )
    model = _floating(copy.deepcopy(model).cpu().float().eval())
    tracer = fx.Tracer()
    known = tracer.is_leaf_module  # torch's own modules are leaves, and those left digital
    tracer.is_leaf_module = lambda m, path: path in digital or known(m, path)  # type: ignore
    try:
        traced = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # whatever the network's own code raises while it is traced
        raise ValueError(
            f"{type(model).__name__}: expected a network that torch.fx can trace, received: "
            f"{error}; free forward() of choices that depend on values, or leave the part digital"
        ) from error
    taken = [node for node in traced.graph.nodes if node.op == "placeholder"]
    given = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    if len(taken) != 1 or not isinstance(given, fx.Node):
        raise ValueError(
            f"{type(model).__name__}: expected a forward() of one tensor to one tensor, received "
            f"{len(taken)} inputs and an output of {type(given).__name__}; wrap the network"
        )
    strange = [found for node in traced.graph.nodes if (found := _strange(node, traced, digital))]
    if strange:
        raise ValueError(
            f"{type(model).__name__}: expected Conv2d, Linear, BatchNorm, ReLU, ReLU6, pooling, "
            f"flatten, dropout, add and concat, received {'; '.join(strange)}; replace them, or "
            "leave modules digital with digital=(path, ...)"
        )
    _write_shared_modules_twice(traced)
    return fuse(traced, inplace=True, no_trace=True)  # type: ignore[return-value]


def _floating(model: nn.Module) -> nn.Module:
    """Torch's quantized modules become those of the real numbers that their codes stand for."""
    import torch.ao.nn.intrinsic.quantized as fused  # slow, and seldom needed elsewhere
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


def _strange(node: fx.Node, traced: fx.GraphModule, digital: Sequence[str]) -> str:
    """What a node is that is not supported, with its path; empty if it is."""
    target: Any = node.target
    if node.op == "call_module":
        module = traced.get_submodule(target)
        if target in digital or isinstance(module, DIGITAL_MODULES):
            return ""
        if isinstance(module, nn.Conv2d):
            return _strange_padding(module, target)
        known = isinstance(module, ARRAY_MODULES)
        return "" if known else f"{type(module).__name__} at '{target}'"
    if (
        node.op in ("placeholder", "output")
        or (node.op == "call_function" and target in FUNCTIONS.values())
        or (node.op == "call_method" and target in METHODS)
    ):
        return ""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack)), "") or "the network itself"
    return f"{getattr(target, '__name__', target)} in the forward() of '{path}'"


def _strange_padding(module: nn.Conv2d, path: str) -> str:
    if module.padding_mode != "zeros":
        return f"padding_mode='{module.padding_mode}' at '{path}'"
    uneven = module.padding == "same" and any(
        d * (k - 1) % 2 for d, k in zip(module.dilation, module.kernel_size)
    )
    return f"uneven padding='same' at '{path}'" if uneven else ""


def padding_of(module: nn.Conv2d) -> tuple[int, int]:
    """Rows and columns of zeros on each side, whichever way the module says it.

    Examples
    --------
    >>> padding_of(nn.Conv2d(1, 1, 5, padding="same"))
    (2, 2)
    """
    sides: Any = (0, 0) if module.padding == "valid" else module.padding
    if module.padding == "same":
        sides = (d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size))
    down, across = sides
    return int(down), int(across)


def _write_shared_modules_twice(traced: fx.GraphModule) -> None:
    """A module that is called again gets arrays, scales and a folded normalization of its own."""
    met = set()
    for node in traced.graph.nodes:
        if node.op != "call_module":
            continue
        if node.target in met:
            again = f"{node.target}_{node.name}"
            traced.add_submodule(again, copy.deepcopy(traced.get_submodule(str(node.target))))
            node.target = again
        met.add(node.target)
    traced.recompile()


def array_paths(traced: fx.GraphModule, digital: Sequence[str] = ()) -> tuple[str, ...]:
    """Paths of the modules that go onto arrays, in order.

    Examples
    --------
    >>> array_paths(trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU())))
    ('1',)
    """
    called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    on_arrays = [path for path in called if isinstance(traced.get_submodule(path), ARRAY_MODULES)]
    return tuple(path for path in on_arrays if path not in digital)


def steps_of(traced: fx.GraphModule, on_arrays: Collection[str]) -> tuple[Step, ...]:
    """A traced network as steps; those modules are layers, the rest digital and in double.

    Examples
    --------
    >>> steps_of(trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU())), {"0"})[0].kind
    'layer'
    """
    nodes = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    names = {node: IMAGES if node.op == "placeholder" else node.name for node in traced.graph.nodes}
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
