"""A network written onto crossbars: one frozen chip per seed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from nvlib.arrays import Hardware, LayerArrays, write_layer
from nvlib.checks import require_integer
from nvlib.compiled import COMPILED
from nvlib.network import QuantizedNetwork, check_images, image_codes, requantization
from nvlib.noise import access_key, image_keys
from nvlib.reading import CompiledReader, ReferenceReader

IMAGE_BLOCK = 64  # images that pass through the layers together, on one thread


class Chip:
    """A quantized network on real arrays.

    Programming errors, faults and converter curves are drawn from `seed` when the chip is
    made and never again. Read noise is keyed by chip, layer and image. So what an image gives
    does not depend on which others are read with it, in what order, or on how many threads.

    Parameters
    ----------
    network : QuantizedNetwork
    hardware : Hardware
    seed : int
        Which chip.
    compiled : bool
        False reads with `nvlib.reference`, slower and to the same bits.

    Examples
    --------
    >>> from nvlib.checkpoints import CheckpointName, load_quantized
    >>> from nvlib.data import load_embedded
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> chip = Chip(network, Hardware(), seed=0)
    >>> digits = load_embedded()
    >>> bool((chip.predict(digits.test_images[:50]) == digits.test_labels[:50]).mean() > 0.9)
    True
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        hardware: Hardware,
        seed: int = 0,
        compiled: bool = COMPILED,
    ) -> None:
        require_integer("seed", seed, 0, 2**63)
        self.network = network
        self.hardware = hardware
        self.seed = seed
        self._reader = CompiledReader if compiled else ReferenceReader
        seeds = np.random.SeedSequence(seed).spawn(len(network.layers))
        self.layers: tuple[LayerArrays, ...] = tuple(
            write_layer(layer, number, network.precision, hardware, seeds[number])
            for number, layer in enumerate(network.layers)
        )

    @cached_property
    def _readers(self) -> list:
        height = breadth = 28
        readers = []
        for arrays in self.layers:
            spec = arrays.layer.spec
            if not spec.kernel:
                height, breadth = 1, spec.inputs
            readers.append(self._reader(arrays, height, breadth))
            height, breadth = (side // spec.pool for side in readers[-1].output_sides)
        return readers

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
        most = self.network.precision.activation_max
        if codes.size and codes.max() > most:
            raise ValueError(
                f"{spec.name}: expected codes from 0 to {most}, received {codes.max()}; "
                f"quantize at {self.network.precision}"
            )
        if keys is None:
            keys = np.zeros(len(codes), np.uint64)
        out = reader.read(reader.pad(codes), keys ^ access_key(self.seed, number, 0))
        out = out[:, :, : spec.outputs].transpose(0, 2, 1)
        if spec.kernel:
            return out.reshape(len(codes), spec.outputs, *reader.output_sides)
        return out[:, :, 0]

    def logits(self, images: np.ndarray, threads: int | None = None, access: int = 0) -> np.ndarray:
        """Real outputs of the last layer.

        Parameters
        ----------
        images : ndarray, shape (N, 28, 28)
            Pixels from 0 to 255.
        threads : int, optional
            As many as there are cores by default; the result does not depend on it.
        access : int
            Which reading of the images; another one meets other read noise.

        Returns
        -------
        ndarray of float64, shape (N, classes)
        """
        images = check_images(images)
        readers = self._readers  # laid out before threads need them
        blocks = range(0, len(images), IMAGE_BLOCK)
        if not len(images):
            return np.zeros((0, self.layers[-1].layer.spec.outputs))
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            results = pool.map(
                lambda start: self._block(images[start : start + IMAGE_BLOCK], access),
                blocks,
            )
            products = np.concatenate(list(results))
        last = readers[-1].arrays
        gain, offset = requantization(last.layer, 1.0)
        return products * (gain * last.lsb) + offset

    def predict(
        self, images: np.ndarray, threads: int | None = None, access: int = 0
    ) -> np.ndarray:
        """Class of each image (N, 28, 28); see `logits`."""
        return self.logits(images, threads, access).argmax(axis=1)

    def layer_codes(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Input codes of each layer in turn, (N, inputs[, H, W]), as this chip makes them."""
        for reader, padded, _ in self._walk(check_images(images), 0):
            yield reader.unpad(padded)

    def _block(self, images: np.ndarray, access: int) -> np.ndarray:
        for reader, padded, keys in self._walk(images, access):
            if reader is self._readers[-1]:
                return reader.read(padded, keys)[:, 0, : reader.arrays.layer.spec.outputs]
        raise AssertionError("a network has a last layer")

    def _walk(self, images: np.ndarray, access: int) -> Iterator[tuple]:
        """Each layer's reader, its padded flat input codes, and its noise keys."""
        keys = np.zeros(len(images), np.uint64)
        if any(arrays.noisy for arrays in self.layers):
            keys = image_keys(images)
        readers = self._readers
        padded = readers[0].pad(image_codes(images, self.network.precision))
        most = self.network.precision.activation_max
        for number, reader in enumerate(readers):
            yield reader, padded, keys ^ access_key(self.seed, number, access)
            if number + 1 < len(readers):
                products = reader.read(padded, keys ^ access_key(self.seed, number, access))
                padded = reader.hand_over(products, readers[number + 1], most)
