"""Tracing by torch.fx with two batches of images beside the symbols.

What follows from the shape of an image alone (sides, counts of tokens, choices by them) becomes a
constant of the graph; what hangs on the number of images, or on their values, stays a symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import setitem
from typing import Any
from unittest.mock import patch

import torch
from torch import fx, nn
from torch.fx import _symbolic_trace

#: Attributes and methods that tell of a tensor's shape and kind, not of its numbers.
ATTRIBUTES = frozenset(["shape", "ndim", "dtype", "device", "is_cuda", "is_nested"])
METHODS = frozenset(["size", "dim", "numel", "is_floating_point", "__len__"])
#: Functions that change what they are given, and do not say so by their name's end.
IN_PLACE = frozenset(
    ["setitem", "iadd", "isub", "imul", "itruediv", "__iadd__", "__isub__", "__imul__", "__idiv__"]
)


class Symbol(fx.Proxy):
    """A value of the graph; what its shape says is known."""

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name)

    def __len__(self) -> int:
        found = self.tracer.create_proxy("call_method", "__len__", (self,), {})
        return found if isinstance(found, int) else super().__len__()

    def __setitem__(self, place: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", setitem, (self, place, value), {})


class Tracer(fx.Tracer):
    """Follows forward() of a network with symbols, and with real images beside them.

    Parameters
    ----------
    is_leaf : callable
        (module, path): whether a module is one node of the graph.
    batches : tuple of Tensor
        Two batches of different images, and of different size.
    """

    def __init__(
        self, is_leaf: Callable[[nn.Module, str], bool], batches: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        super().__init__()
        self.is_leaf_module = is_leaf  # type: ignore
        self._batches, self._evaluates = batches, False
        #: What nodes give for each of the batches, where that could be computed.
        self.values: dict[fx.Node, tuple] = {}

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        # Through functions too that are marked as nodes of their own, for their layers' sake.
        through = patch.dict(_symbolic_trace._wrapped_fns_to_patch, clear=True)
        with torch.no_grad(), through:
            graph = super().trace(root, concrete_args)
        graph._tracer_cls = fx.Tracer  # which reads the graph's own code again when unpickled
        return graph

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Symbol(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        if self._evaluates or not isinstance(attr_val, torch.Tensor):
            return attr_val
        return self._constant(attr_val)

    def _constant(self, tensor: torch.Tensor) -> fx.Proxy:
        """A symbol of a parameter, of a buffer, or of what is computed of them alone."""
        node: Any = self.create_arg(tensor)
        self.values[node] = (tensor, tensor)
        return self.proxy(node)

    def call_module(self, m: Any, forward: Any, args: Any, kwargs: Any) -> Any:
        if self._evaluates:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any,
                     **others: Any) -> Any:  # fmt: skip
        found = super().create_proxy(kind, target, args, kwargs, *more, **others)
        node = found.node
        if kind == "placeholder":
            self.values[node] = tuple(batch.clone() for batch in self._batches)
        else:
            self._evaluate(node)
        if node not in self.values:
            return found
        one, other = self.values[node]
        held = node.all_input_nodes
        name = args[1] if target is getattr else getattr(target, "__name__", target)
        if held and all(n.op == "get_attr" for n in held) and not in_place(name):
            self.graph.erase_node(node)
            return self._constant(one) if isinstance(one, torch.Tensor) else one
        if one is None or _is_tensor(one):
            return found
        if any(_is_tensor(self.values[n][0]) for n in held) and name not in ATTRIBUTES | METHODS:
            del self.values[node]  # such as item(): a number of these images
            return found
        if type(one) is not type(other) or one != other:
            return found
        self.graph.erase_node(node)
        return one

    def _evaluate(self, node: fx.Node) -> None:
        """What a node gives; nothing where one that it takes is unknown, or torch refuses."""
        found: list[Any] = []
        target: Any = node.target
        self._evaluates = True
        try:
            for batch in range(len(self._batches)):
                value = partial(self._value, batch=batch)
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), value)  # type: ignore
                if node.op == "call_module":
                    found.append(self.root.get_submodule(target)(*args, **kwargs))
                elif node.op == "call_method":
                    found.append(getattr(args[0], target)(*args[1:], **kwargs))
                else:
                    found.append(target(*args, **kwargs))
            self.values[node] = tuple(found)
        except Exception:  # whatever torch says; what runs the graph says it with its place
            self.values.pop(node, None)
        finally:
            self._evaluates = False

    def _value(self, node: fx.Node, batch: int) -> Any:
        found = self.values[node][batch]
        return found.clone() if node.op == "get_attr" else found  # which stays what it is

    def iter(self, obj: fx.Proxy) -> Iterator:
        if obj.node not in self.values:
            return super().iter(obj)
        parts: Any = obj
        return iter([parts[i] for i in range(len(self.values[obj.node][0]))])


def in_place(name: str) -> bool:
    """Whether a function or method of that name changes what it is given."""
    return (name.endswith("_") and not name.endswith("__")) or name in IN_PLACE


def _is_tensor(value: Any) -> bool:
    """Whether a value is a tensor or holds one."""
    if isinstance(value, (tuple, list)):
        return any(map(_is_tensor, value))
    return isinstance(value, torch.Tensor)
