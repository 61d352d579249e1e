"""Files that others have: downloaded into the cache, or a clear word that they cannot be had."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pooch
import requests

#: Seconds that mirrors have for their first answer.
ANSWER_S = 8.0


class DataError(ValueError):
    """A data file is not what it should be."""


class DataUnavailableError(RuntimeError):
    """A data set is neither on this machine nor reachable from it."""


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


def download(
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
