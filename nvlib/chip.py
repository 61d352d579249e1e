"""A network written onto crossbars: one frozen chip per seed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from nvlib import converters, devices, hardware, mapping, storage, wires
from nvlib.arrays import LayerArrays, parts_of, write_layer
from nvlib.checks import refusing, require, require_flag, require_instance, require_integer
from nvlib.engine.compiled import COMPILED
from nvlib.engine.noise import ReadKeys, image_keys
from nvlib.engine.reference import ReferenceReader
from nvlib.events import LayerEvents, count
from nvlib.graph.steps import IMAGES
from nvlib.hardware import Hardware
from nvlib.network import QuantizedLayer, QuantizedNetwork, rectified
from nvlib.quantization import quantize
from nvlib.quantizers import Precision

if COMPILED:
    from nvlib.engine.chain import fuse
    from nvlib.engine.kernel import CompiledReader

IMAGE_BLOCK = 256  # images that pass through the layers together, on one thread
EVENT_BLOCK = 100  # images that are counted together
#: Classes that a chip's file can hold in its hardware.
STORABLE = {
    name: kind
    for module in (converters, devices, hardware, mapping, wires)
    for name, kind in vars(module).items()
    if isinstance(kind, type)
}

#: (number of the arrays, their input codes): told of every read, where asked for.
Observer = Callable[[int, np.ndarray], None]


class Reader(Protocol):
    """Reads the arrays of one layer: `CompiledReader` and `ReferenceReader`, to the same bits."""

    arrays: LayerArrays

    def __call__(self, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Products (N, outputs[, H, W]) in LSB of input codes (N, inputs[, H, W])."""


class ArrayLayer(NamedTuple):
    """One layer of a network on its arrays: real inputs to real outputs."""

    layer: QuantizedLayer
    parts: list[tuple[slice, int, Reader]]  # of each group: channels, number, what reads

    def read(
        self, values: torch.Tensor, keys: ReadKeys, observe: Observer | None = None
    ) -> torch.Tensor:
        """Outputs (N, outputs[, H, W]) of inputs (N, inputs[, H, W]), in double precision."""
        keys.check(self.layer.spec.name, len(values))
        signed_codes = self.layer.input_codes(values).numpy()
        outputs = []
        for channels, number, reader in self.parts:
            products: Any = 0
            for phase in (0, 1) if self.layer.signed else (0,):
                codes = (signed_codes[:, channels] * (1, -1)[phase]).clip(0).astype(np.uint8)
                if observe is not None:
                    observe(number, codes)
                found = reader(codes, keys.of(number, *(phase,) * phase))
                products = products - found if phase else found
            outputs.append(reader.arrays.layer.real(products, reader.arrays.unit))
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(outputs, axis=1)))


