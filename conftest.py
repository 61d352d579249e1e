"""Names that examples in docstrings share: what a user of `nvlib` has at hand."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from _pytest.doctest import DoctestItem
from torch import nn

import nvlib
from artifact import data
from nvlib.network import LayerSpec, QuantizedLayer


@cache
def names() -> dict[str, Any]:
    """The face of `nvlib`, a network on a chip, images, and the libraries around them."""
    face = {name: getattr(nvlib, name) for name in nvlib.__all__}
    network = nvlib.example_network()
    return face | {
        "np": np, "torch": torch, "nn": nn, "LayerSpec": LayerSpec,
        "QuantizedLayer": QuantizedLayer, "network": network, "chip": nvlib.Chip(network),
        "images": data.load_embedded().test_images[:130],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def shared_names(request: pytest.FixtureRequest) -> None:
    """Examples find these names, unless their module has its own."""
    if isinstance(request.node, DoctestItem):
        for name, value in names().items():
            request.node.dtest.globs.setdefault(name, value)
