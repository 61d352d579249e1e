"""What numbers depend on, each as a hash, and where a figure or table comes from."""

from __future__ import annotations

import ast
import hashlib
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import torch

import nvlib
from artifact import data
from artifact.checkpoints import MANIFEST
from artifact.paths import CHECKPOINTS, ROOT

#: Modules that draw, compare, report or distribute: changing them changes no number.
_WITHOUT_NUMBERS = {
    f"artifact/{name}.py"
    for name in ("catalogue", "claims", "cluster", "compare", "drawings", "explorer",
                 "explorer_grid", "notebook", "processes", "provenance", "publish", "record",
                 "report", "reproduce", "story", "verdicts")
}  # fmt: skip
#: Endings of the files that numbers depend on: modules, and what is shipped beside them.
_SOURCES = {".py", ".yaml", ".csv", ".safetensors"}
#: What all tables of one run have in common.
COMMON = ("code", "profile", "checkpoints", "data")


@lru_cache(maxsize=1)
def code_hash() -> str:
    """SHA-256 of what the modules that numbers depend on do, see `meaning`, and of their data.

    Data are the energies, areas, devices and network that are shipped beside the modules. Files of
    ``expected`` are not among them: they are set beside numbers, and enter none that is kept.

    Examples
    --------
    >>> len(code_hash())
    64
    """
    digest = hashlib.sha256()
    for folder in (ROOT / "nvlib", ROOT / "artifact"):
        for path in sorted(path for path in folder.rglob("*") if path.suffix in _SOURCES):
            name = path.relative_to(ROOT).as_posix()
            if name not in _WITHOUT_NUMBERS and path.parent.name != "figures":
                digest.update(name.encode() + meaning(path.read_bytes(), path.suffix))
    return digest.hexdigest()


def meaning(source: bytes, suffix: str = ".py") -> bytes:
    """Source without what changes no number: comments, layout and docstrings of Python's.

    Examples
    --------
    >>> meaning(b"a  =  1  # of them")
    b'a = 1'
    """
    if suffix != ".py":
        return source
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).encode()


def checkpoints_hash(folder: str) -> str:
    """SHA-256 of the manifest of the networks, which holds the hash of each.

    Examples
    --------
    >>> len(checkpoints_hash("checkpoints"))
    64
    """
    return hashlib.sha256((ROOT / folder / MANIFEST).read_bytes()).hexdigest()


@lru_cache(maxsize=4)
def data_hash(dataset: str) -> str:
    """SHA-256 of the test images and labels.

    Examples
    --------
    >>> len(data_hash("embedded"))
    64
    """
    digits = data.load(dataset)
    content = digits.test_images.tobytes() + digits.test_labels.tobytes()
    return hashlib.sha256(content).hexdigest()


def file_hash(path: str) -> str:
    """SHA-256 of a file, by its path relative to the artifact; "no file" where there is none.

    Examples
    --------
    >>> len(file_hash("examples/device.csv")), file_hash("examples/none.csv")
    (64, 'no file')
    """
    whole = ROOT / path
    return hashlib.sha256(whole.read_bytes()).hexdigest() if whole.is_file() else "no file"


#: Parameters of a point that name files, and what tells their content.
_CONTENTS: dict[str, Callable[[str], str]] = {
    "checkpoints": checkpoints_hash,
    "dataset": data_hash,
    "csv": file_hash,
}


def inputs(point: dict[str, Any]) -> dict[str, str]:
    """Hash of every input that a point names: networks (else the shipped ones), data, a CSV.

    Examples
    --------
    >>> sorted(inputs({"dataset": "embedded", "images": 100}))
    ['checkpoints', 'dataset']
    """
    named = {"checkpoints": CHECKPOINTS.name} | point
    return {name: content(named[name]) for name, content in _CONTENTS.items() if name in named}


def of_run(dataset: str, profile: str, checkpoints: str) -> dict[str, str]:
    """Everything that says what a run was made from.

    Parameters
    ----------
    dataset, profile : str
    checkpoints : str
        Folder of the trained networks, relative to the artifact.

    Examples
    --------
    >>> origin = of_run("embedded", "quick", "checkpoints")
    >>> [name for name in COMMON if name not in origin]
    []
    """
    return {
        "nvlib": nvlib.__version__, "commit": _commit(), "code": code_hash(),
        "dataset": dataset, "data": data_hash(dataset), "profile": profile,
        "checkpoints": checkpoints_hash(checkpoints), "seed": "0 and upwards, one per trial",
        "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
        "machine": f"{platform.machine()}, {platform.system()}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _commit() -> str:
    """Short hash of the commit, with ``-dirty`` where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"
