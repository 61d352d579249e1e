"""A trained network and ten images, so that examples run at once and without any data."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from nvlib.network import QuantizedNetwork

#: Digits 0 to 9 of a 5 x 7 dot-matrix font: rows from top to bottom, 5 bits each.
FONT = (
    "0e11131519110e 040c040404040e 0e11010204081f 1f02040201110e 02060a121f0202",
    "1f101e0101110e 0608101e11110e 1f010204080808 0e11110e11110e 0e11110f01020c",
)


def example_network() -> QuantizedNetwork:
    """LeNet-5 at W4A3, trained on MNIST: digits (28, 28) of pixels from 0 to 255.

    Examples
    --------
    >>> str(example_network().precision)
    'W4A3'
    """
    return QuantizedNetwork.load(files("nvlib").joinpath("lenet5-W4A3.safetensors").read_bytes())


def example_digits() -> np.ndarray:
    """The digits 0 to 9 in a dot-matrix font, as the example network takes them.

    Returns
    -------
    ndarray of uint8, shape (10, 28, 28)

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
