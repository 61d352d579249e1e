"""Tables to figures. Nothing is computed here but positions on paper."""

from __future__ import annotations

from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from nvlib import claims
from nvlib.energy import COMPONENTS
from nvlib.files import write_whole
from nvlib.paths import FIGURES

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
STYLE = {
    "font.size": 7.5, "axes.labelsize": 7.5, "axes.titlesize": 7.5, "legend.fontsize": 6.5,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "axes.spines.top": False,
    "axes.spines.right": False, "pdf.fonttype": 42, "savefig.dpi": 300, "figure.dpi": 150,
    "lines.linewidth": 1.1, "lines.markersize": 3.5, "legend.frameon": False,
    "axes.grid": True, "axes.linewidth": 0.7, "grid.color": "#e5e5e5", "grid.linewidth": 0.5,
    "axes.axisbelow": True,
}  # fmt: skip


def _figure(width: float, height: float, *shape: int, **options: Any) -> tuple[Figure, Any]:
    sns.set_theme(style="white", rc=STYLE)
    return plt.subplots(
        *(shape or (1, 1)), figsize=(width, height), layout="constrained", **options
    )


def save(figure: Figure, name: str, label: str, comparable: bool, metadata: dict[str, str]) -> None:
    """Write ``figures/name.png`` and ``.pdf``; mark what is not comparable with the paper."""
    if not comparable:
        figure.suptitle(label, fontsize=7, color="#b00000")
    for suffix in ("png", "pdf"):
        info = {"Title": name, "Subject" if suffix == "pdf" else "Description": str(metadata)}
        write_whole(FIGURES / f"{name}.{suffix}", partial(figure.savefig, metadata=info))


def _paper_star(axes: Any, x: float, y: float, label: str = "paper") -> None:
    axes.plot(x, y, "*", ms=11, mfc="none", mec="black", mew=0.9, ls="none", label=label, zorder=5)


def one_image(image: np.ndarray, products: np.ndarray, imperfect: np.ndarray) -> Figure:
    """A digit, the integer products of one channel, and what an imperfect array adds to them."""
    figure, panels = _figure(PAGE, 2.0, 1, 3)
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


