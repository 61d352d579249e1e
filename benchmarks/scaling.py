"""How time and memory grow with tiles, planes, slices, images and chips.

Usage: python benchmarks/scaling.py

Writes ``benchmarks/scaling.csv`` and ``benchmarks/scaling.png``. Each row is one chip, or several,
reading images of the embedded digits on one thread; one quantity grows at a time.
"""

from __future__ import annotations

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from tqdm import tqdm

from artifact import data
from artifact.figures import style
from artifact.studies.common import network
from nvlib import Adc, ArrayMapping, Chip, DeviceModel, Hardware, RangeVariation

FOLDER = Path(__file__).parent
DEVICES = DeviceModel(effects=(RangeVariation(0.02),))
#: What grows -> (precision, mapping, images, chips) for each of its values.
GROWING = {
    "row tiles of fc1": [
        (-(-400 // rows), "W4A3", ArrayMapping(rows=rows), 500, 1)
        for rows in (400, 200, 100, 50, 25)
    ],
    "planes (W4)": [(a, f"W4A{a}", ArrayMapping(), 500, 1) for a in (1, 2, 4, 8)],
    "slices (W8A8)": [
        (-(-7 // bits), "W8A8", ArrayMapping(cell_bits=bits), 500, 1) for bits in (7, 4, 3, 2, 1)
    ],
    "images": [(n, "W4A3", ArrayMapping(), n, 1) for n in (250, 500, 1000, 2000)],
    "chips": [(n, "W4A3", ArrayMapping(), 500, n) for n in (1, 2, 4, 8)],
}


def measure(precision: str, mapping: ArrayMapping, images: int, chips: int) -> dict[str, float]:
    net = network("mnist", precision)
    pixels = np.resize(data.load_embedded().test_images, (images, 28, 28))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for seed in range(chips):
            chip = Chip(net, Hardware(mapping, DEVICES, Adc(8)), seed)
            chip.predict(pixels, threads=1)
        times.append(time.perf_counter() - start)
    tables = sum(reader.tables.layout.tables.nbytes for reader in chip.readers)
    return {"seconds": float(np.median(times)), "tables_mb": tables / 2**20}


def main() -> None:
    measure("W4A3", ArrayMapping(), 64, 1)  # compile
    rows = [
        {"growing": name, "value": value, **measure(*rest)}
        for name, cases in tqdm(GROWING.items())
        for value, *rest in cases
    ]
    table = pd.DataFrame(rows)
    table.to_csv(FOLDER / "scaling.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False))
    figure, panels = plt.subplots(1, len(GROWING), figsize=(style.PAGE, 2.2), layout="constrained")
    with plt.rc_context(style.STYLE):
        for axes, (name, part) in zip(panels, table.groupby("growing", sort=False)):
            axes.plot(part["value"], part["seconds"], "o-", color="#0072B2")
            axes.set(xlabel=name, ylim=(0, None), xlim=(0, None))
    panels[0].set_ylabel("seconds")
    figure.savefig(FOLDER / "scaling.png", dpi=300)


if __name__ == "__main__":
    main()
