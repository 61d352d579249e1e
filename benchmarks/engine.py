"""Images per second of the chip beside float torch, in one process, runs taken in turn.

Usage: python benchmarks/engine.py [--json] [--images N] [--rounds N] [--threads N]

Every chip has device variation and 8-bit converters on 128 x 128 arrays. Speeds of
different machines mean little; ratios to float torch in the same process mean more.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from tqdm import tqdm

from artifact import data
from artifact.checkpoints import CheckpointName, load_float, load_quantized
from nvlib import Adc, ArrayMapping, Chip, DeviceModel, Hardware, Precision, RangeVariation

CHIPS = {
    "w4a3_serial_3bit_cells": ("W4A3", ArrayMapping(cell_bits=3)),
    "w4a3_serial_1bit_cells": ("W4A3", ArrayMapping(cell_bits=1)),
    "w8a8_serial_2bit_cells": ("W8A8", ArrayMapping(cell_bits=2)),
    "w4a3_oneshot": ("W4A3", ArrayMapping(cell_bits=3, dac_bits=3)),
}
DEVICES = DeviceModel(effects=(RangeVariation(0.02),))
TORCH_BATCHES = (100, 250, 500, 1000, 2000)


def contestants(digits: data.Dataset, images: np.ndarray, threads: int) -> dict[str, Callable]:
    """What is timed, by name; each classifies all images."""
    name = digits.name
    floating = load_float(CheckpointName(name, "lenet5", None, 0))
    tensor = torch.from_numpy(images.astype(np.float32))

    def run_float(batch: int) -> None:
        with torch.inference_mode():
            for start in range(0, len(tensor), batch):
                floating(tensor[start : start + batch])

    quantized = load_quantized(CheckpointName(name, "lenet5", Precision(4, 3), 0))
    runs: dict[str, Callable] = {
        f"float_torch_{batch}": lambda batch=batch: run_float(batch) for batch in TORCH_BATCHES
    }
    runs["quantized_torch"] = lambda: quantized.logits(images)
    for key, (precision, mapping) in CHIPS.items():
        network = load_quantized(CheckpointName(name, "lenet5", Precision.parse(precision), 0))
        chip = Chip(network, Hardware(mapping, DEVICES, Adc(bits=8)))
        runs[key] = lambda chip=chip: chip.logits(images, threads)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    digits = data.load()
    images = np.resize(digits.test_images, (arguments.images, 28, 28))
    runs = contestants(digits, images, arguments.threads)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    first = {}
    for name, run in runs.items():  # the first call compiles, or loads what was compiled
        start = time.perf_counter()
        run()
        first[name] = time.perf_counter() - start
    for _ in tqdm(range(arguments.rounds), disable=arguments.json):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    rates = {name: len(images) / statistics.median(times) for name, times in seconds.items()}
    best = max((name for name in rates if name.startswith("float")), key=lambda name: rates[name])
    shown = {"float_torch": rates[best]}
    shown |= {name: rate for name, rate in rates.items() if not name.startswith("float")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.json:
        print(json.dumps({name: round(rate, 1) for name, rate in shown.items()}))
        return
    print(
        f"{digits.label}; {arguments.threads} threads; float torch at {best.split('_')[-1]} a batch"
    )
    for name, rate in shown.items():
        extra = first.get(name, first[best]) - len(images) / rate
        ratio = rate / shown["float_torch"]
        print(f"{name:24s} {rate:9.0f} images/s  {ratio:6.3f} of float  first call +{extra:.1f} s")
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
