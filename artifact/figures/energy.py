"""Figures of zeros, conversions and energy."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from artifact import claims
from artifact.figures.style import COLOURS, COMPONENT_COLOURS, MARKERS, PAGE, new_figure, paper_star
from nvlib.energy import COMPONENTS


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
                paper_star(axes, 128, factor * claims.paper(f"{claim}_{name}"),
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
    marks = dict(zip(options, "osD^vPX<>*h", strict=True))
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
            paper_star(axes, px, py)
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
                paper_star(axes, factor * claims.paper(f"{claim}_{name}"), -0.8)
            axes.set(xlabel=f"{label}, {name}", ylim=(-1.3, len(constants) - 0.5))
    panels[0, 0].set_yticks(range(len(constants)), rows["label"])
    return figure


def parts(steps: pd.DataFrame, title: str) -> Figure:
    """Saving of each mechanism with those before it, gross and net of detection."""
    figure, panels = new_figure(PAGE, 2.3, 1, 2, title=title, sharey=True)
    for axes, (name, rows) in zip(panels, steps.groupby("precision", sort=False), strict=True):
        rows = rows[rows["against"] == "nothing"]
        places = range(len(rows))
        axes.bar(places, 100 * rows["net"], 0.6, color=COLOURS[name], label="net of detection")
        axes.bar(places, 100 * (rows["saving"] - rows["net"]), 0.6, 100 * rows["net"], fill=False,
                 edgecolor=COLOURS[name], label="taken by detection")  # fmt: skip
        for place, row in zip(places, rows.itertuples(), strict=True):
            axes.annotate(f"{row.gain:.2f} x", (place, 100 * row.saving + 1.5), ha="center",
                          fontsize=6.5)  # fmt: skip
        axes.set_xticks(places, [text.replace(", ", ",\n") for text in rows["mechanism"]])
        axes.set(xlabel=f"{name}; gain above each bar", ylim=(0, 100))
        axes.legend(loc="upper left")
    panels[0].set(ylabel="ADC energy saved (%)")
    return figure


def draws(table: pd.DataFrame, title: str) -> Figure:
    """Savings and gains under laws and constants of the literature, one point a draw."""
    figure, panels = new_figure(PAGE, 2.8, 1, 2, title=title)
    pairs = (("saving", 100.0, "ADC energy saved (%)", "C5"),
             ("gain", 1.0, "energy-efficiency gain (x)", "C6"))  # fmt: skip
    for axes, (what, factor, label, claim) in zip(panels, pairs, strict=True):
        for training, colour in (("qat", "#CFCFCF"), ("ptq", "#67BDF0")):
            rows = table[table["training"] == training]
            axes.plot(factor * rows[f"{what}_W8A8"], factor * rows[f"{what}_W4A3"], ".", ms=2.5,
                      color=colour, label={"qat": "quantization-aware", "ptq": "after training"}
                      [training])  # fmt: skip
        if (table["dataset"] == "mnist").all():
            star = [factor * claims.paper(f"{claim}_{name}") for name in ("W8A8", "W4A3")]
            paper_star(axes, *star)
        axes.set(xlabel=f"{label}, W8A8", ylabel=f"{label}, W4A3")
    panels[1].set(xscale="log")
    panels[0].legend(loc="lower right")
    return figure
