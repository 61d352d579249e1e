"""Figures of energy: what is saved, what is left, and how much of it hangs on the constants."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from artifact import claims
from artifact.figures.style import (
    COLOURS,
    COMPONENT_COLOURS,
    INK,
    MAIN,
    MARKERS,
    PAGE,
    QUIET,
    direct_label,
    dots,
    legend,
    log_ticks,
    new_figure,
    paper_star,
    typeset,
)
from nvlib.energy import COMPONENTS

#: What C5 and C6 state: factor to the unit of the axis, its label, how a value is written.
QUANTITIES = {
    "C5": (100.0, "ADC energy saved (%)", "{:.1f} %"),
    "C6": (1.0, "energy-efficiency gain (×)", "{:.2f} ×"),
}
COLUMNS = {"C5": "adc_saving", "C6": "efficiency_gain"}
LARGE = 6.0  # percent: from here on a part of a bar has room for its number


def _of_mnist(table: pd.DataFrame) -> bool:
    """Whether the paper's values may be set beside a table."""
    return bool((table["dataset"] == "mnist").all())


def adc_reduction(table: pd.DataFrame) -> Figure:
    """ADC saving and efficiency gain against the size of the array, paper's values at 128."""
    at_128 = table[table["array_size"] == 128].set_index("precision")
    comparable = _of_mnist(table)
    told = " and ".join(
        f"{100 * row.adc_saving:.0f} % of the ADC energy at {row.Index} (gain\u00a0"
        f"{row.efficiency_gain:.2f} ×)" for row in at_128.itertuples()
    )  # fmt: skip
    figure, panels = new_figure(PAGE, 2.7, 1, 2, title=f"128 × 128 arrays save {told}")
    for axes, (claim, (factor, label, form)) in zip(panels, QUANTITIES.items(), strict=True):
        column = COLUMNS[claim]
        for name, rows in table.groupby("precision", sort=False):
            low, high = rows[f"{column}_lower"], rows[f"{column}_upper"]
            axes.errorbar(
                rows["array_size"], factor * rows[column],
                factor * np.maximum(np.array([rows[column] - low, high - rows[column]]), 0),
                color=COLOURS[name], marker=MARKERS[name], capsize=2,
            )  # fmt: skip
            ours, paper = (factor * at_128.loc[name, column],
                           factor * claims.paper(f"{claim}_{name}"))  # fmt: skip
            text = form.format(ours)
            if comparable:
                text += f", paper {form.format(paper)}"
                paper_star(axes, 128, paper, "")
            axes.annotate(text, (128, max(ours, paper)), (0, 9), textcoords="offset points",
                          ha="center", color=COLOURS[name])  # fmt: skip
            last = rows.iloc[-1]
            direct_label(axes, last["array_size"], factor * last[column], name, COLOURS[name])
        axes.set(xscale="log", xlabel="rows = columns of an array", ylabel=label, ylim=(0, None))
        axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
        axes.margins(x=0.18)
        sizes = sorted(set(table["array_size"]))
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
    panels[1].axhline(1, color=QUIET, lw=0.8, ls=":")
    panels[1].text(sizes[0], 0.97, "no gain", va="top", color=INK)
    return figure


def energy_breakdown(table: pd.DataFrame) -> Figure:
    """Energy of an inference by component, and of its converters by layer, before and after."""
    rows = table[table["array_size"] == 128].to_dict("records")
    shares, left = [], []
    for row in rows:
        before, after = (
            sum(row[f"{when} {name} (pJ)"] for name in COMPONENTS) for when in ("before", "after")
        )
        shares.append(f"{100 * row['before adc (pJ)'] / before:.0f} % at {row['precision']}")
        left.append(f"{100 * after / before:.0f} %")
    title = (f"Converters take {' and '.join(shares)}; sparing conversions leaves "
             f"{' and '.join(left)} of the energy")  # fmt: skip
    figure, panels = new_figure(PAGE, 3.0, 1, 2, title=title)
    layers = [key.split()[1] for key in rows[0] if key.startswith("before ") and " ADC " in key]
    by_layer = [
        to_hex(colour) for colour in plt.get_cmap("cividis")(np.linspace(0, 1, len(layers)))
    ]
    _stacks(panels[0], rows, [f"{name} (pJ)" for name in COMPONENTS], COMPONENT_COLOURS)
    _stacks(panels[1], rows, [f"{name} ADC (pJ)" for name in layers], by_layer)
    panels[0].set(ylabel="energy per inference (% of before)")
    panels[1].set(ylabel="ADC energy (% of before)")
    return figure


