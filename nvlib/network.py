"""Feed-forward networks of quantized layers: as trained, and as written to a chip.

`Network` is the torch module that is trained. `QuantizedNetwork` is what is
left of it for the hardware: integer weight codes, scales and digital biases.
Its arithmetic between arrays, `requantize`, is shared by every engine, so
that they can only differ in how they multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nvlib.quantizers import (
    Precision,
    fake_quantize_activation,
    fake_quantize_weight,
    fit_scale,
    weight_codes,
)


@dataclass(frozen=True)
class LayerSpec:
    """Shape of one layer: a convolution, or a linear layer where `kernel` is empty.

    Attributes
    ----------
    name : str
    inputs, outputs : int
        Channels of a convolution, features of a linear layer.
    kernel, padding, stride, dilation : tuple of int
        Height and width, in pixels.
    pool : int
        Side of the max-pooling window after the layer; 1 is none.
    groups : int
        Groups of a grouped convolution on the diagonal of the matrix, which is zero elsewhere.

    Examples
    --------
    >>> spec = LayerSpec("conv", 3, 8, kernel=(3, 3), stride=(2, 2))
    >>> spec.rows, spec.weight_shape, spec.output_sides(28, 28)
    (27, (8, 3, 3, 3), (13, 13))
    """

    name: str
    inputs: int
    outputs: int
    kernel: tuple[int, ...] = ()
    padding: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pool: int = 1
    groups: int = 1

    @property
    def rows(self) -> int:
        """Rows K of the layer's K x M matrix."""
        return self.inputs * prod(self.kernel)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight tensor."""
        return (self.outputs, self.inputs, *self.kernel)

    def output_sides(self, height: int, breadth: int) -> tuple[int, int]:
        """Height and width that a convolution gives, before pooling; 1 x 1 for a linear layer."""
        if not self.kernel:
            return 1, 1
        down, across = (
            (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for side, pad, dilation, kernel, stride in zip(
                (height, breadth), self.padding, self.dilation, self.kernel, self.stride
            )
        )
        return down, across


LENET5 = (
    LayerSpec("conv1", 1, 6, kernel=(5, 5), padding=(2, 2), pool=2),
    LayerSpec("conv2", 6, 16, kernel=(5, 5), pool=2),
    LayerSpec("fc1", 400, 120),
    LayerSpec("fc2", 120, 84),
    LayerSpec("fc3", 84, 10),
)
#: Twice to three times the channels, and one layer less: how far do results hang on the network?
WIDE = (
    LayerSpec("conv1", 1, 16, kernel=(5, 5), padding=(2, 2), pool=2),
    LayerSpec("conv2", 16, 32, kernel=(5, 5), pool=2),
    LayerSpec("fc1", 800, 128),
    LayerSpec("fc2", 128, 10),
)
NETWORKS = {"lenet5": LENET5, "wide": WIDE}


def multiply(weight: torch.Tensor, inputs: torch.Tensor, spec: LayerSpec) -> torch.Tensor:
    """The layer's linear part, without bias: (N, inputs, ...) -> (N, outputs, ...).

    Examples
    --------
    >>> multiply(torch.ones(1, 2), torch.tensor([[3.0, 4.0]]), LayerSpec("fc", 2, 1))
    tensor([[7.]])
    """
    if spec.kernel:
        return F.conv2d(
            inputs, weight, stride=spec.stride, padding=spec.padding, dilation=spec.dilation
        )
    return F.linear(inputs.flatten(1), weight)


class Network(nn.Module):
    """A network in training: float, or quantized with learned scales.

    Parameters
    ----------
    specs : tuple of LayerSpec
    precision : Precision, optional
        None trains in floating point.
    """

    def __init__(self, specs: tuple[LayerSpec, ...], precision: Precision | None = None) -> None:
        super().__init__()
        self.specs = specs
        self.precision = precision
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        # Logarithms keep the scales positive and make Adam's steps relative to them.
        self.log_weight_scales = nn.ParameterList()
        self.log_input_scales = nn.ParameterList()
        for spec in specs:
            weight = torch.empty(spec.weight_shape)
            nn.init.kaiming_uniform_(weight, nonlinearity="relu")
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(spec.outputs)))
            self.log_weight_scales.append(nn.Parameter(torch.zeros(())))
            self.log_input_scales.append(nn.Parameter(torch.zeros(())))

    @torch.no_grad()
    def quantize_from(self, trained: Network, images: torch.Tensor) -> None:
        """Start from a float network: its weights, and scales of the smallest squared error.

        Activation scales fit what `images` (N, 1, H, W), in [0, 1], cause in the float
        network; the clip of the images themselves is 1, and stays so.
        """
        assert self.precision is not None
        self.load_state_dict(trained.state_dict())
        most = self.precision.activation_max
        x = images
        for i in range(len(self.specs)):
            if i:
                x = F.relu(x)
                self.log_input_scales[i].copy_(fit_scale(x, 0, most).log())
            else:
                self.log_input_scales[i].fill_(1 / most).log_()
            weight, limit = self.weights[i], self.precision.weight_max
            binary = self.precision.weight_bits == 1
            scale = weight.abs().mean() if binary else fit_scale(weight, -limit, limit)
            self.log_weight_scales[i].copy_(scale.log())
            x = self._layer(i, weight, x)
        self.log_input_scales[0].requires_grad_(False)

    def _layer(self, i: int, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        spec, bias = self.specs[i], self.biases[i]
        x = multiply(weight, x, spec) + (bias[:, None, None] if spec.kernel else bias)
        return F.max_pool2d(x, spec.pool) if spec.pool > 1 else x

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes) of images (N, 1, H, W) in [0, 1]."""
        x = images
        for i, weight in enumerate(self.weights):
            if self.precision is not None:
                bits = self.precision
                scale = self.log_weight_scales[i].exp()
                weight = fake_quantize_weight(weight, scale, bits.weight_bits)
                # Quantizing clips at 0, so it is the ReLU of the layer before.
                scale = self.log_input_scales[i].exp()
                x = fake_quantize_activation(x, scale, bits.activation_bits)
            elif i:
                x = F.relu(x)
            x = self._layer(i, weight, x)
        return x


