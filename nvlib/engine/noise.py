"""Noise that depends on what is read, not on when: hashed counters, made normal."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from nvlib.checks import require
from nvlib.engine.compiled import shared

#: Odd coefficients of the polynomial in `normal`: least squares over the distribution of the sum,
#: of unit variance.
A1, A3, A5, A7, A9 = (np.float32(a) for a in (1.666835, 0.04817, 0.027934, -0.016923, 0.005338))


@shared
def hash64(key, counter):
    """A 64-bit hash of a key and a counter (splitmix64; Steele et al. 2014).

    Examples
    --------
    >>> with np.errstate(over="ignore"):  # modulo 2^64
    ...     print(f"{hash64(np.uint64(0), np.uint64(1)):x}")
    e220a8397b1dcdaf
    """
    z = key + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@shared
def hash32(word):
    """A 32-bit hash of a 32-bit word (Wellons 2018, "lowbias32"); scalars or arrays."""
    word = np.uint32((word ^ (word >> np.uint32(16))) * np.uint32(0x7FEB352D))
    word = np.uint32((word ^ (word >> np.uint32(15))) * np.uint32(0x846CA68B))
    return word ^ (word >> np.uint32(16))


@shared
def normal(low, high, column):
    """A normal value, float32, for a read (two halves of its hash) and a column, all uint32.

    Four uniform numbers of 16 bits are added up, and the sum is stretched by an odd polynomial
    from its own distribution to the normal one: no value of the distribution function is further
    off than 0.0002, and moments agree to 0.0004 up to the sixth. Only sums, products and integers:
    the same bits everywhere, and eight columns at a time.

    Examples
    --------
    >>> with np.errstate(over="ignore"):
    ...     draws = normal(np.uint32(7), np.uint32(8), np.arange(100_000, dtype=np.uint32))
    >>> abs(draws.mean()) < 0.01, round(float(draws.std()), 2)
    (np.True_, 1.0)
    """
    step = np.uint32(np.uint32(column) * np.uint32(0x9E3779B9))
    one, two = hash32(np.uint32(low + step)), hash32(np.uint32(high ^ step))
    half = np.uint32(0xFFFF)
    total = (one & half) + (one >> np.uint32(16)) + (two & half) + (two >> np.uint32(16))
    x = np.float32(np.int32(total) - np.int32(131070)) * np.float32(2.0**-16)
    square = x * x
    stretch = A1 + square * (A3 + square * (A5 + square * (A7 + square * A9)))
    return x * stretch


def image_keys(images: np.ndarray) -> np.ndarray:
    """A 64-bit name of each image, made from its values alone, whatever their dtype.

    Examples
    --------
    >>> pixels = np.array([[0, 7], [7, 0]])
    >>> keys = image_keys(pixels.astype(np.uint8))
    >>> bool(keys[0] == keys[1]), bool((keys == image_keys(pixels.astype(np.float64))).all())
    (False, True)
    """
    with np.errstate(invalid="ignore"):  # values that are no bytes differ from what they become
        small = images.astype(np.uint8)
    whole = (small == images).reshape(len(images), -1).all(axis=1)
    names = [
        hashlib.blake2b(one.tobytes() if fits else np.float32(other).tobytes(), digest_size=8)
        for one, other, fits in zip(small, images, whole, strict=True)
    ]
    return np.frombuffer(b"".join(name.digest() for name in names), np.uint64)


class ReadKeys(NamedTuple):
    """What the noise of a reading hangs on, beside the position and the column."""

    images: np.ndarray  # uint64 (N,): names of the images
    seed: int  # Of the chip
    access: int  # Which reading of the images

    def check(self, layer: str, rows: int) -> None:
        """Refuse an input that has not one row for each image, naming the layer.

        Examples
        --------
        >>> ReadKeys(np.zeros(1, np.uint64), seed=0, access=0).check("fc", rows=1)
        """
        require(
            rows == len(self.images), f"input of {layer}",
            f"one row for each of {len(self.images)} images", rows,
            "keep the images on the first axis; a Conv2d takes no maps folded into it",
        )  # fmt: skip

    def of(self, layer: int, *phase: int) -> np.ndarray:
        """Keys (N,) of one layer's read; a signed input is read in two phases.

        Examples
        --------
        >>> keys = ReadKeys(np.zeros(1, np.uint64), seed=0, access=0)
        >>> bool(keys.of(1)[0] == keys.of(2)[0])  # another layer
        False
        """
        text = " ".join(map(str, (self.seed, layer, self.access, *phase))).encode()
        digest = hashlib.blake2b(text, digest_size=8).digest()
        return self.images ^ np.uint64(int.from_bytes(digest, "little"))