def _stacks(axes: Any, rows: list[dict[str, Any]], parts: list[str], colours: Any) -> None:
    """Bars before and after, made of their parts, in percent of before."""
    bars = [(row, when) for row in rows for when in ("before", "after")]
    whole = [sum(row[f"before {part}"] for part in parts) for row, _ in bars]
    bottom = np.zeros(len(bars))
    for part, colour in zip(parts, colours, strict=True):
        heights = np.array([100 * row[f"{when} {part}"] / total
                            for (row, when), total in zip(bars, whole, strict=True)])  # fmt: skip
        name = part.removesuffix(" (pJ)").removesuffix(" ADC").replace("adc", "ADC")
        axes.bar(range(len(bars)), heights, 0.7, bottom, color=colour, label=name,
                 edgecolor="white", linewidth=0.4)  # fmt: skip
        ink = "white" if _is_dark(colour) else INK
        for place, (low, height) in enumerate(zip(bottom, heights, strict=True)):
            if height >= LARGE:
                axes.text(place, low + height / 2, f"{height:.0f}", ha="center", va="center",
                          fontsize=6.5, color=ink)  # fmt: skip
        bottom += heights
    for place, (top, total) in enumerate(zip(bottom, whole, strict=True)):
        axes.annotate(f"{top / 100 * total / 1000:.0f} nJ", (place, top + 1.5), ha="center")
    axes.set_xticks(range(len(bars)), [f"{row['precision']}\n{when}" for row, when in bars])
    axes.set(ylim=(0, 112))
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(visible=False, axis="x")


def _is_dark(colour: str) -> bool:
    return float(np.dot(to_rgb(colour), (0.3, 0.6, 0.1))) < 0.5


