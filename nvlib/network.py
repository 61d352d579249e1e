"""A quantized network: layers of integer codes, and the digital steps between them.

The one form in which a network is stored, written onto arrays and computed exactly. Steps stand
in the order of evaluation; a step is a layer that arrays multiply, or a digital operation of
torch in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from nvlib import steps, storage
from nvlib.checks import require
from nvlib.quantizers import Precision, to_codes
from nvlib.steps import IMAGES, Step, is_relu, values_of

#: Codes multiplied and summed in float32 are exact below this.
FLOAT32_EXACT = 2**24


@dataclass(frozen=True)
class LayerSpec:
    """Shape of one layer: a convolution, or a linear layer where `kernel` is empty.

    Kernel, padding, stride and dilation are height and width, in pixels.

    Examples
    --------
    >>> spec = LayerSpec("conv", 3, 8, kernel=(3, 3), stride=(2, 2))
    >>> spec.rows, spec.weight_shape, spec.output_sides(28, 28)
    (27, (8, 3, 3, 3), (13, 13))
    """

    name: str  # path of the module in its network
    inputs: int  # channels of a convolution, features of a linear layer
    outputs: int
    kernel: tuple[int, ...] = ()
    padding: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def rows(self) -> int:
        """Inputs K that one output sums over."""
        return self.inputs // self.groups * prod(self.kernel)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight tensor."""
        return (self.outputs, self.inputs // self.groups, *self.kernel)

    def output_sides(self, height: int, breadth: int) -> tuple[int, int]:
        """Height and width that a convolution gives; 1 x 1 for a linear layer."""
        if not self.kernel:
            return 1, 1
        down, across = (
            (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for side, pad, dilation, kernel, stride in zip(
                (height, breadth), self.padding, self.dilation, self.kernel, self.stride
            )
        )
        return down, across


@dataclass(frozen=True, eq=False)
class QuantizedLayer:
    """One layer as the hardware sees it."""

    spec: LayerSpec
    precision: Precision
    codes: np.ndarray  # int8, spec.weight_shape
    weight_scale: float  # real value of one step of a weight code
    input_scale: float  # real value of one step of an input code
    bias: np.ndarray  # float64 (outputs,): digital, in units of the layer's real output
    input_shape: tuple[int, ...]  # (inputs, height, width), or (inputs,) of a linear layer
    #: Inputs can be negative, so arrays read twice: their positive part, and their negative part
    signed: bool = False

    def __post_init__(self) -> None:
        spec, codes, bias, shape = self.spec, self.codes, self.bias, self.input_shape

        def fit(holds: Any, wanted: str, found: Any, mend: str = "check the checkpoint") -> None:
            require(bool(holds), spec.name, wanted, found, mend)

        wanted = f"int8 weight codes of shape {spec.weight_shape}"
        found = f"{codes.dtype} of shape {codes.shape}"
        fit(codes.shape == spec.weight_shape and codes.dtype == np.int8, wanted, found)
        most, largest = self.precision.weight_max, int(np.abs(codes.astype(int)).max(initial=0))
        wanted = f"weight codes within +-{most} at {self.precision}"
        fit(largest <= most, wanted, largest, "the checkpoint belongs to another precision")
        finite = bias.shape == (spec.outputs,) and np.isfinite(bias).all()
        fit(finite, f"{spec.outputs} finite biases", f"shape {bias.shape}")
        for scale in (self.weight_scale, self.input_scale):
            fit(np.isfinite(scale) and scale > 0, "positive finite scales", scale)
        known = len(shape) == (3 if spec.kernel else 1) and shape[0] == spec.inputs
        fit(known, f"inputs of {spec.inputs} channels or features", shape)

    @property
    def matrix(self) -> np.ndarray:
        """Weight codes as a K x M matrix, K inputs that each of M outputs sums over."""
        return self.codes.reshape(self.spec.outputs, -1).T

    @property
    def gain(self) -> float:
        """Real output of one unit of the integer product."""
        return self.weight_scale * self.input_scale

    def input_codes(self, values: torch.Tensor) -> torch.Tensor:
        """Integer codes of real inputs (N, *input_shape), in their dtype; negative where signed."""
        mend = "give images of the shape that the network was quantized with"
        _require_shape(f"input of {self.spec.name}", values, self.input_shape, mend)
        most = self.precision.activation_max
        return to_codes(values, self.input_scale, -most if self.signed else 0, most)

    def real(self, products: np.ndarray | torch.Tensor, lsb: float = 1.0) -> Any:
        """Real outputs of products (N, outputs[, H, W]), counted in multiples of `lsb`."""
        bias = self.bias[:, None, None] if self.spec.kernel else self.bias
        return products * (self.gain * lsb) + bias

    def multiply(self, values: torch.Tensor) -> torch.Tensor:
        """What ideal arrays give, in double precision, computed without any hardware."""
        codes, weight = self.input_codes(values), torch.from_numpy(self.codes)
        largest = int(np.abs(self.matrix.astype(np.int64)).sum(axis=0).max(initial=0))
        small = largest * self.precision.activation_max < FLOAT32_EXACT
        dtype = torch.float32 if small else torch.float64
        codes, weight = codes.to(dtype), weight.to(dtype)
        if self.spec.kernel:
            window = self.spec.stride, self.spec.padding, self.spec.dilation, self.spec.groups
            products = F.conv2d(codes, weight, None, *window)
        else:
            products = F.linear(codes, weight)
        return torch.from_numpy(self.real(products.double().numpy()))


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """Layers of integer codes and the digital steps between them; made by `nvlib.quantize`."""

    steps: tuple[Step, ...] = field(repr=False)  # in order; the last one gives the output
    layers: tuple[QuantizedLayer, ...] = field(repr=False)  # in the order of their steps
    image_shape: tuple[int, ...]  # of one image, as in calibration

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precision of each layer."""
        return tuple(layer.precision for layer in self.layers)

    @property
    def precision(self) -> Precision:
        """The precision of all layers; refused if they differ."""
        found = dict.fromkeys(self.precisions)
        given, mend = ", ".join(map(str, found)), "use precisions, one for each layer"
        require(len(found) == 1, "precision", "one for all layers", given, mend)
        return next(iter(found))

    def check(self, images: Any) -> np.ndarray:
        """Images (N, ...) of the calibration's shape, as float32; refuse anything else."""
        images = as_images(images)
        _require_shape("images", images, self.image_shape, "reshape them")
        return images.numpy()

    @torch.no_grad()
    def logits(self, images: Any, batch: int = 500) -> np.ndarray:
        """Output (N, ...) for images (N, ...) in exact integer arithmetic, as float64."""
        images = self.check(images)
        layers = {layer.spec.name: layer.multiply for layer in self.layers}
        found = []
        for start in range(0, max(len(images), 1), batch):
            values = {IMAGES: torch.from_numpy(images[start : start + batch]).double()}
            for step in self.steps:
                step.run(values, layers)
            found.append(values[self.steps[-1].name].numpy())
        return np.concatenate(found)

    def predict(self, images: Any) -> np.ndarray:
        """Class of each image; see `logits`."""
        return self.logits(images).argmax(axis=1)

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the network, and words about it, to one safetensors file; `load` reads it."""
        storage.write(Path(path), *self.parts(), metadata or {})

    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Facts for JSON, and tensors: what `save` writes and `of_parts` reads.

        Examples
        --------
        >>> facts, tensors = network.parts()
        >>> len(facts["layers"]), tensors["fc3.codes"].shape  # 4-bit codes are packed
        (5, (420,))
        """
        facts, tensors = steps.written(self.steps)
        layers = []
        for layer in self.layers:
            name = layer.spec.name
            tensors[f"{name}.codes"] = storage.pack_codes(layer.codes, layer.precision.weight_bits)
            short = layer.bias.astype(np.float32)
            tensors[f"{name}.bias"] = short if (short == layer.bias).all() else layer.bias
            layers.append(
                {"spec": asdict(layer.spec), "precision": str(layer.precision),
                 "weight_scale": layer.weight_scale, "input_scale": layer.input_scale,
                 "input_shape": layer.input_shape, "signed": layer.signed}
            )  # fmt: skip
        return {"steps": facts, "layers": layers, "image_shape": self.image_shape}, tensors

    @classmethod
    def of_parts(
        cls, facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> QuantizedNetwork:
        """Inverse of `parts`."""
        layers = []
        for fact in facts["layers"]:
            given: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in fact["spec"].items()
            }
            spec, precision = LayerSpec(**given), Precision.parse(fact["precision"])
            name, bits = spec.name, precision.weight_bits
            codes = storage.unpack_codes(tensors[f"{name}.codes"], bits, spec.weight_shape)
            bias = tensors[f"{name}.bias"].astype(np.float64)
            layers.append(QuantizedLayer(
                spec, precision, codes, fact["weight_scale"], fact["input_scale"], bias,
                tuple(fact["input_shape"]), fact["signed"],
            ))  # fmt: skip
        return cls(steps.read(facts["steps"], tensors), tuple(layers), tuple(facts["image_shape"]))

    @classmethod
    def load(cls, source: str | Path | bytes) -> QuantizedNetwork:
        """Read a network that `save` wrote, from a file or its content; refuse all else."""
        return storage.read(source, cls.of_parts)


def rectified(network: QuantizedNetwork) -> frozenset[str]:
    """Names of the layers behind which a ReLU stands, and nothing else.

    Examples
    --------
    >>> sorted(rectified(network))
    ['conv1', 'conv2', 'fc1', 'fc2']
    """
    takers: dict[str, list[Step]] = {}
    for step in network.steps:
        for name in values_of((step.args, step.kwargs)):
            takers.setdefault(name, []).append(step)
    return frozenset(
        str(step.target)
        for step in network.steps
        if step.kind == "layer"
        and takers.get(step.name)
        and all(is_relu(taker) for taker in takers[step.name])
    )


def as_images(images: Any) -> torch.Tensor:
    """Finite images (N, ...) as a float32 tensor; all else is refused.

    Examples
    --------
    >>> as_images([[0.0, 1.0]])
    tensor([[0., 1.]])
    """
    if not isinstance(images, torch.Tensor):
        images = torch.from_numpy(np.array(images, np.float32))  # a copy: the user's may be frozen
    images = images.detach().cpu().float().contiguous()
    shape = tuple(images.shape)
    require(len(shape) >= 2, "images", "shape (N, ...)", shape, "stack them into a batch")
    finite = bool(torch.isfinite(images).all())
    require(finite, "images", "finite values", "NaN or infinity", "clean the images")
    return images


def _require_shape(name: str, values: torch.Tensor, shape: tuple[int, ...], mend: str) -> None:
    wanted, found = f"shape (N, {', '.join(map(str, shape))}) as in calibration", values.shape
    require(found[1:] == shape, name, wanted, tuple(found), mend)
