"""Files, whole or not there; networks and chips as safetensors, with JSON beside the tensors.

Codes are packed to W bits each. Nothing in a file is executed: functions, modules and device
effects are named, and only those that `nvlib` knows are made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import torch
from safetensors.numpy import load, save

from nvlib.checks import refusing, require, require_path

Made = TypeVar("Made")


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place.

    A reader sees the old file or the new one, whatever dies in between.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written.
    """
    path = require_path("path", path)
    temporary = path.parent / f".{uuid4().hex}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"expected to write {path}, received: {error.strerror}; free disk space or make the "
            "folder writable, and start again: what was finished is kept",
        ) from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Signed codes as a dense stream of `bits`-bit numbers, most significant bit first."""
    unsigned = codes.astype(np.int16).ravel() + 2 ** (bits - 1)
    if bits == 1:  # -1 and +1 are stored as 0 and 1
        unsigned //= 2
    return np.packbits(np.unpackbits(unsigned.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :])


def unpack_codes(stream: np.ndarray, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Inverse of `pack_codes`."""
    digits = np.unpackbits(stream, count=bits * int(np.prod(shape))).reshape(-1, bits)
    unsigned = digits.astype(np.int16) @ (1 << np.arange(bits - 1, -1, -1))
    signed = 2 * unsigned - 1 if bits == 1 else unsigned - 2 ** (bits - 1)
    return signed.astype(np.int8).reshape(shape)


def write(
    path: str | Path, facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
) -> None:  # fmt: skip
    """Write facts and tensors, and words about them, to one file, whole or not at all."""
    content = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    words = {**metadata, "nvlib": json.dumps(facts, separators=(",", ":"))}
    write_whole(path, lambda place: place.write_bytes(save(content, words)))


def read_metadata(content: bytes) -> dict[str, str]:
    """What was written beside the tensors; ValueError if this is no safetensors file."""
    with refusing("file", "one in the format of safetensors", "pass one that save() wrote"):
        length = int.from_bytes(content[:8], "little")
        return json.loads(content[8 : 8 + length]).get("__metadata__", {})


def read(source: str | Path | bytes, make: Callable[[Any, Mapping[str, np.ndarray]], Made]) -> Made:
    """What `make` makes of the facts and tensors of a file, or of its content.

    ValueError if the file holds something else, or lacks something.
    """
    content = source if isinstance(source, bytes) else require_path("path", source).read_bytes()
    name = "content" if isinstance(source, bytes) else str(source)
    with refusing(name, "a file that save() wrote", "write it again", passing=ValueError):
        facts = json.loads(read_metadata(content)["nvlib"])
        return make(facts, load(content))


def plain(value: Any, known: Mapping[str, type]) -> Any:
    """Data for JSON: numbers, text, what holds them, and dataclasses, of the classes in `known`."""
    mend = "a file can hold nothing else; pickle it instead"
    if is_dataclass(value):
        kind = next((name for name, one in known.items() if one is type(value)), None)
        name, wanted = type(value).__name__, f"one of {', '.join(known)}"
        require(kind is not None, name, wanted, value, mend)
        return {kind: {f.name: plain(getattr(value, f.name), known) for f in fields(value)}}
    if isinstance(value, list):
        return [plain(item, known) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [plain(item, known) for item in value]}
    if isinstance(value, dict):
        return {"dict": {key: plain(item, known) for key, item in value.items()}}
    if isinstance(value, slice):
        return {"slice": [plain(end, known) for end in (value.start, value.stop, value.step)]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if value is ...:
        return {"ellipsis": []}
    simple = value is None or isinstance(value, (int, float, str))
    require(simple, "content", "numbers, text and what holds them", value, mend)
    return value


def restored(data: Any, known: Mapping[str, type]) -> Any:
    """Inverse of `plain`."""
    if isinstance(data, list):
        return [restored(item, known) for item in data]
    if not isinstance(data, dict):
        return data
    ((kind, content),) = data.items()
    if kind == "ellipsis":
        return ...
    if kind == "dtype" and isinstance(found := getattr(torch, content), torch.dtype):
        return found
    if isinstance(content, list):
        items = restored(content, known)
        return slice(*items) if kind == "slice" else tuple(items)
    if isinstance(content, str):  # how older files write the value of a step
        return known[kind](content)
    made: type = {"dict": dict, **known}[kind]
    return made(**{key: restored(item, known) for key, item in content.items()})
