"""Tables to figures. Nothing is computed here but positions on paper."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from artifact import claims
from nvlib.energy import COMPONENTS
from nvlib.files import write_whole

COLUMN, PAGE = 85 / 25.4, 178 / 25.4  # inches
#: One colour and marker per precision in every figure (Okabe-Ito, colour-blind safe).
COLOURS = dict(
    zip(
        ("W8A8", "W6A6", "W4A4", "W4A3", "W3A3", "W2A2"),
        ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#000000"),
        strict=True,
    )
)
MARKERS = dict(zip(COLOURS, "osD^vP", strict=True))
#: Of `nvlib.energy.COMPONENTS`, in their order.
COMPONENT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#F0E442", "#999999", "#D55E00")
STYLE = {
    "font.size": 7.5, "axes.labelsize": 7.5, "axes.titlesize": 7.5, "legend.fontsize": 6.5,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "axes.spines.top": False,
    "axes.spines.right": False, "pdf.fonttype": 42, "savefig.dpi": 300, "figure.dpi": 150,
    "lines.linewidth": 1.1, "lines.markersize": 3.5, "legend.frameon": False,
    "axes.grid": True, "axes.linewidth": 0.7, "grid.color": "#e5e5e5", "grid.linewidth": 0.5,
    "axes.axisbelow": True,
}  # fmt: skip


def new_figure(width: float, height: float, *shape: int, **options: Any) -> tuple[Figure, Any]:
    """A figure of so many inches in the artifact's style, and its axes."""
    sns.set_theme(style="white", rc=STYLE)
    return plt.subplots(
        *(shape or (1, 1)), figsize=(width, height), layout="constrained", **options
    )


def save(
    figure: Figure, folder: Path, name: str, label: str, comparable: bool, metadata: dict[str, str]
) -> None:
    """Write ``name.png`` and ``.pdf`` to `folder`; mark what is not comparable with the paper."""
    if not comparable:
        figure.suptitle(label, fontsize=7, color="#b00000")
    for suffix in ("png", "pdf"):
        info = {"Title": name, "Subject" if suffix == "pdf" else "Description": str(metadata)}
        write_whole(folder / f"{name}.{suffix}", partial(figure.savefig, metadata=info))


def _paper_star(axes: Any, x: float, y: float, label: str = "paper") -> None:
    axes.plot(x, y, "*", ms=11, mfc="none", mec="black", mew=0.9, ls="none", label=label, zorder=5)


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
        _paper_star(right, order.index("W4A3"), 100 * claims.paper("C1"), "paper, W4A3")
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


