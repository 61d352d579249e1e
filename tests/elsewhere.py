"""A digest of points of many studies, for a process of its own; see `tests.artifact.test_sweep`.

Usage: python -m tests.elsewhere THREADS BATCH
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path

import torch

from artifact.studies import (
    beyond,
    common,
    compromise,
    decomposition,
    one_hardware,
    precision,
    reality,
    region,
    requirements,
    residual,
    sampling,
    schemes,
    sparsity,
)
from artifact.studies.nonidealities import NONIDEALITIES
from nvlib import Chip, QuantizedNetwork, chip

#: (function, points of the quick profile's size or below it).
STUDIES = (
    (precision.quantized_point, precision.seed_points("embedded", 100)),
    (precision.chip_point, precision.seed_points("embedded", 30)),
    (compromise.point, compromise.points("embedded", 200, 60, 20, 2)),
    (decomposition.point, decomposition.points("embedded", 4)),
    (decomposition.draw_point, decomposition.draw_points("embedded", 4)),
    (schemes.point, schemes.points("embedded", 4, 20)),
    (decomposition.single_point, decomposition.single_points("embedded", 4)),
    (one_hardware.point, one_hardware.points("embedded", 10, 20, 4, 2, 1)),
    (requirements.trial_loss, [
        point | {"precision": point.pop("precisions").split()[0], "trial": point.pop("trials"),
                 "size": NONIDEALITIES[point["nonideality"]].size(0)}
        for point in requirements.points(
            ["range variation", "read noise", "ADC INL"], "embedded", 1.0, images=8)]),
    (sparsity.saving_point, sparsity.points("embedded", 10, (64, 128))),
    (sparsity.zeros_point, sparsity.points("embedded", 10, (128,))),
    (region.region_point, region.region_points("embedded", 2)),
    (region.tornado_point, region.tornado_points("embedded", 2)),
    (sparsity.guard_point, sparsity.guard_points("embedded", 10, 2)),
    (beyond.point, beyond.points("embedded", 10)),
    (reality.point, reality.points("embedded", 10, 2, 128)),
    (reality.cost_point, reality.cost_points("embedded", 10, 2, 1)),
    (residual.step_point, residual.step_points("embedded", 50)),
    (residual.chip_point, residual.chip_points("embedded", 10, 2)),
    (residual.device_point, residual.device_points("embedded", 10, 2)),
)  # fmt: skip
EACH = 2


def main(threads: int, batch: int) -> str:
    """SHA-256 of what the sampled points give, and of the logits of a noisy chip."""
    torch.set_num_threads(threads)
    chip.IMAGE_BLOCK = batch
    QuantizedNetwork.logits.__defaults__ = (batch,)
    results = []
    with tempfile.TemporaryDirectory() as folder:  # so that no other process's points are read
        sampling.POINTS = Path(folder)
        for function, points in STUDIES:
            for point in random.Random(2022).sample(points, EACH):
                results.append([function.__name__, point, function(**point)])
    net, (pixels, _) = common.network("embedded", "W4A3"), common.test_images("embedded", 60)
    results.append(net.logits(pixels).tolist())
    for name, size in (("range variation", 0.1), ("read noise", 0.15), ("ADC INL", 5.0)):
        hardware = NONIDEALITIES[name].hardware(size, net, "differential", "embedded")
        results.append(Chip(net, hardware, 3).logits(pixels, threads).tolist())
    return hashlib.sha256(json.dumps(results).encode()).hexdigest()


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2])))
