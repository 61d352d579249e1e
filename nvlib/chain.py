"""Layers that follow one another with nothing but ReLU, max-pooling and flattening between.

Such a chain is read without leaving the kernel's form of the codes: the same numbers as layer by
layer, to the last bit, and faster. Nothing but `nvlib.chip` uses this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nvlib.graph.steps import Step, is_relu, values_of
from nvlib.kernel import CompiledReader, pool_and_quantize
from nvlib.noise import ReadKeys

if TYPE_CHECKING:
    from nvlib.chip import ArrayLayer, Observer


#: Products of images that go through a layer and its pooling together: they stay in the cache.
PRODUCTS = 2**17


class Link(NamedTuple):
    """One layer of a chain, its number on the chip, and the side of the pooling behind it."""

    reader: CompiledReader
    number: int
    pool: int


class Chain:
    """Layers that are read one after the other, in place of each `ArrayLayer` alone."""

    def __init__(self, links: list[Link]) -> None:
        self.links = links

    def read(
        self, values: torch.Tensor, keys: ReadKeys, observe: Observer | None = None
    ) -> torch.Tensor:
        """Real outputs of the last layer for real inputs of the first."""
        first = self.links[0].reader
        keys.check(first.arrays.layer.spec.name, len(values))
        codes = first.pad(first.arrays.layer.input_codes(values).numpy().astype(np.uint8))
        for place, (reader, number, pool) in enumerate(self.links):
            if observe is not None:
                observe(number, reader.inside(codes))
            own = keys.of(number)
            if place + 1 < len(self.links):
                following = self.links[place + 1].reader
                handed = np.zeros((len(codes), following.padded_size), np.uint8)
                few = max(PRODUCTS // reader.products_per_image, 1)
                for start in range(0, len(codes), few):
                    part = slice(start, start + few)
                    products = reader.read(codes[part], own[part])
                    _hand_over(products, reader, pool, following, handed[part])
                codes = handed
        products = reader.read(codes, own)
        layer = reader.arrays.layer
        return torch.from_numpy(
            layer.real(products[:, 0, : layer.spec.outputs], reader.arrays.unit)
        )


def _hand_over(
    products: np.ndarray, reader: CompiledReader, pool: int, following: CompiledReader,
    out: np.ndarray,
) -> None:  # fmt: skip
    """Padded input codes (N, F) of the following layer, to `out`, whose padding is zero."""
    layer, after = reader.arrays.layer, following.arrays.layer
    breadth = reader.output_sides[1] if reader.output_sides else 1
    shape = following.padded_shape
    stride = shape[-1] if len(shape) == 3 else breadth // pool
    pool_and_quantize(
        products, breadth, pool, layer.gain * reader.arrays.unit, layer.bias, after.input_scale,
        float(after.precision.activation_max), following.padding or (0, 0), stride, out,
    )  # fmt: skip


def fuse(
    steps: tuple[Step, ...], layers: Mapping[str, ArrayLayer]
) -> tuple[tuple[Step, ...], dict[str, Any]]:
    """Steps and layers with every chain that ends in a linear layer as one layer.

    Examples
    --------
    >>> from nvlib.chip import ArrayLayer
    >>> layers = {
    ...     arrays.layer.spec.name: ArrayLayer(arrays.layer, [(slice(None), number, reader)])
    ...     for number, (arrays, reader) in enumerate(zip(chip.arrays, chip.readers))
    ... }
    >>> steps, fused = fuse(network.steps, layers)
    >>> [step.target for step in steps], list(fused)
    (['unsqueeze', <built-in function truediv>, 'conv1...fc3'], ['conv1...fc3'])
    """
    fused: list[Step] = []
    found: dict[str, Any] = {}
    place = 0
    while place < len(steps):
        step = steps[place]
        links, end = _chain(steps, place, layers) if step.kind == "layer" else ([], place)
        if len(links) > 1:
            last = steps[end]
            name = f"{step.target}...{last.target}"
            found[name] = Chain(links)
            fused.append(Step(last.name, "layer", name, step.args, {}, step.forget))
            place = end
        else:
            fused.append(step)
            if step.kind == "layer":
                found[step.target] = layers[step.target]
        place += 1
    return tuple(fused), found


def _chain(
    steps: tuple[Step, ...], start: int, layers: Mapping[str, ArrayLayer]
) -> tuple[list[Link], int]:
    """Links of the longest chain from a step on that ends in a linear layer; its last step."""
    links: list[Link] = []
    best: tuple[list[Link], int] = ([], start)
    pool, flat = 1, False
    for place in range(start, len(steps)):
        step = steps[place]
        if place > start and (
            values_of((step.args, step.kwargs)) != [steps[place - 1].name]
            or step.forget != (steps[place - 1].name,)
        ):
            break  # something else takes the value too
        if step.kind == "layer":
            layer = layers[step.target]
            if len(layer.parts) > 1 or layer.layer.signed:
                break
            if links:
                links[-1] = links[-1]._replace(pool=pool)
            ((_, number, reader),) = layer.parts
            links.append(Link(reader, number, 1))  # type: ignore[arg-type]
            pool, flat = 1, False
            if not layer.layer.spec.kernel:
                best = (list(links), place)
        elif _flattens(step):
            flat = True
        elif side := _pool_side(step):
            if pool > 1 or flat:
                break
            pool = side
        elif not is_relu(step):
            break
    return best


def _flattens(step: Step) -> bool:
    """Whether a step makes (N, C, H, W) to (N, C H W)."""
    if isinstance(step.target, nn.Flatten):
        return (step.target.start_dim, step.target.end_dim) == (1, -1)
    given = (*step.args[1:], *step.kwargs.items())
    return step.target in (torch.flatten, "flatten") and given in (
        (1,),
        (1, -1),
        (("start_dim", 1),),
    )


def _pool_side(step: Step) -> int:
    """Side of a max-pooling whose square windows stand side by side; 0 of any other step."""
    sizes: tuple[Any, ...]
    if isinstance(step.target, nn.MaxPool2d):
        kind = step.target
        sizes = kind.kernel_size, kind.stride, kind.padding, kind.dilation
        rest = kind.ceil_mode, kind.return_indices
    elif step.target is F.max_pool2d:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        given = dict(zip(names, step.args[1:], strict=False)) | dict(step.kwargs)
        side = given.get("kernel_size")
        sizes = (side, given.get("stride") or side, given.get("padding", 0),
                 given.get("dilation", 1))  # fmt: skip
        rest = given.get("ceil_mode", False), given.get("return_indices", False)
    else:
        return 0
    pairs: list[set[Any]] = [
        set(size) if isinstance(size, (tuple, list)) else {size} for size in sizes
    ]
    square = len(pairs[0]) == 1 and pairs[:2] == [pairs[0]] * 2
    plain = square and pairs[2:] == [{0}, {1}] and rest == (False, False)
    return int(pairs[0].pop()) if plain else 0
