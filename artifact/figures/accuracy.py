"""Figures of accuracy and cost by precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from artifact import claims
from artifact.figures.style import COLOURS, MARKERS, PAGE, new_figure, paper_star


def one_image(image: np.ndarray, products: np.ndarray, imperfect: np.ndarray) -> Figure:
    """A digit, the integer products of one channel, and what an imperfect array adds to them."""
    figure, panels = new_figure(PAGE, 2.0, 1, 3)
    difference = imperfect - products
    span = max(int(np.abs(difference).max()), 1)
    for axes, values, label, options in (
        (panels[0], image, "pixel", {"cmap": "gray_r"}),
        (panels[1], products, "integer product", {"cmap": "cividis"}),
        (
            panels[2],
            difference,
            "error of the array",
            {"cmap": "PuOr", "vmin": -span, "vmax": span},
        ),
    ):
        shown = axes.imshow(values, **options)
        figure.colorbar(shown, ax=axes, label=label, shrink=0.85)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    return figure


def precision_sweep(grid: pd.DataFrame, seeds: pd.DataFrame, contour: float) -> Figure:
    """Heat map of the W x A grid with an iso-accuracy contour; the studied precisions by seed."""
    figure, (left, right) = new_figure(PAGE, 3.1, 1, 2, width_ratios=(1.25, 1))
    table = grid.assign(
        W=grid["precision"].str[1].astype(int), A=grid["precision"].str[3].astype(int),
        accuracy=100 * grid["correct"] / grid["images"],
    )  # fmt: skip
    square = table.pivot(index="W", columns="A", values="accuracy").sort_index(ascending=False)
    sns.heatmap(
        square, ax=left, annot=True, fmt=".1f", cmap="cividis", vmin=95.5, vmax=99.5,
        annot_kws={"size": 6}, linewidths=0.4,
        cbar_kws={"label": "accuracy (%)"},
    )  # fmt: skip
    _edge(left, square.to_numpy() >= contour)
    left.set(xlabel=f"activation bits A (white line: {contour:.2f} %)", ylabel="weight bits W")
    left.tick_params(rotation=0)
    comparable = (grid["dataset"] == "mnist").all()
    order = [name for name in COLOURS if name in set(seeds["precision"])]
    engines = list(dict.fromkeys(seeds["engine"]))
    for place, name in enumerate(order):
        for number, engine in enumerate(engines):
            rows = seeds[(seeds["precision"] == name) & (seeds["engine"] == engine)]
            shares = 100 * rows["correct"] / rows["images"]
            shift = 0.3 * (number - (len(engines) - 1) / 2)
            right.plot(
                np.full(len(shares), place + shift), shares, MARKERS[name], color=COLOURS[name],
                mfc="white" if number else COLOURS[name], ls="none", alpha=0.8,
                label=engine if place == 0 else None,
            )  # fmt: skip
    if comparable:
        paper_star(right, order.index("W4A3"), 100 * claims.paper("C1"), "paper, W4A3")
    right.set(xlabel="precision", ylabel="accuracy (%)")
    right.set_xticks(range(len(order)), order)
    right.legend(loc="lower left", title="one mark per training seed", title_fontsize=6.5)
    return figure


def _edge(axes: Any, inside: np.ndarray) -> None:
    """Draw the border of the cells of a heat map that are `inside`, as a white line."""
    rows, columns = inside.shape
    for y, x in np.argwhere(inside):
        for dy, dx, line in (
            (-1, 0, ((x, x + 1), (y, y))), (1, 0, ((x, x + 1), (y + 1, y + 1))),
            (0, -1, ((x, x), (y, y + 1))), (0, 1, ((x + 1, x + 1), (y, y + 1))),
        ):  # fmt: skip
            ny, nx = y + dy, x + dx
            if 0 <= ny < rows and 0 <= nx < columns and not inside[ny, nx]:
                axes.plot(*line, color="white", lw=2)


def compromise(
    choices: pd.DataFrame, fronts: dict[str, pd.DataFrame], threshold: float, label: str
) -> Figure:
    """Accuracy against energy and against cells; the Pareto fronts; what the rule asks for."""
    figure, panels = new_figure(PAGE, 2.7, 1, 2, sharey=True)
    names = {"energy_nj": "energy per inference (nJ)", "cells": "cells"}
    for axes, (cost, front) in zip(panels, fronts.items(), strict=True):
        axes.plot(choices[cost], choices["accuracy"], "o", color="#bbbbbb", ms=2.5,
                  label="other precisions")  # fmt: skip
        axes.plot(front[cost], front["accuracy"], color="black", lw=0.8, label="Pareto front")
        for name in [name for name in COLOURS if name in choices.index]:
            row = choices.loc[name]
            axes.plot(row[cost], row["accuracy"], MARKERS[name], color=COLOURS[name], label=name)
        axes.axhline(threshold, ls=":", color="black", lw=0.8, label=label)
        axes.set(xscale="log", xlabel=names[cost], ylim=(96.5, 99.6))
    panels[0].set(ylabel="accuracy (%)")
    panels[1].legend(loc="lower right", ncols=2)
    return figure
