"""Trained networks on disk: safetensors, and a manifest that vouches for them.

A quantized network is stored as its integer codes, packed to W bits each, its
scales and its biases. Nothing is loaded whose SHA-256 is not the manifest's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save_file

from artifact.paths import CHECKPOINTS
from nvlib.files import write_text, write_whole
from nvlib.network import NETWORKS, Network, QuantizedLayer, QuantizedNetwork, freeze
from nvlib.quantizers import Precision

MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A checkpoint is missing, or is not the one the manifest vouches for."""


@dataclass(frozen=True)
class CheckpointName:
    """Which trained network: data set, architecture, precision (None is float), seed.

    Examples
    --------
    >>> CheckpointName("mnist", "lenet5", Precision(4, 3), 0).path.as_posix()
    'mnist/lenet5-W4A3-seed0.safetensors'
    """

    dataset: str
    network: str
    precision: Precision | None
    seed: int

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(
                f"expected a network among {sorted(NETWORKS)}, received {self.network!r}; use one"
            )

    @property
    def path(self) -> Path:
        """Relative to the folder of the checkpoints."""
        precision = self.precision or "float"
        return Path(self.dataset) / f"{self.network}-{precision}-seed{self.seed}.safetensors"


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Signed codes as a dense stream of `bits`-bit numbers, most significant bit first.

    Examples
    --------
    >>> unpack_codes(pack_codes(np.array([-3, 0, 3], np.int8), 3), 3, (3,))
    array([-3,  0,  3], dtype=int8)
    """
    unsigned = (codes.astype(np.int16).ravel() + 2 ** (bits - 1)).clip(0, 2**bits - 1)
    if bits == 1:  # -1 and +1 are stored as 0 and 1
        unsigned = (codes.ravel() > 0).astype(np.int16)
    return np.packbits(np.unpackbits(unsigned.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :])


def unpack_codes(stream: np.ndarray, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Inverse of `pack_codes`.

    Examples
    --------
    >>> unpack_codes(np.array([0b01101100], np.uint8), 2, (4,))
    array([-1,  0,  1, -2], dtype=int8)
    """
    digits = np.unpackbits(stream, count=bits * int(np.prod(shape))).reshape(-1, bits)
    unsigned = digits.astype(np.int16) @ (1 << np.arange(bits - 1, -1, -1))
    signed = 2 * unsigned - 1 if bits == 1 else unsigned - 2 ** (bits - 1)
    return signed.astype(np.int8).reshape(shape)


def save(network: Network, name: CheckpointName, metadata: Mapping[str, str], folder: Path) -> None:
    """Write one trained network; `metadata` says how it was trained and how well it does.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from nvlib.network import LENET5
    >>> name = CheckpointName("mine", "lenet5", None, 0)
    >>> with TemporaryDirectory() as folder:
    ...     save(Network(LENET5), name, {"epochs": "0"}, Path(folder))
    ...     read_metadata(Path(folder) / name.path)
    {'epochs': '0'}
    """
    tensors: dict[str, np.ndarray] = {}
    if name.precision is None:
        for key, value in network.state_dict().items():
            if key.startswith(("weights", "biases")):
                tensors[key] = value.numpy().astype(np.float32)
    else:
        for layer in freeze(network).layers:
            prefix = layer.spec.name
            tensors[f"{prefix}.codes"] = pack_codes(layer.codes, name.precision.weight_bits)
            tensors[f"{prefix}.bias"] = layer.bias.astype(np.float32)
            scales = [layer.weight_scale, layer.input_scale]
            tensors[f"{prefix}.scales"] = np.array(scales, np.float32)
    write_whole(folder / name.path, lambda path: save_file(tensors, path, dict(metadata)))


def read_metadata(path: Path) -> dict[str, str]:
    """What was written beside the tensors.

    Examples
    --------
    >>> read_metadata(CHECKPOINTS / "embedded/lenet5-W4A3-seed0.safetensors")["epochs"]
    '40'
    """
    with safe_open(path, "numpy") as stream:
        return dict(stream.metadata() or {})


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
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries[path.relative_to(folder).as_posix()] = {"sha256": digest, **read_metadata(path)}
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


def verified_tensors(relative: Path, folder: Path = CHECKPOINTS) -> dict[str, np.ndarray]:
    """Tensors of a checkpoint, `relative` to its folder, if its hash is the manifest's.

    Raises
    ------
    CheckpointError
        If the file is missing or altered.

    Examples
    --------
    >>> tensors = verified_tensors(Path("embedded/lenet5-W4A3-seed0.safetensors"))
    >>> tensors["fc3.bias"].shape
    (10,)
    """
    path, key = folder / relative, relative.as_posix()
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
    return load_tensors(content)


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
    tensors = verified_tensors(name.path, folder)
    layers = []
    for spec in NETWORKS[name.network]:
        stream = tensors[f"{spec.name}.codes"]
        weight_scale, input_scale = tensors[f"{spec.name}.scales"].astype(np.float64)
        layers.append(
            QuantizedLayer(
                spec,
                unpack_codes(stream, name.precision.weight_bits, spec.weight_shape),
                float(weight_scale),
                float(input_scale),
                tensors[f"{spec.name}.bias"].astype(np.float64),
            )
        )
    return QuantizedNetwork(name.precision, tuple(layers))


def load_float(name: CheckpointName, folder: Path = CHECKPOINTS) -> Network:
    """A float network, verified against the manifest.

    Examples
    --------
    >>> network = load_float(CheckpointName("embedded", "lenet5", None, 0))
    >>> network(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    return _float_network(name, verified_tensors(name.path, folder))


def load_unlisted_float(name: CheckpointName, folder: Path) -> Network:
    """A float network that was just trained, before there is a manifest.

    Examples
    --------
    >>> name = CheckpointName("embedded", "lenet5", None, 0)
    >>> load_unlisted_float(name, CHECKPOINTS).precision is None
    True
    """
    return _float_network(name, load_tensors((folder / name.path).read_bytes()))


def _float_network(name: CheckpointName, tensors: dict[str, np.ndarray]) -> Network:
    network = Network(NETWORKS[name.network])
    state = {key: torch.from_numpy(value) for key, value in tensors.items()}
    network.load_state_dict(state, strict=False)
    return network.eval()
