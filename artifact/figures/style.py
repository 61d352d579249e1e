"""One style for all figures: sizes, colours, the mark of the paper's value."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from nvlib.storage import write_whole

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


def paper_star(axes: Any, x: float, y: float, label: str = "paper") -> None:
    """Mark the paper's value with a hollow star."""
    axes.plot(x, y, "*", ms=11, mfc="none", mec="black", mew=0.9, ls="none", label=label, zorder=5)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two limits: few over decades, more within one."""
    for mantissas in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**k for k in range(-6, 4) for m in mantissas]
        ticks = [float(f"{tick:g}") for tick in ticks if low <= tick <= high]
        if len(ticks) > 2:
            break
    return ticks
