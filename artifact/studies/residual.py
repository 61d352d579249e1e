"""Where a deeper network loses accuracy on its way to arrays, and what gives it back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from artifact import data, recipes
from artifact.checkpoints import CheckpointName, load_float, load_quantized
from artifact.models import Residual
from artifact.paths import ROOT
from artifact.statistics import mean_interval, wilson_interval
from artifact.studies import common
from artifact.sweep import Point
from nvlib.chip import Chip
from nvlib.cost import LayerReport
from nvlib.cost import report as layer_report
from nvlib.graph.tracing import array_paths, trace
from nvlib.hardware import Hardware
from nvlib.mapping import ArrayMapping
from nvlib.measured import read_device
from nvlib.network import QuantizedNetwork
from nvlib.quantization import quantize
from nvlib.quantizers import Precision
from nvlib.training import CALIBRATION_IMAGES

BATCH = 100
TRAININGS = ("float", "fine-tuned", "noise-aware")
#: Ways from the float network to W4A3, each without hardware: (training, method, wide layers).
STEPS = {
    "floating point": ("float", "none", ""),
    "W4A3, largest value": ("float", "max", ""),
    "W4A3, 99.9th percentile": ("float", "percentile", ""),
    "W4A3, least squared error": ("float", "mse", ""),
    "... first and last at W8A8": ("float", "mse", "stem fc"),
    "W4A3, fine-tuned": ("fine-tuned", "mse", ""),
    "W4A3, noise-aware": ("noise-aware", "mse", ""),
}
SIGMAS = (0.0, 0.025, 0.05, 0.1, 0.15, 0.2)


def paths() -> tuple[str, ...]:
    """Layers of the network that go onto arrays.

    Examples
    --------
    >>> len(paths()), paths()[0]
    (10, 'stem')
    """
    return array_paths(trace(Residual(), torch.eye(28)[None, None]))


@lru_cache(maxsize=32)
def network(
    dataset: str, training: str, method: str, wide: str, narrow: str, checkpoints: str
) -> QuantizedNetwork:
    """A network by plain parameters: as trained, or the float one quantized afterwards.

    Parameters
    ----------
    method : str
        Of the calibration.
    wide : str
        Layers at W8A8 in place of W4A3, with spaces between.
    narrow : str
        Where given, this layer alone has W4A3 and all others W8A8.
    """
    precision, folder = recipes.RESIDUAL, ROOT / checkpoints
    if training != "float":
        return load_quantized(CheckpointName(dataset, "residual", precision, 0, training), folder)
    others = dict.fromkeys(wide.split(), Precision(8, 8))
    if narrow:
        precision, others = Precision(8, 8), {narrow: precision}
    floating = load_float(CheckpointName(dataset, "residual", None, 0), folder)
    images = _inputs(data.load(dataset).train_images[:CALIBRATION_IMAGES])
    return quantize(floating, images, precision, overrides=others, method=method)


def _inputs(images: np.ndarray) -> np.ndarray:
    return recipes.inputs("residual", images)


def step_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every step of `STEPS`, and every layer alone at W4A3."""
    shared: Point = {"dataset": dataset, "images": images, "checkpoints": checkpoints}
    steps = [
        {"step": step, "training": training, "method": method, "wide": wide, "narrow": ""} | shared
        for step, (training, method, wide) in STEPS.items()
    ]
    alone = [
        {"step": "one layer", "training": "float", "method": "mse", "wide": "", "narrow": path}
        | shared
        for path in ("none", *paths())
    ]
    return steps + alone


@torch.no_grad()
def step_point(
    dataset: str, step: str, training: str, method: str, wide: str, narrow: str, images: int,
    checkpoints: str,
) -> Point:  # fmt: skip
    """Right answers of the network itself, without hardware, in double precision."""
    if narrow == "none":  # what the layers alone are compared with
        narrow, wide = "", " ".join(paths())
    pixels, labels = common.test_images(dataset, images)
    if method == "none":
        name = CheckpointName(dataset, "residual", None, 0)
        net = load_float(name, ROOT / checkpoints).double()
        blocks = torch.from_numpy(_inputs(pixels)).double().split(BATCH)
        classes = np.concatenate([net(block).argmax(dim=1).numpy() for block in blocks])
    else:
        classes = network(dataset, training, method, wide, narrow, checkpoints).predict(
            _inputs(pixels)
        )
    return {"correct": int((classes == labels).sum())}


