"""Figures of your own network and devices; `artifact.figures` holds those of the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from artifact.figures.style import PAGE, new_figure
from nvlib.measured import DriftFit, MeasuredDevice

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
    _by_training(right, chips, "sigma")
    right.set_xlabel("variation\n(sigma / range)")
    right.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return figure


def layer_costs(layers: pd.DataFrame) -> Figure:
    """Energy, reads and utilization of each layer, from the table of a `LayerReport`."""
    rows = layers.iloc[:-1]  # the last one is the network
    figure, panels = new_figure(PAGE, 0.9 + 0.17 * len(rows), 1, 3, sharey=True)
    places = np.arange(len(rows))[::-1]
    for axes, values, label, colour in zip(
        panels,
        (rows["energy_pj"] / 1000, rows["reads"], 100 * rows["utilization"]),
        ("energy per inference (nJ)", "reads one after another", "cells that hold weights (%)"),
        ("#0072B2", "#009E73", "#CC79A7"),
        strict=True,
    ):
        axes.barh(places, values, color=colour)
        axes.set_xlabel(label)
    panels[0].set_yticks(places, rows["layer"])
    return figure


def measured_device(
    device: MeasuredDevice, table: pd.DataFrame, aged: pd.DataFrame | None = None
) -> Figure:
    """Measurements and the model fitted to them: levels, and drift where it was measured.

    Parameters
    ----------
    device : MeasuredDevice
    table : DataFrame
        What `nvlib.measured.read_device` read.
    aged : DataFrame, optional
        Accuracy of chips of that device over time, for a third panel.
    """
    count = 1 + (device.drift is not None) + (aged is not None)
    figure, panels = new_figure(PAGE * count / 3, 2.4, 1, count, squeeze=False)
    panels = list(panels[0])
    _levels(panels.pop(0), device, table)
    if device.drift is not None:
        _drift(panels.pop(0), device.drift, table)
    if aged is not None:
        axes = panels.pop(0)
        _by_training(axes, aged, "seconds")
        axes.set(xscale="log", xlabel="time since programming (s)")
        axes.legend(loc="lower left")
    return figure


def _levels(axes: Any, device: MeasuredDevice, table: pd.DataFrame) -> None:
    """Distribution of each level when first read: dots measured, lines fitted."""
    first = table[table["time_s"] == table["time_s"].min()] if "time_s" in table else table
    quantiles = np.linspace(-2.6, 2.6, 80)
    for level, rows in first.groupby("level"):
        colour, values = LEVELS[int(level) % len(LEVELS)], 1e6 * np.sort(rows["conductance_s"])
        axes.plot(values, (np.arange(len(values)) + 0.5) / len(values), ".", color=colour, ms=3)
        mean, sigma = 1e6 * device.means_s[int(level)], 1e6 * device.sigmas_s[int(level)]
        axes.plot(mean + sigma * quantiles, norm.cdf(quantiles), color=colour)
        axes.annotate(f"level {int(level)}", (mean, 1.05), ha="center", color=colour)
    axes.set(xlabel="conductance when first read (uS)", ylabel="share of the cells below",
             ylim=(-0.03, 1.14))  # fmt: skip
    axes.margins(x=0.15)


def _drift(axes: Any, drift: DriftFit, table: pd.DataFrame) -> None:
    """Mean of each level over time, and the power law fitted to all traces."""
    ages = np.geomspace(drift.reference_seconds, table["time_s"].max(), 50)
    for level, rows in table.groupby("level"):
        colour = LEVELS[int(level) % len(LEVELS)]
        mean = 1e6 * rows.groupby("time_s")["conductance_s"].mean()
        fitted = mean.iloc[0] * (ages / drift.reference_seconds) ** -drift.nu
        axes.plot(mean.index, mean, "o", color=colour)
        axes.plot(ages, fitted, color=colour)
    axes.set(xscale="log", yscale="log", xlabel="time since programming (s)",
             ylabel="mean conductance (uS)")  # fmt: skip
    text = f"nu = {drift.nu:.4f} +- {drift.nu_error:.4f}\ncell to cell {drift.nu_sigma:.4f}"
    axes.text(0.08, 0.4, text, transform=axes.transAxes)


def _by_training(axes: Any, table: pd.DataFrame, along: str) -> None:
    """Mean accuracy and its interval against one column, a curve for each training."""
    for training, (colour, marker, label) in TRAININGS.items():
        part = table[table["training"] == training]
        if len(part):
            axes.plot(part[along], part["accuracy"], marker=marker, color=colour, label=label)
            lower, upper = part["lower"].clip(0), part["upper"].clip(upper=100)
            axes.fill_between(part[along], lower, upper, color=colour, alpha=0.15, lw=0)
    axes.set(ylabel="accuracy (%)", ylim=(0, 102))
