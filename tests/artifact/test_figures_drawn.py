"""Every figure as the notebooks draw it from the recorded tables: words, room, colours."""

from __future__ import annotations

import contextlib
import io
from itertools import combinations

import nbformat
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer

from artifact import notebook, story
from artifact.figures import style, vision
from artifact.paths import NOTEBOOKS

NAMES = [origin.name for origin in story.origins()]
SMALLEST = 6.0  # points, on paper


@pytest.fixture(scope="module")
def drawn():
    """Name -> figure; those that are only shown are named by their cell."""
    found = {}
    plt.close("all")  # of other tests

    def keep(_, figure, name, table):
        found[name] = figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebook.Session, "figure", keep)
        patch.setattr(notebook.Session, "claims", lambda *_: None)
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            names = {"display": lambda *_, **__: None}
            for cell in nbformat.read(path, 4).cells:
                if cell.cell_type == "code" and not cell.source.startswith("# NBVAL"):
                    with contextlib.redirect_stdout(io.StringIO()):
                        exec(compile(cell.source, f"{path.stem} {cell.id}", "exec"), names)
                    for number in plt.get_fignums():
                        figure = plt.figure(number)
                        if not any(figure is known for known in found.values()):
                            found[f"{path.stem} {cell.id} {number}"] = figure
    for figure in found.values():
        figure.canvas.draw()
    yield found
    for figure in found.values():
        plt.close(figure)


def words(figure):
    """Every text that is seen, with its box in pixels."""
    texts = [figure._suptitle, figure._supxlabel]
    for body in (figure, *figure.subfigs):
        texts += [text for drawn in body.legends for text in drawn.get_texts()]
    for axes in figure.axes:
        texts += axes.texts
        texts += [text for drawn in [axes.get_legend()] if drawn for text in drawn.get_texts()]
        if axes.axison:
            texts += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
            for axis in (axes.xaxis, axes.yaxis):
                texts += [tick.label1 for tick in axis._update_ticks()]
    seen = [text for text in texts if text and text.get_visible() and text.get_text().strip()]
    return [(text, text.get_window_extent()) for text in seen]


def test_every_figure_of_the_story_is_drawn(drawn):
    assert set(NAMES) <= set(drawn)


def test_every_figure_has_an_answer_for_a_title(drawn):
    titles = {name: figure.get_suptitle() for name, figure in drawn.items()}
    assert {name: title for name, title in titles.items() if len(title.split()) < 4} == {}
    assert not [title for title in titles.values() if " x " in title or "+-" in title]


def misplaced(drawn):
    """What is wrong with the texts of figures: cut off, too small, on top of each other."""
    wrong = []
    for name, figure in drawn.items():
        texts = words(figure)
        width, height = figure.bbox.size
        for text, box in texts:
            if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
                wrong.append(f"{name}: cut off: {text.get_text()}")
            if text.get_fontsize() < SMALLEST:
                wrong.append(f"{name}: {text.get_fontsize()} points: {text.get_text()}")
        for (text, box), (other, others) in combinations(texts, 2):
            across = min(box.x1, others.x1) - max(box.x0, others.x0)
            up = min(box.y1, others.y1) - max(box.y0, others.y0)
            if min(across, up) > 2:
                wrong.append(f"{name}: {text.get_text()!r} covers {other.get_text()!r}")
    return wrong


def test_no_text_is_cut_off_or_covers_another_or_is_too_small(drawn):
    assert misplaced(drawn) == []


def test_axes_have_room(drawn):
    sizes = {name: min(axes.bbox.size.min() / figure.dpi for axes in figure.subfigs[0].axes
                       if axes.get_label() != "<colorbar>")
             for name, figure in drawn.items()}  # fmt: skip
    assert {name: size for name, size in sizes.items() if size < 0.7} == {}  # inches


def series(axes):
    """Look of each series in some axes: its colour, and what else tells it from others."""
    looks = set()
    for line in axes.lines:
        if len(line.get_xdata()) == 0:
            continue
        style = line.get_linestyle() if line.get_linestyle() != "None" else ""
        marker = line.get_marker() if line.get_marker() not in ("None", None, "|", "_") else ""
        if style or marker:
            colour = line.get_color() if style else line.get_markeredgecolor()
            hollow = marker != "" and to_hex(line.get_markerfacecolor()) == "#ffffff"
            looks.add((to_hex(colour), style, marker, hollow))
    for bars in axes.containers:
        if isinstance(bars, BarContainer) and len(bars):
            patch = bars[0]
            colour = patch.get_facecolor() if patch.get_fill() else patch.get_edgecolor()
            looks.add((to_hex(colour), "bar", patch.get_linestyle(), not patch.get_fill()))
    return looks


def alike(axes):
    """Pairs of series that a reader may take for each other, and how the figure is looked at."""
    found = []
    for (first, *form), (second, *other) in combinations(sorted(series(axes)), 2):
        if form == other and first != second:
            found += vision.confused((first, second))
    return found


def test_series_stay_apart_without_green_and_in_grey(drawn):
    """By marker or line, else by colour as it is seen."""
    wrong = {name: found for name, figure in drawn.items() for axes in figure.axes
             if (found := alike(axes))}  # fmt: skip
    assert wrong == {}


def test_a_red_line_and_a_green_one_are_found_unless_their_forms_differ():
    figure, axes = style.new_figure(3, 2)
    axes.plot([0, 1], color="#996600")
    axes.plot([1, 0], color="#668800")
    assert {how for *_, how in alike(axes)} == {"deuteranopia", "grey"}
    axes.lines[0].set_linestyle("--")
    assert alike(axes) == []
    axes.bar([0], [1], color="#996600")
    axes.bar([1], [1], color="#668800")
    assert len(alike(axes)) == 2
    plt.close(figure)


def test_colour_maps_grow_lighter_however_they_are_seen(drawn):
    maps = {shown.get_cmap().name for figure in drawn.values() for axes in figure.axes
            for shown in axes._children if isinstance(shown, ScalarMappable)
            and shown.get_array() is not None}  # fmt: skip
    assert maps
    for name in maps:
        for how in vision.LEAST:
            seen = vision.seen(colormaps[name](np.linspace(0, 1, 64))[:, :3], how)
            lightness = np.diff([vision._lab(colour)[0] for colour in seen])
            assert (lightness > 0).all() or (lightness < 0).all(), (name, how)


def test_labels_are_put_where_nothing_is():
    figure, axes = style.new_figure(3, 2)
    points = [(0.5, 0.5), (0.52, 0.5), (0.5, 0.54)]
    axes.plot(*zip(*points, strict=True), "o", ls="none")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    wanted = [(*point, "a label", style.INK) for point in points]
    style.place_labels(axes, [*wanted, (*points[0], "a label", style.WARNING)])
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 3
    assert {text.get_color() for text in axes.texts} == {style.INK}
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    plt.close(figure)


def test_a_legend_is_never_wider_than_the_figure():
    figure, axes = style.new_figure(2, 2)
    for name in "abcdef":
        axes.plot([0, 1], label=f"a rather long name {name}")
    style.legend(figure, axes)
    figure.canvas.draw()
    assert figure.subfigs[0].legends[0].get_window_extent().x1 <= figure.bbox.x1
    plt.close(figure)