@dataclass(frozen=True, eq=False)
class QuantizedLayer:
    """One layer as the hardware sees it.

    Attributes
    ----------
    spec : LayerSpec
    codes : ndarray of int8, shape ``spec.weight_shape``
    weight_scale, input_scale : float
        Real value of one step of a weight or input code.
    bias : ndarray of float64, shape (outputs,)
        Digital, in units of the layer's real output.
    """

    spec: LayerSpec
    codes: np.ndarray
    weight_scale: float
    input_scale: float
    bias: np.ndarray

    def __post_init__(self) -> None:
        if self.codes.shape != self.spec.weight_shape or self.codes.dtype != np.int8:
            raise ValueError(
                f"{self.spec.name}: expected int8 weight codes of shape {self.spec.weight_shape}, "
                f"received {self.codes.dtype} of shape {self.codes.shape}; check the checkpoint"
            )
        if self.bias.shape != (self.spec.outputs,) or not np.isfinite(self.bias).all():
            raise ValueError(
                f"{self.spec.name}: expected {self.spec.outputs} finite biases, "
                f"received shape {self.bias.shape}; check the checkpoint"
            )
        for name in ("weight_scale", "input_scale"):
            scale = getattr(self, name)
            if not (np.isfinite(scale) and scale > 0):
                raise ValueError(
                    f"{self.spec.name}: expected a positive finite {name}, received {scale}; "
                    "check the checkpoint"
                )

    @property
    def matrix(self) -> np.ndarray:
        """Weight codes as the K x M matrix that is written to arrays."""
        return self.codes.reshape(self.spec.outputs, -1).T


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """Layers of integer codes at one precision."""

    precision: Precision
    layers: tuple[QuantizedLayer, ...]

    def __post_init__(self) -> None:
        for layer in self.layers:
            largest = int(np.abs(layer.codes.astype(int)).max(initial=0))
            if largest > self.precision.weight_max:
                raise ValueError(
                    f"{layer.spec.name}: expected weight codes within "
                    f"+-{self.precision.weight_max} at {self.precision}, received {largest}; "
                    "the checkpoint belongs to another precision"
                )

    @property
    def specs(self) -> tuple[LayerSpec, ...]:
        """Shapes of the layers."""
        return tuple(layer.spec for layer in self.layers)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precision of each layer."""
        return (self.precision,) * len(self.layers)

    @property
    def input_sides(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each layer's input."""
        found, sides = [], (28, 28)
        for spec in self.specs:
            found.append(sides if spec.kernel else (1, spec.inputs))
            height, breadth = spec.output_sides(*sides)
            sides = height // spec.pool, breadth // spec.pool
        return tuple(found)

    @property
    def rectified(self) -> tuple[bool, ...]:
        """Whether a ReLU, and nothing else, stands behind each layer."""
        return (True,) * (len(self.layers) - 1) + (False,)

    def check(self, images: np.ndarray) -> np.ndarray:
        """Images that the network takes; see `check_images`."""
        return check_images(images)

    def run(self, images: np.ndarray, readers: Sequence[Any], read: Callable) -> np.ndarray:
        """Logits of images, whose layers are read by arrays.

        Parameters
        ----------
        images : ndarray, shape (N, 28, 28)
        readers : sequence of reader
            Of `nvlib.reading`, one for each layer.
        read : callable
            (number of the layer, codes in its reader's form) -> products.
        """
        most = self.precision.activation_max
        codes = readers[0].pad(image_codes(images, self.precision))
        for number, following in enumerate(readers[1:]):
            codes = readers[number].hand_over(read(number, codes), following, most)
        last = readers[-1].arrays
        products = read(len(readers) - 1, codes)[:, 0, : last.layer.spec.outputs]
        gain, offset = requantization(last.layer, 1.0)
        return products * (gain * last.lsb) + offset


