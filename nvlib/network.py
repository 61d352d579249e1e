"""A quantized network: layers of integer codes, and the digital steps between them.

The one form in which a network is stored, written onto arrays and computed exactly. Steps stand
in the order of evaluation; a step is a layer that arrays multiply, or a digital operation of
torch in double precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from nvlib import checks, storage
from nvlib.checks import require, require_instance, require_tuple, settle
from nvlib.graph import steps
from nvlib.graph.steps import IMAGES, Step, is_relu, values_of
from nvlib.quantizers import Precision, to_codes

#: Codes multiplied and summed in float32 are exact below this.
FLOAT32_EXACT = 2**24
#: Images are refused that lie so many ranges of the calibration outside it, or whose largest value
#: is this share of the calibration's; they are warned of half a range outside it. Fewer values than
#: MANY may be small by chance.
FAR, FAINT, MANY = 4, 1 / 64, 64
#: Digits 0 to 9 of a 5 x 7 dot-matrix font: rows from top to bottom, 5 bits each.
FONT = (
    "0e11131519110e 040c040404040e 0e11010204081f 1f02040201110e 02060a121f0202",
    "1f101e0101110e 0608101e11110e 1f010204080808 0e11110e11110e 0e11110f01020c",
)


@dataclass(frozen=True)
class LayerSpec:
    """Shape of one layer: a convolution, or a linear layer where `kernel` is empty.

    Kernel, padding, stride and dilation are height and width, in pixels.
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

    def output_sides(self, *sides: int) -> tuple[int, ...]:
        """Height and width that a convolution makes of its input's; none of a linear layer's."""
        windows = zip(sides, self.padding, self.dilation, self.kernel, self.stride)
        return tuple(
            (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for side, pad, dilation, kernel, stride in windows
        )


@dataclass(frozen=True, eq=False)
class QuantizedLayer:
    """One layer as the hardware sees it."""

    spec: LayerSpec
    precision: Precision
    codes: np.ndarray  # int8, spec.weight_shape
    weight_scale: float | np.ndarray  # real value of a step of a code, or (outputs,): of each
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
        binary = self.precision.weight_bits > 1 or bool((codes != 0).all())
        fit(binary, "binary weight codes, -1 or +1", "a 0 among them")
        finite = bias.shape == (spec.outputs,) and np.isfinite(bias).all()
        fit(finite, f"{spec.outputs} finite biases", f"shape {bias.shape}")
        scales = np.asarray(self.weight_scale, np.float64)
        wanted = f"one weight scale, or one for each of {spec.outputs} outputs"
        fit(scales.shape in ((), (spec.outputs,)), wanted, f"shape {scales.shape}")
        for scale in (*scales.ravel().tolist(), self.input_scale):
            fit(np.isfinite(scale) and scale > 0, "positive finite scales", scale)
        settle(self, weight_scale=scales if scales.ndim else float(scales))
        known = len(shape) == (3 if spec.kernel else 1) and shape[0] == spec.inputs
        fit(known, f"inputs of {spec.inputs} channels or features", shape)

    @property
    def matrix(self) -> np.ndarray:
        """Weight codes as a K x M matrix, K inputs that each of M outputs sums over."""
        return self.codes.reshape(self.spec.outputs, -1).T

    @cached_property
    def gain(self) -> np.ndarray:
        """Real output of one unit of the integer product, float64 (outputs,)."""
        return np.full(self.spec.outputs, self.weight_scale) * self.input_scale

    def input_codes(self, values: torch.Tensor) -> torch.Tensor:
        """Integer codes of real inputs (N, *input_shape), in their dtype; negative where signed."""
        mend = "give images of the shape that the network was quantized with"
        _require_shape(f"input of {self.spec.name}", values, self.input_shape, mend)
        most = self.precision.activation_max
        return to_codes(values, self.input_scale, -most if self.signed else 0, most)

    def real(self, products: np.ndarray | torch.Tensor, lsb: float = 1.0) -> Any:
        """Real outputs of products (N, outputs[, H, W]), counted in multiples of `lsb`."""
        sides = (1, 1) if self.spec.kernel else ()
        gain, bias = (values.reshape(-1, *sides) for values in (self.gain, self.bias))
        return products * (gain * lsb) + bias

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
    """Layers of integer codes and the digital steps between them; made by `nvlib.quantize`.

    Parameters
    ----------
    steps : tuple of Step
        In order; the last one gives the output.
    layers : tuple of QuantizedLayer
        In the order of their steps.
    image_shape : tuple of int
        Of one image, as in calibration.
    image_range : (float, float), optional
        Smallest and largest value of the calibration's images. Images far from it are refused,
        those somewhat outside it, or blank, are warned of. None takes any.
    """

    steps: tuple[Step, ...] = field(repr=False)
    layers: tuple[QuantizedLayer, ...] = field(repr=False)
    image_shape: tuple[int, ...]
    image_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        mend = "make one with quantize() or load()"
        for name, kind in (("steps", Step), ("layers", QuantizedLayer)):
            items = require_tuple(name, getattr(self, name), mend)
            require(len(items) > 0, name, "at least one", 0, mend)
            settle(self, **{name: tuple(require_instance(name, i, kind, mend) for i in items)})
        sides = require_tuple("image_shape", self.image_shape, mend)
        sides = tuple(checks.require_integer("image_shape", side, 1, 2**31) for side in sides)
        settle(self, image_shape=sides)
        if self.image_range is not None:
            ends = checks.require_numbers("image_range", self.image_range, -np.inf)
            ordered = len(ends) == 2 and ends[0] <= ends[1]
            require(ordered, "image_range", "(smallest, largest)", ends, "order them")
            settle(self, image_range=ends)

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
        """Images (N, ...) of the calibration's shape and range, as float32; refuse others."""
        images = as_images(images)
        _require_shape("images", images, self.image_shape, "reshape them")
        if self.image_range is None or not len(images):
            return images.numpy()
        (low, high), (least, most) = self.image_range, (float(images.min()), float(images.max()))
        outside = max(low - least, most - high) / (high - low or abs(high) or 1)
        peak = max(-least, most) / max(-low, high) if images.numel() >= MANY and low < high else 1
        wanted = f"values like the calibration's {low:g} to {high:g}"
        found = f"{least:g} to {most:g}"
        mend = "scale them alike, or replace(network, image_range=None)"
        far = outside > FAR or 0 < peak < FAINT
        require(not far, "images", wanted, found, mend)
        if outside > 0.5 or peak == 0:
            warnings.warn(f"images: expected {wanted}, received {found}; {mend}", stacklevel=3)
        return images.numpy()

    @torch.no_grad()
    def logits(self, images: Any, batch: int = 500) -> np.ndarray:
        """Output (N, ...) for images (N, ...) in exact integer arithmetic, as float64."""
        images, batch = self.check(images), checks.require_integer("batch", batch, 1, 2**31)
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
        storage.write(path, *self.parts(), metadata or {})

    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Facts for JSON, and tensors: what `save` writes and `of_parts` reads."""
        facts, tensors = steps.written(self.steps)
        layers = []
        for layer in self.layers:
            name, short = layer.spec.name, layer.bias.astype(np.float32)
            tensors[f"{name}.codes"] = storage.pack_codes(layer.codes, layer.precision.weight_bits)
            tensors[f"{name}.bias"] = short if (short == layer.bias).all() else layer.bias
            layers.append(
                {"spec": asdict(layer.spec), "precision": str(layer.precision),
                 "weight_scale": np.asarray(layer.weight_scale).tolist(),
                 "input_scale": layer.input_scale,
                 "input_shape": layer.input_shape, "signed": layer.signed}
            )  # fmt: skip
        whole = {"image_shape": self.image_shape, "image_range": self.image_range}
        return {"steps": facts, "layers": layers} | whole, tensors

    @classmethod
    def of_parts(
        cls, facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> QuantizedNetwork:
        """Inverse of `parts`."""
        layers = []
        for fact in facts["layers"]:
            lists = {key: tuple(v) for key, v in fact["spec"].items() if isinstance(v, list)}
            spec, precision = LayerSpec(**fact["spec"] | lists), Precision.parse(fact["precision"])
            name, bits = spec.name, precision.weight_bits
            codes = storage.unpack_codes(tensors[f"{name}.codes"], bits, spec.weight_shape)
            bias = tensors[f"{name}.bias"].astype(np.float64)
            layers.append(QuantizedLayer(
                spec, precision, codes, fact["weight_scale"], fact["input_scale"], bias,
                tuple(fact["input_shape"]), fact["signed"],
            ))  # fmt: skip
        read, shape = steps.read(facts["steps"], tensors), tuple(facts["image_shape"])
        return cls(read, tuple(layers), shape, facts.get("image_range"))

    @classmethod
    def load(cls, source: str | Path | bytes) -> QuantizedNetwork:
        """Read a network that `save` wrote, from a file or its content; refuse all else."""
        return storage.read(source, cls.of_parts)


def rectified(network: QuantizedNetwork) -> frozenset[str]:
    """Names of the layers behind which a ReLU stands, and nothing else."""
    taken: dict[bool, set[str]] = {True: set(), False: set()}  # by a ReLU, by something else
    for step in network.steps:
        taken[is_relu(step)].update(values_of((step.args, step.kwargs)))
    alone = taken[True] - taken[False]
    layers = [step for step in network.steps if step.kind == "layer"]
    return frozenset(str(step.target) for step in layers if step.name in alone)


def _numbers(name: str, values: Any, mend: str) -> torch.Tensor:
    """Real, finite numbers as a tensor in memory, not copied where that is what they are."""
    masked, found = isinstance(values, np.ma.MaskedArray), values
    require(not masked, name, "an array without a mask", type(values), "fill it")
    try:
        if not isinstance(values, torch.Tensor):
            held = isinstance(values, (list, tuple)) or hasattr(values, "__array__")
            array = np.asarray(values if held else None)
            array = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
            found = torch.tensor(array if array.dtype.kind in "biuf" else None)
        if found.is_complex():
            raise TypeError("complex")
        found = found.detach().cpu().to_dense()
        finite = bool(torch.isfinite(found).all())
    except Exception as error:  # whatever NumPy and torch say of such objects
        kind = getattr(values, "dtype", type(values).__name__)
        message = f"{name}: expected an array of real numbers, received {kind}; {mend}"
        raise ValueError(message) from error
    require(finite, name, "finite values", "NaN or infinity", mend)
    return found


def as_images(images: Any) -> torch.Tensor:
    """Finite images (N, ...) as a float32 tensor; all else is refused."""
    found = _numbers("images", images, "clean the images").float().contiguous()
    held = bool(torch.isfinite(found).all())
    require(held, "images", "values that float32 holds", "larger ones", "scale the images")
    shape = tuple(found.shape)
    require(len(shape) >= 2, "images", "shape (N, ...)", shape, "stack them into a batch")
    return found


def as_labels(labels: Any, count: int, classes: int | None = None) -> torch.Tensor:
    """Classes (count,) as an int64 tensor, each below `classes` where given; refuse all else."""
    found, mend = _numbers("labels", labels, "give numbers"), "give one class for each image"
    require(found.shape == (count,), "labels", f"shape ({count},)", tuple(found.shape), mend)
    kind, found = found.dtype, found.double()  # torch compares no uint16
    whole = bool(((found == found.to(torch.int64)) & (found >= 0)).all())
    require(whole, "labels", "whole numbers from 0 on", f"{kind} with others", "number the classes")
    found = found.to(torch.int64)
    if classes is not None and count:
        largest, wanted = int(found.max()), f"classes below the network's {classes}"
        require(largest < classes, "labels", wanted, largest, "number the classes from 0")
    return found


def _require_shape(name: str, values: torch.Tensor, shape: tuple[int, ...], mend: str) -> None:
    wanted, found = f"shape (N, {', '.join(map(str, shape))}) as in calibration", values.shape
    require(found[1:] == shape, name, wanted, tuple(found), mend)


def example_network() -> QuantizedNetwork:
    """LeNet-5 at W4A3, trained on MNIST: digits (28, 28) of pixels from 0 to 255.

    Examples
    --------
    >>> str(example_network().precision)
    'W4A3'
    """
    content = files("nvlib").joinpath("lenet5-W4A3.safetensors").read_bytes()
    return replace(QuantizedNetwork.load(content), image_range=(0, 255))


def example_digits() -> np.ndarray:
    """Digits 0 to 9 in a dot-matrix font, uint8 (10, 28, 28), as the example network takes them.

    Examples
    --------
    >>> example_network().predict(example_digits())
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    rows = np.array([list(bytes.fromhex(glyph)) for line in FONT for glyph in line.split()])
    dots = (rows[:, :, None] >> np.arange(4, -1, -1)) & 1  # (10, 7, 5)
    large = dots.repeat(3, axis=1).repeat(3, axis=2).astype(float)  # (10, 21, 15)
    images = np.pad(large, ((0, 0), (3, 4), (6, 7)))
    for axis in (1, 2):  # pens are softer than dots
        images = (np.roll(images, 1, axis) + 2 * images + np.roll(images, -1, axis)) / 4
    return np.rint(255 * np.minimum(1.3 * images, 1)).astype(np.uint8)
