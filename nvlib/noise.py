"""Noise that depends on what is read, not on when: hashed counters, tabled normals."""

from __future__ import annotations

import hashlib
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from nvlib.checks import require
from nvlib.compiled import compiled

_QUANTILES = 4096


def _quantiles() -> np.ndarray:
    """Equiprobable values of a normal distribution; two add up to spread 1."""
    probabilities = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    values = np.array([NormalDist().inv_cdf(float(p)) for p in probabilities])
    # Rounded, so that libraries whose last bit differs give the same noise.
    return np.round(values / (values.std() * np.sqrt(2)), 9)


NORMAL_QUANTILES = _quantiles()


@compiled
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


@compiled
def normal(key, counter, quantiles):
    """A normal value for a key and a counter, from 24 bits of their hash; arrays or scalars.

    Examples
    --------
    >>> with np.errstate(over="ignore"):
    ...     draws = normal(np.uint64(7), np.arange(100_000, dtype=np.uint64), NORMAL_QUANTILES)
    >>> abs(draws.mean()) < 0.01, round(float(draws.std()), 2)
    (np.True_, 1.0)
    """
    bits = hash64(key, counter)
    mask = np.uint64(_QUANTILES - 1)
    return quantiles[bits & mask] + quantiles[(bits >> np.uint64(12)) & mask]


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
            "keep the images on the first axis; a Linear takes no tokens folded into it",
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