def freeze(network: Network) -> QuantizedNetwork:
    """Integer codes and scales of a trained quantized network.

    Examples
    --------
    >>> trained = Network(LENET5, Precision(4, 3))  # not trained yet, in truth
    >>> frozen = freeze(trained)
    >>> str(frozen.precision), frozen.layers[-1].codes.dtype
    ('W4A3', dtype('int8'))
    """
    if network.precision is None:
        raise ValueError(
            "expected a network trained at a precision, received a float one; "
            "train it with a Precision first"
        )
    layers = []
    for i, spec in enumerate(network.specs):
        scale = network.log_weight_scales[i].detach().exp()
        codes = weight_codes(network.weights[i].detach(), scale, network.precision.weight_bits)
        layers.append(
            QuantizedLayer(
                spec,
                codes.numpy().astype(np.int8),
                float(scale),
                float(network.log_input_scales[i].detach().exp()),
                network.biases[i].detach().numpy().astype(np.float64),
            )
        )
    return QuantizedNetwork(network.precision, tuple(layers))


def check_images(images: np.ndarray) -> np.ndarray:
    """Images (N, 28, 28), pixels 0 to 255; refuse anything else.

    Raises
    ------
    ValueError
        If the shape differs, or a pixel is not a number from 0 to 255.

    Examples
    --------
    >>> check_images(np.zeros((2, 28, 28), np.uint8)).shape
    (2, 28, 28)
    """
    images = np.asarray(images)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"expected images of shape (N, 28, 28), received {images.shape}; "
            "reshape them, one grey channel"
        )
    if images.dtype != np.uint8:
        if not np.isfinite(images).all():
            raise ValueError("expected finite pixels, received NaN or infinity; clean the images")
        if images.size and (images.min() < 0 or images.max() > 255):
            raise ValueError(
                f"expected pixels from 0 to 255, received {images.min()} to {images.max()}; "
                "scale the images"
            )
    return images


def image_codes(images: np.ndarray, precision: Precision) -> np.ndarray:
    """Input codes of the first layer: uint8, shape (N, 1, 28, 28).

    Examples
    --------
    >>> image_codes(np.full((1, 28, 28), 255, np.uint8), Precision(4, 3)).max()
    np.uint8(7)
    """
    images = check_images(images)
    if images.dtype == np.uint8:
        table = np.rint(np.arange(256) * precision.activation_max / 255).astype(np.uint8)
        return table[images[:, None]]
    return np.rint(images[:, None] * precision.activation_max / 255).astype(np.uint8)


