"""Where a figure or table comes from: version, commit, hashes, machine, time."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime

import numpy as np
import torch

import nvlib
from artifact.identity import checkpoints_hash, code_hash, data_hash
from artifact.paths import ROOT


def of_run(dataset: str, profile: str, checkpoints: str) -> dict[str, str]:
    """Everything that says what a run was made from.

    Parameters
    ----------
    dataset, profile : str
    checkpoints : str
        Folder of the trained networks, relative to the artifact.
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
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
