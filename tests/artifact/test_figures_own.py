"""Figures of your own network and device say what their tables say."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt

from artifact import figures
from artifact.paths import ROOT
from nvlib.measured import read_device


def title(figure):
    """The figure's answer; the figure is closed."""
    plt.close(figure)
    return " ".join(figure.get_suptitle().split())


def test_the_way_to_few_bits_is_told_with_the_tables_numbers():
    names = ("floating point", "W4A3, least squared error", "W4A3, fine-tuned")
    steps = pd.DataFrame({"step": names, "accuracy": (99.0, 89.5, 98.7)})
    steps = steps.assign(lower=steps["accuracy"] - 1, upper=steps["accuracy"] + 1)
    layers = pd.DataFrame({"layer": ["stem", "fc"], "lost": [2.0, -0.1]})
    chips = pd.DataFrame(
        {"training": ["fine-tuned", "noise-aware"] * 2, "sigma": [0.0, 0.0, 0.3, 0.3],
         "accuracy": [98.0, 98.0, 41.0, 72.0]}
    )  # fmt: skip
    chips = chips.assign(lower=chips["accuracy"], upper=chips["accuracy"])
    told = title(figures.pipeline(steps, layers, chips))
    assert "costs 9.5 points" in told
    assert "0.3 with fine-tuning" in told
    assert "vary by 0.3" in told
    assert "keep 41 %, noise-aware ones 72 %" in told


def test_the_layer_of_most_energy_is_named():
    layers = pd.DataFrame(
        {"layer": ["stem", "fc", "network"], "energy_pj": [100.0, 300.0, 400.0],
         "reads": [10, 1, 11], "utilization": [0.02, 0.5, 0.3]}
    )  # fmt: skip
    told = title(figures.layer_costs(layers))
    assert told == "fc takes the most energy, 75 % of it; weights fill 2 to 50 % of a layer's cells"


def test_what_a_device_makes_of_chips_is_told_at_both_ends():
    device, table = read_device(ROOT / "examples/device.csv")
    aged = pd.DataFrame({"training": "fine-tuned", "seconds": [20.0, 864000.0],
                         "accuracy": [98.0, 31.0]})  # fmt: skip
    aged = aged.assign(lower=aged["accuracy"], upper=aged["accuracy"])
    told = title(figures.measured_device(device, table, aged))
    assert told.endswith("gives 98.0 % at first and, uncompensated, 31 % after 10 days")
    assert title(figures.measured_device(device, table)) == "4 levels that drift with ν = 0.031"
