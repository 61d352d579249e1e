"""A small run, and searches of limits, that tests share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from artifact import claims
from artifact.record import Record
from artifact.studies.nonidealities import NONIDEALITIES

FULL = {"code": "c1", "profile": "full", "checkpoints": "n1", "data": "d1", "dataset": "mnist"}

CLAIM = {
    "id": "C1", "paper": 0.9882, "measured": 0.99, "lower": 0.98, "upper": 1.0, "interval": "",
    "dataset": "mnist", "verdict": "reproduced", "note": "",
}  # fmt: skip

GRID = pd.DataFrame({"precision": ["W8A8", "W4A3"], "images": 10, "correct": [9, 8]})


def made(folder, origin=FULL):
    """A run of one table, one claim and one figure."""
    place = Record(folder / "results", folder / "figures", folder / "notebooks")
    place.begin(origin)
    place.write_table("grid", GRID, origin)
    claims.write([CLAIM], place, origin)
    place.figures.mkdir(exist_ok=True)
    (place.figures / "grid.png").write_bytes(b"picture")
    return place


KIND = NONIDEALITIES["range variation"]


def searched(losses, kind="range variation", name="W4A3", scheme="differential"):
    """Tidy rows of a search: rung -> loss of each trial, in points."""
    return pd.DataFrame(
        [{"dataset": "mnist", "nonideality": kind, "scheme": scheme, "training": "qat",
          "precision": name, "size": NONIDEALITIES[kind].size(rung), "seed": 0, "trial": trial,
          "images": 100, "checkpoints": "checkpoints", "rung": float(rung),
          "training_seed": trial % 5, "loss": loss}
         for rung, lost in losses.items() for trial, loss in enumerate(lost)]
    )  # fmt: skip


def pair(high, low, kind="range variation", scheme="differential"):
    parts = (searched(high, kind, "W8A8", scheme), searched(low, kind, "W4A3", scheme))
    return pd.concat(parts, ignore_index=True)


def ladder(shift, noise=0.0, trials=10):
    """A loss that grows as the cube of severity, shifted by some rungs."""
    wobble = noise * np.random.default_rng(0).standard_normal(trials)
    return {r: list((KIND.step ** (r + shift) + wobble).round(6)) for r in range(-6, 5)}
