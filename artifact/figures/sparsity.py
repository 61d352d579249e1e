"""Figures of zeros, and of the conversions that they spare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from artifact.figures.style import (
    COLOURS,
    INK,
    MARKERS,
    PAGE,
    QUIET,
    direct_label,
    legend,
    new_figure,
)

KINDS = {"zero activations": "#1B4F9C", "zero weights": "#E69F00", "zero cells": "#D9D9D9"}
LINES = ("-", "--", ":")
TOLERATED = 1.0  # points: the loss that notebooks 02 and 03 tolerate


def zeros(table: pd.DataFrame) -> Figure:
    """Shares of zeros by layer, and by bit plane."""
    figure, panels = new_figure(
        PAGE, 2.7, 1, 3, title=_zeros_title(table), width_ratios=(1.2, 1.2, 1)
    )
    width = 0.31
    for axes, row in zip(panels[:2], table.itertuples(), strict=True):
        for i, (kind, colour) in enumerate(KINDS.items()):
            places = np.arange(len(row.layers)) + (i - 1) * width
            bars = axes.bar(places, _shares(row, kind), width, color=colour, label=kind)
            axes.bar_label(bars, fmt="%.0f", fontsize=6, padding=1)
        axes.set_xticks(range(len(row.layers)), [layer["layer"] for layer in row.layers])
        axes.set(title=row.precision, ylim=(0, 100))
        axes.grid(visible=False, axis="x")
    panels[0].set(ylabel="share that is zero (%)")
    last = panels[2]
    for row in table.itertuples():
        for layer, line in zip(row.layers, LINES, strict=False):
            shares = 100 * np.array(layer["zero bits by plane"])
            last.plot(shares, MARKERS[row.precision], ls=line, color=COLOURS[row.precision])
    for layer, line in zip(table["layers"].iloc[0], LINES, strict=False):
        last.plot([], [], ls=line, color=INK, label=layer["layer"])
    for name in table["precision"]:
        last.plot([], [], MARKERS[name], color=COLOURS[name], label=name)
    last.axhline(50, color=INK, lw=0.8, ls="-.")
    last.text(0, 52, "as many ones as zeros", fontsize=6.5)
    last.set(title="the first three layers", xlabel="bit plane of the input (0 least)",
             ylabel="zero bits (%)", ylim=(15, 102))  # fmt: skip
    last.legend(loc="lower right", ncols=2, columnspacing=0.8, handlelength=2.6, fontsize=6.5)
    legend(figure, panels[0])
    return figure


def _shares(row: Any, kind: str) -> np.ndarray:
    return np.array([100 * layer[kind] for layer in row.layers])


def _zeros_title(table: pd.DataFrame) -> str:
    activations, weights, cells = (
        np.concatenate([_shares(row, kind) for row in table.itertuples()]) for kind in KINDS
    )
    return (
        f"{activations.min():.0f} to {activations.max():.0f} % of a layer's activations are zero "
        f"and {cells.min():.0f} to {cells.max():.0f} % of its cells, but at most "
        f"{weights.max():.0f} % of its weights"
    )


def resolved_bits(zeros: pd.DataFrame, conversions: pd.DataFrame) -> Figure:
    """Active rows per read, and conversions by resolved bits before and after."""
    figure, (left, right) = new_figure(PAGE, 2.5, 1, 2, title=_bits_title(conversions))
    for row in zeros.itertuples():
        counts = pd.DataFrame([layer["active rows"] for layer in row.layers]).sum()
        share = 100 * counts.cumsum() / counts.sum()
        line = "-" if row.precision == "W8A8" else "--"
        left.step(share.index, share, where="post", color=COLOURS[row.precision], ls=line,
                  label=row.precision)  # fmt: skip
        told = f"{row.precision}: {share[0]:.0f} % have none"
        below = -10 * (row.precision != "W8A8")
        direct_label(left, 0, share[0], told, COLOURS[row.precision], xytext=(9, below - 6))
    for (name, rows), side in zip(
        conversions.groupby("precision", sort=False), (-0.21, 0.21), strict=True
    ):
        counts = rows.groupby("bits")[["before", "after"]].sum()
        shares = 100 * counts / counts.sum()
        bars = right.bar(shares.index + side, shares["after"], 0.4, color=COLOURS[name])
        shown = [f"{share:.0f}" if share >= 0.5 else "" for share in shares["after"]]
        right.bar_label(bars, shown, fontsize=6.5, padding=1, color=COLOURS[name])
        right.bar(shares.index + side, shares["before"], 0.4, fill=False, edgecolor=COLOURS[name],
                  ls=":")  # fmt: skip
        top = shares["before"].idxmax()
        right.text(top + side, 97, f"{name} before", rotation=90, ha="center", va="top",
                   fontsize=6.5, color=COLOURS[name])  # fmt: skip
    left.set(xlabel="active rows in a read of 128", ylabel="reads with at most so many (%)",
             ylim=(0, 101))  # fmt: skip
    right.set(xlabel="bits resolved (0: conversion spared)", ylabel="share of conversions (%)")
    right.set_xticks(range(conversions["bits"].max() + 1))
    right.grid(visible=False, axis="x")
    return figure


def _bits_title(conversions: pd.DataFrame) -> str:
    told = []
    for name, rows in conversions.groupby("precision", sort=False):
        after, top = rows.groupby("bits")["after"].sum(), int(rows["bits"].max())
        share = 100 * after / after.sum()
        half = share.loc[: top // 2].sum()
        told.append(
            f"{share.loc[0]:.0f} % of {name}'s conversions are spared, with these {half:.0f} % "
            f"need at most {top // 2} of {top} bits"
        )
    return "; ".join(told)


def planes(conversions: pd.DataFrame) -> Figure:
    """Mean bits that a conversion resolves after sparing, by input plane and weight slice."""
    means, told, last = {}, [], True
    for name, rows in conversions.groupby("precision", sort=False):
        total = rows.assign(resolved=rows["bits"] * rows["after"])
        total = total.groupby(["slice", "plane"])[["resolved", "after"]].sum()
        mean = (total["resolved"] / total["after"]).unstack().sort_index(ascending=False)
        means[name], low, high = mean, mean.min().min(), mean.max().max()
        last &= mean.iloc[0, -1] == low
        told.append(f"{low:.1f} to {high:.1f} of {rows['bits'].max()} bits at {name}")
    title = f"After sparing, a conversion resolves on average {' and '.join(told)}"
    title += ", fewest in the highest slice and plane" if last else ""
    sizes = [mean.shape[1] for mean in means.values()]
    figure, panels = new_figure(PAGE, 2.8, 1, len(means), title=title, width_ratios=sizes)
    ends = {"vmin": min(mean.min().min() for mean in means.values()),
            "vmax": max(mean.max().max() for mean in means.values())}  # fmt: skip
    for axes, (name, mean) in zip(panels, means.items(), strict=True):
        sns.heatmap(mean, ax=axes, annot=True, fmt=".1f", cmap="cividis", linewidths=0.4,
                    cbar=False, annot_kws={"size": 7}, **ends)  # fmt: skip
        axes.set(title=name, xlabel="bit plane of the input (0 least)", ylabel="")
        axes.tick_params(rotation=0)
    panels[0].set(ylabel="slice of the weight (0 least)")
    figure.subfigs[0].colorbar(panels[0].collections[0], ax=panels, label="bits resolved, mean")
    return figure


def guard_rows(table: pd.DataFrame) -> Figure:
    """What guard rows cost, and the accuracy that an imperfect sense column loses."""
    table = table.assign(
        **{f"{name}_points": 100 * table[f"lost_{name}"] / table["images"]
           for name in ("least", "mean", "most")}
    )  # fmt: skip
    figure, (left, right) = new_figure(PAGE, 2.5, 1, 2, title=_guard_title(table))
    aside = iter(range(-3, 4))
    for (name, sigma), rows in table.groupby(["precision", "sigma"], sort=False):
        mean = rows["mean_points"]
        line = dict(zip(sorted(set(table["sigma"])), LINES, strict=False))[sigma]
        dodged = rows["guard_rows"] + 0.12 * next(aside)
        left.errorbar(
            dodged, mean, (mean - rows["least_points"], rows["most_points"] - mean),
            color=COLOURS[name], marker=MARKERS[name], ls=line, capsize=2,
            label=f"{name}, σ = {sigma:g}",
        )  # fmt: skip
        if sigma == table["sigma"].min():
            saved = 100 * rows["adc_saving"]
            right.plot(rows["guard_rows"], saved, MARKERS[name], ls="-", color=COLOURS[name])
            ends = rows["guard_rows"].iloc[[0, -1]], saved.iloc[[0, -1]]
            for text, x, y, place in zip(("{:.1f}", f"{name}: {{:.1f}}"), *ends, (-1, 1),
                                         strict=True):  # fmt: skip
                direct_label(right, x, y, text.format(y), COLOURS[name], xytext=(5 * place, 0),
                             ha="right" if place < 0 else "left")  # fmt: skip
    left.axhline(TOLERATED, color=QUIET, lw=0.8, ls="-.")
    left.text(table["guard_rows"].max(), TOLERATED + 0.04, "tolerated in notebooks 02 and 03",
              ha="right", fontsize=6.5)  # fmt: skip
    left.set(xlabel="guard rows", ylabel="loss to sensing (points)")
    left.set_ylim(min(-0.5, left.get_ylim()[0]), max(1.3, left.get_ylim()[1]))
    right.set(xlabel="guard rows", ylabel="ADC energy saved (%)")
    right.margins(x=0.25)
    for axes in (left, right):
        axes.set_xticks(sorted(set(table["guard_rows"])))
    legend(figure, left)
    return figure


def _guard_title(table: pd.DataFrame) -> str:
    lost = table.groupby("guard_rows")["mean_points"].max()
    none = lost[lost <= 0]
    after = f"nothing with {none.index[0]}" if len(none) else f"{lost.iloc[-1]:.2f} with most"
    ideal = table[table["sigma"] == table["sigma"].min()]
    saved = ideal.pivot(index="guard_rows", columns="precision", values="adc_saving")
    given = 100 * (saved.iloc[0] - saved.iloc[-1]).max()
    return (
        f"A sense column costs on average at most {max(lost[0], 0):.2f} points without guard "
        f"rows, {after}; {saved.index[-1]} of them give up at most {given:.1f} points of saving"
    )
