"""From a float network to integer codes: calibrated after training, or trained with rounding.

`FakeQuantized` is a traced torch network whose convolutions and linear layers round their
weights and inputs to codes; it trains like any module. `freeze` makes the `QuantizedNetwork` of
it that arrays and files hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nvlib import checks
from nvlib.checks import require
from nvlib.graph.tracing import array_paths, steps_of, trace
from nvlib.network import LayerSpec, QuantizedLayer, QuantizedNetwork, as_images
from nvlib.quantizers import (
    SMALLEST,
    Precision,
    fake_quantize_activation,
    fake_quantize_weight,
    fit_scale,
    weight_codes,
)

METHODS = ("mse", "max", "percentile")
PERCENTILE = 99.9
#: Values of an activation that its scale is fitted to, at most.
FITTED_VALUES = 2**14


class FakeQuantizedLayer(nn.Module):
    """A convolution or linear layer that rounds its weights and inputs, straight through."""

    def __init__(
        self, module: nn.Conv2d | nn.Linear, precision: Precision, per_channel: bool = False
    ) -> None:
        super().__init__()
        self.module, self.precision = module, precision
        #: Of a convolution, for torch and for `LayerSpec`.
        self.window: dict[str, Any] = {}
        if isinstance(module, nn.Conv2d):
            self.window = {"padding": tuple(module.padding), "stride": tuple(module.stride),
                           "dilation": tuple(module.dilation), "groups": module.groups}  # fmt: skip
        # Logarithms keep the scales positive and make Adam's steps relative to them.
        scale = _weight_scale(module.weight, precision, per_channel)  # () or (outputs, 1, ...)
        self.log_weight_scale = nn.Parameter(scale.log())
        self.log_input_scale = nn.Parameter(torch.zeros(()))
        self.signed = False
        self.input_shape: tuple[int, ...] = ()
        #: (codes, precision, groups) -> errors of the codes, where training meets devices.
        self.disturb: Callable | None = None
        #: (layer, inputs) -> outputs of a chip, where training reads one.
        self.read: Callable | None = None

    @torch.no_grad()
    def calibrate(self, path: str, method: str, _: nn.Module, inputs: tuple) -> None:
        """Choose the scale of the inputs from those that calibration images cause: a hook."""
        (x,), rank = inputs, self.module.weight.ndim
        mend = "flatten the images before a Linear, and give a Conv2d (N, C, H, W)"
        require(x.ndim == rank, f"input of '{path}'", f"{rank} dimensions", tuple(x.shape), mend)
        self.input_shape = tuple(x.shape[1:])
        self.signed = bool((x < 0).any())
        scale = _input_scale(x, self.precision.activation_max, self.signed, method)
        self.log_input_scale.copy_(scale.log())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Product of rounded weights and inputs, with its bias."""
        bits, module = self.precision, self.module
        scale = self.log_weight_scale.exp()
        weight = fake_quantize_weight(module.weight, scale, bits.weight_bits)
        if self.disturb is not None:
            codes = weight_codes(module.weight.detach(), scale.detach(), bits.weight_bits)
            errors = self.disturb(codes, bits, self.window.get("groups", 1))
            weight = weight + errors * scale.detach()
        input_scale = self.log_input_scale.exp()
        rounded = fake_quantize_activation(x, input_scale, bits.activation_bits, self.signed)
        if isinstance(module, nn.Conv2d):
            outputs = F.conv2d(rounded, weight, module.bias, **self.window)
        else:
            outputs = F.linear(rounded, weight, module.bias)
        if self.read is not None:  # the chip's numbers, and the gradients of the ideal product
            outputs = outputs + (self.read(self, x.detach()) - outputs).detach()
        return outputs

    @torch.no_grad()
    def freeze(self, path: str) -> QuantizedLayer:
        """Integer codes, scales and bias."""
        module, bits = self.module, self.precision
        scale = self.log_weight_scale.cpu().exp()
        codes = weight_codes(module.weight.cpu(), scale, bits.weight_bits)
        bias = np.zeros(len(codes)) if module.bias is None else module.bias.cpu().numpy()
        inputs, kernel = self.input_shape[0], tuple(codes.shape[2:])
        return QuantizedLayer(
            LayerSpec(path, inputs, len(codes), kernel, **self.window), bits,
            codes.numpy().astype(np.int8), scale.numpy().reshape(scale.shape[:1]),
            float(self.log_input_scale.exp()), bias.astype(np.float64), self.input_shape,
            self.signed,
        )  # fmt: skip


