"""What the studies share: networks, images, and hardware described by plain parameters."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from artifact import data
from artifact.checkpoints import (
    CheckpointName,
    load_float,
    load_quantized,
    read_manifest,
)
from artifact.paths import CHECKPOINTS, ROOT
from artifact.recipes import CALIBRATION_IMAGES, SEEDS
from nvlib import Adc, ArrayMapping, Chip, Hardware, Precision, QuantizedNetwork
from nvlib.chip import fit_scales, ideal_sums
from nvlib.energy import AdcLaw, EnergyTable, inference_energy
from nvlib.events import LayerEvents
from nvlib.sparsity import Policy

#: Where the shipped networks lie, relative to the artifact, as points name it.
SHIPPED = CHECKPOINTS.relative_to(ROOT).as_posix()
#: Precisions that the claims speak of.
PAIR = ("W8A8", "W4A3")
PRECISIONS = ("W8A8", "W6A6", "W4A4", "W4A3", "W3A3", "W2A2")
#: Network of each data set, where studies name none.
ARCHITECTURES = {"mnist": "lenet5", "embedded": "lenet5", "cifar10": "resnet20"}


@lru_cache(maxsize=64)
def network(
    dataset: str, precision: str, seed: int = 0, checkpoints: str = SHIPPED,
    training: str = "qat", architecture: str = "",
) -> QuantizedNetwork:  # fmt: skip
    """A trained network by plain parameters; of the data set's architecture, unless one is named.

    Parameters
    ----------
    training : str
        Recipe of the quantization; see `artifact.recipes`.
    """
    architecture = architecture or ARCHITECTURES[dataset]
    name = CheckpointName(dataset, architecture, Precision.parse(precision), seed, training)
    return load_quantized(name, Path(ROOT / checkpoints))


def training_seeds(
    dataset: str, precision: str, checkpoints: str = SHIPPED, training: str = "qat"
) -> tuple[int, ...]:
    """Seeds that a precision's networks were trained with."""
    manifest = read_manifest(ROOT / checkpoints)
    # Of quantization after training one file may hold the scales of all precisions.
    trained = [Precision.parse(precision), *[None] * (training == "ptq")]
    return tuple(
        seed
        for seed in SEEDS
        if any(
            CheckpointName(dataset, ARCHITECTURES[dataset], one, seed, training).path.as_posix()
            in manifest
            for one in trained
        )
    )


def test_images(dataset: str, images: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The first `images` test images, or all, and their labels.

    Raises
    ------
    ValueError
        If the data set has fewer.
    """
    digits = data.load(dataset)
    images = len(digits.test_images) if images is None else images
    if not 1 <= images <= len(digits.test_images):
        raise ValueError(
            f"images: expected 1 to {len(digits.test_images)} of {digits.name}, "
            f"received {images}; ask for fewer"
        )
    return digits.test_images[:images], digits.test_labels[:images]


@lru_cache(maxsize=64)
def calibrated(net: QuantizedNetwork, hardware: Hardware, dataset: str) -> Hardware:
    """The same hardware with the full scale of its converters set on training images.

    Slices of mixed width keep a full scale over all rows, each its own.
    """
    if hardware.mapping.sliced:
        return hardware
    return fit_scales(hardware, _sums(net, hardware.mapping, dataset))


@lru_cache(maxsize=8)
def _sums(net: QuantizedNetwork, mapping: ArrayMapping, dataset: str) -> list[np.ndarray]:
    """Column sums on training images, which converters of all resolutions share."""
    return ideal_sums(net, mapping, data.load(dataset).train_images[:CALIBRATION_IMAGES])


def adc_bits_of(precision: str) -> int:
    """Converter resolution of a precision in the default hardware: its weight bits, at least 4.

    A reading of C6, whose ADC shares imply a factor 2^4 between the converters of W8A8 and
    W4A3. Below 4 bits accuracy falls. Full scales are calibrated where 2^B - 1 does not cover
    the array.
    """
    return max(Precision.parse(precision).weight_bits, 4)


def default_hardware(net: QuantizedNetwork, dataset: str, rows: int = 128) -> Hardware:
    """128 x 128 arrays of 1-bit cells, bit-serial inputs, differential pairs, B = W bits."""
    mapping = ArrayMapping(rows=rows, columns=rows)
    hardware = Hardware(mapping, adc=Adc(bits=adc_bits_of(str(net.precision))))
    return calibrated(net, hardware, dataset)


def name_of(dataset: str, precision: str, seed: int, training: str) -> CheckpointName:
    """Name of a network's checkpoint; the precision "float" is floating point.

    A network quantized after training has the float network of today's recipe.
    """
    network = ARCHITECTURES[dataset]
    if precision == "float":
        return CheckpointName(
            dataset, network, None, seed, "plain" if training == "plain" else "qat"
        )
    return CheckpointName(dataset, network, Precision.parse(precision), seed, training)


def classes(
    dataset: str, precision: str, seed: int, training: str, checkpoints: str, pixels: np.ndarray
) -> np.ndarray:
    """What a network says of images, in floating point or integer arithmetic, without hardware."""
    if precision != "float":
        return network(dataset, precision, seed, checkpoints, training).predict(pixels)
    name = name_of(dataset, precision, seed, training)
    model = load_float(name, Path(ROOT / checkpoints))
    with torch.no_grad():
        blocks = torch.from_numpy(pixels.astype(np.float32)).split(500)
        return np.concatenate([model(block).argmax(1).numpy() for block in blocks])


def energy_nj(events: list[LayerEvents], policies: tuple[Policy, ...], bits: int) -> float:
    """Energy of an inference (nJ) by the default law and constants, with converters of `bits`."""
    return (
        sum(inference_energy(events, policies, bits, AdcLaw(), EnergyTable.load()).values()) / 1000
    )


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each of the `results` of every point, beside the point's parameters."""
    keys = [name for name in table.columns if name not in ("results", "checkpoints")]
    return pd.DataFrame(
        [{key: row[key] for key in keys} | result
         for row in table.to_dict("records") for result in row["results"]]
    )  # fmt: skip


def correct(chip: Chip, images: np.ndarray, labels: np.ndarray) -> int:
    """How many images the chip classifies rightly; one thread, for studies use processes."""
    return int((chip.predict(images, threads=1) == labels).sum())
