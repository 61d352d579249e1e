"""Full scale of the converters, chosen once on training images and then fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nvlib.arrays import Hardware
from nvlib.chip import Chip
from nvlib.graph import QuantizedGraph
from nvlib.network import QuantizedNetwork
from nvlib.reference import unfold

CALIBRATION_IMAGES = 64


def column_sums(
    network: QuantizedNetwork | QuantizedGraph, hardware: Hardware, images: Any
) -> list[np.ndarray]:
    """How often each ideal column sum occurs, layer by layer.

    Returns
    -------
    list of ndarray of int64, shape (largest_sum + 1,)
        One histogram per layer; zero sums of accesses without an active row are left out.

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_quantized
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> from artifact.data import load_embedded
    >>> sums = column_sums(network, Hardware(), load_embedded().train_images[:4])
    >>> len(sums), len(sums[0])  # of 5 layers, on arrays of 128 rows of 1-bit cells
    (5, 129)
    """
    ideal = Chip(network, Hardware(mapping=hardware.mapping))
    mapping = hardware.mapping
    histograms = []
    for arrays, codes in zip(ideal.layers, ideal.layer_codes(images), strict=True):
        histogram = np.zeros(mapping.largest_sum + 1, np.int64)
        levels = torch.from_numpy(arrays.mapped.levels.astype(np.float32)).flatten(1)
        inputs = torch.from_numpy(unfold(codes, arrays)).flatten(0, 1)  # (N P, K)
        for plane in range(arrays.planes):
            digits = ((inputs >> plane * mapping.dac_bits) & mapping.digit_max).float()
            for tile in mapping.tiles(len(levels)):
                active = digits[:, tile][digits[:, tile].any(dim=1)]
                sums = (active @ levels[tile]).flatten().to(torch.int64)
                histogram += torch.bincount(sums, minlength=len(histogram)).numpy()
        histograms.append(histogram)
    return histograms


def calibrated_full_scale(
    network: QuantizedNetwork | QuantizedGraph, hardware: Hardware, images: Any
) -> tuple[float, ...]:
    """Full scale of each layer with the smallest squared error of its converters' codes.

    Clipping the few large sums buys finer steps for the many small ones; the best trade is
    searched over whole-unit steps on ideal column sums.

    Parameters
    ----------
    images : ndarray, shape (N, ...)
        Training images, as the network takes them; a few dozen do.

    Raises
    ------
    ValueError
        If the converters have no fixed resolution.

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_quantized
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> from nvlib.converters import Adc
    >>> from artifact.data import load_embedded
    >>> images = load_embedded().train_images[:8]
    >>> scales = calibrated_full_scale(network, Hardware(adc=Adc(bits=4)), images)
    >>> len(scales), all(15 <= scale <= 128 for scale in scales)
    (5, True)
    """
    bits = hardware.adc.bits
    if bits is None:
        raise ValueError(
            "expected converters of fixed resolution, received Adc(bits=None); "
            "a lossless converter needs no calibration"
        )
    scales = []
    for histogram in column_sums(network, hardware, images):
        sums = np.flatnonzero(histogram)
        counts = histogram[sums]
        # Quarter steps, and a hundred wider ones: fine enough, and the search stays short.
        coarsest = max(hardware.mapping.largest_sum / (2**bits - 1), 1.0)
        wide = np.geomspace(16, max(coarsest, 16), 100)
        steps = np.minimum(np.append(np.arange(1.0, 16.0, 0.25), wide), coarsest)
        errors = [
            float(counts @ (np.clip(np.floor(sums / s + 0.5), 0, 2**bits - 1) * s - sums) ** 2)
            for s in steps
        ]
        scales.append(float(steps[int(np.argmin(errors))] * (2**bits - 1)))
    return tuple(scales)
