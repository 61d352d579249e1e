"""What numbers depend on: code, networks and data, each as a hash."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from artifact import data
from artifact.checkpoints import MANIFEST
from artifact.paths import ROOT

#: Modules that draw, report or distribute: changing them changes no number.
_WITHOUT_NUMBERS = {"figures.py", "figures_own.py", "claims.py", "reproduce.py", "notebook.py",
                    "readme.py", "report.py", "provenance.py", "cluster.py",
                    "explorer.py"}  # fmt: skip


@lru_cache(maxsize=1)
def code_hash() -> str:
    """SHA-256 of the modules that numbers depend on.

    Examples
    --------
    >>> len(code_hash())
    64
    """
    digest = hashlib.sha256()
    for folder in (ROOT / "nvlib", ROOT / "artifact"):
        for path in sorted([*folder.rglob("*.py"), *folder.glob("*.yaml")]):
            if path.name not in _WITHOUT_NUMBERS:
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


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
