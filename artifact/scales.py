"""Networks quantized after training, kept as the scales of their codes.

Scales are searched for once, in floating point. From them and the float network the codes of every
precision follow by one correctly rounded division each, so they are the same on every processor;
and the scales of all precisions take less room than the codes of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from nvlib import Precision, QuantizedNetwork, quantize
from nvlib.quantizers import MAX_BITS, weight_codes

PIXELS = (0, 255)  # least and largest of an image
#: Scales of weights and inputs, float32 (MAX_BITS, layers): row b - 1 is that of b bits.
Scales = Mapping[str, torch.Tensor]


def fit(model: nn.Module, images: np.ndarray, **known: Any) -> dict[str, torch.Tensor]:
    """Scales of every number of bits: the weights' hang on W alone, the inputs' on A alone.

    Parameters
    ----------
    images : ndarray, shape (N, ...)
        For calibration, as the model takes them.
    **known
        Choices of `nvlib.quantize`.
    """
    found: dict[str, list[list[float]]] = {"weight": [], "input": []}
    for bits in range(1, MAX_BITS + 1):
        layers = quantize(model, images, Precision(bits, bits), **known).layers
        for name, scales in found.items():
            scales.append([getattr(layer, f"{name}_scale") for layer in layers])
    return {name: torch.tensor(scales) for name, scales in found.items()}


def quantized(model: nn.Module, scales: Scales, precision: Precision) -> QuantizedNetwork:
    """The float network's integer codes at given scales; inputs of its layers are not negative.

    Raises
    ------
    ValueError
        If the scales are not those of a network of as many layers.
    """
    white = np.full((1, 28, 28), 255, np.uint8)  # only the form of the network is wanted of it
    form = quantize(model, white, precision, method="max")
    wanted = (MAX_BITS, len(form.layers))
    shapes = {name: tuple(table.shape) for name, table in scales.items()}
    if shapes != {"weight": wanted, "input": wanted}:
        raise ValueError(f"expected scales of shape {wanted}, found {shapes}; fit them anew")
    weights = scales["weight"][precision.weight_bits - 1]
    steps = scales["input"][precision.activation_bits - 1]
    layers = []
    for layer, scale, step in zip(form.layers, weights, steps, strict=True):
        weight = model.get_parameter(f"{layer.spec.name}.weight").detach()
        codes = weight_codes(weight, scale, precision.weight_bits).numpy().astype(np.int8)
        layers.append(
            replace(layer, codes=codes, weight_scale=float(scale), input_scale=float(step))
        )
    return replace(form, layers=tuple(layers), image_range=PIXELS)
