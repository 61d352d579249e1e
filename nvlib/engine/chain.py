"""Layers that follow one another with nothing but ReLU, max-pooling and flattening between.

Such a chain is read without leaving the kernel's form of the codes: the same numbers as layer by
layer, to the last bit, and faster. Nothing but `nvlib.chip` uses this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nvlib.engine.kernel import CompiledReader, pool_and_quantize
from nvlib.engine.noise import ReadKeys
from nvlib.graph.steps import Step, is_relu, values_of

if TYPE_CHECKING:
    from nvlib.chip import ArrayLayer, Observer


#: Products of images that go through a layer and its pooling together: they stay in the cache.
PRODUCTS = 2**17


class Link(NamedTuple):
    """One layer of a chain, its number on the chip, and the side of the pooling behind it."""

    reader: CompiledReader
    number: int
    pool: int


class Chain(NamedTuple):
    """Layers that are read one after the other, in place of each `ArrayLayer` alone."""

    links: list[Link]

    def read(
        self, values: torch.Tensor, keys: ReadKeys, observe: Observer | None = None
    ) -> torch.Tensor:
        """Real outputs of the last layer for real inputs of the first."""
        (reader, first, _), *_ = self.links
        keys.check(reader.arrays.layer.spec.name, len(values))
        codes = reader.arrays.layer.input_codes(values).numpy().astype(np.uint8)
        reader.arrays.require_codes(codes, keys.of(first))
        codes = reader.pad(codes)
        for (reader, number, pool), following in zip_longest(self.links, self.links[1:]):
            layer, unit, own = reader.arrays.layer, reader.arrays.unit, keys.of(number)
            if observe is not None:
                observe(number, reader.inside(codes))
            if following is None:
                products = reader.read(codes, own)[:, 0, : layer.spec.outputs]
                break
            after = following.reader
            breadth = reader.output_sides[1] if reader.output_sides else 1
            stride = after.padded_shape[2] if after.padding else breadth // pool
            handed = np.zeros((len(codes), after.padded_size), np.uint8)
            few = max(PRODUCTS // reader.products_per_image, 1)
            for start in range(0, len(codes), few):
                part = slice(start, start + few)
                pool_and_quantize(
                    reader.read(codes[part], own[part]), breadth, pool, layer.gain * unit,
                    layer.bias, after.arrays.layer.input_scale,
                    float(after.arrays.layer.precision.activation_max), after.padding or (0, 0),
                    stride, handed[part],
                )  # fmt: skip
            codes = handed
        return torch.from_numpy(layer.real(products, unit))


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
        if step.kind == "layer":
            links, end = _chain(steps, place, layers)
            if len(links) > 1:
                name = f"{step.target}...{steps[end].target}"
                found[name] = Chain(links)
                step, place = replace(step, name=steps[end].name, target=name), end
            else:
                found[step.target] = layers[step.target]
        fused.append(step)
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
    if type(step.target) is nn.Flatten:
        return (step.target.start_dim, step.target.end_dim) == (1, -1)
    given = (*step.args[1:], *step.kwargs.items())
    known = (1,), (1, -1), (("start_dim", 1),)
    return step.target in (torch.flatten, "flatten") and given in known


def _pool_side(step: Step) -> int:
    """Side of a max-pooling whose square windows stand side by side; 0 of any other step."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    if type(step.target) is nn.MaxPool2d:
        given = vars(step.target)
    elif step.target is F.max_pool2d:
        given = dict(zip(names, step.args[1:])) | dict(step.kwargs)
    else:
        return 0
    side = given["kernel_size"]
    sizes = side, given.get("stride") or side, given.get("padding", 0), given.get("dilation", 1)
    pairs = [set(size) if isinstance(size, (tuple, list)) else {size} for size in sizes]
    square = len(pairs[0]) == 1 and pairs[:2] == [pairs[0]] * 2
    plain = square and pairs[2:] == [{0}, {1}] and not any(given.get(k) for k in names[4:])
    return int(pairs[0].pop()) if plain else 0