class FakeQuantized(nn.Module):
    """A torch network, traced, with quantization in the loop; differentiable in its scales.

    Refused are a network with what neither arrays nor digital steps can do, named by its path,
    an unknown method or path, and no images.

    Parameters
    ----------
    model : torch.nn.Module
        A trained float network; copied, and not changed.
    images : Tensor or ndarray, shape (N, ...)
        For calibration, as the model takes them; some hundred training images.
    overrides : mapping of str to Precision, optional
        Other precisions, by path of the module.
    method : {"mse", "max", "percentile"}
        Scale of an input: the one of smallest squared error, or such that the largest code
        stands for the largest value met, or for its 99.9th percentile.
    digital : sequence of str
        Paths of modules that stay digital.
    input_max : float, optional
        Largest value that the first layer can meet, where that is known. Its largest code then
        stands for it, and is not trained.
    per_channel : bool
        A weight scale for each output of a layer instead of one for all. Where channels differ
        much, as after depthwise convolutions, few bits are enough only so; digital logic then
        multiplies each column's product by a factor of its own.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> trained = FakeQuantized(model, torch.rand(8, 1, 2, 2), "W4A3", {"3": Precision(8, 8)})
    >>> list(trained.layers), trained(torch.rand(5, 1, 2, 2)).shape
    (['1', '3'], torch.Size([5, 2]))
    """

    def __init__(
        self, model: nn.Module, images: Any, precision: Precision | str,
        overrides: Mapping[str, Precision | str] | None = None, method: str = "mse",
        digital: Sequence[str] = (), input_max: float | None = None, per_channel: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        checks.require_choice("method", method, METHODS)
        checks.require_flag("per_channel", per_channel)
        overrides = {} if overrides is None else overrides
        by_path, mend = isinstance(overrides, Mapping), "write {path: 'W8A8'}"
        require(by_path, "overrides", "precisions by path", overrides, mend)
        digital = checks.require_tuple("digital", digital, "write digital=('fc',)")
        mend = "use Chip(model.freeze(), hardware)"
        quantized = isinstance(model, (FakeQuantized, QuantizedNetwork))
        require(not quantized, "model", "a float network", "one that is quantized already", mend)
        images = as_images(images).clone()  # steps in place would change the user's
        require(len(images) > 0, "images", "at least one for calibration", 0, "pass some")
        blank = not images.any()
        require(not blank, "images", "something on them", "only zeros", "pass training images")
        traced = trace(model, images, digital)
        paths = array_paths(traced, digital)
        wanted, mend = "a Conv2d or Linear to put onto arrays", "leave fewer modules digital"
        require(bool(paths), type(model).__name__, wanted, "none", mend)
        known, mend = f"paths among {checks.shown(paths)}", "name a layer that goes onto arrays"
        for path in overrides:
            require(path in paths, "overrides", known, path, mend)
        chosen = dict.fromkeys(paths, precision) | dict(overrides)
        self.image_shape = tuple(images.shape[1:])
        self.image_range = float(images.min()), float(images.max())
        self.layers, hooks = {}, []
        for path in paths:
            module: Any = traced.get_submodule(path)
            layer = FakeQuantizedLayer(module, Precision.parse(chosen[path]), per_channel)
            hooks.append(module.register_forward_pre_hook(partial(layer.calibrate, path, method)))
            self.layers[path] = layer
        with torch.no_grad():
            traced(images)
        for hook, (path, layer) in zip(hooks, self.layers.items()):
            hook.remove()
            traced.set_submodule(path, layer)
        self.traced = traced
        if input_max is not None:
            input_max = checks.require_number("input_max", input_max, 1e-30, 1e30)
            first = self.layers[paths[0]]
            first.log_input_scale.requires_grad_(False)
            first.log_input_scale.fill_(input_max / first.precision.activation_max).log_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Output of the network; images as the model takes them."""
        return self.traced(images)

    def freeze(self) -> QuantizedNetwork:
        """Integer codes and digital steps, for arrays and files."""
        layers = tuple(layer.freeze(path) for path, layer in self.layers.items())
        steps = steps_of(self.traced, self.layers)
        return QuantizedNetwork(steps, layers, self.image_shape, self.image_range)


def quantize(
    model: nn.Module, images: Any, precision: Precision | str = "W8A8", **choices: Any
) -> QuantizedNetwork:
    """Integer codes of a trained float network: post-training quantization.

    Calibrated with some hundred training images. Choices are `overrides`, `method`, `digital`,
    `input_max` and `per_channel`; see `FakeQuantized`, also for errors.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> str(quantize(model, torch.rand(8, 1, 2, 2), "W4A3").precision)
    'W4A3'
    >>> network = quantize(model, torch.rand(8, 1, 2, 2), "W4A3", per_channel=True)
    >>> [layer.weight_scale.shape for layer in network.layers]
    [(3,), (2,)]
    """
    return FakeQuantized(model, images, precision, **choices).freeze()


def _input_scale(x: torch.Tensor, most: int, signed: bool, method: str) -> torch.Tensor:
    values = x.flatten()
    if len(values) > FITTED_VALUES:  # at random: even steps would meet the same few pixels
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randint(len(values), (FITTED_VALUES,), generator=generator)
        values = values[chosen]
    largest = x.abs().max()
    if largest == 0:
        return torch.ones(())
    if not values.any():  # so few differ from zero that the sample met none
        values = x[x != 0][:FITTED_VALUES]
    if method == "max":
        return largest / most
    if method == "percentile":
        share = np.percentile(values.abs().double().numpy(), PERCENTILE)
        return (torch.tensor(share, dtype=x.dtype) if share > 0 else largest) / most
    return fit_scale(values, -most if signed else 0, most)


@torch.no_grad()
def _weight_scale(weight: torch.Tensor, precision: Precision, per_channel: bool) -> torch.Tensor:
    """One scale, (), or one for each output, (outputs, 1, ...)."""
    values = weight.flatten(1) if per_channel else weight.flatten()
    if precision.weight_bits == 1:
        scale = values.abs().mean(-1).clamp(min=SMALLEST)
    else:
        scale = fit_scale(values, -precision.weight_max, precision.weight_max)
    return scale.reshape(scale.shape + (1,) * (weight.ndim - 1) * per_channel)
