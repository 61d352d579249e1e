"""Networks of any shape on arrays: calibrated, trained, and frozen into integer codes.

`GraphNetwork` is a traced torch network that can be quantized and trained.
`QuantizedGraph` is what is left of it for the hardware, as `nvlib.network.QuantizedNetwork`
is of a chain of layers: integer codes for the arrays, and the digital steps between them,
in double precision.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

from nvlib.checks import require
from nvlib.network import LayerSpec, QuantizedLayer
from nvlib.quantizers import (
    Precision,
    fake_quantize_activation,
    fake_quantize_weight,
    fit_scale,
    weight_codes,
)
from nvlib.tracing import ARRAY_MODULES, Executor, padding_of, trace

METHODS = ("mse", "max", "percentile")
PERCENTILE = 99.9
#: Values of an activation that its scale is fitted to, at most; torch computes on so many in one
#: thread, which is faster where a search takes a hundred steps.
FITTED_VALUES = 2**14


class GraphNetwork(nn.Module):
    """A torch network whose convolutions and linear layers are to go onto arrays.

    In floating point until `quantize` is called; then with quantization in the loop, and
    differentiable in weights and scales. `state_dict` holds all of it, so safetensors keep it.

    Parameters
    ----------
    model : torch.nn.Module
        Copied, and not changed.
    digital : sequence of str
        Paths of modules that stay digital.

    Examples
    --------
    >>> net = GraphNetwork(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    >>> net.paths
    ('1', '3')
    >>> net.quantize(torch.rand(8, 1, 2, 2), Precision(4, 3), overrides={"3": Precision(8, 8)})
    >>> str(net.precisions["1"]), net(torch.rand(5, 1, 2, 2)).shape
    ('W4A3', torch.Size([5, 2]))
    """

    def __init__(self, model: nn.Module, digital: Sequence[str] = ()) -> None:
        super().__init__()
        self.traced = trace(model, digital)
        self.paths: tuple[str, ...] = tuple(
            str(node.target)
            for node in self.traced.graph.nodes
            if node.op == "call_module"
            and str(node.target) not in digital
            and isinstance(self.traced.get_submodule(str(node.target)), ARRAY_MODULES)
        )
        require(
            bool(self.paths), type(model).__name__, "a Conv2d or Linear to put onto arrays", "none",
            "leave fewer modules digital",
        )  # fmt: skip
        self.precisions: dict[str, Precision] = {}
        self.signed: dict[str, bool] = {}
        self.sides: dict[str, tuple[int, int]] = {}
        self.image_shape: tuple[int, ...] = ()
        self.log_weight_scales, self.log_input_scales = (
            nn.ParameterDict({_key(path): nn.Parameter(torch.zeros(())) for path in self.paths})
            for _ in range(2)
        )
        #: (weight codes, precision) -> their errors on a chip, where training meets devices.
        self.disturb: Callable | None = None

    def get_extra_state(self) -> torch.Tensor:
        """What belongs to the quantization beside tensors, as JSON in bytes, for `state_dict`."""
        facts = {
            "precisions": {path: str(precision) for path, precision in self.precisions.items()},
            "signed": self.signed, "sides": self.sides, "image_shape": self.image_shape,
        }  # fmt: skip
        return torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Inverse of `get_extra_state`, for `load_state_dict`."""
        facts = json.loads(bytes(state.tolist()))
        self.precisions = {p: Precision.parse(name) for p, name in facts["precisions"].items()}
        self.signed = facts["signed"]
        self.sides = {path: tuple(sides) for path, sides in facts["sides"].items()}
        self.image_shape = tuple(facts["image_shape"])

    def module(self, path: str) -> Any:
        """Convolution or linear layer at a path."""
        return self.traced.get_submodule(path)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Output of the network; images as the model takes them."""
        layer = self._quantized if self.precisions else self._float
        return Executor(self.traced, self.paths, layer).run(images)

    def _float(self, path: str, x: torch.Tensor) -> torch.Tensor:
        return self.module(path)(x)

    def _quantized(self, path: str, x: torch.Tensor) -> torch.Tensor:
        module, precision = self.module(path), self.precisions[path]
        scale = self.log_weight_scales[_key(path)].exp()
        weight = fake_quantize_weight(module.weight, scale, precision.weight_bits)
        if self.disturb is not None:
            codes = weight_codes(module.weight.detach(), scale.detach(), precision.weight_bits)
            weight = weight + self.disturb(codes, precision) * scale.detach()
        x = fake_quantize_activation(
            x, self.log_input_scales[_key(path)].exp(), precision.activation_bits, self.signed[path]
        )
        if isinstance(module, nn.Conv2d):
            return F.conv2d(
                x, weight, module.bias, module.stride, padding_of(module), module.dilation,
                module.groups,
            )  # fmt: skip
        return F.linear(x, weight, module.bias)

    @torch.no_grad()
    def quantize(
        self,
        images: torch.Tensor,
        precision: Precision,
        overrides: Mapping[str, Precision] | None = None,
        method: str = "mse",
    ) -> None:
        """Choose precisions and scales: post-training quantization.

        Weight scales have the smallest squared error. Inputs that are nowhere negative in
        calibration get unsigned codes; the others are read in two phases, their positive and
        their negative part.

        Parameters
        ----------
        images : Tensor, shape (N, ...)
            For calibration; some hundred training images.
        precision : Precision
        overrides : mapping of str to Precision, optional
            Other precisions, by path of the module.
        method : {"mse", "max", "percentile"}
            Scale of an input: the one of smallest squared error, or such that the largest code
            stands for the largest value met, or for its 99.9th percentile.

        Raises
        ------
        ValueError
            If the method or a path is unknown, or a layer's input has a shape that it cannot
            have on arrays.
        """
        require(method in METHODS, "method", f"one of {METHODS}", method, "use one")
        for path in overrides or {}:
            require(
                path in self.paths, "overrides", f"paths among {self.paths}", path,
                "name a layer that goes onto arrays",
            )  # fmt: skip
        images = as_images(images)
        precisions = dict.fromkeys(self.paths, precision) | dict(overrides or {})

        def observe(path: str, x: torch.Tensor) -> torch.Tensor:
            module, bits = self.module(path), precisions[path]
            rank = 4 if isinstance(module, nn.Conv2d) else 2
            require(
                x.ndim == rank, f"input of '{path}'", f"{rank} dimensions", tuple(x.shape),
                "flatten the images before a Linear, and give a Conv2d (N, C, H, W)",
            )  # fmt: skip
            self.sides[path] = (int(x.shape[2]), int(x.shape[3])) if rank == 4 else (1, x.shape[1])
            self.signed[path] = bool((x < 0).any())
            scale = _input_scale(x, bits.activation_max, self.signed[path], method)
            self.log_input_scales[_key(path)].copy_(scale.log())
            scale = _weight_scale(module.weight, bits)
            self.log_weight_scales[_key(path)].copy_(scale.log())
            return module(x)

        Executor(self.traced, self.paths, observe).run(images)
        self.image_shape = tuple(images.shape[1:])
        self.precisions = precisions

    def freeze(self, rows: int = 128) -> QuantizedGraph:
        """Integer codes and scales for arrays of so many rows.

        Groups of a convolution share arrays, on the diagonal, where their rows fit.
        """
        require(
            bool(self.precisions), "network", "a quantized one", "a float one",
            "call quantize(images, precision) first",
        )  # fmt: skip
        traced = copy.deepcopy(self.traced).cpu().double()
        layers: list[QuantizedLayer] = []
        precisions, sides, parts = [], [], {}
        for path in self.paths:
            own = []
            for channels, layer in _layers(self, path, rows):
                own.append(Part(len(layers), channels, self.signed[path]))
                layers.append(layer)
                precisions.append(self.precisions[path])
                sides.append(self.sides[path])
            parts[path] = tuple(own)
        return QuantizedGraph(
            traced, parts, tuple(layers), tuple(precisions), tuple(sides), self.image_shape
        )


def _key(path: str) -> str:
    """Parameters may have no dots in their names."""
    return path.replace(".", "/")


def _input_scale(x: torch.Tensor, most: int, signed: bool, method: str) -> torch.Tensor:
    values = x.flatten()
    if len(values) > FITTED_VALUES:  # at random: even steps would meet the same few pixels
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randint(len(values), (FITTED_VALUES,), generator=generator)
        values = values[chosen.to(values.device)]
    largest = x.abs().max()
    if largest == 0:
        return torch.ones(())
    if method == "max":
        return largest / most
    if method == "percentile":
        share = np.percentile(values.abs().double().cpu().numpy(), PERCENTILE)
        return (torch.tensor(share, dtype=x.dtype) if share > 0 else largest) / most
    return fit_scale(values, -most if signed else 0, most)


def _weight_scale(weight: torch.Tensor, precision: Precision) -> torch.Tensor:
    if not weight.any():
        return torch.ones(())
    if precision.weight_bits == 1:
        return weight.abs().mean()
    return fit_scale(weight, -precision.weight_max, precision.weight_max)


def _layers(network: GraphNetwork, path: str, rows: int) -> list[tuple[slice, QuantizedLayer]]:
    """Matrices of one module, each with the input channels that it reads."""
    module, precision = network.module(path), network.precisions[path]
    scale = network.log_weight_scales[_key(path)].detach().cpu().exp()
    weight = module.weight.detach().cpu()
    codes = weight_codes(weight, scale, precision.weight_bits).numpy().astype(np.int8)
    outputs, inputs = codes.shape[:2]
    bias = np.zeros(outputs) if module.bias is None else module.bias.detach().cpu().numpy()
    scales = float(scale), float(network.log_input_scales[_key(path)].detach().exp())
    window: dict[str, Any] = {}
    groups = 1
    if isinstance(module, nn.Conv2d):
        groups = module.groups
        window = {"kernel": module.kernel_size, "padding": padding_of(module),
                  "stride": module.stride, "dilation": module.dilation}  # fmt: skip
    # A binary weight cannot be zero, so such groups do not share.
    together = 1 if precision.weight_bits == 1 else max(rows // codes[0].size, 1)
    found = []
    for first in range(0, groups, together):
        count = min(together, groups - first)
        each = outputs // groups
        block = np.zeros((count * each, count * inputs, *codes.shape[2:]), np.int8)
        for g in range(count):
            place = slice(g * each, (g + 1) * each), slice(g * inputs, (g + 1) * inputs)
            block[place] = codes[(first + g) * each : (first + g + 1) * each]
        name = path if count == groups else f"{path}[{first}:{first + count}]"
        spec = LayerSpec(name, count * inputs, count * each, **window, groups=count)
        share = bias[first * each : (first + count) * each].astype(np.float64)
        channels = slice(first * inputs, (first + count) * inputs)
        found.append((channels, QuantizedLayer(spec, block, *scales, share)))
    return found


@dataclass(frozen=True)
class Part:
    """One matrix of a module.

    Attributes
    ----------
    number : int
        Of the layer.
    channels : slice
        Input channels or features that it reads.
    signed : bool
        Read twice: the positive part of its input, and the negative part.
    """

    number: int
    channels: slice
    signed: bool


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """Integer codes of a network of any shape.

    Attributes
    ----------
    traced : GraphModule
        Digital steps, in double precision.
    parts : dict
        Path of a module -> its matrices.
    layers : tuple of QuantizedLayer
    precisions : tuple of Precision
    input_sides : tuple of (int, int)
        Height and width of each layer's input.
    image_shape : tuple of int
        Of one image.
    """

    traced: fx.GraphModule
    parts: dict[str, tuple[Part, ...]] = field(repr=False)
    layers: tuple[QuantizedLayer, ...] = field(repr=False)
    precisions: tuple[Precision, ...]
    input_sides: tuple[tuple[int, int], ...]
    image_shape: tuple[int, ...]

    @property
    def rectified(self) -> tuple[bool, ...]:
        """False for all: what follows a layer is a graph's own affair."""
        return (False,) * len(self.layers)

    def check(self, images: Any) -> np.ndarray:
        """Images (N, ...) of the calibration's shape, as float32; refuse anything else."""
        images = as_images(images).numpy()
        require(
            images.shape[1:] == self.image_shape, "images",
            f"shape (N, {', '.join(map(str, self.image_shape))}) as in calibration", images.shape,
            "reshape them",
        )  # fmt: skip
        return images

    @torch.no_grad()
    def run(self, images: np.ndarray, readers: Sequence[Any], read: Callable) -> np.ndarray:
        """Output of the network for images, whose layers are read by arrays.

        Parameters
        ----------
        images : ndarray of float32, shape (N, ...)
        readers : sequence of reader
            Of `nvlib.reading`, one for each layer.
        read : callable
            (number of the layer, codes in its reader's form, phase) -> products.
        """

        def layer(path: str, x: torch.Tensor) -> torch.Tensor:
            outputs = [self._part(part, x, readers, read) for part in self.parts[path]]
            return torch.from_numpy(np.concatenate(outputs, axis=1))

        return (
            Executor(self.traced, self.parts, layer).run(torch.from_numpy(images).double()).numpy()
        )

    def _part(self, part: Part, x: torch.Tensor, readers: Sequence[Any], read: Callable) -> Any:
        layer, reader = self.layers[part.number], readers[part.number]
        most = self.precisions[part.number].activation_max
        values = np.rint(x[:, part.channels].numpy() / layer.input_scale).clip(-most, most)
        spec = layer.spec

        def products(codes: np.ndarray, *phase: int) -> np.ndarray:
            padded = reader.pad(codes.clip(0, most).astype(np.uint8))
            found = read(part.number, padded, *phase)[:, :, : spec.outputs].astype(np.int64)
            sides = reader.output_sides if spec.kernel else ()
            return found.transpose(0, 2, 1).reshape(len(codes), spec.outputs, *sides)

        total = products(values)
        if part.signed:
            total = total - products(-values, 1)
        bias = layer.bias[:, None, None] if spec.kernel else layer.bias
        return total * (layer.weight_scale * layer.input_scale * reader.arrays.lsb) + bias


def as_images(images: Any) -> torch.Tensor:
    """Finite images (N, ...) as a float32 tensor.

    Raises
    ------
    ValueError
        If they have no axis beside the images', or hold NaN or infinity.

    Examples
    --------
    >>> as_images([[0.0, 1.0]])
    tensor([[0., 1.]])
    """
    images = torch.as_tensor(images).detach().cpu().float().contiguous()
    require(
        images.ndim >= 2, "images", "shape (N, ...)", tuple(images.shape), "stack them into a batch"
    )
    require(
        bool(torch.isfinite(images).all()), "images", "finite values", "NaN or infinity",
        "clean the images",
    )  # fmt: skip
    return images