def requirements(losses: pd.DataFrame, limits: pd.DataFrame, delta: float) -> Figure:
    """Loss of accuracy against the size of each imperfection of a family; limits marked."""
    kinds = list(dict.fromkeys(losses["nonideality"]))
    lines = -(-len(kinds) // 3)
    figure, panels = new_figure(PAGE, 1.95 * lines + 0.3, lines, 3, squeeze=False)
    for axes in panels.ravel()[len(kinds) :]:
        axes.axis("off")
    for place, kind in enumerate(kinds):
        axes = panels.ravel()[place]
        found = limits[limits["nonideality"] == kind].drop_duplicates("precision")
        for name, curve in losses[losses["nonideality"] == kind].groupby("precision", sort=False):
            colour = COLOURS[name]
            curve = curve.sort_values("size")
            axes.plot(curve["size"], curve["loss"], color=colour, marker=MARKERS[name], label=name)
            axes.fill_between(
                curve["size"], curve["loss_lower"], curve["loss_upper"],
                color=colour, alpha=0.15, lw=0,
            )  # fmt: skip
        for row in found[found["bound"] == "="].itertuples():
            axes.plot(row.limit, delta, "|", color=COLOURS[row.precision], ms=9, mew=1.6)
        axes.axhline(delta, ls=":", lw=0.8, color="black")
        unit = found["unit"].iloc[0]
        axes.set(
            title=kind, xlabel=unit, yscale="symlog", ylim=(-0.6, 30), xscale="log",
            ylabel="" if place % 3 else "loss (points)",
        )  # fmt: skip
        if unit.startswith("bit"):
            axes.set(xscale="linear")
        if "least" in unit:
            axes.invert_xaxis()  # severity grows to the right in every panel
        if unit.startswith(("bit", "rows")):
            sizes = sorted(set(losses.loc[losses["nonideality"] == kind, "size"].astype(int)))
            axes.set_xticks(sizes, map(str, sizes))
        elif "s after" not in unit:
            ticks = _log_ticks(*sorted(axes.get_xlim()))
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks([0, 1, 10], ["0", "1", "10"])
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=6)
    return figure


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two limits: few over decades, more within one."""
    for mantissas in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**k for k in range(-6, 4) for m in mantissas]
        ticks = [float(f"{tick:g}") for tick in ticks if low <= tick <= high]
        if len(ticks) > 2:
            break
    return ticks


def trend(orders: pd.DataFrame, high: str = "W8A8", low: str = "W4A3") -> Figure:
    """Limit of one precision over another's, by imperfection, in each of its units."""
    figure, axes = new_figure(PAGE, 0.23 * len(orders) + 0.7)
    colours = {"stricter": "#D55E00", "looser": "#0072B2", "undecided": "#999999"}
    for place, row in enumerate(orders.itertuples()):
        axes.errorbar(
            row.factor, -place, xerr=[[row.factor - row.lower], [row.upper - row.factor]],
            color=colours[row.order], marker={"stricter": "<", "looser": ">"}.get(row.order, "o"),
            capsize=2,
        )  # fmt: skip
    axes.axvline(1, color="black", lw=0.8)
    names = [f"{row.nonideality}\u2002[{row.unit}]" for row in orders.itertuples()]
    axes.set_yticks(-np.arange(len(orders)), names)
    axes.set(
        xscale="log", xlabel=f"limit of {high} / limit of {low} (below 1: {high} is stricter)",
        xlim=(max(orders["lower"].min() / 1.5, 0.01), min(orders["upper"].max() * 1.5, 200)),
    )  # fmt: skip
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return figure


def zeros(table: pd.DataFrame) -> Figure:
    """Shares of zeros by layer, and by bit plane."""
    figure, panels = new_figure(PAGE, 2.5, 1, 3)
    kinds = ("zero activations", "zero weights", "zero cells")
    width = 0.26
    for axes, row in zip(panels[:2], table.itertuples(), strict=True):
        for i, kind in enumerate(kinds):
            shares = [100 * layer[kind] for layer in row.layers]
            axes.bar(
                np.arange(len(shares)) + (i - 1) * width, shares, width,
                color=("#0072B2", "#E69F00", "#999999")[i], label=kind,
            )  # fmt: skip
        axes.set_xticks(range(len(row.layers)), [layer["layer"] for layer in row.layers])
        axes.set(ylabel="share that is zero (%)", xlabel=f"layer, {row.precision}", ylim=(0, 100))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=3)
    for row in table.itertuples():
        for i, layer in enumerate(row.layers[:3]):
            planes = layer["zero bits by plane"]
            panels[2].plot(
                range(len(planes)), 100 * np.array(planes), MARKERS[row.precision],
                ls=("-", "--", ":")[i], color=COLOURS[row.precision],
                label=f"{row.precision} {layer['layer']}",
            )  # fmt: skip
    panels[2].set(xlabel="bit plane of the input (0 least)", ylabel="zero bits (%)", ylim=(0, 100))
    panels[2].legend(loc="lower center", ncols=2, columnspacing=0.8, handlelength=1.6)
    return figure


