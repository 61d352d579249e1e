"""How a study scales over Dask workers on this machine, and what a large one would cost.

Usage: python benchmarks/cluster.py

Writes ``benchmarks/cluster.csv``: seconds of runs of equal points, alone and on one and two
workers. Fits seconds = start + points (point + images image) / workers, by non-negative least
squares, and prints what 1,000 points x 100 chips x 10,000 images cost on 64 cores.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from distributed import Client
from scipy.optimize import nnls

from artifact import sweep
from artifact.studies import common
from nvlib import Adc, Chip, DeviceModel, Hardware, RangeVariation

FOLDER = Path(__file__).parent
ADDRESS = "tcp://127.0.0.1:8799"
POINTS, ROUNDS = 12, 2


def point(dataset: str, seed: int, images: int) -> dict[str, Any]:
    """One chip of varied cells; its right answers."""
    devices = DeviceModel(effects=(RangeVariation(0.05),))
    chip = Chip(common.network(dataset, "W4A3"), Hardware(devices=devices, adc=Adc(8)), seed)
    return {"correct": common.correct(chip, *common.test_images(dataset, images))}


def seconds(images: int, address: str) -> float:
    """Of a sweep of `POINTS` chips; nothing is kept from one run to the next."""
    points = [{"dataset": "mnist", "seed": seed, "images": images} for seed in range(POINTS)]
    with TemporaryDirectory() as folder:
        begun = time.perf_counter()
        sweep.run("cluster", point, points, folder=Path(folder), address=address)
        return time.perf_counter() - begun


def main() -> None:
    python = [sys.executable, "-m"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", "--port", "8799", "--no-dashboard"], **quiet
    )]  # fmt: skip
    worker = [*python, "distributed.cli.dask_worker", ADDRESS, "--nthreads", "1", "--no-nanny",
              "--no-dashboard"]  # fmt: skip
    rows = []
    try:
        for workers in (0, 1, 2):
            if workers:
                started.append(subprocess.Popen(worker, cwd=FOLDER.parent, **quiet))
                with Client(ADDRESS, timeout=60) as client:
                    client.wait_for_workers(workers, timeout=120)
            seconds(100, ADDRESS if workers else "")  # compile and load
            for _ in range(ROUNDS):
                for images in (500, 2000, 8000):
                    took = seconds(images, ADDRESS if workers else "")
                    rows.append({"workers": workers, "images": images, "points": POINTS,
                                 "seconds": took})  # fmt: skip
    finally:
        for process in reversed(started):
            process.kill()
    table = pd.DataFrame(rows)
    table.to_csv(FOLDER / "cluster.csv", index=False, float_format="%.4g")
    print(table.groupby(["workers", "images"])["seconds"].median().unstack("workers").round(2))
    on = table[table["workers"] > 0]
    share = on["points"] / on["workers"]
    matrix = np.column_stack([np.ones(len(on)), share, share * on["images"]])
    (start, per_point, per_image), residual = nnls(matrix, on["seconds"].to_numpy())
    print(f"start {start:.2f} s, point {1e3 * per_point:.1f} ms, image {1e6 * per_image:.1f} us, "
          f"residual {residual / np.sqrt(len(on)):.2f} s")  # fmt: skip
    hours = 1000 * 100 * (per_point + 10_000 * per_image) / 64 / 3600
    print(f"1,000 points x 100 chips x 10,000 images on 64 cores: {hours:.2f} h")


if __name__ == "__main__":
    main()
