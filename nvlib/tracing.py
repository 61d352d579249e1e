"""A torch network as a graph: which of its modules go onto arrays, which stay digital.

Any network that `torch.fx` can trace is taken, if it is built of what is listed here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from nvlib.steps import FUNCTIONS, IMAGES, METHODS, MODULES, Step, Value, values_of

#: Modules whose products arrays compute.
ARRAY_MODULES = (nn.Conv2d, nn.Linear)
#: Modules that digital logic computes between arrays.
DIGITAL_MODULES = tuple(kind for kind in MODULES.values() if kind not in ARRAY_MODULES)


class _Tracer(fx.Tracer):
    """Traces into every module but torch's own and those left digital as they are."""

    def __init__(self, digital: Sequence[str] = ()) -> None:  # torch pickles without them
        super().__init__()
        self.digital = set(digital)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the module stays one step of the graph."""
        left = module_qualified_name in self.digital
        return left or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, digital: Sequence[str] = ()) -> fx.GraphModule:
    """A copy of a network as a graph in evaluation mode, its batch normalization folded.

    Torch's quantized modules (`torch.ao.nn.quantized`) are taken at the real numbers that
    their codes stand for.

    Parameters
    ----------
    model : torch.nn.Module
    digital : sequence of str
        Paths of modules that stay digital, whatever they are.

    Raises
    ------
    ValueError
        If the network cannot be traced, or has something that is neither supported nor left
        digital; each is named by its path.

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
    tracer = _Tracer(digital)
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
            state = {"weight": weight} | ({} if bias is None else {"bias": bias.detach()})
            real.load_state_dict(state)
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
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        if str(node.target) in digital or isinstance(module, DIGITAL_MODULES):
            return ""
        if isinstance(module, nn.Conv2d):
            return _strange_padding(module, str(node.target))
        if isinstance(module, ARRAY_MODULES):
            return ""
        return f"{type(module).__name__} at '{node.target}'"
    known: dict[str, Callable[[Any], bool]] = {
        "call_function": lambda target: target in FUNCTIONS.values(),
        "call_method": lambda target: target in METHODS,
        "get_attr": lambda target: False,
    }
    if known.get(node.op, lambda target: True)(node.target):
        return ""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack)), "") or "the network itself"
    return f"{getattr(node.target, '__name__', node.target)} in the forward() of '{path}'"


def _strange_padding(module: nn.Conv2d, path: str) -> str:
    if module.padding_mode != "zeros":
        return f"padding_mode='{module.padding_mode}' at '{path}'"
    if module.padding == "same":
        odd = [d * (k - 1) % 2 for d, k in zip(module.dilation, module.kernel_size)]
        return f"uneven padding='same' at '{path}'" if any(odd) else ""
    return ""


def padding_of(module: nn.Conv2d) -> tuple[int, int]:
    """Rows and columns of zeros on each side, whichever way the module says it.

    Examples
    --------
    >>> padding_of(nn.Conv2d(1, 1, 5, padding="same"))
    (2, 2)
    """
    if module.padding == "valid":
        return 0, 0
    if module.padding == "same":
        down, across = (d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size))
        return down, across
    down, across = (int(pad) for pad in module.padding)
    return down, across


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
    return tuple(
        str(node.target)
        for node in traced.graph.nodes
        if node.op == "call_module"
        and str(node.target) not in digital
        and isinstance(traced.get_submodule(str(node.target)), ARRAY_MODULES)
    )


def steps_of(traced: fx.GraphModule, on_arrays: Collection[str]) -> tuple[Step, ...]:
    """A traced network as steps, its digital modules in double precision.

    Parameters
    ----------
    traced : GraphModule
    on_arrays : collection of str
        Paths of the modules that are layers.

    Examples
    --------
    >>> steps_of(trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU())), {"0"})[0].kind
    'layer'
    """
    nodes = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    (given,) = (node for node in traced.graph.nodes if node.op == "placeholder")
    names = {node: IMAGES if node is given else node.name for node in [given, *nodes]}
    last: dict[str, int] = {}
    steps = []
    for place, node in enumerate(nodes):
        args, kwargs = (
            fx.node.map_arg(part, lambda other: Value(names[other]))  # type: ignore
            for part in (node.args, node.kwargs)
        )
        last |= dict.fromkeys(values_of((args, kwargs)), place)
        kind, target = node.op.removeprefix("call_"), node.target
        if kind == "module" and target in on_arrays:
            kind = "layer"
        elif kind == "module":
            target = copy.deepcopy(traced.get_submodule(str(target))).double()
        steps.append(Step(names[node], kind, target, tuple(args), dict(kwargs)))
    gone: dict[int, list[str]] = {}
    for name, place in last.items():
        gone.setdefault(place, []).append(name)
    return tuple(
        replace(step, forget=tuple(gone.get(place, ()))) for place, step in enumerate(steps)
    )