def precision_sweep(grid: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Heat map of the W x A grid, and the studied precisions with their seeds."""
    figure, (left, right) = _figure(PAGE, 3.1, 1, 2, width_ratios=(1.25, 1))
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
    left.set(xlabel="activation bits A", ylabel="weight bits W")
    left.tick_params(rotation=0)
    comparable = (grid["dataset"] == "mnist").all()
    order = [name for name in COLOURS if name in set(seeds["precision"])]
    for place, name in enumerate(order):
        for (kind, rows), shift in zip(
            seeds[seeds["precision"] == name].groupby("engine", sort=False),
            (-0.15, 0.15),
            strict=False,
        ):
            shares = 100 * rows["correct"] / rows["images"]
            filled = COLOURS[name] if kind == "quantized network" else "white"
            right.plot(
                np.full(len(shares), place + shift), shares, MARKERS[name], color=COLOURS[name],
                mfc=filled, ls="none", alpha=0.8,
                label=kind if place == 0 else None,
            )  # fmt: skip
    if comparable:
        _paper_star(right, order.index("W4A3"), 100 * claims.paper("C1"), "paper, W4A3")
    right.set(xlabel="precision", ylabel="accuracy (%)")
    right.set_xticks(range(len(order)), order)
    right.legend(loc="lower left", title="one mark per training seed", title_fontsize=6.5)
    return figure


def compromise(grid: pd.DataFrame, costs: pd.DataFrame, reference: float) -> Figure:
    """Accuracy against energy per inference; the Pareto front; what the rule picks."""
    figure, axes = _figure(COLUMN, 2.7)
    table = costs.set_index("precision").join(
        (grid["correct"] / grid["images"]).set_axis(grid["precision"]).rename("accuracy")
    )
    axes.plot(table["energy_nj"], 100 * table["accuracy"], "o", color="#bbbbbb", ms=2.5)
    ordered = table.sort_values(["energy_nj", "accuracy"], ascending=[True, False])
    front = ordered[ordered["accuracy"] > ordered["accuracy"].shift(fill_value=0).cummax()]
    axes.plot(
        front["energy_nj"], 100 * front["accuracy"], color="black", lw=0.8, label="Pareto front"
    )
    for name in COLOURS:
        if name in table.index:
            row, left = table.loc[name], name in ("W8A8", "W3A3")
            axes.plot(row["energy_nj"], 100 * row["accuracy"], MARKERS[name], color=COLOURS[name])
            axes.annotate(
                name, (row["energy_nj"], 100 * row["accuracy"]), (-4 if left else 4, -9),
                textcoords="offset points", fontsize=6.5, color=COLOURS[name],
                ha="right" if left else "left",
            )  # fmt: skip
    axes.axhline(100 * (reference - claims.COMPROMISE_SHARE), ls=":", color="black", lw=0.8,
                 label="float - 0.3 points")  # fmt: skip
    axes.set(
        xscale="log", xlabel="energy per inference (nJ)", ylabel="accuracy (%)", ylim=(96.5, 99.6)
    )
    axes.legend(loc="lower right")
    return figure


def tolerance(losses: pd.DataFrame, limits: pd.DataFrame, delta: float) -> Figure:
    """Accuracy loss against the size of each imperfection; limits marked on the axis."""
    kinds = list(dict.fromkeys(losses["kind"]))
    figure, panels = _figure(
        PAGE, 2.35 * -(-len(kinds) // 2), -(-len(kinds) // 2), 2, squeeze=False
    )
    for axes, kind in zip(panels.ravel(), kinds, strict=True):
        for name, curve in losses[losses["kind"] == kind].groupby("precision", sort=False):
            colour = COLOURS[name]
            axes.plot(curve["size"], curve["loss"], color=colour, marker=MARKERS[name], label=name)
            axes.fill_between(
                curve["size"],
                curve["loss_lower"],
                curve["loss_upper"],
                color=colour,
                alpha=0.15,
                lw=0,
            )
        found = limits[limits["nonideality"] == kind]
        for row in found[found["bound"] == "="].itertuples():
            axes.plot(row.limit, delta, "|", color=COLOURS[row.precision], ms=9, mew=1.6)
        axes.axhline(delta, ls=":", lw=0.8, color="black")
        unit = found["unit"].iloc[0]
        axes.set(
            xlabel=f"{kind} ({unit})", ylabel="loss of accuracy (points)", yscale="symlog",
            ylim=(-0.6, 95),
        )  # fmt: skip
        axes.set_yticks([0, 1, 10, 50], ["0", "1", "10", "50"])
    panels.ravel()[0].legend(ncols=2, loc="upper left")
    return figure


def zeros(table: pd.DataFrame) -> Figure:
    """Shares of zeros by layer, and by bit plane."""
    figure, panels = _figure(PAGE, 2.5, 1, 3)
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


def resolved_bits(table: pd.DataFrame) -> Figure:
    """Active rows per read, and conversions by resolved bits before and after."""
    figure, panels = _figure(PAGE, 2.4, 1, 2)
    for row in table.itertuples():
        longest = max(len(layer["active rows"]) for layer in row.layers)
        rows = np.sum(
            [np.pad(layer["active rows"], (0, longest - len(layer["active rows"])))
             for layer in row.layers], axis=0,
        )  # fmt: skip
        panels[0].step(
            range(longest), 100 * np.cumsum(rows) / rows.sum(), where="post",
            color=COLOURS[row.precision], label=row.precision,
        )  # fmt: skip
        before = np.sum([layer["resolved before"] for layer in row.layers], axis=0)
        after = np.sum([layer["resolved after"] for layer in row.layers], axis=0)
        shift = -0.2 if row.precision == "W8A8" else 0.2
        bits = np.arange(len(after))
        panels[1].bar(bits + shift, 100 * after / after.sum(), 0.38, color=COLOURS[row.precision],
                      label=f"{row.precision}, sparsity-aware")  # fmt: skip
        panels[1].bar(bits + shift, 100 * before / before.sum(), 0.38, fill=False,
                      edgecolor=COLOURS[row.precision], ls=":",
                      label=f"{row.precision}, before")  # fmt: skip
    panels[0].set(xlabel="active rows in a read of 128", ylabel="reads with at most so many (%)",
                  ylim=(0, 101), xlim=(-1, 100))  # fmt: skip
    panels[0].legend(loc="lower right")
    panels[1].set(xlabel="bits resolved (0: conversion spared)", ylabel="share of conversions (%)")
    panels[1].set_xticks(range(9))
    panels[1].legend(loc="upper left")
    return figure


def adc_reduction(table: pd.DataFrame) -> Figure:
    """ADC saving and efficiency gain against the size of the array, paper's values at 128."""
    figure, panels = _figure(PAGE, 2.4, 1, 2)
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
    """Energy of an inference by component before and after, as shares of before."""
    figure, axes = _figure(COLUMN, 2.7)
    rows = table[table["array_size"] == 128]
    colours = ("#0072B2", "#E69F00", "#009E73", "#F0E442", "#999999", "#D55E00")
    labels, bottom = [], np.zeros(2 * len(rows))
    for row in rows.to_dict("records"):
        labels += [f"{row['precision']}\nbefore", f"{row['precision']}\nafter"]
    for component, colour in zip(COMPONENTS, colours, strict=True):
        heights = []
        for row in rows.to_dict("records"):
            whole = sum(row[f"before {name} (pJ)"] for name in COMPONENTS)
            heights += [
                100 * row[f"{when} {component} (pJ)"] / whole for when in ("before", "after")
            ]
        axes.bar(range(len(labels)), heights, 0.7, bottom, color=colour,
            label=component.replace("adc", "ADC"),
                 edgecolor="white", linewidth=0.4)  # fmt: skip
        bottom += heights
    for place, row in enumerate(rows.to_dict("records")):
        for i, when in enumerate(("before", "after")):
            total = sum(row[f"{when} {name} (pJ)"] for name in COMPONENTS) / 1000
            axes.annotate(f"{total:.0f} nJ", (2 * place + i, bottom[2 * place + i] + 1.5),
                          ha="center", fontsize=6.5)  # fmt: skip
    axes.set_xticks(range(len(labels)), labels)
    axes.set(ylabel="energy per inference (% of before)", ylim=(0, 112))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.grid(visible=False, axis="x")
    return figure


def region(table: pd.DataFrame, tolerance_points: float = 5, tolerance_gain: float = 0.1) -> Figure:
    """Savings and gains of every combination; those that give all four numbers stand out."""
    figure, panels = _figure(PAGE, 2.8, 1, 2)
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
    figure, panels = _figure(PAGE, 2.1, 1, 2, sharey=True)
    constants = list(dict.fromkeys(table["constant"]))
    for axes, name in zip(panels, ("W8A8", "W4A3"), strict=True):
        rows = table[table["precision"] == name].set_index("constant").loc[constants]
        for i, row in enumerate(rows.itertuples()):
            low, high = sorted((row.gain_low, row.gain_high))
            axes.barh(i, high - low, left=low, color=COLOURS[name], height=0.55)
        axes.use_sticky_edges = False  # leave room beyond the longest bar
        axes.axvline(rows["gain"].iloc[0], color="black", lw=0.8)
        if (table["dataset"] == "mnist").all():
            _paper_star(axes, claims.paper(f"C6_{name}"), -0.8)
        axes.set(xlabel=f"efficiency gain at {name} (x)", ylim=(-1.3, len(constants) - 0.5))
    panels[0].set_yticks(range(len(constants)), rows["label"])
    return figure
