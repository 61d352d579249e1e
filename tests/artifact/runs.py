"""A small run that tests of the record share."""

from __future__ import annotations

import pandas as pd

from artifact import claims
from artifact.record import Record

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