def efficiency(ours: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """TOPS/W before and after, beside published systems and macros as their authors state them."""
    told = " and ".join(
        f"from {rows['TOPS/W'].iloc[0]:.2g} to {rows['TOPS/W'].iloc[-1]:.2g} at {name}"
        for name, rows in ours.groupby("precision", sort=False)
    )
    stated = ", ".join(
        f"{kind}s {values.min():g} to {values.max():g}"
        for kind, values in published.groupby("kind", sort=False)["tops_per_watt"]
    )
    title = f"Sparsity brings TOPS/W {told}; published {stated}"
    names = [f"{row.precision}, {row.sparsity} (ours, counted)" for row in ours.itertuples()]
    names += [typeset(name) for name in published["name"]]
    values = [*ours["TOPS/W"], *published["tops_per_watt"]]
    colours = [COLOURS[name] for name in ours["precision"]] + ["#B5B5B5"] * len(published)
    figure, axes = new_figure(PAGE, 0.22 * len(names) + 0.9, title=title)
    dots(axes, values, names, colours)
    ticks = log_ticks(min(values) / 2, max(values) * 2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="TOPS/W (an operation is half a multiply-accumulate)")
    return figure


def beyond(table: pd.DataFrame) -> Figure:
    """ADC saving and accuracy of every option beyond the default controller."""
    options = list(dict.fromkeys(table["option"]))
    places = dict(zip(options, range(len(options)), strict=True))
    size = PAGE, 0.3 * len(options) + 0.9
    figure, (left, right) = new_figure(
        *size, 1, 2, title=_beyond_title(table), sharey=True, width_ratios=(1.4, 1)
    )
    lowest = 100 * table.loc[table["option"] == "default", "accuracy"].min() - 5
    for (name, rows), side in zip(
        table.groupby("precision", sort=False), (-0.18, 0.18), strict=True
    ):
        style = {"color": COLOURS[name], "marker": MARKERS[name], "ls": "none", "ms": 4.5}
        left.plot([], [], label=name, **style)
        for row in rows.itertuples():
            place = places[row.option] + side
            left.plot(100 * row.adc_saving, place, **style)
            direct_label(left, 100 * row.adc_saving, place, f"{100 * row.adc_saving:.0f}",
                         COLOURS[name])  # fmt: skip
            seen = max(100 * row.accuracy, lowest)
            right.plot(seen, place, **(style if 100 * row.accuracy >= lowest
                                       else style | {"marker": "<", "clip_on": False}))  # fmt: skip
            right.text(1.02, place, f"{100 * row.accuracy:.1f}", color=COLOURS[name], va="center",
                       transform=right.get_yaxis_transform())  # fmt: skip
        default = rows[rows["option"] == "default"].iloc[0]
        for axes, value in ((left, default["adc_saving"]), (right, default["accuracy"])):
            axes.axvline(100 * value, color=COLOURS[name], lw=0.7, ls=":", zorder=1)
    named = {"twos-complement": "two's-complement", "oracle: bits of the code": "oracle"}
    for old, new in named.items():
        options = [option.replace(old, new) for option in options]
    left.set_yticks(range(len(options)), options)
    left.set(ylim=(len(options) - 0.5, -0.5), xlabel="ADC energy saved (%); dotted: default")
    right.set(xlabel="accuracy on that chip (%)", xlim=(lowest, 100.3))
    left.margins(x=0.08)
    legend(figure, left)
    return figure


def _beyond_title(table: pd.DataFrame) -> str:
    most, told = [], []
    for name, rows in table.groupby("precision", sort=False):
        saved, right = (rows.set_index("option")[column] for column in ("adc_saving", "accuracy"))
        oracle = saved.index.str.startswith("oracle")
        best = saved[(right >= right["default"]) & ~oracle].idxmax()
        most.append(f"{100 * saved[oracle].iloc[0]:.0f} % at {name}")
        told.append(f"{100 * saved[best]:.0f} % ({best})")
    return (
        f"An oracle would save {' and '.join(most)}; the best option that costs no accuracy here "
        f"{' and '.join(told)}"
    ).replace("twos-complement", "two's-complement")


def region(table: pd.DataFrame) -> Figure:
    """Savings and gains of every combination; those that give all four numbers stand out."""
    hits, default = table["explains"], table["default"]
    title = (f"{hits.sum()} of {len(table):,} combinations of hardware, laws and constants give "
             "all four of the paper's numbers")  # fmt: skip
    figure, panels = new_figure(PAGE, 3.0, 1, 2, title=title)
    for axes, (claim, (factor, label, _)) in zip(panels, QUANTITIES.items(), strict=True):
        column = COLUMNS[claim]
        x, y = factor * table[f"{column}_W8A8"], factor * table[f"{column}_W4A3"]
        axes.plot(x[~hits], y[~hits], ".", color="#CFCFCF", ms=2.5, label="other combinations",
                  rasterized=True, zorder=1.5)  # fmt: skip
        axes.plot(x[hits], y[hits], "o", color=COLOURS["W4A4"], ms=3,
                  label="all four within tolerance")  # fmt: skip
        axes.plot(x[default], y[default], "s", mfc="none", mec=COLOURS["W4A3"], mew=1.3, ms=7,
                  ls="none", label="judged in this notebook")  # fmt: skip
        if _of_mnist(table):
            _tolerated(axes, claim, factor)
        axes.set(xlabel=f"{label}, W8A8", ylabel=f"{label}, W4A3")
    _log_gains(panels[1])
    legend(figure, panels[0])
    return figure


def _tolerated(axes: Any, claim: str, factor: float) -> None:
    """The paper's pair of numbers, and a box of what is within their tolerances."""
    keys = [f"{claim}_{name}" for name in ("W8A8", "W4A3")]
    x, y = (factor * claims.paper(key) for key in keys)
    dx, dy = (factor * claims.expected()[key]["tolerance"] for key in keys)
    paper_star(axes, x, y)
    axes.add_patch(plt.Rectangle((x - dx, y - dy), 2 * dx, 2 * dy, fill=False, ls=":", ec=INK))


def _log_gains(axes: Any) -> None:
    """Logarithmic axes with few round numbers, and a line where nothing is gained."""
    axes.set(xscale="log", yscale="log")
    axes.minorticks_off()
    for ends, set_ticks in ((axes.get_xlim(), axes.set_xticks), (axes.get_ylim(), axes.set_yticks)):
        ticks = log_ticks(*ends)
        set_ticks(ticks, [f"{tick:g}" for tick in ticks])


def tornado(table: pd.DataFrame) -> Figure:
    """How each constant, over its range in the literature, moves the four numbers."""
    spans = 100 * (table["saving_high"] - table["saving_low"])
    order = table.assign(span=spans).groupby("constant")["span"].max().sort_values().index
    laws = table["constant"].str.endswith(" law")
    most = {law: spans[laws == law].groupby(table["precision"], sort=False).max()
            for law in (True, False)}  # fmt: skip
    moved = " and ".join(f"{span:.0f} points at {name}" for name, span in most[True].items())
    title = (f"Laws of the converter move the net saving by up to {moved}, constants by "
             + " and ".join(f"{span:.0f}" for span in most[False]))  # fmt: skip
    figure, panels = new_figure(PAGE, 4.4, 2, 2, title=title, sharey=True)
    for line, (claim, (factor, label, _)) in zip(panels, QUANTITIES.items(), strict=True):
        number = {"C5": "saving", "C6": "gain"}[claim]
        for axes, name in zip(line, ("W8A8", "W4A3"), strict=True):
            rows = table[table["precision"] == name].set_index("constant").loc[order]
            lows, highs = factor * rows[f"{number}_low"], factor * rows[f"{number}_high"]
            axes.barh(range(len(rows)), highs - lows, 0.6, lows, color=COLOURS[name])
            for place, (low, high) in enumerate(zip(lows, highs, strict=True)):
                for end, side, anchor in ((low, -3, "right"), (high, 3, "left")):
                    text = f"{end:.0f}" if factor == 100 else f"{end:.2f}"
                    if low < high:  # what moves nothing has no numbers
                        direct_label(axes, end, place, text.replace("-", "−"), INK, fontsize=6.5,
                                     xytext=(side, 0), ha=anchor)  # fmt: skip
            axes.axvline(factor * rows[number].iloc[0], color=INK, lw=0.8)
            if _of_mnist(table):
                star = factor * claims.paper(f"{claim}_{name}")
                paper_star(axes, star, -0.9, "")
                direct_label(axes, star, -0.9, "paper", INK, xytext=(8, 0))
            axes.use_sticky_edges = False  # room for the numbers
            axes.margins(x=0.2)
            net = " net of detection" if claim == "C5" else ""
            axes.set(xlabel=f"{label.replace(' (', net + ' (')}, {name}",
                     ylim=(-1.5, len(order) - 0.5))  # fmt: skip
    panels[0, 0].set_yticks(range(len(order)), map(_constant, rows["label"]))
    return figure


def _constant(label: str) -> str:
    """A constant and its range as print has them."""
    return typeset(f"{label[0].upper()}{label[1:]}")


def parts(steps: pd.DataFrame, title: str) -> Figure:
    """Saving of each mechanism with those before it, gross and net of detection."""
    figure, panels = new_figure(PAGE, 2.7, 1, 2, title=title, sharey=True)
    for axes, (name, rows) in zip(panels, steps.groupby("precision", sort=False), strict=True):
        rows = rows[rows["against"] == "nothing"]
        places = range(len(rows))
        saved, net = 100 * rows["saving"], 100 * rows["net"]
        axes.bar(places, net, 0.6, color=COLOURS[name], label="net of detection")
        axes.bar(places, saved - net, 0.6, net, fill=False, edgecolor=COLOURS[name],
                 label="taken by detection")  # fmt: skip
        for place, gross, left, gain in zip(places, saved, net, rows["gain"], strict=True):
            told = f"{gross:.0f} %" if gross - left < 0.5 else f"{gross:.0f} %, net {left:.0f} %"
            axes.annotate(f"{told}\ngain {gain:.2f} ×", (place, gross + 1.5), ha="center",
                          va="bottom")  # fmt: skip
        axes.set_xticks(places, [text.replace(", ", ",\n") for text in rows["mechanism"]])
        axes.set(title=name, ylim=(0, 104))
        axes.grid(visible=False, axis="x")
    panels[0].set(ylabel="ADC energy saved (%)")
    legend(figure, panels[0])
    return figure


def published_savings(beside: pd.DataFrame, title: str) -> Figure:
    """Savings that others state, as ranges, and those of the mechanism most like theirs here."""
    figure, axes = new_figure(PAGE, 0.45 * len(beside) + 0.9, title=title)
    names = []
    for place, row in enumerate(beside.to_dict("records")):
        axes.plot([100 * row["least"], 100 * row["most"]], [place] * 2, color=QUIET, lw=5,
                  solid_capstyle="butt", marker="|", ms=8, mew=1.6,
                  label="" if place else "stated by others")  # fmt: skip
        for name in MAIN:
            axes.plot(100 * row[name], place, MARKERS[name], color=COLOURS[name], ls="none",
                      label="" if place else f"ours, {name}")  # fmt: skip
        doubt = "" if row["checked"] == "abstract" else ", unchecked"
        names.append(f"{row['work']}{doubt}: {row['mechanism']}\nours: {row['like']}")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="ADC energy or power saved (%)",
             xlim=(0, 100), ylim=(len(names) - 0.5, -0.5))  # fmt: skip
    legend(figure, axes)
    return figure


def draws(table: pd.DataFrame, title: str) -> Figure:
    """Savings and gains under laws and constants of the literature, one point a draw."""
    figure, panels = new_figure(PAGE, 3.0, 1, 2, title=title)
    columns = {"C5": "saving", "C6": "gain"}
    shown = {"qat": ("quantization-aware training", "#BDBDBD", "."),
             "ptq": ("quantization after training", COLOURS["W8A8"], "x")}  # fmt: skip
    for axes, (claim, (factor, label, _)) in zip(panels, QUANTITIES.items(), strict=True):
        x, y = (f"{columns[claim]}_{name}" for name in ("W8A8", "W4A3"))
        for training, (name, colour, marker) in shown.items():
            rows = table[table["training"] == training]
            axes.plot(factor * rows[x], factor * rows[y], marker, ms=2.5, mew=0.6, color=colour,
                      label=name, rasterized=True, zorder=1.5)  # fmt: skip
        if _of_mnist(table):
            _tolerated(axes, claim, factor)
        axes.set(xlabel=f"{label}, W8A8", ylabel=f"{label}, W4A3")
    _log_gains(panels[1])
    legend(figure, panels[0])
    return figure
