"""Figures of your own network and devices; `nvlib.figures` holds those of the paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from nvlib.figures import PAGE, new_figure
from nvlib.measured import MeasuredDevice

#: Networks trained three ways, and levels of a cell (Okabe-Ito, colour-blind safe).
TRAININGS = {
    "float": ("#000000", "o", "quantized after training"),
    "fine-tuned": ("#0072B2", "s", "fine-tuned"),
    "noise-aware": ("#D55E00", "D", "noise-aware"),
}
LEVELS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def pipeline(steps: pd.DataFrame, layers: pd.DataFrame, chips: pd.DataFrame) -> Figure:
    """Accuracy of each step to W4A3, points lost by single layers, accuracy of varied chips."""
    figure, (left, middle, right) = new_figure(PAGE, 2.9, 1, 3)
    places = np.arange(len(steps))[::-1]
    errors = [steps["accuracy"] - steps["lower"], steps["upper"] - steps["accuracy"]]
    left.errorbar(steps["accuracy"], places, xerr=errors, fmt="o", color="#0072B2", capsize=2)
    for place, value in zip(places, steps["accuracy"], strict=True):
        left.annotate(f"{value:.2f}", (value, place), (0, 4), textcoords="offset points",
                      ha="center", fontsize=6)  # fmt: skip
    left.set_yticks(places, steps["step"])
    left.set(xlabel="accuracy (%)", ylim=(-0.6, len(steps) - 0.3))
    left.margins(x=0.12)
    rows = np.arange(len(layers))[::-1]
    middle.barh(rows, layers["lost"], color="#56B4E9")
    middle.set_yticks(rows, layers["layer"])
    middle.set(xlabel="points lost, this layer at W4A3\nand all others at W8A8")
    for training, (colour, marker, label) in TRAININGS.items():
        part = chips[chips["training"] == training]
        right.plot(part["sigma"], part["accuracy"], marker=marker, color=colour, label=label)
        lower, upper = part["lower"].clip(0), part["upper"].clip(upper=100)
        right.fill_between(part["sigma"], lower, upper, color=colour, alpha=0.15, lw=0)
    right.set(xlabel="variation\n(sigma / range)", ylabel="accuracy (%)", ylim=(0, 102))
    right.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return figure


def measured_device(device: MeasuredDevice, table: pd.DataFrame, aged: pd.DataFrame) -> Figure:
    """Measurements and the model fitted to them; accuracy of chips of that device over time."""
    figure, (left, middle, right) = new_figure(PAGE, 2.4, 1, 3)
    first = table[table["time_s"] == table["time_s"].min()] if "time_s" in table else table
    for level, rows in first.groupby("level"):
        colour, values = LEVELS[int(level) % len(LEVELS)], 1e6 * np.sort(rows["conductance_s"])
        left.plot(values, (np.arange(len(values)) + 0.5) / len(values), ".", color=colour, ms=3)
        mean, sigma = 1e6 * device.means_s[int(level)], 1e6 * device.sigmas_s[int(level)]
        quantiles = np.linspace(-2.6, 2.6, 80)
        left.plot(mean + sigma * quantiles, norm.cdf(quantiles), color=colour)
        left.annotate(f"level {int(level)}", (mean, 1.05), ha="center", color=colour)
    left.set(xlabel="conductance when first read (uS)", ylabel="share of the cells below",
             ylim=(-0.03, 1.14))  # fmt: skip
    left.margins(x=0.15)
    if device.drift is not None:
        start, drift = device.drift.reference_seconds, device.drift
        ages = np.geomspace(start, table["time_s"].max(), 50)
        for level, rows in table.groupby("level"):
            colour = LEVELS[int(level) % len(LEVELS)]
            mean = 1e6 * rows.groupby("time_s")["conductance_s"].mean()
            middle.plot(mean.index, mean, "o", color=colour)
            fitted = mean.iloc[0] * (ages / start) ** -drift.nu
            middle.plot(ages, fitted, color=colour)
        middle.set(xscale="log", yscale="log", xlabel="time since programming (s)",
                   ylabel="mean conductance (uS)")  # fmt: skip
        text = f"nu = {drift.nu:.4f} +- {drift.nu_error:.4f}\ncell to cell {drift.nu_sigma:.4f}"
        middle.text(0.08, 0.4, text, transform=middle.transAxes)
    for training, (colour, marker, label) in TRAININGS.items():
        part = aged[aged["training"] == training]
        if len(part):
            right.plot(part["seconds"], part["accuracy"], marker=marker, color=colour, label=label)
            lower, upper = part["lower"].clip(0), part["upper"].clip(upper=100)
            right.fill_between(part["seconds"], lower, upper, color=colour, alpha=0.15, lw=0)
    right.set(xscale="log", xlabel="time since programming (s)", ylabel="accuracy (%)",
              ylim=(0, 102))  # fmt: skip
    right.legend(loc="lower left")
    return figure