def resolved_bits(zeros: pd.DataFrame, conversions: pd.DataFrame) -> Figure:
    """Active rows per read, and conversions by resolved bits before and after."""
    figure, panels = new_figure(PAGE, 2.4, 1, 2)
    for row in zeros.itertuples():
        longest = max(len(layer["active rows"]) for layer in row.layers)
        rows = np.sum(
            [np.pad(layer["active rows"], (0, longest - len(layer["active rows"])))
             for layer in row.layers], axis=0,
        )  # fmt: skip
        panels[0].step(
            range(longest), 100 * np.cumsum(rows) / rows.sum(), where="post",
            color=COLOURS[row.precision], label=row.precision,
        )  # fmt: skip
    for name, rows in conversions.groupby("precision", sort=False):
        counts = rows.groupby("bits")[["before", "after"]].sum()
        shift = -0.2 if name == "W8A8" else 0.2
        shares = 100 * counts / counts.sum()
        panels[1].bar(counts.index + shift, shares["after"], 0.38, color=COLOURS[name],
                      label=f"{name}, sparsity-aware")  # fmt: skip
        panels[1].bar(counts.index + shift, shares["before"], 0.38, fill=False,
                      edgecolor=COLOURS[name], ls=":", label=f"{name}, before")  # fmt: skip
    panels[0].set(xlabel="active rows in a read of 128", ylabel="reads with at most so many (%)",
                  ylim=(0, 101), xlim=(-1, 100))  # fmt: skip
    panels[0].legend(loc="lower right")
    panels[1].set(xlabel="bits resolved (0: conversion spared)", ylabel="share of conversions (%)")
    panels[1].set_xticks(range(9))
    panels[1].legend(loc="upper left")
    return figure


def planes(conversions: pd.DataFrame) -> Figure:
    """Mean bits that a conversion resolves after sparing, by input plane and weight slice."""
    names = list(dict.fromkeys(conversions["precision"]))
    figure, panels = new_figure(PAGE, 2.6, 1, len(names), width_ratios=(1.5, 1))
    for axes, name in zip(panels, names, strict=True):
        rows = conversions[conversions["precision"] == name]
        total = rows.assign(resolved=rows["bits"] * rows["after"])
        total = total.groupby(["slice", "plane"])[["resolved", "after"]].sum()
        mean = (total["resolved"] / total["after"]).unstack().sort_index(ascending=False)
        sns.heatmap(
            mean, ax=axes, annot=True, fmt=".1f", cmap="cividis", vmin=0, vmax=5, linewidths=0.4,
            annot_kws={"size": 6}, cbar_kws={"label": "bits resolved, mean"},
        )  # fmt: skip
        axes.set(xlabel=f"input bit plane, {name}", ylabel="weight slice (0 least)")
        axes.tick_params(rotation=0)
    return figure


def guard_rows(table: pd.DataFrame) -> Figure:
    """What guard rows cost, and the accuracy that an imperfect sense column loses."""
    figure, panels = new_figure(PAGE, 2.2, 1, 2)
    for (name, sigma), rows in table.groupby(["precision", "sigma"], sort=False):
        style = {0.0: "-", 0.1: "--"}.get(sigma, ":")
        lost = [np.mean(np.array(str(cell).split(), float)) for cell in rows["lost"]]
        panels[0].plot(rows["guard_rows"], 100 * np.array(lost) / rows["images"],
                       MARKERS[name], ls=style, color=COLOURS[name],
                       label=f"{name}, sigma = {sigma:g}")  # fmt: skip
        if sigma == 0:
            panels[1].plot(rows["guard_rows"], 100 * rows["adc_saving"], MARKERS[name], ls="-",
                           color=COLOURS[name], label=name)  # fmt: skip
    panels[0].set(xlabel="guard rows", ylabel="loss to sensing (points)")
    panels[1].set(xlabel="guard rows", ylabel="ADC energy saved (%)")
    panels[0].legend(ncols=2)
    panels[1].legend()
    return figure


