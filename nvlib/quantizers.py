"""Real numbers to integer codes and back; straight-through training.

Codes and dequantization are separate steps: a crossbar consumes codes only.

* weights: symmetric, ``q`` in [-(2^(W-1)-1), 2^(W-1)-1]; W = 1 is binary, -1 or +1
* activations: unsigned, ``q`` in [0, 2^A-1]

Both are trained with a learned scale (LSQ, Esser et al. 2020, arXiv:1902.08153); for activations
the scale is a learned clip divided by the number of steps (PACT, Choi et al. 2018,
arXiv:1805.06085).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nvlib.checks import require, require_integer, settle_fields

MAX_BITS = 8
#: Values that a scale is fitted to at once, so that they stay in the cache.
BLOCK = 2**15
#: Rows of values that are all smaller are taken as zeros: their squares would be none.
SMALLEST = 1e-18


@dataclass(frozen=True, order=True)
class Precision:
    """Bits of the weights and of the activations, 1 to 8 each.

    Examples
    --------
    >>> Precision(4, 3)
    Precision(weight_bits=4, activation_bits=3)
    >>> print(Precision.parse("W4A3"), Precision(4, 3).weight_max, Precision(4, 3).activation_max)
    W4A3 7 7
    """

    weight_bits: int
    activation_bits: int

    def __post_init__(self) -> None:
        settle_fields(self, "weight_bits activation_bits", require_integer, 1, MAX_BITS)

    @classmethod
    def parse(cls, name: str | Precision) -> Precision:
        """Read a name such as ``"W4A3"``; a precision stays what it is."""
        if isinstance(name, Precision):
            return name
        match: Any = re.fullmatch(r"W(\d{1,3})A(\d{1,3})", name) if isinstance(name, str) else None
        mend = "write W, the weight bits, A and the activation bits"
        require(match is not None, "precision", "a name such as 'W4A3'", name, mend)
        return cls(*map(int, match.groups()))

    @property
    def weight_max(self) -> int:
        """Largest weight code; also the largest magnitude that a cell group stores."""
        return max(2 ** (self.weight_bits - 1) - 1, 1)

    @property
    def activation_max(self) -> int:
        """Largest activation code."""
        return 2**self.activation_bits - 1

    def __str__(self) -> str:
        return f"W{self.weight_bits}A{self.activation_bits}"


def to_codes(values: torch.Tensor, scale: Any, lower: int, upper: int) -> torch.Tensor:
    """Nearest integer codes in [lower, upper], in the dtype of `values`; halves go to even.

    A `lower` of 0 clips what is negative, so it is the ReLU too.
    """
    return (values / scale).clamp(lower, upper).round()


def weight_codes(weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Integer codes of `weight`, in the dtype of `weight`."""
    if bits == 1:
        return torch.where(weight < 0, -1.0, 1.0).to(weight.dtype)
    limit = 2 ** (bits - 1) - 1
    return to_codes(weight, scale, -limit, limit)


class _StraightThrough(torch.autograd.Function):
    """Quantize forward; backward, LSQ's gradients (arXiv:1902.08153, eq. 3 and 5).

    LSQ's factor on the gradient of the scale is left out: Adam divides it away.
    """

    @staticmethod
    def forward(ctx, value, scale, lower, upper, binary):
        codes = weight_codes(value, scale, 1) if binary else to_codes(value, scale, lower, upper)
        ctx.save_for_backward(value / scale, codes)
        ctx.lower, ctx.upper, ctx.binary = lower, upper, binary
        ctx.scale_shape = scale.shape
        return codes * scale

    @staticmethod
    def backward(ctx, grad):
        ratio, codes = ctx.saved_tensors
        # A binary weight has no clipped range: its gradient passes everywhere.
        inside = ctx.binary | ((ratio >= ctx.lower) & (ratio <= ctx.upper))
        # Clipped values are code * scale; of the others only the rounding error moves with scale.
        moving = codes if ctx.binary else codes - ratio * inside
        to_scale = (grad * moving).sum_to_size(ctx.scale_shape)
        return grad * inside, to_scale, None, None, None


def fake_quantize_weight(weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Weight after quantization, differentiable in `weight` and `scale`, which may broadcast."""
    limit = max(2 ** (bits - 1) - 1, 1)
    return _StraightThrough.apply(weight, scale, -limit, limit, bits == 1)


def fake_quantize_activation(
    activation: torch.Tensor, scale: torch.Tensor, bits: int, signed: bool = False
) -> torch.Tensor:
    """Activation after quantization, differentiable in both tensors.

    Unsigned codes are the ReLU too; with `signed`, the negative part has as many codes again.
    """
    most = 2**bits - 1
    return _StraightThrough.apply(activation, scale, -most if signed else 0, most, False)


def fit_scale(values: torch.Tensor, lower: int, upper: int) -> torch.Tensor:
    """Scale of the smallest squared error for codes in [lower, upper], for each row of values.

    Parameters
    ----------
    values : Tensor, shape (..., n)

    Returns
    -------
    Tensor, shape (...)
        One of 2 to 100 % of that whose highest code is the largest value, and never zero.

    Examples
    --------
    >>> fit_scale(torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 1.0, 1.5]]), 0, 3)
    tensor([1.0000, 0.5000])
    """
    values = values.detach()
    largest = values.abs().amax(-1, keepdim=True).clamp(min=SMALLEST)
    scales = torch.stack([largest / upper * k / 100 for k in range(100, 1, -1)])  # (99, ..., 1)
    errors = np.zeros(scales.shape[:-1])
    for part in values.split(max(BLOCK // max(largest.numel(), 1), 1), dim=-1):
        block = part.numpy()  # torch's `round` wakes all threads for so few values, and waits
        for number, scale in enumerate(scales.numpy()):
            codes = np.rint(np.clip(block / scale, lower, upper))  # as `to_codes`
            errors[number] += np.square(codes * scale - block).sum(-1)
    best = torch.from_numpy(errors).argmin(0, keepdim=True)
    return scales[..., 0].gather(0, best)[0]
