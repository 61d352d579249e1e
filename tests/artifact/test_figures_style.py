"""Figures: marks hide nothing, colours can be told apart, words and notes have a place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib import pyplot as plt

from artifact.figures import style, vision


@pytest.fixture
def pixels():
    """Drawn pixels of a figure, RGB from 0 to 255; the figure is closed."""

    def draw(figure):
        figure.canvas.draw()
        drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
        plt.close(figure)
        return drawn

    return draw


@pytest.mark.parametrize("name", style.PALETTES)
def test_colours_of_a_palette_are_told_apart_without_green_and_in_grey(name):
    assert vision.confused(style.PALETTES[name]) == []


def test_a_red_and_a_green_are_confused():
    assert vision.confused(("#996600", "#668800")) == [("#996600", "#668800", "deuteranopia"),
                                                       ("#996600", "#668800", "grey")]  # fmt: skip


def test_a_star_leaves_our_mark_in_sight(pixels):
    figure, axes = style.new_figure(2, 2)
    axes.plot(1, 1, "o", color="#ff0000")
    style.paper_star(axes, 1, 1)
    assert (np.abs(pixels(figure) - (255, 0, 0)).max(axis=-1) == 0).sum() > 20


def test_title_legend_and_note_lie_apart():
    figure, axes = style.new_figure(3, 2, title="An answer")
    axes.plot([0, 1], [0, 1], label="a curve")
    style.legend(figure, axes)
    style.note(figure, "not comparable")
    figure.canvas.draw()
    body = figure.subfigs[0]
    boxes = [part.get_window_extent() for part in
             (figure._suptitle, body.legends[0], axes, figure._supxlabel)]  # fmt: skip
    for above, below in pairwise(boxes):
        assert above.y0 >= below.y1
    plt.close(figure)


def test_an_interval_that_leaves_the_axis_ends_in_an_arrow():
    figure, axes = style.new_figure(3, 2)
    style.interval(axes, 0, 1.0, 0.5, np.inf, (0.1, 10.0), "#000000")
    line, lower, upper, value = axes.lines
    assert list(line.get_xdata()) == [0.5, 10.0]
    assert (lower.get_marker(), upper.get_marker(), value.get_marker()) == ("|", ">", "o")
    plt.close(figure)
