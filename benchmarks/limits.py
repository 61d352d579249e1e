"""What a limit costs: CPU seconds for a given half-width of ln(limit), before and after.

Before: 20 chips, each reading 500 of the 10,000 test images in their order; that table is taken
from git (commit b574eaa). After: the recorded tables, with images sampled by margin and trials
added until an order is decided. Both have intervals by the same rule, which covers training seeds,
and are charged the time that making a chip and reading an image take now, on this machine, so a
faster engine is no part of the gain. A variance falls as the inverse of the time, so the gain is
the ratio of time x half-width^2.

Usage: python benchmarks/limits.py; writes limits.csv beside it and prints a table.
"""

from __future__ import annotations

import io
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd

from artifact.paths import ROOT
from artifact.record import committed
from artifact.statistics import Estimate
from artifact.studies import common, limits
from artifact.studies.nonidealities import NONIDEALITIES
from nvlib import Chip

BEFORE = "b574eaa"
#: Names then, where they differ.
THEN = {"ADC INL": "ADC INL, 8 bits for all", "ADC INL, own converter": "ADC INL"}
IMAGES = 100


def seconds(nonideality: str, precision: str, size: float) -> tuple[float, float]:
    """CPU seconds of one chip, and of one image: medians of 3."""
    net = common.network("mnist", precision)
    hardware = NONIDEALITIES[nonideality].hardware(size, net, "differential", "mnist")
    pixels, _ = common.test_images("mnist", IMAGES)
    Chip(net, hardware).predict(pixels[:1], threads=1)
    times = []
    for seed in range(3):
        start = time.process_time()
        chip = Chip(net, hardware, seed)
        chip.predict(pixels[:1], threads=1)
        made = time.process_time()
        chip.predict(pixels, threads=1)
        times.append((made - start, (time.process_time() - made) / IMAGES))
    make, image = np.median(times, axis=0)
    return float(make), float(image)


def before(nonideality: str, precision: str) -> tuple[float, int, int]:
    """Half-width of ln(limit) of 95 %, sizes visited, trials; of a search of then."""
    name = THEN.get(nonideality, nonideality)
    for table in ("device_requirements", "converter_requirements"):
        path = f"{BEFORE}:results/{table}.csv"
        text = subprocess.run(
            ["git", "show", path], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
        rows = pd.read_csv(io.StringIO(text))
        rows = rows[(rows["nonideality"] == name) & (rows["precision"] == precision)]
        if len(rows):
            break
    rows = rows.sort_values("rung")
    losses = 100 * np.array([cell.split() for cell in rows["lost"]], float) / 500
    sizes = np.log(rows["size"].to_numpy(float))
    n = losses.shape[1]
    without = []
    for k in range(n):
        mean = np.maximum.accumulate(np.delete(losses, k, axis=1).mean(axis=1))
        without.append(np.interp(1.0, mean, sizes))
    found = Estimate.jackknife(0.0, np.array(without), np.arange(n) % 5)
    return found.interval()[1], len(rows), n


def after(table: pd.DataFrame) -> tuple[float, int, int]:
    """Half-width of ln(limit) of 95 %, sizes visited, trials; of one curve."""
    curve = limits.Curve.of(table)
    lower, upper = curve.estimate(limits.DELTA).interval()
    return (upper - lower) / 2, len(curve.rungs), curve.losses.shape[1]


def main() -> None:
    """Measure, print, write."""
    tables = [committed().read_table(f"{name}_requirements") for name in ("device", "converter")]
    trials = pd.concat(tables)
    trials = trials[(trials["scheme"] == "differential") & (trials["training"] == "qat")]
    rows = []
    for name, kind in NONIDEALITIES.items():
        known = kind.family in ("device", "nonlinearity") and (kind.counted or name in THEN)
        if not known or name == "ADC DNL":
            continue  # of DNL, what was asked then is another question
        for precision in common.PAIR:
            part = trials[(trials["nonideality"] == name) & (trials["precision"] == precision)]
            make, image = seconds(name, precision, kind.size(0))
            old, sizes, count = before(name, precision)
            cost = sizes * count * (make + 500 * image)
            new, rungs, number = after(part)
            cheap = rungs * number * (make + IMAGES * image)
            rows.append(
                {"nonideality": name, "precision": precision, "before_s": round(cost, 1),
                 "before_half_width": round(old, 3), "after_s": round(cheap, 1),
                 "after_half_width": round(new, 3),
                 "gain": round(cost * old**2 / (cheap * new**2), 1)}
            )  # fmt: skip
    found = pd.DataFrame(rows)
    overall = float(np.exp(np.log(found["gain"]).mean()))
    found.to_csv(Path(__file__).with_suffix(".csv"), index=False)
    print(found.to_markdown(index=False))
    print(f"\ngeometric mean of the gain: {overall:.1f}")


if __name__ == "__main__":
    main()
