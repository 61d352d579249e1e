"""Figures of accuracy and cost by precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from artifact import claims
from artifact.figures.style import COLOURS, MAIN, MARKERS, PAGE, log_ticks, new_figure, paper_star

#: Recipes in the order they are drawn, and their names where there is little room.
ORDER = {"ptq": "after\ntraining", "plain": "plain", "qat": "aware"}
#: Of recipes and of kinds of converters (Okabe-Ito).
RECIPE_COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#000000")
#: Points below floating point that the white line of the grid is drawn at.
EDGE_POINTS = 0.5
LOWEST = 97.0  # accuracy (%) that a compromise is looked for above


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


def precision_sweep(grid: pd.DataFrame, title: str) -> Figure:
    """The W x A grid after training and with training, and W4A3 of every recipe by seed."""
    figure, panels = new_figure(PAGE, 3.0, 1, 3, title=title, width_ratios=(1, 1.25, 0.75))
    shares = grid.assign(accuracy=100 * grid["correct"] / grid["images"])
    floats = shares[shares["precision"] == "float"].set_index("training")["accuracy"]
    networks = shares[shares["precision"] != "float"]
    for axes, training in zip(panels[:2], ("ptq", "qat"), strict=True):
        mine = networks[networks["training"] == training]
        mean = mine.groupby("precision")["accuracy"].mean().reset_index()
        mean = mean.assign(
            W=mean["precision"].str[1].astype(int), A=mean["precision"].str[3].astype(int)
        )
        square = mean.pivot(index="W", columns="A", values="accuracy").sort_index(ascending=False)
        sns.heatmap(
            square, ax=axes, annot=True, fmt=".1f", cmap="cividis", vmin=95.5, vmax=99.5,
            annot_kws={"size": 5}, linewidths=0.3, cbar=training == "qat",
            cbar_kws={"label": "accuracy (%)"},
        )  # fmt: skip
        _edge(axes, square.to_numpy() >= floats.loc["qat"].mean() - EDGE_POINTS)
        axes.set(xlabel="activation bits A", ylabel="weight bits W", title=claims.RECIPES[training])
        axes.tick_params(rotation=0)
    last, order = panels[2], [name for name in ORDER if name in set(networks["training"])]
    mine = networks[networks["precision"] == "W4A3"]
    for place, training in enumerate(order):
        values = mine.loc[mine["training"] == training, "accuracy"]
        last.plot(np.full(len(values), place), values, MARKERS["W4A3"], color=COLOURS["W4A3"],
                  ls="none", alpha=0.8)  # fmt: skip
        if (grid["dataset"] == "mnist").all():
            paper_star(last, place, 100 * claims.paper("C1"), "paper" if not place else "")
    last.set(ylabel="accuracy at W4A3 (%)", xlim=(-0.5, len(order) - 0.5))
    last.set_xticks(range(len(order)), [ORDER[name] for name in order])
    last.legend(loc="upper left")
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


def compromise(tables: dict[str, pd.DataFrame], floors: dict[str, float], title: str) -> Figure:
    """Accuracy against energy of the same chip for each recipe, its front, and what is asked for.

    Parameters
    ----------
    tables : dict
        Recipe -> choices by precision.
    floors : dict
        Recipe -> accuracy (%) that the stated rule asks for.
    """
    figure, panels = new_figure(PAGE, 2.8, 1, len(tables), title=title, sharey=True, squeeze=False)
    highest = max(table["accuracy"].max() for table in tables.values())
    for axes, (training, table) in zip(panels[0], tables.items(), strict=True):
        ordered = table.sort_values(["energy_nj", "accuracy"], ascending=[True, False])
        best = ordered["accuracy"].cummax().shift(fill_value=-np.inf)
        line = ordered[ordered["accuracy"] > best]
        axes.plot(line["energy_nj"], line["accuracy"], color="black", lw=0.8, label="front")
        for name, row in table.iterrows():
            axes.plot(row["energy_nj"], row["accuracy"], MARKERS.get(name, "."),
                      color=COLOURS.get(name, "#999999"))  # fmt: skip
            if name in line.index or name in MAIN:
                axes.annotate(f" {name}", (row["energy_nj"], row["accuracy"]), fontsize=5.5,
                              va="top", annotation_clip=True)  # fmt: skip
        axes.axhline(floors[training], ls=":", color="black", lw=0.8, label="asked for")
        axes.set(xscale="log", xlabel="energy per inference (nJ)", title=claims.RECIPES[training],
                 ylim=(LOWEST, highest + 0.1))  # fmt: skip
    panels[0, 0].set(ylabel="accuracy on that chip (%)")
    panels[0, -1].legend(loc="lower right")
    return figure


def certainty(table: pd.DataFrame, title: str) -> Figure:
    """How often W4A3 is the cheapest within a tolerance, by recipe and scheme."""
    schemes = list(dict.fromkeys(table["scheme"]))
    figure, panels = new_figure(PAGE, 2.4, 1, len(schemes), title=title, sharey=True, squeeze=False)
    for axes, scheme in zip(panels[0], schemes, strict=True):
        for place, training in enumerate(ORDER):
            rows = table[(table["scheme"] == scheme) & (table["training"] == training)]
            if not len(rows):
                continue
            shares = rows[rows["precision"] == "W4A3"].set_index("tolerance")["share"]
            shares = shares.reindex(sorted(set(rows["tolerance"])), fill_value=0.0)
            axes.plot(shares.index, 100 * shares, "osD"[place], ls="-",
                      color=RECIPE_COLOURS[place], label=claims.RECIPES[training])  # fmt: skip
        axes.set(xlabel="points below floating point allowed", title=claims.SCHEMES[scheme],
                 ylim=(-4, 104))  # fmt: skip
    panels[0, 0].set(ylabel="samples that pick W4A3 (%)")
    panels[0, 0].legend(loc="upper left")
    return figure


def converters(table: pd.DataFrame, title: str) -> Figure:
    """Energy against accuracy on chip, one mark a precision and one line a kind of converter."""
    figure, axes = new_figure(PAGE, 3.3, title=title)
    shown = table[table["precision"].isin(COLOURS) & (table["accuracy"] >= LOWEST)]
    for kind, colour in zip(dict.fromkeys(table["converter"]), RECIPE_COLOURS, strict=False):
        rows = shown[shown["converter"] == kind].sort_values("energy_nj")
        axes.plot(rows["energy_nj"], rows["accuracy"], color=colour, lw=0.8, label=kind)
        for row in rows.itertuples():
            axes.plot(row.energy_nj, row.accuracy, MARKERS[row.precision], color=colour,
                      mfc="white" if "least" in kind else colour)  # fmt: skip
            if row.precision not in MAIN:
                continue
            below = kind in ("3 bits", "4 bits")
            axes.annotate(f"{row.precision}\n{row.energy_nj:.0f} nJ",
                          (row.energy_nj, row.accuracy), (0, -5 if below else 5),
                          textcoords="offset points", fontsize=5, color=colour, ha="center",
                          va="top" if below else "bottom")  # fmt: skip
    axes.set(xscale="log", xlabel="energy per inference (nJ)", ylabel="accuracy on that chip (%)")
    axes.margins(y=0.25)
    low, high = shown["energy_nj"].min(), shown["energy_nj"].max()
    ticks = log_ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="converters", title_fontsize=7)
    return figure
