"""Figures of the harder task: ResNet-20 on CIFAR-10 beside LeNet-5 on MNIST."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from artifact.figures.style import (
    COLOURS,
    INK,
    MAIN,
    PAGE,
    interval,
    legend,
    log_ticks,
    new_figure,
    typeset,
)

#: Of both networks, in the order of their columns.
NETWORKS = {"LeNet-5": ("o", "full"), "ResNet-20": ("s", "none")}
AWARE = {
    "qat": (INK, "s", "quantization-aware"),
    "noise-aware": (COLOURS["W4A3"], "D", "noise-aware"),
}


def harder(lost: pd.DataFrame, ratios: pd.DataFrame, steps: pd.DataFrame, title: str) -> Figure:
    """Points lost by precision, limits of one network over the other's, and savings, of both.

    Parameters
    ----------
    lost : DataFrame
        Columns network, training, precision, lost, lower, upper (points below floating point).
    ratios : DataFrame
        Columns nonideality, precision, ratio, lower, upper.
    steps : DataFrame
        Columns network, precision, mechanism, saving, of everything against nothing.
    """
    figure, (left, middle, right) = new_figure(
        PAGE, 3.6, 1, 3, title=title, width_ratios=(1.1, 1.1, 1)
    )
    _lost(left, lost)
    _ratios(middle, ratios)
    _savings(right, steps)
    legend(figure, right, "below")
    return figure


def _lost(axes: Axes, lost: pd.DataFrame) -> None:
    rows = list(lost.groupby(["training", "precision"], sort=False))
    names = {"ptq": "after training", "qat": "quantization-aware"}
    for place, ((_, precision), group) in enumerate(rows):
        for shift, row in zip((-0.13, 0.13), group.itertuples(), strict=True):
            marker, fill = NETWORKS[row.network]
            axes.errorbar(row.lost, place + shift, fmt=marker, color=COLOURS[precision],
                          fillstyle=fill, ms=4,
                          xerr=[[row.lost - row.lower], [row.upper - row.lost]])  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{p}\n{names[t]}" for (t, p), _ in rows])
    # Linear around 0: some precisions lose nothing, or are above floating point.
    axes.set_xscale("symlog", linthresh=1)
    ticks = [
        tick for tick in (-1, 0, 1, 2, 4, 8, 16, 32) if tick <= 1.2 * max(lost["upper"].max(), 1)
    ]
    axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.minorticks_off()
    axes.axvline(0, color=INK, lw=0.8, zorder=1)
    axes.set(xlabel="points below floating point", ylim=(len(rows) - 0.5, -0.5))


def _ratios(axes: Axes, ratios: pd.DataFrame) -> None:
    ends = (
        ratios[["lower", "ratio"]].to_numpy().min(),
        ratios[["upper", "ratio"]].to_numpy().max(),
    )
    span = (min(ends[0], 0.5) / 2, max(ends[1], 1.0) * 2)
    names = list(dict.fromkeys(ratios["nonideality"]))
    axes.set_xscale("log")
    for row in ratios.itertuples():
        place = names.index(row.nonideality) + (-0.13, 0.13)[MAIN.index(row.precision)]
        interval(axes, place, row.ratio, row.lower, row.upper, span, COLOURS[row.precision], "D")
        axes.annotate(f"{row.ratio:.2g}", (row.ratio, place), (0, 3), fontsize=6.5, ha="center",
                      textcoords="offset points")  # fmt: skip
    axes.axvline(1, color=INK, lw=0.8, zorder=1)
    ticks = log_ticks(*span)
    for decades in (1, 2, 3):  # words of more than a few would touch
        if len(ticks) > 4:
            ticks = [tick for tick in ticks if (np.log10(tick) / decades).is_integer()]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), [typeset(name).replace(" ", "\n", 1) for name in names])
    axes.set(xlabel="limit of ResNet-20\nover that of LeNet-5", ylim=(len(names) - 0.5, -0.5))


def _savings(axes: Axes, steps: pd.DataFrame) -> None:
    names = list(dict.fromkeys(steps["mechanism"]))
    for (network, precision), rows in steps.groupby(["network", "precision"], sort=False):
        marker, fill = NETWORKS[network]
        axes.plot(range(len(rows)), 100 * rows["saving"], marker=marker, fillstyle=fill,
                  ls="-" if fill == "full" else "--", color=COLOURS[precision],
                  label=f"{network}, {precision}")  # fmt: skip
    axes.set_xticks(range(len(names)), ["\n".join(wrap(name, 11)) for name in names])
    axes.set(ylabel="ADC energy saved (%)", ylim=(0, 100))


def aware(chips: pd.DataFrame, sigma: float) -> Figure:
    """Accuracy of chips whose cells vary, of networks trained with and without such cells."""
    table = chips.set_index(["training", "sigma"])["accuracy"]
    there, here = ([table[training, at] for training in AWARE] for at in (sigma, 0.0))
    title = (
        f"ResNet-20 at W4A3: training that meets cells which vary by {sigma:g} of their range "
        f"turns {there[0]:.0f} % on such cells into {there[1]:.0f} %, and {here[0]:.0f} % on ideal "
        f"ones into {here[1]:.0f} %"
    )
    figure, axes = new_figure(PAGE / 2, 2.7, title=title)
    only: Any = np.ravel(axes)[0]
    for training, (colour, marker, label) in AWARE.items():
        part = chips[chips["training"] == training]
        only.plot(part["sigma"], part["accuracy"], marker=marker, color=colour, label=label)
        only.fill_between(part["sigma"], part["lower"].clip(0), part["upper"].clip(upper=100),
                          color=colour, alpha=0.15, lw=0)  # fmt: skip
    only.set(ylabel="accuracy (%)", ylim=(0, 100),
             xlabel="spread of the cells σ / ($G_\\mathrm{on}$ − $G_\\mathrm{off}$)")  # fmt: skip
    legend(figure, only, "below")
    return figure
