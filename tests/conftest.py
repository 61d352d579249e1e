"""Small layers and networks that tests share."""

from __future__ import annotations

import numpy as np
import pytest

from artifact import data
from artifact.checkpoints import CheckpointName, load_quantized
from nvlib.network import LayerSpec, QuantizedLayer
from nvlib.quantizers import Precision


@pytest.fixture(scope="session")
def digits():
    """The data set that needs no network."""
    return data.load_embedded()


@pytest.fixture(scope="session")
def network():
    """A trained network by the name of its precision."""

    def load(precision: str):
        return load_quantized(CheckpointName("embedded", "lenet5", Precision.parse(precision), 0))

    return load


def random_layer(generator, precision, inputs, outputs, kernel=(), **window):
    """A layer of random codes; `window` is its padding, stride and dilation."""
    spec = LayerSpec("layer", inputs, outputs, kernel=kernel, **window)
    most = precision.weight_max
    codes = generator.integers(-most, most + 1, spec.weight_shape)
    if precision.weight_bits == 1:
        codes = np.where(codes < 0, -1, 1)
    return QuantizedLayer(spec, codes.astype(np.int8), 1.0, 1.0, np.zeros(outputs))
