"""Which networks the artifact ships, and how to train them all again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from artifact import checkpoints, data, training
from artifact.checkpoints import CheckpointName
from nvlib.network import NETWORKS, freeze, quantized_logits
from nvlib.quantizers import MAX_BITS, Precision

#: Precisions that are studied in depth, with several training seeds.
STUDIED = tuple(Precision.parse(name) for name in ("W8A8", "W6A6", "W4A4", "W4A3", "W3A3", "W2A2"))
SEEDS = (0, 1, 2, 3, 4)
#: Precisions that the wide network is trained at, for the sparsity study.
WIDE = tuple(Precision.parse(name) for name in ("W8A8", "W4A3"))


def shipped(dataset: str) -> list[CheckpointName]:
    """Checkpoints of the artifact, float networks first: the others start from them."""
    seeds = SEEDS if dataset == "mnist" else SEEDS[:1]
    grid = [Precision(w, a) for w in range(1, MAX_BITS + 1) for a in range(1, MAX_BITS + 1)]
    names = [CheckpointName(dataset, "lenet5", None, seed) for seed in seeds]
    names += [CheckpointName(dataset, "lenet5", precision, 0) for precision in STUDIED]
    if dataset == "mnist":
        names += [CheckpointName(dataset, "lenet5", p, 0) for p in grid if p not in STUDIED]
        names += [CheckpointName(dataset, "lenet5", p, s) for s in SEEDS[1:] for p in STUDIED]
    names += [CheckpointName(dataset, "wide", precision, 0) for precision in (None, *WIDE)]
    return names


def train_one(name: CheckpointName, folder: Path, progress: bool = False) -> None:
    """Train and save one network, unless it is there already."""
    if (folder / name.path).is_file():
        return
    torch.set_num_threads(1)  # networks are trained side by side, one thread each
    digits = data.load(name.dataset)
    specs = NETWORKS[name.network]
    recipe = training.default_recipe(digits, name.precision)
    start = None
    if name.precision is not None:
        floating = CheckpointName(name.dataset, name.network, None, name.seed)
        train_one(floating, folder, progress)
        start = checkpoints.load_unlisted_float(floating, folder)
    network = training.train(
        digits, name.precision, name.seed, start, recipe, specs, progress, training.fastest()
    )
    if name.precision is None:
        accuracy = training.accuracy(network, digits.test_images, digits.test_labels)
    else:
        logits = quantized_logits(freeze(network), digits.test_images)
        accuracy = float((logits.argmax(axis=1) == digits.test_labels).mean())
    metadata = {
        "dataset": name.dataset,
        "network": name.network,
        "precision": str(name.precision or "float"),
        "seed": str(name.seed),
        "test_accuracy": f"{accuracy:.4f}",
        "test_images": str(len(digits.test_images)),
        "torch": torch.__version__,
        **{key: str(value) for key, value in asdict(recipe).items()},
    }
    checkpoints.save(network, name, metadata, folder)


def train_all(names: list[CheckpointName], folder: Path, jobs: int) -> None:
    """Train what is missing of `names`, float networks first, and write the manifest."""
    waves = (
        [name for name in names if name.precision is None],
        [name for name in names if name.precision is not None],
    )
    with tqdm(total=len(names), desc="networks", unit="network") as bar:
        for wave in waves:
            tasks = (delayed(train_one)(name, folder) for name in wave)
            for _ in Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks):
                bar.update()
    checkpoints.write_manifest(folder)
