"""Figures of accuracy and cost by precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from artifact import claims
from artifact.figures.style import (
    COLOURS,
    INK,
    MAIN,
    MARKERS,
    PAGE,
    QUIET,
    direct_label,
    legend,
    log_ticks,
    new_figure,
    paper_star,
    place_labels,
)
from artifact.studies.compromise import FEWEST, cheapest, front
from artifact.verdicts import JUDGED

#: Recipes in the order they are drawn, and their names where there is little room.
ORDER = {"ptq": "after\ntraining", "plain": "plain", "qat": "aware"}
#: Of recipes and of kinds of converters.
RECIPE_COLOURS = ("#1B4F9C", "#E69F00", "#00795A", "#5E1200", "#8A8A8A")
#: Points below floating point that the white line of the grid is drawn at.
EDGE_POINTS = 0.5
LOWEST = 97.0  # accuracy (%) that a compromise is looked for above


def one_image(image: np.ndarray, products: np.ndarray, imperfect: np.ndarray) -> Figure:
    """A digit, the integer products of one channel, and what an imperfect array adds to them."""
    difference = imperfect - products
    error, largest = (max(int(np.abs(values).max()), 1) for values in (difference, products))
    title = f"Integer products reach ±{largest}; this imperfect array is wrong by up to {error}"
    figure, panels = new_figure(PAGE, 2.2, 1, 3, title=title)
    for axes, values, label, options in (
        (panels[0], image, "pixel", {"cmap": "gray_r"}),
        (panels[1], products, "integer product", {"vmin": -largest, "vmax": largest}),
        (panels[2], difference, "error of the array", {"vmin": -error, "vmax": error}),
    ):
        shown = axes.imshow(values, **{"cmap": "cividis"} | options)
        figure.subfigs[0].colorbar(shown, ax=axes, label=label, shrink=0.85)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure


def precision_sweep(grid: pd.DataFrame, title: str) -> Figure:
    """The W x A grid after training and with training, and W4A3 of every recipe by seed."""
    figure, panels = new_figure(PAGE, 3.0, 1, 3, title=title, width_ratios=(1.1, 1.1, 1))
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
            square, ax=axes, annot=square.map(lambda share: f"{share:#.3g}".rstrip(".")), fmt="",
            cmap="cividis", vmin=95.5, vmax=99.5, annot_kws={"size": 6.5}, linewidths=0.3,
            cbar=False,
        )  # fmt: skip
        _edge(axes, square.to_numpy() >= floats.loc["qat"].mean() - EDGE_POINTS)
        axes.set(xlabel="activation bits A", ylabel="", title=f"{claims.RECIPES[training]} (%)")
        axes.tick_params(rotation=0)
    panels[0].set(ylabel="weight bits W")
    last, order = panels[2], [name for name in ORDER if name in set(networks["training"])]
    mine = networks[networks["precision"] == "W4A3"]
    for place, training in enumerate(order):
        values = mine.loc[mine["training"] == training, "accuracy"]
        last.plot(np.full(len(values), place), values, MARKERS["W4A3"], color=COLOURS["W4A3"],
                  ls="none", alpha=0.8)  # fmt: skip
        last.plot((place - 0.2, place + 0.2), [values.mean()] * 2, color=COLOURS["W4A3"])
        last.annotate(f"{values.mean():.2f}", (place + 0.2, values.mean()), (2, 0), va="center",
                      textcoords="offset points", color=COLOURS["W4A3"], fontsize=6.5)  # fmt: skip
    if (grid["dataset"] == "mnist").all():
        paper = 100 * claims.paper("C1")
        for place in range(len(order)):
            paper_star(last, place, paper, "")
        # Its name stands where marks are farthest from it.
        nearest = (mine["accuracy"] - paper).abs().groupby(mine["training"]).min()
        direct_label(last, order.index(nearest.idxmax()), paper, "paper", INK, xytext=(0, -11),
                     ha="center", va="top")  # fmt: skip
    last.set(ylabel="accuracy at W4A3 (%)", xlim=(-0.5, len(order) - 0.2))
    last.set_xticks(range(len(order)), [ORDER[name] for name in order])
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
    figure, panels = new_figure(
        PAGE, 3.0, 1, len(tables), title=title, sharex=True, sharey=True, squeeze=False
    )
    lowest = max(LOWEST, min(floors.values()) - 0.8)
    highest = max(table["accuracy"].max() for table in tables.values())
    labels: list[list[tuple[float, float, str, str]]] = []
    for axes, (training, table) in zip(panels[0], tables.items(), strict=True):
        line = front(table, "energy_nj")
        axes.plot(line["energy_nj"], line["accuracy"], color=INK, lw=0.8, label="front")
        axes.axhline(floors[training], ls=":", color=INK, lw=0.8, label="accuracy asked for")
        labels.append([])
        for name, row in table.iterrows():
            point, named = (row["energy_nj"], row["accuracy"]), name in line.index or name in MAIN
            axes.plot(*point, MARKERS.get(name, ".") if named else ".",
                      color=COLOURS.get(name, QUIET) if named else QUIET)  # fmt: skip
            if named and row["accuracy"] >= lowest:
                labels[-1].append((*point, name, INK))
        within = table[table.index == cheapest(table, 0.0, floors[training])]
        axes.plot(within["energy_nj"], within["accuracy"], "o", ms=9, mfc="none", mec=INK,
                  mew=0.7, ls="none", label="what the rule picks")  # fmt: skip
        axes.set(xscale="log", xlabel="energy per inference (nJ)", title=claims.RECIPES[training],
                 ylim=(lowest, highest + 0.15))  # fmt: skip
        axes.margins(x=0.12)
        _plain_energies(axes)
    panels[0, 0].set(ylabel="accuracy on that chip (%)")
    legend(figure, panels[0, 0], "below")
    for axes, points in zip(panels[0], labels, strict=True):  # in the room that is left to them
        place_labels(axes, points)
    return figure


def _plain_energies(axes: Any) -> None:
    """Round numbers along a logarithmic axis of energies."""
    ticks = log_ticks(*axes.get_xlim())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def certainty(table: pd.DataFrame) -> Figure:
    """How often W4A3 is the cheapest within a tolerance, by recipe and scheme."""
    schemes = list(dict.fromkeys(table["scheme"]))
    shares = table[table["precision"] == "W4A3"].pivot(
        index="tolerance", columns=["scheme", "training"], values="share"
    ).reindex(sorted(set(table["tolerance"]))).fillna(0.0)  # fmt: skip
    judged = 100 * shares.loc[JUDGED, schemes[0]]
    told = ", ".join(f"{judged[name]:.0f} % {claims.RECIPES[name]}" for name in ORDER
                     if name in judged.index)  # fmt: skip
    title = (
        f"W4A3 is the cheapest within {JUDGED:g} points of float in this share of samples: {told}"
    )
    figure, panels = new_figure(PAGE, 2.6, 1, len(schemes), title=title, sharey=True, squeeze=False)
    for axes, scheme in zip(panels[0], schemes, strict=True):
        for training, colour, marker in zip(ORDER, RECIPE_COLOURS, "osD", strict=False):
            if (scheme, training) in shares:
                axes.plot(100 * shares[scheme, training], marker, ls="-", color=colour,
                          label=claims.RECIPES[training])  # fmt: skip
        axes.axvline(JUDGED, color=QUIET, lw=0.8, ls=":")
        axes.set(xlabel="points below floating point allowed", title=claims.SCHEMES[scheme],
                 ylim=(-4, 104))  # fmt: skip
    panels[0, 0].set(ylabel="samples that pick W4A3 (%)")
    panels[0, 0].text(JUDGED, 101, " judged", va="top")
    legend(figure, panels[0, 0])
    return figure


def converters(table: pd.DataFrame, title: str) -> Figure:
    """Energy against accuracy on chip, one mark a precision and one line a kind of converter."""
    figure, axes = new_figure(PAGE, 3.4, title=title)
    shown = table[table["precision"].isin(COLOURS) & (table["accuracy"] >= LOWEST)]
    labels = []
    for kind, colour in zip(dict.fromkeys(table["converter"]), RECIPE_COLOURS, strict=False):
        rows, few = shown[shown["converter"] == kind].sort_values("energy_nj"), kind == FEWEST
        label = "fewest bits, chosen on training images" if few else kind
        axes.plot(rows["energy_nj"], rows["accuracy"], color=colour, lw=0.8, label=label,
                  ls="--" if few else "-")  # fmt: skip
        for row in rows.itertuples():
            point = row.energy_nj, row.accuracy
            axes.plot(*point, MARKERS[row.precision], color=colour,
                      mfc="white" if few else colour)  # fmt: skip
            if row.precision in MAIN:
                labels.append((*point, f"{row.precision}, {row.energy_nj:.0f} nJ", colour))
    axes.set(xscale="log", xlabel="energy per inference (nJ)", ylabel="accuracy on that chip (%)")
    axes.margins(0.12)
    _plain_energies(axes)
    for name in shown["precision"].unique():
        axes.plot([], [], MARKERS[name], color=INK, ls="none", label=name)
    legend(figure, axes)
    place_labels(axes, labels)
    return figure
