"""Images per second of the chip beside float torch, in one process, runs taken in turn.

Usage: python benchmarks/engine.py [--json] [--images N] [--rounds N] [--threads N]

Every chip has device variation and 8-bit converters on 128 x 128 arrays. Speeds of
different machines mean little; ratios to float torch in the same process mean more.
Imperfections are timed too, on one thread, each as a multiple of the time of the plain
read beside it: 1-bit cells, bit-serial.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from artifact import data
from artifact.checkpoints import CheckpointName, load_float, load_quantized
from nvlib import (
    Adc,
    ArrayMapping,
    Chip,
    Dac,
    DeviceModel,
    Hardware,
    Nonlinearity,
    Precision,
    ProportionalReadNoise,
    QuantizedNetwork,
    RangeVariation,
    ReadNoise,
    SenseColumn,
)

CHIPS = {
    "w4a3_serial_3bit_cells": ("W4A3", ArrayMapping(cell_bits=3)),
    "w4a3_serial_1bit_cells": ("W4A3", ArrayMapping(cell_bits=1)),
    "w8a8_serial_2bit_cells": ("W8A8", ArrayMapping(cell_bits=2)),
    "w4a3_oneshot": ("W4A3", ArrayMapping(cell_bits=3, dac_bits=3)),
}
DEVICES = DeviceModel(effects=(RangeVariation(0.02),))
TORCH_BATCHES = (100, 250, 500, 1000, 2000)
NOISY = replace(DEVICES, read_noise=ReadNoise(0.1))
FLUCTUATING = replace(DEVICES, read_noise=ProportionalReadNoise(0.1))
CURVED = Adc(8, nonlinearity=Nonlinearity(inl_lsb=1.0, shape="random-walk", monotone=False))


def imperfect(bits: int) -> dict[str, Hardware]:
    """Chips with one imperfection or other columns each, beside the plain one, for A bits."""
    drivers = Dac(Nonlinearity(inl_lsb=0.5, shape="random-walk"))
    return {
        "plain": Hardware(ArrayMapping(), DEVICES, Adc(8)),
        "inl": Hardware(ArrayMapping(), DEVICES, CURVED),
        "noise": Hardware(ArrayMapping(), NOISY, Adc(8)),
        "noise_of_cells": Hardware(ArrayMapping(), FLUCTUATING, Adc(8)),
        "inl_noise": Hardware(ArrayMapping(), NOISY, CURVED),
        "dac": Hardware(ArrayMapping(dac_bits=bits), DEVICES, Adc(8), drivers),
        "sense": Hardware(ArrayMapping(), DEVICES, Adc(8), sense=SenseColumn()),
        "offset": Hardware(ArrayMapping(scheme="offset"), DEVICES, Adc(8)),
        "twos_complement": Hardware(ArrayMapping(scheme="twos-complement"), DEVICES, Adc(8)),
    }


def network(name: str, precision: str) -> QuantizedNetwork:
    return load_quantized(CheckpointName(name, "lenet5", Precision.parse(precision), 0))


def contestants(digits: data.Dataset, images: np.ndarray, threads: int) -> dict[str, Callable]:
    """What is timed, by name; each classifies all images."""
    floating = load_float(CheckpointName(digits.name, "lenet5", None, 0))
    tensor = torch.from_numpy(images.astype(np.float32))

    def run_float(batch: int) -> None:
        with torch.inference_mode():
            for start in range(0, len(tensor), batch):
                floating(tensor[start : start + batch])

    quantized = network(digits.name, "W4A3")
    runs: dict[str, Callable] = {
        f"float_torch_{batch}": lambda batch=batch: run_float(batch) for batch in TORCH_BATCHES
    }
    runs["quantized_torch"] = lambda: quantized.logits(images)
    for key, (precision, mapping) in CHIPS.items():
        chip = Chip(network(digits.name, precision), Hardware(mapping, DEVICES, Adc(bits=8)))
        runs[key] = lambda chip=chip: chip.logits(images, threads)
    return runs


def slow_paths(digits: data.Dataset, images: np.ndarray) -> dict[str, Callable]:
    """Chips of `imperfect` by name, each classifying all images on one thread."""
    runs: dict[str, Callable] = {}
    for precision in ("W4A3", "W8A8"):
        net = network(digits.name, precision)
        for name, hardware in imperfect(net.precision.activation_bits).items():
            chip = Chip(net, hardware)
            runs[f"{precision.lower()}_{name}"] = lambda chip=chip: chip.logits(images, threads=1)
    return runs


def timed(runs: dict[str, Callable], rounds: int, quiet: bool) -> dict[str, list[float]]:
    """Processor seconds of every round of every run, taken in turn: idle threads do not count.

    The first call, which compiles or loads what was compiled, is not among them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in tqdm(range(rounds), disable=quiet):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return seconds


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
    seconds = timed(
        contestants(digits, images, arguments.threads), arguments.rounds, arguments.json
    )
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    best = min((name for name in medians if name.startswith("float")), key=medians.__getitem__)
    shown = {"float_torch": medians[best]}
    shown |= {name: median for name, median in medians.items() if not name.startswith("float")}
    rates = {name: arguments.threads * len(images) / median for name, median in shown.items()}

    few = images[: max(len(images) // 10, 1)]
    slow = timed(slow_paths(digits, few), arguments.rounds, arguments.json)
    ratios = {
        name: statistics.median(np.divide(times, slow[f"{name[:4]}_plain"]))
        for name, times in slow.items()
        if not name.endswith("plain")
    }
    if arguments.json:
        print(json.dumps({name: round(rate, 1) for name, rate in rates.items()}
                         | {name: round(ratio, 2) for name, ratio in ratios.items()}))  # fmt: skip
        return
    print(f"{digits.label}; {arguments.threads} threads; float torch at {best.split('_')[-1]}")
    for name, rate in rates.items():
        ratio = rate / rates["float_torch"]
        print(f"{name:24s} {rate:9.0f} images/s  {ratio:6.3f} of float torch")
    for name, ratio in ratios.items():
        print(f"{name:24s} {ratio:6.2f} times the plain read")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
