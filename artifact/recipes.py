"""Which networks the artifact ships, and how to train them all again.

One recipe for all precisions: "qat" trains on from the float network with quantization in the
loop, "ptq" quantizes it without training, and "plain" is a short training of both, of images as
they are. The residual network has recipes of its own, and of ResNet-20 "noise-aware" trains on
with devices in the loop too.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import delayed
from torch import nn
from tqdm.auto import tqdm

from artifact import checkpoints, data, scales
from artifact.checkpoints import CheckpointName
from artifact.data import Dataset
from artifact.models import MODELS
from artifact.processes import in_processes
from nvlib import (
    DeviceModel,
    Hardware,
    Precision,
    QuantizedNetwork,
    RangeVariation,
    Recipe,
    fine_tune,
    quantize,
    train,
    training,
)
from nvlib.quantizers import MAX_BITS
from nvlib.storage import read_metadata

#: Precisions that are studied in depth, with several training seeds.
STUDIED = tuple(map(Precision.parse, ("W8A8", "W6A6", "W4A4", "W4A3", "W3A3", "W2A2")))
#: Precisions of the recipe "plain", around the knee, and its training seeds.
PLAIN = tuple(
    map(Precision.parse, ("W8A8", "W5A3", "W4A4", "W4A3", "W4A2", "W3A3", "W3A2", "W2A3"))
)
PLAIN_EMBEDDED = tuple(map(Precision.parse, ("W8A8", "W4A3", "W3A3")))
PLAIN_SEEDS = (0, 1, 2)
#: Precisions that the wide network is trained at.
COMPARED = tuple(map(Precision.parse, ("W8A8", "W4A3")))
SEEDS = (0, 1, 2, 3, 4)
#: Precision of the residual network, and the programming error that its noise-aware training meets.
RESIDUAL = Precision(4, 3)
SIGMA = 0.15
#: Precisions of ResNet-20, on CIFAR-10.
HARDER = tuple(map(Precision.parse, ("W8A8", "W4A4", "W4A3")))

RECIPES = {
    "float": Recipe(epochs=15, learning_rate=2e-3, shift=2),
    "qat": Recipe(epochs=6, learning_rate=1e-3, shift=2),
    "plain float": Recipe(epochs=4, learning_rate=2e-3),
    "plain": Recipe(epochs=2, learning_rate=1e-3),
    "residual float": Recipe(epochs=10, learning_rate=4e-3, shift=2),
    "fine-tuned": Recipe(epochs=4, learning_rate=1e-3, shift=2),
    "noise-aware": Recipe(epochs=4, learning_rate=1e-3, shift=2),
    "resnet20 float": Recipe(
        epochs=22,
        learning_rate=0.2,
        momentum=0.9,
        weight_decay=5e-4,
        warm_up=0.2,
        shift=4,
        flip=True,
        crop=24,
        crop_epochs=15,
    ),
    "resnet20 qat": Recipe(epochs=1, learning_rate=5e-4, shift=4, flip=True, crop=32),
    "resnet20 noise-aware": Recipe(epochs=1, learning_rate=5e-4, shift=4, flip=True, crop=32),
}
#: The embedded sample is fifteen times smaller, so it is seen more often.
EMBEDDED_TIMES = {"float": 4, "qat": 20 / 3, "plain float": 4, "plain": 20 / 3}
EMBEDDED_RESIDUAL_TIMES = 6
#: Training images that scales are fitted to.
CALIBRATION_IMAGES = 64


def recipe_of(name: CheckpointName, digits: Dataset) -> Recipe:
    """How a network is trained.

    Examples
    --------
    >>> recipe_of(CheckpointName("embedded", "lenet5", None, 0), data.load_embedded()).epochs
    60
    """
    kind = name.recipe
    if name.precision is None:
        kind = "float" if kind == "qat" else f"{kind} float"
    times = EMBEDDED_TIMES.get(kind, EMBEDDED_RESIDUAL_TIMES)
    if name.network == "residual":
        kind, times = kind.replace("float", "residual float"), EMBEDDED_RESIDUAL_TIMES
    if name.network == "resnet20":
        kind = f"resnet20 {kind}"
    recipe = RECIPES[kind]
    if digits.name != "embedded":
        return recipe
    return replace(recipe, epochs=round(times * recipe.epochs))


def inputs(network: str, images: np.ndarray) -> np.ndarray:
    """Images of digits as a network takes them; those of CIFAR-10 are so already.

    Examples
    --------
    >>> inputs("residual", np.full((2, 28, 28), 255, np.uint8)).shape
    (2, 1, 28, 28)
    """
    if network == "residual":
        return images[:, None].astype(np.float32) / 255
    return images


def varied_hardware(sigma: float = SIGMA) -> Hardware:
    """128 x 128 arrays whose cells have a programming error of `sigma` of their range.

    Examples
    --------
    >>> varied_hardware(0.1).devices.effects
    (RangeVariation(sigma=0.1),)
    """
    return Hardware(devices=DeviceModel(effects=(RangeVariation(sigma),) if sigma else ()))


def shipped(dataset: str) -> list[CheckpointName]:
    """Checkpoints of the artifact, float networks first: the others start from them."""
    if dataset == "cifar10":
        ways = [(recipe, precision) for recipe in ("ptq", "qat") for precision in HARDER]
        ways += [("noise-aware", RESIDUAL)]
        floating = CheckpointName(dataset, "resnet20", None, 0)
        return [floating] + [replace(floating, precision=p, recipe=recipe) for recipe, p in ways]
    seeds = SEEDS if dataset == "mnist" else SEEDS[:1]
    grid = [Precision(w, a) for w in range(1, MAX_BITS + 1) for a in range(1, MAX_BITS + 1)]
    names = [CheckpointName(dataset, "lenet5", None, seed) for seed in seeds]
    names += [CheckpointName(dataset, network, None, 0) for network in ("wide", "residual")]
    names += [CheckpointName(dataset, "lenet5", precision, 0) for precision in STUDIED]
    if dataset == "mnist":
        names += [CheckpointName(dataset, "lenet5", p, 0) for p in grid if p not in STUDIED]
        names += [CheckpointName(dataset, "lenet5", p, s) for s in SEEDS[1:] for p in STUDIED]
    names += [CheckpointName(dataset, "lenet5", None, seed, "ptq") for seed in seeds]
    plain = (PLAIN, PLAIN_SEEDS) if dataset == "mnist" else (PLAIN_EMBEDDED, SEEDS[:1])
    names += [
        CheckpointName(dataset, "lenet5", precision, seed, "plain")
        for seed in plain[1]
        for precision in (None, *plain[0])
    ]
    names += [CheckpointName(dataset, "wide", precision, 0) for precision in COMPARED]
    names += [
        CheckpointName(dataset, "residual", RESIDUAL, 0, recipe)
        for recipe in ("fine-tuned", "noise-aware")
    ]
    return names


def trained(
    name: CheckpointName, digits: Dataset, start: nn.Module | None, progress: bool = False,
    kept: Path | None = None,
) -> nn.Module | QuantizedNetwork | scales.Scales:  # fmt: skip
    """Train one network; quantized ones start from a float one, and so do scales.

    The training of a float network, the longest, is `kept` after each epoch. One seed gives one
    network on one machine, not the same bits on every machine.
    """
    calibrated = name.recipe == "ptq" and name.precision is not None
    count = training.CALIBRATION_IMAGES if calibrated else len(digits.train_labels)
    images = inputs(name.network, digits.train_images[:count])
    labels = torch.from_numpy(digits.train_labels.astype(np.int64))
    if start is None:
        with torch.random.fork_rng():
            torch.manual_seed(name.seed)
            model = MODELS[name.network]()
        pixels = torch.from_numpy(images.astype(np.float32, copy=False))
        recipe = recipe_of(name, digits)
        train(model, pixels, labels, recipe, name.seed, fastest(), progress, kept=kept)
        return model.eval()
    # What the first layer of LeNet-5 meets ends at 1, whatever the images at hand reach.
    known: dict[str, Any] = {} if name.network == "residual" else {"input_max": 1.0}
    if name.network == "resnet20":
        known["per_channel"] = True
    if name.precision is None:
        return scales.fit(start, images[:CALIBRATION_IMAGES], **known)
    if calibrated:
        return quantize(start, images, name.precision, **known)
    return fine_tune(
        start, images, labels, name.precision, recipe=recipe_of(name, digits), seed=name.seed,
        hardware=varied_hardware() if name.recipe == "noise-aware" else None,
        device=fastest(), progress=progress, **known,
    )  # fmt: skip


def train_one(name: CheckpointName, folder: Path, progress: bool = False, threads: int = 1) -> None:
    """Train and save one network; goes on where it was stopped.

    It stays as it is where it is there already, unless its file says another recipe or start.
    """
    path = folder / name.path
    kept = path.with_suffix(".training")
    torch.set_num_threads(threads)
    digits, start, content = data.load(name.dataset), None, b""
    how = {
        "dataset": name.dataset, "network": name.network, "recipe": name.recipe,
        "precision": str(name.precision or ("all" if name.recipe == "ptq" else "float")),
        "seed": str(name.seed),
    }  # fmt: skip
    if name.recipe != "ptq":
        how |= {key: str(value) for key, value in asdict(recipe_of(name, digits)).items()}
    if name.precision is not None or name.recipe == "ptq":
        kind = "plain" if name.recipe == "plain" else "qat"
        floating = replace(name, precision=None, recipe=kind)
        train_one(floating, folder, progress, threads)
        content = (folder / floating.path).read_bytes()
        how["start"] = hashlib.sha256(content).hexdigest()
    if path.is_file():
        said = read_metadata(path.read_bytes())
        if all(said.get(key, value) == value for key, value in how.items()):
            return
    if content:
        start = checkpoints.with_state(floating, content)
    network = trained(name, digits, start, progress, kept)
    how["torch"] = torch.__version__
    if isinstance(network, (nn.Module, QuantizedNetwork)):  # else scales, of every precision
        how["test_accuracy"] = f"{accuracy(name.network, network, digits):.4f}"
        how["test_images"] = str(len(digits.test_images))
    checkpoints.save(network, name, how, folder)
    kept.unlink(missing_ok=True)


def train_all(names: list[CheckpointName], folder: Path, jobs: int) -> None:
    """Train what is missing of `names`, float networks first, and write the manifest."""
    waves = (
        [name for name in names if name.precision is None and name.recipe != "ptq"],
        [name for name in names if name.precision is not None or name.recipe == "ptq"],
    )
    with tqdm(total=len(names), desc="networks", unit="network") as bar:
        for wave in waves:
            threads = max(jobs // max(len(wave), 1), 1)  # one ResNet-20 has all of them
            tasks = (delayed(train_one)(name, folder, threads=threads) for name in wave)
            for _ in in_processes(jobs, tasks, ordered=False):
                bar.update()
    checkpoints.write_manifest(folder)


def fastest() -> str:
    """Where networks train fastest: "cuda" where there is one, else "cpu".

    Examples
    --------
    >>> fastest() in ("cpu", "cuda")
    True
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


@torch.no_grad()
def accuracy(kind: str, network: nn.Module | QuantizedNetwork, digits: Dataset) -> float:
    """Share of the test images that a network of a kind classifies rightly, without hardware.

    Examples
    --------
    >>> digits = data.load_embedded()
    >>> network = checkpoints.load_float(CheckpointName("embedded", "lenet5", None, 0))
    >>> accuracy("lenet5", network, digits) > 0.95
    True
    """
    images = inputs(kind, digits.test_images[:])
    if isinstance(network, QuantizedNetwork):
        classes = network.predict(images)
    else:
        blocks = torch.from_numpy(images.astype(np.float32, copy=False)).split(1000)
        classes = np.concatenate([network(block).argmax(1).numpy() for block in blocks])
    return float((classes == digits.test_labels).mean())