def adc_reduction(table: pd.DataFrame) -> Figure:
    """ADC saving and efficiency gain against the size of the array, paper's values at 128."""
    figure, panels = new_figure(PAGE, 2.4, 1, 2)
    comparable = (table["dataset"] == "mnist").all()
    quantities = (
        ("adc_saving", 100.0, "ADC energy saved (%)", "C5"),
        ("efficiency_gain", 1.0, "energy-efficiency gain (x)", "C6"),
    )
    for axes, (column, factor, label, claim) in zip(panels, quantities, strict=True):
        for name, rows in table.groupby("precision", sort=False):
            low, high = rows[f"{column}_lower"], rows[f"{column}_upper"]
            axes.errorbar(
                rows["array_size"], factor * rows[column],
                factor * np.maximum(np.array([rows[column] - low, high - rows[column]]), 0),
                color=COLOURS[name], marker=MARKERS[name], capsize=2, label=f"{name}, ours",
            )  # fmt: skip
            if comparable:
                _paper_star(axes, 128, factor * claims.paper(f"{claim}_{name}"),
                            "paper" if name == "W8A8" else "")  # fmt: skip
        axes.set(xscale="log", xlabel="rows = columns of an array", ylabel=label, ylim=(0, None))
        sizes = sorted(set(table["array_size"]))
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
    panels[0].legend(loc="lower right")
    return figure


def energy_breakdown(table: pd.DataFrame) -> Figure:
    """Energy of an inference by component, and of its converters by layer, before and after."""
    figure, panels = new_figure(PAGE, 2.7, 1, 2)
    rows = table[table["array_size"] == 128].to_dict("records")
    layers = [key.split()[1] for key in rows[0] if key.startswith("before ") and " ADC " in key]
    stacks = (
        ([f"{name} (pJ)" for name in COMPONENTS], "energy per inference (% of before)", None),
        ([f"{name} ADC (pJ)" for name in layers], "ADC energy (% of before)", "viridis"),
    )
    for axes, (parts, label, palette) in zip(panels, stacks, strict=True):
        colours = sns.color_palette(palette, len(parts)) if palette else COMPONENT_COLOURS
        bars = [(row, when) for row in rows for when in ("before", "after")]
        whole = [sum(row[f"before {part}"] for part in parts) for row, _ in bars]
        bottom = np.zeros(len(bars))
        for part, colour in zip(parts, colours, strict=False):
            heights = [100 * row[f"{when} {part}"] / total
                       for (row, when), total in zip(bars, whole, strict=True)]  # fmt: skip
            name = part.removesuffix(" (pJ)").removesuffix(" ADC").replace("adc", "ADC")
            axes.bar(range(len(bars)), heights, 0.7, bottom, color=colour, label=name,
                     edgecolor="white", linewidth=0.4)  # fmt: skip
            bottom += heights
        for place, (top, total) in enumerate(zip(bottom, whole, strict=True)):
            axes.annotate(f"{top / 100 * total / 1000:.0f} nJ", (place, top + 1.5), ha="center",
                          fontsize=6.5)  # fmt: skip
        axes.set_xticks(range(len(bars)), [f"{row['precision']}\n{when}" for row, when in bars])
        axes.set(ylabel=label, ylim=(0, 112))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        axes.grid(visible=False, axis="x")
    return figure


