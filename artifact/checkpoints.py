"""Trained networks on disk: safetensors, and a manifest that vouches for them.

Nothing is loaded whose SHA-256 is not the manifest's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from artifact import scales
from artifact.models import MODELS
from artifact.paths import CHECKPOINTS
from nvlib import Precision, QuantizedNetwork
from nvlib.storage import read_metadata, write_text, write_whole

MANIFEST = "manifest.json"
#: Pixels that each network takes, for files that do not say so.
PIXELS = {"lenet5": (0, 255), "wide": (0, 255), "residual": (0, 1), "resnet20": (0, 1)}


class CheckpointError(ValueError):
    """A checkpoint is missing, or is not the one the manifest vouches for."""


@dataclass(frozen=True)
class CheckpointName:
    """Which trained network.

    Parameters
    ----------
    dataset : str
    network : str
        Of `artifact.models.MODELS`.
    precision : Precision or None
        None is floating point; of recipe "ptq", the scales that all its precisions come from,
        where there is no file of the precision itself.
    seed : int
        Of the training.
    recipe : str
        How it was quantized; see `artifact.recipes`.

    Examples
    --------
    >>> CheckpointName("mnist", "lenet5", Precision(4, 3), 0).path.as_posix()
    'mnist/lenet5-W4A3-seed0.safetensors'
    >>> CheckpointName("mnist", "lenet5", None, 0, "plain").path.name
    'lenet5-float-plain-seed0.safetensors'
    """

    dataset: str
    network: str
    precision: Precision | None
    seed: int
    recipe: str = "qat"

    def __post_init__(self) -> None:
        if self.network not in MODELS:
            raise ValueError(
                f"expected a network among {sorted(MODELS)}, received {self.network!r}; use one"
            )

    @property
    def path(self) -> Path:
        """Relative to the folder of the checkpoints."""
        recipe = "" if self.recipe == "qat" else f"-{self.recipe}"
        name = f"{self.network}-{self.precision or 'float'}{recipe}-seed{self.seed}.safetensors"
        return Path(self.dataset) / name


def save(
    network: nn.Module | QuantizedNetwork | scales.Scales,
    name: CheckpointName,
    metadata: Mapping[str, str],
    folder: Path,
) -> None:
    """Write one trained network; `metadata` says how it was trained and how well it does.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> name = CheckpointName("mine", "lenet5", None, 0)
    >>> with TemporaryDirectory() as folder:
    ...     save(MODELS["lenet5"](), name, {"epochs": "0"}, Path(folder))
    ...     read_metadata((Path(folder) / name.path).read_bytes())
    {'epochs': '0'}
    """
    path = folder / name.path
    if isinstance(network, QuantizedNetwork):
        network.save(path, metadata)
        return
    tensors = network.state_dict() if isinstance(network, nn.Module) else network
    state = {key: value.contiguous() for key, value in tensors.items()}
    content = save_tensors(state, dict(metadata))
    write_whole(path, lambda place: place.write_bytes(content))


def write_manifest(folder: Path) -> None:
    """List every checkpoint below `folder` with its SHA-256 and its metadata.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_manifest(Path(folder))
    ...     read_manifest(Path(folder))
    {}
    """
    entries = {}
    for path in sorted(folder.glob("*/*.safetensors")):
        content = path.read_bytes()
        words = read_metadata(content)
        words.pop("nvlib", None)  # the network itself
        digest = hashlib.sha256(content).hexdigest()
        entries[path.relative_to(folder).as_posix()] = {"sha256": digest, **words}
    write_text(folder / MANIFEST, json.dumps(entries, indent=1, sort_keys=True) + "\n")


@lru_cache(maxsize=4)
def read_manifest(folder: Path = CHECKPOINTS) -> dict[str, dict[str, str]]:
    """The manifest of a folder of checkpoints: relative path -> SHA-256 and metadata.

    Examples
    --------
    >>> len(read_manifest()["embedded/lenet5-W4A3-seed0.safetensors"]["sha256"])
    64
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or not all(
            isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
            for entry in manifest.values()
        ):
            raise ValueError("an object of objects with a sha256 was expected")
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: expected a manifest of checkpoints, found none; "
            "restore the folder from git, or train with ./run_all.sh --retrain"
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path}: expected a JSON manifest, found something else ({error}); restore it from git"
        ) from error
    return manifest


def verified_content(name: CheckpointName, folder: Path = CHECKPOINTS) -> bytes:
    """Content of a checkpoint's file, if its hash is the manifest's.

    Raises
    ------
    CheckpointError
        If the file is missing or altered.

    Examples
    --------
    >>> len(verified_content(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))) < 2**16
    True
    """
    path, key = folder / name.path, name.path.as_posix()
    entry = read_manifest(folder).get(key)
    if entry is None or not path.is_file():
        raise CheckpointError(
            f"{path}: expected this checkpoint and its line in {MANIFEST}, found "
            f"{'no line' if entry is None else 'no file'}; "
            "restore the folder from git, or train with ./run_all.sh --retrain"
        )
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        raise CheckpointError(
            f"{path}: expected SHA-256 {entry['sha256']}, found {digest}; "
            "the file was altered, restore it from git"
        )
    return content


def load_quantized(name: CheckpointName, folder: Path = CHECKPOINTS) -> QuantizedNetwork:
    """A quantized network, verified against the manifest.

    Raises
    ------
    CheckpointError
        If the file is missing or altered.

    Examples
    --------
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> str(network.precision), network.layers[0].codes.shape
    ('W4A3', (6, 1, 5, 5))
    """
    if name.precision is None:
        raise ValueError(f"expected a quantized checkpoint, received {name}; use load_float")
    if name.recipe == "ptq" and name.path.as_posix() not in read_manifest(folder):
        kept = load_tensors(verified_content(replace(name, precision=None), folder))
        floating = load_float(replace(name, precision=None, recipe="qat"), folder)
        network = scales.quantized(floating, kept, name.precision)
    else:
        network = QuantizedNetwork.load(verified_content(name, folder))
    return replace(network, image_range=PIXELS[name.network])


def load_float(name: CheckpointName, folder: Path = CHECKPOINTS) -> nn.Module:
    """A float network, verified against the manifest.

    Examples
    --------
    >>> network = load_float(CheckpointName("embedded", "lenet5", None, 0))
    >>> network(torch.zeros(2, 28, 28)).shape
    torch.Size([2, 10])
    """
    return with_state(name, verified_content(name, folder))


def with_state(name: CheckpointName, content: bytes) -> nn.Module:
    """A float network with the state that a file holds, for one that has no manifest yet.

    Examples
    --------
    >>> name = CheckpointName("embedded", "wide", None, 0)
    >>> type(with_state(name, verified_content(name))).__name__
    'Wide'
    """
    model = MODELS[name.network]()
    model.load_state_dict(load_tensors(content))
    return model.eval()
