"""Deep networks on chips: how long writing takes, how much memory, how long an image.

Usage: python benchmarks/deep.py; needs `pip install .[zoo]`.

Writes ``benchmarks/deep.csv``. Each row is a process of its own, on one thread: a network of random
weights and statistics, 128 x 128 arrays of cells that vary, 8-bit converters. Seconds are of the
processor; float torch and the chip take the same images in turn, the fastest of three.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from artifact.models import ResNet20
from benchmarks import zoo
from nvlib import Adc, ArrayMapping, Chip, DeviceModel, Hardware, RangeVariation, quantize

TABLE = Path(__file__).with_suffix(".csv")
DEVICES = DeviceModel(effects=(RangeVariation(0.02),))
CALIBRATION, ROUNDS = 16, 3
#: (network, side of an image in pixels, images read at once)
NETWORKS = (("resnet20", 32, 16), ("resnet18", 32, 16), ("resnet18", 224, 2))
PRECISIONS, CELL_BITS = ("W8A8", "W4A3"), (1, 2)


def make(name: str) -> nn.Module:
    return zoo.randomized(ResNet20()) if name == "resnet20" else zoo.make(name)


def row(name: str, side: int, count: int, precision: str, cell_bits: int) -> dict:
    """One row of the table, measured in this process."""
    torch.set_num_threads(1)
    model = make(name)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(CALIBRATION + count, 3, side, side, generator=generator)
    network = quantize(model, images[:CALIBRATION], precision)
    images = images[CALIBRATION:]
    start = time.process_time()
    chip = Chip(network, Hardware(ArrayMapping(cell_bits=cell_bits), DEVICES, Adc(8)))
    written = time.process_time()
    tables = sum(reader.tables.layout.tables.nbytes for reader in chip.readers)
    laid_out = time.process_time()
    chip.logits(images[:1], threads=1)  # compiles
    on_chip, floating = [], []
    for _ in range(ROUNDS):
        with torch.inference_mode():
            on_chip.append(_seconds(lambda: chip.logits(images, threads=1)) / count)
            floating.append(_seconds(lambda: model(images)) / count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "network": name, "side": side, "precision": precision, "cell_bits": cell_bits,
        "million_cells": round(sum(a.conductance.size for a in chip.arrays) / 1e6, 1),
        "write_s": round(written - start, 2), "lay_out_s": round(laid_out - written, 2),
        "tables_mb": round(tables / 2**20), "peak_mb": round(peak / 2**10),
        "image_ms": round(1e3 * min(on_chip), 2), "float_ms": round(1e3 * min(floating), 2),
        "of_float": round(min(on_chip) / min(floating), 1),
    }  # fmt: skip


def _seconds(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(row(*json.loads(sys.argv[1]))))
        return
    rows = []
    for network in NETWORKS:
        for precision in PRECISIONS:
            for cell_bits in CELL_BITS:
                case = json.dumps([*network, precision, cell_bits])
                command = [sys.executable, "-m", "benchmarks.deep", case]
                found = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(json.loads(found.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(TABLE, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
