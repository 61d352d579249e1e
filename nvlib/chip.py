"""A network written onto crossbars: one frozen chip per seed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
from torch import nn

from nvlib.arrays import Hardware, LayerArrays, write_layer
from nvlib.checks import require_integer
from nvlib.compiled import COMPILED
from nvlib.graph import GraphNetwork, QuantizedGraph
from nvlib.network import QuantizedNetwork
from nvlib.noise import access_key, image_keys
from nvlib.quantizers import Precision
from nvlib.reading import CompiledReader, ReferenceReader

IMAGE_BLOCK = 64  # images that pass through the layers together, on one thread


class Chip:
    """A quantized network on real arrays.

    Programming errors, faults and converter curves are drawn from `seed` when the chip is
    made and never again. Read noise is keyed by chip, layer and image. So what an image gives
    does not depend on which others are read with it, in what order, or on how many threads.

    Parameters
    ----------
    network : QuantizedNetwork or QuantizedGraph
    hardware : Hardware
    seed : int
        Which chip.
    compiled : bool
        False reads with `nvlib.reference`, slower and to the same bits.
    device : str
        Where torch multiplies; any but "cpu", such as "cuda", reads with `nvlib.reference` too.

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_quantized
    >>> from artifact.data import load_embedded
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> chip = Chip(network, Hardware(), seed=0)
    >>> digits = load_embedded()
    >>> bool((chip.predict(digits.test_images[:50]) == digits.test_labels[:50]).mean() > 0.9)
    True
    """

    def __init__(
        self,
        network: QuantizedNetwork | QuantizedGraph,
        hardware: Hardware,
        seed: int = 0,
        compiled: bool = COMPILED,
        device: str = "cpu",
    ) -> None:
        require_integer("seed", seed, 0, 2**63)
        self.network = network
        self.hardware = hardware
        self.seed = seed
        self._reader = (
            CompiledReader
            if compiled and device == "cpu"
            else partial(ReferenceReader, device=device)
        )
        seeds = np.random.SeedSequence(seed).spawn(len(network.layers))
        self.layers: tuple[LayerArrays, ...] = tuple(
            write_layer(layer, number, network.precisions[number], hardware, seeds[number])
            for number, layer in enumerate(network.layers)
        )

    @classmethod
    def from_torch(
        cls,
        model: nn.Module,
        images: Any,
        hardware: Hardware | None = None,
        precision: Precision | None = None,
        *,
        overrides: Mapping[str, Precision] | None = None,
        method: str = "mse",
        digital: Sequence[str] = (),
        seed: int = 0,
    ) -> Chip:
        """Write any torch network onto arrays, quantized after training.

        Parameters
        ----------
        model : torch.nn.Module
            Of Conv2d, Linear, BatchNorm, ReLU, ReLU6, pooling, flatten, dropout, additions and
            concatenations; or a `GraphNetwork` that is quantized already, whose precisions and
            scales are kept.
        images : Tensor or ndarray, shape (N, ...)
            For calibration, as the model takes them; some hundred training images.
        hardware : Hardware, optional
            128 x 128 arrays with converters that lose nothing by default. For converters of
            fewer bits, choose their full scale with `nvlib.calibration`.
        precision : Precision, optional
            W8A8 by default.
        overrides, method
            See `nvlib.graph.GraphNetwork.quantize`.
        digital : sequence of str
            Paths of modules that stay digital.
        seed : int
            Which chip.

        Raises
        ------
        ValueError
            If the network has what no array and no digital step can do, named by its path.

        Examples
        --------
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(),
        ...                       nn.Linear(36, 10))
        >>> images = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> chip = Chip.from_torch(model, images)
        >>> [layer.layer.spec.name for layer in chip.layers], chip.logits(images).shape
        (['0', '3'], (32, 10))
        """
        hardware = hardware or Hardware()
        network = model if isinstance(model, GraphNetwork) else GraphNetwork(model, digital)
        if not network.precisions:
            network.quantize(images, precision or Precision(8, 8), overrides, method)
        elif precision is not None or overrides or digital:
            raise ValueError(
                "expected no precision, overrides or digital for a network that is quantized "
                f"already, received {precision}, {overrides}, {digital}; leave them out, or pass "
                "the float network"
            )
        return cls(network.freeze(hardware.mapping.rows), hardware, seed)

    @cached_property
    def _readers(self) -> list:
        sides = self.network.input_sides
        return [self._reader(arrays, *side) for arrays, side in zip(self.layers, sides)]

    def products(
        self, number: int, codes: np.ndarray, keys: np.ndarray | None = None
    ) -> np.ndarray:
        """What the arrays of one layer give, in LSB of that layer.

        Parameters
        ----------
        number : int
            Of the layer.
        codes : ndarray of uint8, shape (N, inputs[, H, W])
        keys : ndarray of uint64, shape (N,), optional
            Of the images, for read noise.

        Returns
        -------
        ndarray of int, shape (N, outputs[, H, W])
        """
        reader = self._readers[number]
        spec, side = reader.arrays.layer.spec, reader.input_shape
        codes = np.asarray(codes)
        if codes.dtype != np.uint8 or codes.shape[1:] != side:
            raise ValueError(
                f"{spec.name}: expected uint8 codes of shape (N, {', '.join(map(str, side))}), "
                f"received {codes.dtype} of shape {codes.shape}; quantize the layer's input first"
            )
        precision = reader.arrays.precision
        if codes.size and codes.max() > precision.activation_max:
            raise ValueError(
                f"{spec.name}: expected codes from 0 to {precision.activation_max}, received "
                f"{codes.max()}; quantize at {precision}"
            )
        if keys is None:
            keys = np.zeros(len(codes), np.uint64)
        out = reader.read(reader.pad(codes), keys ^ access_key(self.seed, number, 0))
        out = out[:, :, : spec.outputs].transpose(0, 2, 1)
        if spec.kernel:
            return out.reshape(len(codes), spec.outputs, *reader.output_sides)
        return out[:, :, 0]

    def logits(self, images: Any, threads: int | None = None, access: int = 0) -> np.ndarray:
        """Real outputs of the last layer.

        Parameters
        ----------
        images : ndarray, shape (N, 28, 28)
            Pixels from 0 to 255; of a chip made by `from_torch`, what its network takes.
        threads : int, optional
            As many as there are cores by default; the result does not depend on it.
        access : int
            Which reading of the images; another one meets other read noise.

        Returns
        -------
        ndarray of float64, shape (N, classes)
        """
        images = self.network.check(images)
        assert self._readers  # laid out before threads need them
        if not len(images):  # the shape of nothing is that of something
            return self._run(np.zeros((1, *images.shape[1:]), images.dtype), access)[:0]
        blocks = [images[i : i + IMAGE_BLOCK] for i in range(0, len(images), IMAGE_BLOCK)]
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            return np.concatenate(list(pool.map(lambda block: self._run(block, access), blocks)))

    def predict(self, images: Any, threads: int | None = None, access: int = 0) -> np.ndarray:
        """Class of each image; see `logits`."""
        return self.logits(images, threads, access).argmax(axis=1)

    def layer_codes(self, images: Any) -> list[np.ndarray]:
        """Input codes of each layer, (N, inputs[, H, W]), as this chip makes them.

        A layer that reads twice (signed inputs) has the codes of both reads, (2 N, ...).
        """
        met: list[list[np.ndarray]] = [[] for _ in self.layers]
        self._run(self.network.check(images), 0, met)
        return [np.concatenate(codes) for codes in met]

    def _run(
        self, images: np.ndarray, access: int, met: list[list[np.ndarray]] | None = None
    ) -> np.ndarray:
        """Logits of a block of images; `met` takes every layer's input codes."""
        keys, readers = np.zeros(len(images), np.uint64), self._readers
        if any(arrays.noisy for arrays in self.layers):
            keys = image_keys(images)

        def read(number: int, codes: np.ndarray, *phase: int) -> np.ndarray:
            if met is not None:
                met[number].append(readers[number].unpad(codes))
            return readers[number].read(codes, keys ^ access_key(self.seed, number, access, *phase))

        return self.network.run(images, readers, read)
