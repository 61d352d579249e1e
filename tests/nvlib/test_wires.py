"""Voltage lost in the lines: the nodal solver by hand, the fast model by the solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

from nvlib import ArrayMapping, Chip, DeviceModel, Hardware, Precision, RangeVariation, SenseColumn
from nvlib.programming import held_codes
from nvlib.wires import Wires, effective, effective_layer
from tests.conftest import random_layer, written

#: (G_on in S, ohm): loss of quarter-full arrays, and how far the fast model is off, as its share.
SIZES = [(10e-6, 1.0, 0.027, 0.005), (10e-6, 2.5, 0.066, 0.01), (100e-6, 1.0, 0.218, 0.02),
         (100e-6, 2.5, 0.403, 0.04)]  # fmt: skip


def solve(cells_s, volts, wires):
    """Currents (columns,) in A of drivers' volts (rows,): Kirchhoff's law at every crossing."""
    near, far, top, bottom = wires._ends
    word = np.arange(cells_s.size).reshape(cells_s.shape)
    bit = word + cells_s.size
    segment = 1 / wires.ohm_per_segment
    pairs = [
        (word[:, :-1], word[:, 1:], segment), (bit[:-1], bit[1:], segment), (word, bit, cells_s)
    ]  # fmt: skip
    one = np.concatenate([nodes.ravel() for nodes, _, _ in pairs])
    other = np.concatenate([nodes.ravel() for _, nodes, _ in pairs])
    between = np.concatenate([np.broadcast_to(g, n.shape).ravel() for n, _, g in pairs])
    ends = (word[:, 0], near), (word[:, -1], far), (bit[0], top), (bit[-1], bottom)
    ground = np.concatenate([nodes for nodes, _ in ends])
    to_ground = np.concatenate([np.full(len(nodes), g) for nodes, g in ends])
    entries = np.concatenate([between, between, -between, -between, to_ground])
    down = np.concatenate([one, other, one, other, ground])
    across = np.concatenate([one, other, other, one, ground])
    matrix = coo_array((entries, (down, across)), (2 * cells_s.size,) * 2).tocsc()
    injected = np.zeros((2 * cells_s.size, *volts.shape[1:]))
    injected[word[:, 0]] += near * volts
    injected[word[:, -1]] += far * volts
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "options": {"SymmetricMode": True}}
    return bottom * splu(matrix, **symmetric).solve(injected)[bit[-1]]


def test_one_row_is_a_ladder_whose_voltages_are_hyperbolic_cosines():
    ohm, cell, nodes = 3.0, 1e-3, 40
    shunt = 1 / (1 / cell + ohm)  # a cell and the last segment of its bit line
    theta = np.arccosh(1 + shunt * ohm / 2)
    place = nodes + 0.5 - np.arange(1, nodes + 1)
    volts = 0.2 * np.cosh(place * theta) / np.cosh((nodes + 0.5) * theta)
    found = solve(np.full((1, nodes), cell), np.array([0.2]), Wires(ohm))
    np.testing.assert_allclose(found, shunt * volts, rtol=1e-10)
    # A column is the same ladder, seen from its sense amplifier.
    column = effective(np.full((nodes, 1), cell), Wires(ohm))[::-1, 0]
    exact = solve(np.full((nodes, 1), cell), np.eye(nodes), Wires(ohm))[0, ::-1]
    np.testing.assert_allclose(exact * 0.2, shunt * volts, rtol=1e-10)
    np.testing.assert_allclose(column, exact, rtol=0.02)


def test_two_by_two_cells_obey_kirchhoff_s_law_written_out():
    (a, b), (c, d) = cells = np.array([[0.1, 0.2], [0.3, 0.4]])
    s, drive, sense = 1 / 2.0, 1 / (2.0 + 5.0), 1 / (2.0 + 7.0)  # segment, driver, amplifier
    law = np.array([  # w00 w01 w10 w11 u00 u01 u10 u11
        [drive + s + a, -s, 0, 0, -a, 0, 0, 0], [-s, s + b, 0, 0, 0, -b, 0, 0],
        [0, 0, drive + s + c, -s, 0, 0, -c, 0], [0, 0, -s, s + d, 0, 0, 0, -d],
        [-a, 0, 0, 0, a + s, 0, -s, 0], [0, -b, 0, 0, 0, b + s, 0, -s],
        [0, 0, -c, 0, -s, 0, c + s + sense, 0], [0, 0, 0, -d, 0, -s, 0, d + s + sense],
    ])  # fmt: skip
    volts = np.array([1.0, 3.0])
    nodes = np.linalg.solve(law, [drive * 1.0, 0, drive * 3.0, 0, 0, 0, 0, 0])
    found = solve(cells, volts, Wires(2.0, driver_ohm=5.0, sense_ohm=7.0))
    np.testing.assert_allclose(found, sense * nodes[6:], rtol=1e-12)
    both = law.copy()
    both[1, 1] += drive
    both[3, 3] += drive
    nodes = np.linalg.solve(both, [drive, drive, drive * 3, drive * 3, 0, 0, 0, 0])
    found = solve(cells, volts, Wires(2.0, 5.0, 7.0, two_sided=True))
    np.testing.assert_allclose(found, sense * nodes[6:], rtol=1e-12)


@pytest.mark.parametrize(("on_s", "ohm", "loss", "error"), SIZES)
def test_the_fast_model_is_right_to_a_few_hundredths_of_what_is_lost(on_s, ohm, loss, error):
    generator, wires = np.random.default_rng(0), Wires(ohm)
    cells = np.where(generator.random((128, 128)) < 0.25, on_s, on_s / 1000)
    inputs = (generator.random((128, 40)) < 0.25).astype(float)
    real, ideal, fast = solve(cells, inputs, wires), cells.T @ inputs, effective(cells, wires)
    assert 1 - real.sum() / ideal.sum() == pytest.approx(loss, abs=0.001)
    assert np.std(fast.T @ inputs - real) < error * np.sqrt(((ideal - real) ** 2).mean())
    # With every row driven, columns are right by construction.
    np.testing.assert_allclose(fast.sum(axis=0), solve(cells, np.ones(128), wires), rtol=1e-4)


def test_ends_matter_as_they_should():
    generator = np.random.default_rng(1)
    cells = 50e-6 * generator.random((60, 40))
    plain = Wires(2.0)
    for wires in (replace(plain, driver_ohm=500.0), replace(plain, sense_ohm=500.0)):
        assert effective(cells, wires).sum() < 0.9 * effective(cells, plain).sum()
    both = replace(plain, two_sided=True)
    assert effective(cells, plain).sum() < effective(cells, both).sum() < cells.sum()
    first, last = effective(cells, plain)[:, [0, -1]].T / cells[:, [0, -1]].T
    assert first.mean() > last.mean()  # far from the driver


def test_empty_rows_and_columns_stay_empty():
    cells = np.zeros((5, 4))
    cells[2, 1] = 1e-4
    read = effective(cells, Wires(1.0))
    assert read[2, 1] == pytest.approx(solve(cells, np.eye(5), Wires(1.0))[1, 2], rel=1e-6)
    assert np.count_nonzero(read) == 1


def test_a_layer_is_cut_into_its_arrays():
    cells = 1e-4 * np.random.default_rng(2).random((30, 25))
    beside = np.full((30, 1), 1e-4)
    tiles = ArrayMapping(rows=16).tiles(30)
    found, extra = effective_layer(cells, beside, tiles, 10, Wires(5.0))
    last = effective(np.hstack([beside[16:], cells[16:, 20:]]), Wires(5.0))
    np.testing.assert_array_equal(found[16:, 20:], last[:, 1:])
    first = effective(np.hstack([beside[:16], cells[:16, :10]]), Wires(5.0))
    np.testing.assert_array_equal(extra[:16], first[:, :1])


@pytest.mark.parametrize("scheme", ["differential", "offset", "twos-complement"])
def test_a_chip_reads_the_currents_that_the_solver_gives(scheme):
    layer = random_layer(np.random.default_rng(1), Precision(4, 3), 40, 6)
    mapping = ArrayMapping(rows=64, columns=16, cell_bits=2, scheme=scheme)
    devices = DeviceModel(20.0, (RangeVariation(0.05),), on_conductance_s=40e-6)
    plain = written(layer, Hardware(mapping, devices, sense=SenseColumn()))
    wired = written(layer, Hardware(mapping, devices, sense=SenseColumn(), wires=Wires(10.0)))
    removed, step_s = plain.pedestal, 40e-6 / (3 + plain.pedestal)

    def siemens(arrays, columns):
        return (columns / 2.0**arrays.grid_bits + removed) * step_s

    def physical(arrays):
        across = arrays.conductance.transpose(0, 2, 1).reshape(40, -1)
        first = across[:, (arrays.column_tile.T == 0).ravel()]
        beside = [column for column in (arrays.reference, arrays.sense) if column is not None]
        return siemens(arrays, np.column_stack([*beside, first]))

    inputs = np.random.default_rng(2).integers(0, 2, (40, 20)).astype(float)
    real = solve(physical(plain), inputs, Wires(10.0))
    lost = physical(plain).T @ inputs - real
    assert lost.max() > 2 * step_s
    assert np.abs(physical(wired).T @ inputs - real).max() < 0.05 * lost.max()


def test_training_meets_the_wires_too():
    codes, precision = np.full((100, 30), 7), Precision(4, 3)
    hardware = Hardware(wires=Wires(5.0))
    held = held_codes(codes, precision, hardware, np.random.default_rng(0))
    assert 0.7 < (held / codes).mean() < 0.95
    arrays = written(replace(random_layer(np.random.default_rng(0), precision, 100, 30),
                             codes=codes.T.astype(np.int8)), hardware)  # fmt: skip
    cells = np.einsum("kbm,b->km", arrays.conductance, arrays.mapped.coefficients)
    np.testing.assert_allclose(cells / 2.0**arrays.grid_bits, held, atol=1e-3)


def test_chips_with_wires_are_stored_and_made_again(network, tmp_path):
    chip = Chip(network("W4A3"), Hardware(wires=Wires(1.0, two_sided=True)), seed=2)
    assert chip.digest() != Chip(network("W4A3"), seed=2).digest()
    chip.save(tmp_path / "chip.safetensors")
    again = Chip.load(tmp_path / "chip.safetensors")
    assert again.hardware == chip.hardware


def test_what_no_line_has_is_refused():
    for name, value in (("ohm_per_segment", -1.0), ("driver_ohm", -0.1), ("sense_ohm", np.nan)):
        with pytest.raises(ValueError, match=f"{name}: expected a finite number from"):
            Wires(**{name: value})
    with pytest.raises(ValueError, match="two_sided: expected True or False"):
        Wires(two_sided=1)
    with pytest.raises(ValueError, match="wires: expected an instance of Wires, received 1.0; wri"):
        Hardware(wires=1.0)
    with pytest.raises(ValueError, match="on_conductance_s: expected a finite number from 1e-09"):
        DeviceModel(on_conductance_s=10.0)
    with pytest.raises(ValueError, match="wires: expected lines that leave the cells some voltage"):
        effective(np.full((128, 128), 0.01), Wires(100.0))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
def test_an_array_of_a_single_cell_is_solved_too(shape):
    cells, wires = np.full(shape, 1e-5), Wires(100.0)
    currents = solve(cells, np.ones(shape[0]), wires)
    np.testing.assert_allclose(effective(cells, wires).sum(axis=0), currents, rtol=1e-4)
    layer = random_layer(np.random.default_rng(0), Precision(2, 2), 8, 2)
    assert written(layer, Hardware(ArrayMapping(rows=7, columns=1), wires=wires)).noisy is False
