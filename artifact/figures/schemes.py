"""Savings, gains and energies by the way of laying signed weights onto cells."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from artifact import claims
from artifact.figures.style import COLOURS, MARKERS, PAGE, legend, log_ticks, new_figure, paper_star
from artifact.studies.schemes import STATED

#: Column of `artifact.studies.schemes.summary`, factor, label, claim.
_PANELS = (
    ("saving", 100.0, "ADC energy saved (%)", "C5"),
    ("gain", 1.0, "efficiency gain (×)", "C6"),
    ("energy_nj", 1.0, "energy without sparsity (nJ)", ""),
)


def schemes(summary: pd.DataFrame, comparable: bool, title: str) -> Figure:
    """Saving, gain and energy of each scheme: filled with converters as stated, hollow as needed.

    Parameters
    ----------
    summary : DataFrame
        From `artifact.studies.schemes.summary`.
    comparable : bool
        Whether the paper's values are drawn.
    """
    figure, panels = new_figure(PAGE, 2.5, 1, len(_PANELS), title=title, sharey=True)
    names = list(dict.fromkeys(summary["scheme"]))
    for axes, (column, factor, label, claim) in zip(panels, _PANELS, strict=True):
        for (precision, kind), rows in summary.groupby(["precision", "converters"], sort=False):
            colour, shift = COLOURS[precision], -0.15 if precision == "W8A8" else 0.15
            stated = kind == STATED
            axes.plot(
                factor * rows[column], [names.index(scheme) + shift for scheme in rows["scheme"]],
                MARKERS[precision], color=colour, ls="none", mfc=colour if stated else "white",
                ms=4.5 if stated else 6, zorder=3 if stated else 2, label=f"{precision}, {kind}",
            )  # fmt: skip
            if claim and comparable and stated:
                star = factor * claims.paper(f"{claim}_{precision}")
                paper_star(axes, star, -0.8, "paper" if precision == "W8A8" else "")
                axes.annotate(precision, (star, -0.8), (7, 0), textcoords="offset points",
                              va="center", fontsize=6.5)  # fmt: skip
        axes.set(xlabel=label, ylim=(len(names) - 0.5, -1.2))
    panels[2].set(xscale="log")
    ticks = log_ticks(summary["energy_nj"].min(), summary["energy_nj"].max())
    panels[2].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panels[2].minorticks_off()
    needed = summary[summary["converters"] != STATED].groupby("scheme")["bits"]
    told = needed.agg(lambda bits: " and ".join(f"{value:.2g}" for value in bits))
    panels[0].set_yticks(
        range(len(names)), [f"{claims.SCHEMES[name]}\nneeds {told[name]} bits" for name in names]
    )
    legend(figure, panels[0])
    return figure
