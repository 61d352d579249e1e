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

    Each layer gets the full scale of the smallest squared error of its converters' codes:
    clipping the few large sums buys finer steps for the many small ones. The best trade is
    searched over whole-unit steps on ideal column sums; a few dozen images do. Converters without
    a fixed resolution are refused.

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
    top = 2**bits - 1
    # Quarter steps, and a hundred wider ones: fine enough, and the search stays short.
    coarsest = max(hardware.mapping.largest_sum / top, 1.0)
    wide = np.geomspace(16, max(coarsest, 16), 100)
    steps = np.minimum(np.append(np.arange(1.0, 16.0, 0.25), wide), coarsest)
    scales = []
    ideal = Chip(network, Hardware(mapping=hardware.mapping))
    for event in ideal.events(images, column_sums=True):
        assert event.column_sums is not None
        sums = np.flatnonzero(event.column_sums)
        counts = event.column_sums[sums]
        errors = [
            counts @ (np.clip(np.floor(sums / s + 0.5), 0, top) * s - sums) ** 2 for s in steps
        ]
        scales.append(float(steps[int(np.argmin(errors))] * top))
    return replace(hardware, adc=replace(hardware.adc, full_scale=tuple(scales)))
