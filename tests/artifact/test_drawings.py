"""Drawings: the numbers in them are the simulator's."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from artifact import drawings
from artifact.drawings import Column
from nvlib import Chip, Hardware, Precision, report
from nvlib.arrays import write_layer
from nvlib.engine.reference import read_layer
from nvlib.network import LayerSpec, QuantizedLayer


def read(column):
    """The product that the simulator's own arrays give."""
    spec = LayerSpec("fc", len(column.weights), 1)
    codes = np.array(column.weights, np.int8)[None]
    layer = QuantizedLayer(
        spec, column.precision, codes, 1.0, 1.0, np.zeros(1), (len(column.weights),)
    )
    arrays = write_layer(layer, 0, Hardware(column.mapping), np.random.SeedSequence(0))
    inputs = np.array([column.inputs], np.uint8)
    return int(read_layer(arrays, inputs, np.zeros(1, np.uint64)).item())


def test_the_example_is_what_the_simulator_reads():
    assert Column().product == read(Column()) == 3


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), min_size=2, max_size=6)
    .filter(lambda pairs: any(q and x for q, x in pairs))
)  # fmt: skip
def test_any_column_gives_the_integer_product(pairs):
    weights, inputs = zip(*pairs)
    column = Column(weights, inputs, Precision(3, 2))
    assert column.product == int(np.dot(weights, inputs)) == read(column)


def test_the_picture_shows_every_level_current_and_code():
    column, picture = Column(), drawings.array().data
    assert [int(g) for g in re.findall(r"g = (\d)", picture)] == 2 * column.levels.ravel().tolist()
    currents = [float(i) for i in re.findall(r"I = ([\d.]+)", picture)]
    assert currents == pytest.approx(column.currents_ua.ravel(), abs=0.005)
    assert [int(c) for c in re.findall(r"code (\d)", picture)] == column.codes.ravel().tolist()


@pytest.mark.parametrize("draw", [drawings.sar_tree, drawings.conversion])
def test_fewer_decisions_find_the_same_code(draw):
    figure = draw(8, 12, 12)
    assert "4" in figure.get_suptitle()
    assert "instead of 8" in figure.get_suptitle()
    plt.close(figure)
    with pytest.raises(AssertionError):  # a bound below the code would lose it
        drawings.conversion(8, 12, 7)


def test_the_titles_say_what_is_drawn():
    assert "INL of 0.50" in drawings.transfer_curve(4, 0.5).get_suptitle()
    assert "7 values" in drawings.quantizer("W3A2").get_suptitle()
    assert "75 %" in drawings.bit_planes(np.array([[0, 5], [2, 0]]), 3).get_suptitle()
    plt.close("all")


def test_squares_are_the_arrays_that_the_report_counts(network, digits):
    chip = Chip(network("W4A3"), Hardware())
    found = report(chip, digits.test_images[:2]).layers.iloc[:-1]  # the last row is their sum
    figure = drawings.layout(chip)
    squares = [patch for axes in figure.subfigs[0].axes for patch in axes.patches]
    filled, arrays = squares[::2], squares[1::2]
    assert len(arrays) == found["arrays"].sum()
    covered = sum(patch.get_width() * patch.get_height() for patch in filled)
    held = (found["arrays"] * found["utilization"]).sum()
    assert covered == pytest.approx(held)
    plt.close(figure)