def requantize(
    products: np.ndarray,
    layer: QuantizedLayer,
    following: QuantizedLayer,
    activation_max: int,
    lsb: float = 1.0,
) -> np.ndarray:
    """Digital part between two arrays: pool, scale, add the bias, ReLU, quantize.

    Parameters
    ----------
    products : ndarray, shape (N, outputs[, H, W])
        What the layer's arrays gave, in multiples of `lsb`.
    lsb : float
        In units of the integer product.

    Returns
    -------
    ndarray of uint8
        Codes that enter the `following` layer.

    Examples
    --------
    >>> first, second = LayerSpec("a", 2, 2), LayerSpec("b", 2, 1)
    >>> codes = np.zeros((2, 2), np.int8)
    >>> layer = QuantizedLayer(first, codes, 0.5, 1.0, np.array([0.0, 1.0]))
    >>> following = QuantizedLayer(second, codes[:1], 1.0, 0.5, np.zeros(1))
    >>> requantize(np.array([[6, -9]]), layer, following, 7)  # 6 x 0.5 / 0.5, and a ReLU
    array([[6, 0]], dtype=uint8)
    """
    # Scales are positive, so the maximum may be taken before them.
    pooled = max_pool(products, layer.spec.pool)
    gain, offset = requantization(layer, following.input_scale)
    if pooled.ndim == 4:
        offset = offset[:, None, None]
    codes = np.rint(np.clip(pooled * (gain * lsb) + offset, 0, activation_max)).astype(np.uint8)
    return codes if following.spec.kernel else codes.reshape(len(codes), -1)


def requantization(layer: QuantizedLayer, next_scale: float) -> tuple[float, np.ndarray]:
    """Gain and per-channel offset that turn products into units of `next_scale`.

    Examples
    --------
    >>> layer = QuantizedLayer(
    ...     LayerSpec("fc", 1, 1), np.zeros((1, 1), np.int8), 0.5, 0.25, np.array([1.0])
    ... )
    >>> requantization(layer, 0.125)
    (1.0, array([8.]))
    """
    return layer.weight_scale * layer.input_scale / next_scale, layer.bias / next_scale


def max_pool(values: np.ndarray, side: int) -> np.ndarray:
    """Maximum over windows of side x side pixels; (N, C, H, W) -> (N, C, H/side, W/side).

    Examples
    --------
    >>> max_pool(np.arange(16).reshape(1, 1, 4, 4), 2)[0, 0]
    array([[ 5,  7],
           [13, 15]])
    """
    if side == 1:
        return values
    corners = [values[..., y::side, x::side] for y in range(side) for x in range(side)]
    return reduce(np.maximum, corners)  # much faster than a maximum over reshaped axes


def quantized_logits(network: QuantizedNetwork, images: np.ndarray, batch: int = 500) -> np.ndarray:
    """Logits of the integer network in torch, without any hardware.

    Codes are small integers and every sum stays below 2^24, so float32 is exact
    and the order of the additions does not matter.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 28, 28)

    Returns
    -------
    ndarray of float64, shape (N, 10)

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_quantized
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> quantized_logits(network, np.zeros((3, 28, 28), np.uint8)).shape
    (3, 10)
    """
    check_exact(network)
    weights = [torch.from_numpy(layer.codes.astype(np.float32)) for layer in network.layers]
    results = []
    for start in range(0, len(images), batch):
        codes = image_codes(images[start : start + batch], network.precision)
        for i, layer in enumerate(network.layers):
            products = multiply(weights[i], torch.from_numpy(codes.astype(np.float32)), layer.spec)
            if i + 1 < len(network.layers):
                codes = requantize(
                    products.numpy(), layer, network.layers[i + 1], network.precision.activation_max
                )
        gain, offset = requantization(network.layers[-1], 1.0)
        results.append(products.numpy().astype(np.float64) * gain + offset)
    return np.concatenate(results)


def check_exact(network: QuantizedNetwork) -> None:
    """Refuse a network whose integer products may not fit float32's 24 bits.

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_quantized
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> check_exact(network)
    """
    for layer in network.layers:
        column = np.abs(layer.matrix.astype(int)).sum(axis=0).max()
        if column * network.precision.activation_max >= 2**24:
            raise ValueError(
                f"{layer.spec.name}: expected integer products below 2^24, "
                f"may reach {column * network.precision.activation_max}; "
                "use fewer bits or a smaller layer"
            )
