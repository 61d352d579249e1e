"""Networks of torchvision and timm, where those are installed (`pip install .[zoo]`)."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks import zoo

SMALL = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "mixer_s32_224")


@pytest.mark.parametrize("name", SMALL)
def test_networks_of_others_are_quantized_as_they_are(name):
    if find_spec("timm" if "mixer" in name else "torchvision") is None:
        pytest.skip("networks of others are not installed")
    found = zoo.row(name)
    assert found["relative_error_w8a8"] < 0.05
    assert found["share_on_arrays"] > 0.99
    assert found["chip_equals_network"]
