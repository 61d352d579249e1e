"""Figures of your own network and devices; `artifact.figures` holds those of the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from artifact.figures.style import COLOURS, INK, PAGE, direct_label, legend, new_figure
from nvlib.measured import DriftFit, MeasuredDevice

BLUE, ORANGE = COLOURS["W8A8"], COLOURS["W4A3"]
#: Networks trained three ways.
TRAININGS = {
    "float": (INK, "o", "quantized after training"),
    "fine-tuned": (BLUE, "s", "fine-tuned"),
    "noise-aware": (ORANGE, "D", "noise-aware"),
}


def pipeline(steps: pd.DataFrame, layers: pd.DataFrame, chips: pd.DataFrame) -> Figure:
    """Accuracy of each step to W4A3, points lost by single layers, accuracy of varied chips."""
    figure, (left, middle, right) = new_figure(
        PAGE, 3.2, 1, 3, title=_pipeline_title(steps, chips), width_ratios=(1, 1, 1.1)
    )
    places = np.arange(len(steps))[::-1]
    errors = [steps["accuracy"] - steps["lower"], steps["upper"] - steps["accuracy"]]
    left.errorbar(steps["accuracy"], places, xerr=errors, fmt="o", color=BLUE, capsize=2)
    for place, value in zip(places, steps["accuracy"], strict=True):
        left.annotate(f"{value:.2f}", (value, place), (0, 4), textcoords="offset points",
                      ha="center", fontsize=7)  # fmt: skip
    left.set_yticks(places, steps["step"])
    left.set(xlabel="accuracy (%)", ylim=(-0.6, len(steps) - 0.3))
    left.margins(x=0.15)
    rows = np.arange(len(layers))[::-1]
    _bars(middle, rows, layers["lost"], "{:.2f}")
    middle.set_yticks(rows, layers["layer"])
    middle.set(xlabel="points lost, this layer at W4A3\nand all others at W8A8")
    _by_training(right, chips, "sigma")
    right.set_xlabel("spread of the cells\nσ / ($G_\\mathrm{on}$ − $G_\\mathrm{off}$)")
    legend(figure, right, "below")
    return figure


def _pipeline_title(steps: pd.DataFrame, chips: pd.DataFrame) -> str:
    accuracy = steps.set_index("step")["accuracy"]
    after, tuned = (
        accuracy["floating point"] - accuracy[step]
        for step in ("W4A3, least squared error", "W4A3, fine-tuned")
    )
    widest = chips[chips["sigma"] == chips["sigma"].max()].set_index("training")["accuracy"]
    return (
        f"W4A3 costs {after:.1f} points when it comes after training, {tuned:.1f} with fine-tuning."
        f"\nOn cells that vary by {chips['sigma'].max():g} of their range fine-tuned networks keep "
        f"{widest['fine-tuned']:.0f} %, noise-aware ones {widest['noise-aware']:.0f} %"
    )


def _bars(axes: Any, places: np.ndarray, values: pd.Series, form: str) -> None:
    """Lying bars, the value beside each."""
    axes.barh(places, values, 0.7, color=BLUE)
    for place, value in zip(places, values, strict=True):
        axes.annotate(form.format(value), (max(value, 0), place), (3, 0),
                      textcoords="offset points", va="center", fontsize=7)  # fmt: skip
    axes.margins(x=0.2)
    axes.grid(visible=False, axis="y")


def layer_costs(layers: pd.DataFrame) -> Figure:
    """Energy, reads and utilization of each layer, from the table of a `LayerReport`."""
    rows = layers.iloc[:-1]  # the last one is the network
    shares = rows["energy_pj"] / rows["energy_pj"].sum()
    title = (
        f"{rows.loc[shares.idxmax(), 'layer']} takes the most energy, {100 * shares.max():.0f} % "
        f"of it; weights fill {100 * rows['utilization'].min():.0f} to "
        f"{100 * rows['utilization'].max():.0f} % of a layer's cells"
    )
    figure, panels = new_figure(PAGE, 1.0 + 0.17 * len(rows), 1, 3, title=title, sharey=True)
    places = np.arange(len(rows))[::-1]
    for axes, values, label, form in zip(
        panels,
        (rows["energy_pj"] / 1000, rows["reads"], 100 * rows["utilization"]),
        ("energy per inference (nJ)", "reads one after another", "cells that hold weights (%)"),
        ("{:.0f}", "{:,.0f}", "{:.1f}"),
        strict=True,
    ):
        _bars(axes, places, values, form)
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
    title = _device_title(device, aged)
    figure, panels = new_figure(PAGE * count / 3, 2.7, 1, count, title=title, squeeze=False)
    panels = list(panels[0])
    _levels(panels.pop(0), device, table)
    if device.drift is not None:
        _drift(panels.pop(0), device.drift, table)
    if aged is not None:
        axes = panels.pop(0)
        _by_training(axes, aged, "seconds")
        axes.set(xscale="log", xlabel="time since programming (s)")
        legend(figure, axes, "below")
    return figure


def _device_title(device: MeasuredDevice, aged: pd.DataFrame | None) -> str:
    told = f"{len(device.means_s)} levels, normally distributed"
    if device.drift is not None:
        nus = device.drift.level_nus or (device.drift.nu,)
        ends = " to ".join(dict.fromkeys(f"{nu:.3f}" for nu in (min(nus), max(nus))))
        told = f"{len(device.means_s)} levels that drift with ν = {ends}"
    if aged is not None:
        first, last = (aged[aged["seconds"] == end()] for end in
                       (aged["seconds"].min, aged["seconds"].max))  # fmt: skip
        told += (
            f": the better training gives {first['accuracy'].max():.1f} % at first and, "
            f"uncompensated, {last['accuracy'].max():.0f} % after "
            f"{last['seconds'].iloc[0] / 86400:,.0f} days"
        )
    return told


def _levels(axes: Any, device: MeasuredDevice, table: pd.DataFrame) -> None:
    """Distribution of each level when first read: dots measured, lines fitted."""
    first = table[table["time_s"] == table["time_s"].min()] if "time_s" in table else table
    quantiles = np.linspace(-2.6, 2.6, 80)
    for level, rows in first.groupby("level"):
        values = 1e6 * np.sort(rows["conductance_s"])
        axes.plot(values, (np.arange(len(values)) + 0.5) / len(values), ".", color=ORANGE, ms=3)
        mean, sigma = 1e6 * device.means_s[int(level)], 1e6 * device.sigmas_s[int(level)]
        axes.plot(mean + sigma * quantiles, norm.cdf(quantiles), color=INK)
        axes.annotate(f"{int(level)}", (mean, 1.05), ha="center")
    axes.set(title="level", xlabel="conductance when first read (µS)",
             ylabel="share of the cells below", ylim=(-0.03, 1.14))  # fmt: skip
    axes.margins(x=0.15)


def _drift(axes: Any, drift: DriftFit, table: pd.DataFrame) -> None:
    """Mean of each level over time, and the power law that cells of that level are given."""
    ages = np.geomspace(drift.reference_seconds, table["time_s"].max(), 50)
    for level, rows in table.groupby("level"):
        mean = 1e6 * rows.groupby("time_s")["conductance_s"].mean()
        nu = drift.level_nus[int(level)] if drift.level_nus else drift.nu
        fitted = mean.iloc[0] * (ages / drift.reference_seconds) ** -nu
        axes.plot(ages, fitted, color=INK)
        axes.plot(mean.index, mean, "o", color=ORANGE)
        direct_label(axes, ages[-1], fitted[-1], f"level {int(level)}", INK)
    axes.set(xscale="log", yscale="log", xlabel="time since programming (s)",
             ylabel="mean conductance (µS)")  # fmt: skip
    axes.margins(x=0.25)
    axes.set_title(
        f"mean ν = {drift.nu:.4f} ± {drift.nu_error:.4f}\ncell to cell ± {drift.nu_sigma:.4f}"
    )


def _by_training(axes: Any, table: pd.DataFrame, along: str) -> None:
    """Mean accuracy and its interval against one column, a curve for each training."""
    for training, (colour, marker, label) in TRAININGS.items():
        part = table[table["training"] == training]
        if len(part):
            axes.plot(part[along], part["accuracy"], marker=marker, color=colour, label=label)
            lower, upper = part["lower"].clip(0), part["upper"].clip(upper=100)
            axes.fill_between(part[along], lower, upper, color=colour, alpha=0.15, lw=0)
    axes.set(ylabel="accuracy (%)", ylim=(0, 102))