def chip_points(
    dataset: str, images: int, chips: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Chips of three networks at every spread of `SIGMAS`."""
    return [
        {"dataset": dataset, "training": training, "sigma": sigma, "seed": seed, "images": images,
         "checkpoints": checkpoints}
        for training in TRAININGS
        for sigma in SIGMAS
        for seed in range(chips if sigma else 1)
    ]  # fmt: skip


def chip_point(
    dataset: str, training: str, sigma: float, seed: int, images: int, checkpoints: str
) -> Point:
    """Right answers of one chip at W4A3."""
    net = network(dataset, training, "mse", "", "", checkpoints)
    chip = Chip(net, recipes.varied_hardware(sigma), seed)
    return _right(chip, dataset, images)


def device_points(
    dataset: str, images: int, chips: int, checkpoints: str = common.SHIPPED,
    csv: str = "examples/device.csv",
) -> list[Point]:  # fmt: skip
    """Chips of the device measured in `csv`, a path relative to the artifact, fresh and aged."""
    return [
        {"dataset": dataset, "training": training, "seconds": seconds, "seed": seed,
         "images": images, "csv": csv, "checkpoints": checkpoints}
        for training in TRAININGS[1:]
        for seconds in (20.0, 1e4, 1e6, 1e8)
        for seed in range(chips)
    ]  # fmt: skip


def device_point(
    dataset: str, training: str, seconds: float, seed: int, images: int, csv: str, checkpoints: str
) -> Point:
    """Right answers of one chip of measured cells."""
    device, _ = read_device(ROOT / csv)
    hardware = Hardware(ArrayMapping(cell_bits=device.cell_bits), device.model(seconds))
    net = network(dataset, training, "mse", "", "", checkpoints)
    return _right(Chip(net, hardware, seed), dataset, images)


def _right(chip: Chip, dataset: str, images: int) -> Point:
    pixels, labels = common.test_images(dataset, images)
    return {"correct": int((chip.predict(_inputs(pixels), threads=1) == labels).sum())}


def report(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> LayerReport:
    """Layer by layer, what the fine-tuned network costs on ideal arrays."""
    net = network(dataset, "fine-tuned", "mse", "", "", checkpoints)
    pixels, labels = common.test_images(dataset, images)
    return layer_report(Chip(net), _inputs(pixels), labels)


def step_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each step in percent, with its 95 % interval (Wilson)."""
    rows = []
    for row in table[table["step"] != "one layer"].to_dict("records"):
        lower, upper = wilson_interval(row["correct"], row["images"])
        rows.append({"step": row["step"], "accuracy": 100 * row["correct"] / row["images"],
                     "lower": 100 * lower, "upper": 100 * upper})  # fmt: skip
    return pd.DataFrame(rows)


def layer_losses(table: pd.DataFrame) -> pd.DataFrame:
    """Points that each layer loses when it alone has W4A3, all others W8A8."""
    alone = table[table["step"] == "one layer"].set_index("narrow")
    lost = 100 * (alone.loc["none", "correct"] - alone["correct"]) / alone["images"]
    return lost.drop("none").rename("lost").rename_axis("layer").reset_index()


def chip_summary(table: pd.DataFrame, along: str) -> pd.DataFrame:
    """Mean accuracy over chips in percent, with its 95 % interval (t), by training and `along`."""
    rows = []
    for (training, size), chips in table.groupby(["training", along], sort=False):
        shares = (100 * chips["correct"] / chips["images"]).to_numpy()
        lower, upper = mean_interval(shares) if len(shares) > 1 else (np.nan, np.nan)
        rows.append({"training": training, along: size, "accuracy": float(np.mean(shares)),
                     "lower": lower, "upper": upper, "chips": len(shares)})  # fmt: skip
    return pd.DataFrame(rows)
