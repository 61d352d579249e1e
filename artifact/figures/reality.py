"""Accuracy on real devices, one effect after another."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from artifact.figures.style import COLOURS, INK, MARKERS, PAGE, interval, legend, new_figure
from nvlib.presets import NAMES

#: W2A3 is no precision of the other figures.
_COLOURS, _MARKERS = COLOURS | {"W2A3": "#C79FEF"}, MARKERS | {"W2A3": "X"}
_LIMITS = 88.0, 100.0


def real_devices(told: pd.DataFrame, answer: str) -> Figure:
    """Accuracy with each effect added to those above it, a panel for each preset."""
    names = list(dict.fromkeys(told["precision"]))
    steps = list(dict.fromkeys(told.loc[told["preset"] == NAMES[0], "step"]))
    figure, panels = new_figure(
        PAGE, 0.31 * len(steps) + 1.2, 1, len(NAMES), title=answer, sharey=True, squeeze=False
    )
    for axes, preset in zip(panels[0], NAMES, strict=True):
        mine = told[told["preset"] == preset]
        for row in mine.itertuples():
            place = steps.index(row.step) + 0.17 * (names.index(row.precision) - 1.5)
            value = max(row.accuracy, _LIMITS[0])
            interval(axes, place, value, row.lower, row.upper, _LIMITS, _COLOURS[row.precision],
                     _MARKERS[row.precision], ms=3.2)  # fmt: skip
        for place in sorted(set(range(len(steps))) - set(map(steps.index, mine["step"]))):
            axes.text(sum(_LIMITS) / 2, place, "not published", fontsize=7, ha="center",
                      va="center", style="italic")  # fmt: skip
        axes.axhline(len(steps) - 2.5, color=INK, lw=0.6, ls=":")  # below it, the ways back
        axes.set(title=preset, xlabel="accuracy (%)", ylim=(len(steps) - 0.5, -0.5))
    labels = [step if step in (steps[0], *steps[-2:]) else f"+ {step}" for step in steps]
    panels[0, 0].set_yticks(range(len(steps)), labels)
    for name in names:
        panels[0, 0].plot([], [], _MARKERS[name], color=_COLOURS[name], label=name)
    legend(figure, panels[0, 0], "below")
    return figure
