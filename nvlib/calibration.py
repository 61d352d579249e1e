"""Full scale of the converters, chosen once on training images and then fixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nvlib.chip import Chip
from nvlib.hardware import Hardware
from nvlib.network import QuantizedNetwork


def calibrate(network: QuantizedNetwork, hardware: Hardware, images: Any) -> Hardware:
    """The same hardware with the full scale of its converters set on training images.

    Each layer gets the full scale of the smallest squared error of its converters' codes.
    Clipping the few large sums buys finer steps for the many small ones; the best trade is
    searched over whole-unit steps on ideal column sums.

    Parameters
    ----------
    network : QuantizedNetwork
    hardware : Hardware
        With converters of fixed resolution.
    images : ndarray or Tensor, shape (N, ...)
        Training images, as the network takes them; a few dozen do.

    Raises
    ------
    ValueError
        If the converters have no fixed resolution.

    Examples
    --------
    >>> scales = calibrate(network, Hardware(adc=Adc(bits=4)), images[:8]).adc.full_scale
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
    ideal = Chip(network, Hardware(mapping=hardware.mapping))
    for event in ideal.events(images, column_sums=True):
        histogram = event.column_sums
        assert histogram is not None
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
    return replace(hardware, adc=replace(hardware.adc, full_scale=tuple(scales)))
