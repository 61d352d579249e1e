"""Where a figure or table comes from: version, commit, hashes, machine, time."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from datetime import UTC, datetime

import numpy as np
import torch

import nvlib
from nvlib import data, sweep
from nvlib.checkpoints import MANIFEST
from nvlib.paths import ROOT


def of_run(dataset: str, profile: str, checkpoints: str) -> dict[str, str]:
    """Everything that says what a run was made from.

    Parameters
    ----------
    dataset, profile : str
    checkpoints : str
        Folder of the trained networks, relative to the artifact.
    """
    return {
        "nvlib": nvlib.__version__, "commit": _commit(), "code": sweep.code_hash(),
        "dataset": dataset, "data": data_hash(dataset), "profile": profile,
        "checkpoints": checkpoints_hash(checkpoints), "seed": "0 and upwards, one per trial",
        "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
        "machine": f"{platform.machine()}, {platform.system()}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def checkpoints_hash(folder: str) -> str:
    """SHA-256 of the manifest of the networks, which holds the hash of each."""
    return hashlib.sha256((ROOT / folder / MANIFEST).read_bytes()).hexdigest()


def data_hash(dataset: str) -> str:
    """SHA-256 of the test images and labels."""
    digits = data.load(dataset)
    content = digits.test_images.tobytes() + digits.test_labels.tobytes()
    return hashlib.sha256(content).hexdigest()


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