def efficiency(ours: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """TOPS/W before and after, beside published macros as their authors state them."""
    names = [f"{row.precision}, {row.sparsity} (ours, counted)" for row in ours.itertuples()]
    names += list(published["name"])
    values = [*ours["TOPS/W"], *published["tops_per_watt"]]
    colours = [COLOURS[name] for name in ours["precision"]] + ["#bbbbbb"] * len(published)
    figure, axes = new_figure(PAGE, 0.24 * len(names) + 0.6)
    axes.barh(range(len(names)), values, 0.6, color=colours)
    for place, value in enumerate(values):
        axes.annotate(f" {value:.3g}", (value, place), va="center", fontsize=6.5)
    axes.set_yticks(range(len(names)), names)
    axes.set(xscale="log", xlabel="TOPS/W (an operation is half a multiply-accumulate)")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    return figure


def beyond(table: pd.DataFrame) -> Figure:
    """ADC saving against accuracy of every option beyond the default controller."""
    figure, panels = new_figure(PAGE, 2.9, 1, 2, sharey=True)
    options = list(dict.fromkeys(table["option"]))
    marks = dict(zip(options, "osD^vPX<>*", strict=True))
    for axes, (name, rows) in zip(panels, table.groupby("precision", sort=False), strict=True):
        for row in rows.itertuples():
            axes.plot(100 * row.adc_saving, 100 * row.accuracy, marks[row.option],
                      color=COLOURS[name], mfc="white" if row.option == "default" else None,
                      ms=5, ls="none", label=row.option)  # fmt: skip
        axes.set(xlabel=f"ADC energy saved at {name} (%)", ylim=(90, 100.5))
    panels[0].set(ylabel="accuracy (%)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5)
    return figure


def region(table: pd.DataFrame, tolerance_points: float = 5, tolerance_gain: float = 0.1) -> Figure:
    """Savings and gains of every combination; those that give all four numbers stand out."""
    figure, panels = new_figure(PAGE, 2.8, 1, 2)
    pairs = (("adc_saving", 100.0, "ADC energy saved (%)", "C5"),
             ("efficiency_gain", 1.0, "energy-efficiency gain (x)", "C6"))  # fmt: skip
    hits = table["explains"]
    comparable = (table["dataset"] == "mnist").all()
    for axes, (column, factor, label, claim) in zip(panels, pairs, strict=True):
        x, y = factor * table[f"{column}_W8A8"], factor * table[f"{column}_W4A3"]
        axes.plot(x[~hits], y[~hits], ".", color="#bbbbbb", ms=2.5, label="other combinations")
        axes.plot(x[hits], y[hits], "o", color="#009E73", ms=4, label="all four within tolerance")
        default = table["default"]
        axes.plot(x[default], y[default], "s", mfc="none", mec="#D55E00", ms=7, label="default")
        if comparable:
            px, py = (factor * claims.paper(f"{claim}_{name}") for name in ("W8A8", "W4A3"))
            _paper_star(axes, px, py)
            dx, dy = ((tolerance_points,) * 2 if claim == "C5"
                      else (tolerance_gain * px, tolerance_gain * py))  # fmt: skip
            axes.add_patch(
                plt.Rectangle((px - dx, py - dy), 2 * dx, 2 * dy, fill=False, ls=":", ec="black")
            )
        axes.set(xlabel=f"{label}, W8A8", ylabel=f"{label}, W4A3")
    panels[0].set(xlim=(0, 100), ylim=(0, 100))
    panels[1].set(xlim=(0.8, 6), ylim=(0.8, 4))
    panels[0].legend(loc="upper left")
    return figure


def tornado(table: pd.DataFrame) -> Figure:
    """How each constant, over its range in the literature, moves the four numbers."""
    figure, panels = new_figure(PAGE, 3.9, 2, 2, sharey=True)
    constants = list(dict.fromkeys(table["constant"]))
    numbers = (("saving", 100.0, "ADC saving, net of detection (%)", "C5"),
               ("gain", 1.0, "efficiency gain (x)", "C6"))  # fmt: skip
    for line, (number, factor, label, claim) in zip(panels, numbers, strict=True):
        for axes, name in zip(line, ("W8A8", "W4A3"), strict=True):
            rows = table[table["precision"] == name].set_index("constant").loc[constants]
            for i, (low, high) in enumerate(
                zip(factor * rows[f"{number}_low"], factor * rows[f"{number}_high"], strict=True)
            ):
                axes.barh(i, max(high - low, 0.002 * factor), left=low, color=COLOURS[name],
                          height=0.55)  # fmt: skip
            axes.use_sticky_edges = False  # leave room beyond the longest bar
            axes.axvline(factor * rows[number].iloc[0], color="black", lw=0.8)
            if (table["dataset"] == "mnist").all():
                _paper_star(axes, factor * claims.paper(f"{claim}_{name}"), -0.8)
            axes.set(xlabel=f"{label}, {name}", ylim=(-1.3, len(constants) - 0.5))
    panels[0, 0].set_yticks(range(len(constants)), rows["label"])
    return figure