class Chip:
    """A quantized network on real arrays.

    Programming errors, faults and converter curves are drawn from `seed` when the chip is
    made and never again. Read noise is keyed by chip, layer and image. So what an image gives
    does not depend on which others are read with it, in what order, or on how many threads; but
    for the last bits of what torch multiplies digitally, as attention does.

    Parameters
    ----------
    network : QuantizedNetwork
        From `nvlib.quantize`, `nvlib.fine_tune` or a file.
    hardware : Hardware, optional
        128 x 128 ideal arrays with converters that lose nothing by default.
    compiled : bool
        False reads with `nvlib.engine.reference`, slower and to the same bits.
    device : str
        Where torch multiplies; any but "cpu", such as "cuda", is read so too.

    Examples
    --------
    >>> noisy = Hardware(devices=DeviceModel(effects=(RangeVariation(0.05),)), adc=Adc(bits=8))
    >>> chip = Chip(network, noisy, seed=1)
    >>> chip.predict(images[:4]).shape, chip(images[:4]).shape
    ((4,), (4, 10))
    """

    def __init__(
        self, network: QuantizedNetwork, hardware: Hardware | None = None, seed: int = 0,
        compiled: bool = COMPILED, device: str = "cpu",
    ) -> None:  # fmt: skip
        mend = "make one with quantize(), or use Chip.from_torch"
        self.network = require_instance("network", network, QuantizedNetwork, mend)
        hardware = Hardware() if hardware is None else hardware
        self.hardware = require_instance("hardware", hardware, Hardware, "write Hardware(...)")
        self.seed = require_integer("seed", seed, 0, 2**63)
        with refusing("device", "one that torch has", "write 'cpu', or 'cuda' where there is one"):
            self._device = str(torch.empty(0, device=device).device)
        compiled, mend = require_flag("compiled", compiled), "install it, or pass compiled=False"
        require(COMPILED or not compiled, "compiled", "Numba", "none", mend)
        self._compiled = compiled and self._device == "cpu"
        self._parts = [
            (layer.spec.name, *part) for layer in network.layers for part in parts_of(layer)
        ]
        hardware.adc.check_arrays(len(self._parts))
        self._access, self._others = 0, dict[int, Chip]()
        #: What was written, in the order of the layers.
        self.arrays = self._write(access=0)
        #: Layer that each of the arrays belongs to.
        self.layer_names = tuple(name for name, *_ in self._parts)

    @classmethod
    def from_torch(
        cls, model: nn.Module, images: Any, hardware: Hardware | None = None,
        precision: Precision | str = "W8A8", *, seed: int = 0, **choices: Any,
    ) -> Chip:  # fmt: skip
        """Write any torch network onto arrays, quantized after training.

        What no array and no digital step can do is refused, named by its path. For converters of
        fewer bits, choose their full scale with `nvlib.calibrate`.

        Parameters
        ----------
        model : torch.nn.Module
            Its Conv1d, Conv2d and Linear (of attention too) go onto arrays; what has no matrix of
            weights stays digital.
        images : Tensor or ndarray, shape (N, ...)
            For calibration, as the model takes them; some hundred training images.
        **choices
            Of the quantization; see `nvlib.quantize`.

        Examples
        --------
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(),
        ...                       nn.Linear(36, 10))
        >>> pixels = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> small = Chip.from_torch(model, pixels, precision="W4A3")
        >>> [arrays.layer.spec.name for arrays in small.arrays], small(pixels).shape
        (['0', '3'], (32, 10))
        """
        mend = "write Hardware(...), and precision='W4A3' by its name"
        require_instance("hardware", Hardware() if hardware is None else hardware, Hardware, mend)
        return cls(quantize(model, images, precision, **choices), hardware, seed)

    def _write(self, access: int) -> tuple[LayerArrays, ...]:
        """Arrays as that access finds them."""
        seeds = np.random.SeedSequence(self.seed).spawn(len(self._parts))
        return tuple(
            write_layer(part, number, self.hardware, seeds[number], access)
            for number, (_, _, part) in enumerate(self._parts)
        )

    def at(self, access: int) -> Chip:
        """The chip as that access finds and reads it; itself where no noise is slow."""
        access = require_integer("access", access, 0, 2**63)
        if access == self._access or self.hardware.devices.slow_noise is None:
            return self
        if access not in self._others:
            other = Chip(self.network, self.hardware, self.seed, self._compiled, self._device)
            other.arrays, other._access = other._write(access), access
            self._others = {access: other}
        return self._others[access]

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """A reader for each of `arrays`, laid out at the first use."""
        reader = CompiledReader if self._compiled else partial(ReferenceReader, device=self._device)
        return tuple(reader(arrays) for arrays in self.arrays)

    @cached_property
    def _program(self) -> tuple:
        """Steps, and layers on their arrays by name; chains of layers fused where compiled."""
        steps, layers = self.network.steps, self.network.layers
        on_arrays = {layer.spec.name: ArrayLayer(layer, []) for layer in layers}
        for number, (name, channels, _) in enumerate(self._parts):
            on_arrays[name].parts.append((channels, number, self.readers[number]))
        return fuse(steps, on_arrays) if self._compiled else (steps, on_arrays)

    def _forward(
        self, images: np.ndarray, access: int | None = None, observe: Observer | None = None
    ) -> np.ndarray:
        """Output for a block of images, one step after the other."""
        noisy = any(arrays.noisy for arrays in self.arrays)
        names = image_keys(images) if noisy else np.zeros(len(images), np.uint64)
        keys = ReadKeys(names, self.seed, self._access if access is None else access)
        steps, layers = self._program
        reads = {k: partial(layer.read, keys=keys, observe=observe) for k, layer in layers.items()}
        values = {IMAGES: torch.from_numpy(images).double()}
        with torch.no_grad():
            for step in steps:
                step.run(values, reads)
        return values[steps[-1].name].numpy()

    def logits(
        self, images: Any, threads: int | None = None, access: int | None = None
    ) -> np.ndarray:
        """Real outputs (N, classes) for images (N, ...) as the network takes them, as float64.

        By default the access is that of the chip, see `at`; another meets other read noise and, of
        all images alike, other slow noise. Threads are as many as there are cores by default; the
        result does not depend on them.
        """
        images = self.network.check(images)
        threads = (os.cpu_count() or 1) if threads is None else threads
        threads = require_integer("threads", threads, 1, 4096)
        chip = self if access is None else self.at(access)
        assert chip._program  # laid out before threads need them
        if not len(images):  # the shape of nothing is that of something
            return chip._forward(np.zeros((1, *images.shape[1:]), images.dtype), access)[:0]
        rounds = -(-len(images) // (IMAGE_BLOCK * threads))  # in which all threads have a block
        size = -(-len(images) // (rounds * threads))
        blocks = [images[i : i + size] for i in range(0, len(images), size)]
        if len(blocks) == 1:  # starting a thread takes as long as reading a small image
            return chip._forward(images, access)
        with ThreadPoolExecutor(threads) as pool:
            outputs = pool.map(lambda block: chip._forward(block, access), blocks)
            return np.concatenate(list(outputs))

    __call__ = logits

    def predict(
        self, images: Any, threads: int | None = None, access: int | None = None
    ) -> np.ndarray:
        """Class of each image; see `logits`."""
        return self.logits(images, threads, access).argmax(axis=1)

    def layer_codes(self, images: Any) -> list[np.ndarray]:
        """Input codes of each of `arrays`, (N, inputs[, H, W]), as this chip makes them.

        Arrays that read twice (signed inputs) have the codes of both reads, (2 N, ...).
        """
        met: list[list[np.ndarray]] = [[] for _ in self.arrays]
        images = self.network.check(images)
        require(len(images) > 0, "images", "at least one", 0, "pass some")
        self._forward(images, observe=lambda number, codes: met[number].append(codes))
        return [np.concatenate(codes) for codes in met]

    def events(self, images: Any, column_sums: bool = False) -> list[LayerEvents]:
        """Pass images (N, ...) through the chip and count what each of its arrays does.

        `column_sums` counts the ideal sums of the columns too.

        >>> events = chip.events(images[:2])
        >>> events[0].accesses, events[0].images  # 784 positions x 3 planes x 1 tile, of 2 images
        (4704, 2)
        """
        images = self.network.check(images)
        require(len(images) > 0, "images", "at least one", 0, "pass some")
        relu = rectified(self.network)
        total: dict[int, LayerEvents] = {}

        def observe(number: int, codes: np.ndarray) -> None:
            followed = self.layer_names[number] in relu
            found = count(self.arrays[number], codes, followed, column_sums)
            total[number] = total[number] + found if number in total else found

        for start in range(0, len(images), EVENT_BLOCK):
            self._forward(images[start : start + EVENT_BLOCK], observe=observe)
        # A signed layer reads each image twice.
        return [replace(total[number], images=len(images)) for number in range(len(self.arrays))]

    def products(
        self, number: int, codes: np.ndarray, keys: np.ndarray | None = None
    ) -> np.ndarray:
        """Products (N, outputs[, H, W]) of the arrays of that number, int64, in their LSB.

        They read `codes` (N, inputs[, H, W]), uint8; read noise hangs on `keys` (N,) of images.
        """
        number = require_integer("number", number, 0, len(self.arrays) - 1)
        layer, codes = self.arrays[number].layer, np.asarray(codes)
        require(codes.size > 0, "codes", "at least one image's", codes.shape, "pass some")
        most, largest = layer.precision.activation_max, int(codes.max(initial=0))
        wanted, mend = f"codes from 0 to {most}", f"quantize at {layer.precision}"
        require(largest <= most, layer.spec.name, wanted, largest, mend)
        names = np.zeros(len(codes), np.uint64) if keys is None else np.asarray(keys, np.uint64)
        return self.readers[number](codes, ReadKeys(names, self.seed, self._access).of(number))

    def __reduce__(self) -> tuple:
        if self._access:
            return Chip.at, (self.at(0), self._access)
        return Chip, (self.network, self.hardware, self.seed, self._compiled, self._device)

    def digest(self) -> str:
        """SHA-256 of everything that was written and drawn."""
        digest = hashlib.sha256()
        for arrays in self.arrays:
            cells = arrays.conductance, arrays.reference, arrays.sense
            for state in (*cells, arrays.drive, arrays.curves):
                digest.update(b"" if state is None else np.ascontiguousarray(state).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path, metadata: dict[str, str] | None = None) -> None:
        """Write the chip to one file: network, hardware and seed, from which it is made again.

        Hardware with an effect of the user's own class is refused; pickle the chip then.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     chip.save(f"{folder}/chip.safetensors")
        ...     again = Chip.load(f"{folder}/chip.safetensors")
        >>> bool((again(images[:2]) == chip(images[:2])).all())
        True
        """
        facts, tensors = self.network.parts()
        hardware = storage.plain(self.hardware, STORABLE)
        facts |= {"hardware": hardware, "seed": self.seed, "digest": self.digest()}
        facts["access"] = self._access
        storage.write(path, facts, tensors, metadata or {})

    @classmethod
    def load(cls, source: str | Path | bytes) -> Chip:
        """Read a chip that `save` wrote, from a file or its content; ValueError if that is none.

        It is refused too where this machine would write other cells than the one that saved it.
        """

        def make(facts: Any, tensors: Mapping[str, np.ndarray]) -> Chip:
            network = QuantizedNetwork.of_parts(facts, tensors)
            chip = cls(network, storage.restored(facts["hardware"], STORABLE), facts["seed"])
            chip = chip.at(facts.get("access", 0))
            same, found = chip.digest() == facts["digest"], "others from the same seed"
            mend = "load it with the version of numpy that saved it"
            require(same, "chip", "cells as they were saved", found, mend)
            return chip

        return storage.read(source, make)


def calibrate(network: QuantizedNetwork, hardware: Hardware, images: Any) -> Hardware:
    """The same hardware with the full scale of its converters set on training images.

    Each layer gets the full scale of the smallest squared error of its converters' codes:
    clipping the few large sums buys finer steps for the many small ones. The best trade is
    searched over quarter-unit steps on ideal column sums; a few dozen images do. Converters without
    a fixed resolution are refused.

    The reference column of the offset scheme is left out, though its sums are larger and count in
    every output: there the scale found may be worse than none, so look at the accuracy.

    >>> scales = calibrate(network, Hardware(adc=Adc(bits=4)), images[:8]).adc.full_scale
    >>> len(scales), all(15 <= scale <= 128 for scale in scales)
    (5, True)
    """
    hardware = require_instance("hardware", hardware, Hardware, "write Hardware(...)")
    mend = "a lossless converter needs no calibration"
    fixed = hardware.adc.bits is not None
    require(fixed, "adc", "converters of a fixed resolution", hardware.adc, mend)
    return fit_scales(hardware, ideal_sums(network, hardware.mapping, images))


def ideal_sums(
    network: QuantizedNetwork, mapping: mapping.ArrayMapping, images: Any
) -> list[np.ndarray]:
    """How often each sum occurs in ideal columns: of each of the arrays, counts by sum."""
    events = Chip(network, Hardware(mapping=mapping)).events(images, column_sums=True)
    return [event.column_sums for event in events if event.column_sums is not None]


def fit_scales(hardware: Hardware, sums: list[np.ndarray]) -> Hardware:
    """What `calibrate` does, for `ideal_sums` that many kinds of converters can share."""
    assert hardware.adc.bits is not None
    top = 2**hardware.adc.bits - 1
    # Quarter steps, and a hundred wider ones: fine enough, and the search stays short.
    coarsest = max(hardware.mapping.largest_sum / top, 1.0)
    wide = np.geomspace(16, max(coarsest, 16), 100)
    steps = np.minimum(np.append(np.arange(1.0, 16.0, 0.25), wide), coarsest)
    scales = []
    for histogram in sums:
        met = np.flatnonzero(histogram)
        errors = [
            histogram[met] @ (np.clip(np.floor(met / s + 0.5), 0, top) * s - met) ** 2
            for s in steps
        ]
        # Rounding may carry the coarsest step beyond the sums.
        most = float(max(hardware.mapping.largest_sum, top))
        scales.append(min(float(steps[int(np.argmin(errors))] * top), most))
    return replace(hardware, adc=replace(hardware.adc, full_scale=tuple(scales)))
