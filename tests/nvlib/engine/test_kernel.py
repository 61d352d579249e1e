"""The kernel and the reference against the loop oracle, code for code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvlib import (
    Adc,
    ArrayMapping,
    Dac,
    DeviceModel,
    Hardware,
    LognormalVariation,
    Nonlinearity,
    Precision,
    ProportionalReadNoise,
    ProportionalVariation,
    RangeVariation,
    ReadNoise,
    RetentionDrift,
    SenseColumn,
    StuckCells,
    Wires,
    WriteVerify,
)
from nvlib.engine import layout
from nvlib.engine.kernel import CompiledReader
from nvlib.engine.reference import ReferenceReader, read_layer
from nvlib.mapping import SCHEMES
from nvlib.network import LayerSpec, QuantizedLayer
from tests import oracle
from tests.conftest import random_layer, written

VARIED = DeviceModel(effects=(RangeVariation(0.08),))
CURVE = Nonlinearity(inl_lsb=0.8, shape="random-walk", offset_lsb=0.3, gain_error=0.02)
#: Everything a chip can be, one or two things at a time.
CHIPS = {
    "ideal": Hardware(),
    "variation, 5-bit ADC": Hardware(devices=VARIED, adc=Adc(5)),
    "clipped full scale": Hardware(devices=VARIED, adc=Adc(4, full_scale=16.0)),
    "LSB of a fraction of a unit": Hardware(devices=VARIED, adc=Adc(9, full_scale=511 / 16)),
    "every device effect": Hardware(
        devices=DeviceModel(
            30.0,
            (ProportionalVariation(0.1), LognormalVariation(0.1), RetentionDrift(1e4),
             StuckCells(0.05, 0.05)),
        ), adc=Adc(6),
    ),
    "nonlinear ADC": Hardware(devices=VARIED, adc=Adc(5, nonlinearity=CURVE)),
    "DNL": Hardware(adc=Adc(5, nonlinearity=Nonlinearity(dnl_lsb=0.7))),
    "nonlinear DAC": Hardware(
        ArrayMapping(dac_bits=2), VARIED, Adc(7), Dac(Nonlinearity(inl_lsb=0.3, shape="s-shape"))
    ),
    "read noise": Hardware(devices=DeviceModel(read_noise=ReadNoise(0.1)), adc=Adc(6)),
    "read noise, drivers of two bits": Hardware(
        ArrayMapping(dac_bits=2), DeviceModel(read_noise=ReadNoise(0.1)), Adc(6)
    ),
    "noisy curve": Hardware(
        devices=DeviceModel(read_noise=ReadNoise(0.1)),
        adc=Adc(5, nonlinearity=CURVE, noise_lsb=0.4),
    ),
    "sense column": Hardware(devices=VARIED, sense=SenseColumn(guard_rows=1)),
    "noisy sense column": Hardware(
        devices=DeviceModel(read_noise=ReadNoise(0.3)), adc=Adc(7, noise_lsb=0.5),
        sense=SenseColumn(),
    ),
    "sums that float32 cannot hold": Hardware(
        devices=DeviceModel(effects=(LognormalVariation(0.5),)), adc=Adc(16)
    ),
    "drivers with an error of gain": Hardware(
        devices=DeviceModel(effects=(RangeVariation(0.08),), read_noise=ReadNoise(0.1)),
        adc=Adc(6), dac=Dac(Nonlinearity(gain_error=0.07)),
    ),
    "slow noise, compensated": Hardware(
        devices=DeviceModel(
            20.0, (WriteVerify(0.1, 0.05), RetentionDrift(1e5, 0.05, 0.02)),
            slow_noise=RangeVariation(0.03),
        ), adc=Adc(6), compensated=True,
    ),
    "wires": Hardware(devices=VARIED, wires=Wires(50.0), sense=SenseColumn()),
    "read noise of each level, sensed": Hardware(
        devices=DeviceModel(read_noise=ReadNoise((0.0, 0.1, 0.02, 0.3))),
        adc=Adc(6, noise_lsb=0.2), sense=SenseColumn(),
    ),
    "read noise in proportion, drivers that err": Hardware(
        ArrayMapping(dac_bits=2),
        DeviceModel(10.0, (RangeVariation(0.08),), ProportionalReadNoise(0.2)),
        Adc(6, nonlinearity=CURVE), Dac(Nonlinearity(gain_error=0.07)),
    ),
}  # fmt: skip


def products(hardware, layer, codes, keys, seed=3):
    """(kernel, reference, arrays) for one random layer; products (N, positions, outputs)."""
    arrays = written(layer, hardware, seed)
    fast = CompiledReader(arrays)(codes, keys)
    np.testing.assert_array_equal(fast.shape, ReferenceReader(arrays)(codes, keys).shape)
    fast = fast.reshape(len(codes), layer.spec.outputs, -1).transpose(0, 2, 1)
    return fast, read_layer(arrays, codes, keys), arrays


@st.composite
def layers(draw):
    """A random layer, mapping and input: precisions, shapes, remainders, cell and DAC bits."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    precision = Precision(draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    mapping = ArrayMapping(
        rows=draw(st.integers(1, 40)),
        columns=draw(st.sampled_from([8, 20, 128])),
        cell_bits=draw(st.integers(1, 8)),
        dac_bits=draw(st.integers(1, precision.activation_bits)),
        scheme=draw(st.sampled_from(SCHEMES)),
    )
    inputs, outputs = draw(st.integers(1, 60)), draw(st.integers(1, 19))
    shape, kernel, window = (2, inputs), (), {}
    if draw(st.booleans()):
        inputs = draw(st.integers(1, 3))
        shape = (2, inputs, 8, 7)
        kernel = (draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from([1, 2, 3, 5, 7])))
        dilation = tuple(draw(st.integers(1, 2)) if side <= 3 else 1 for side in kernel)
        window = {
            "padding": (draw(st.integers(0, 2)), draw(st.integers(0, 2))),
            "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))), "dilation": dilation,
        }  # fmt: skip
    layer = random_layer(generator, precision, inputs, outputs, kernel, **window)
    share = draw(st.sampled_from([0.1, 0.5, 1.0]))
    codes = generator.integers(0, precision.activation_max + 1, shape)
    codes = (codes * (generator.random(shape) < share)).astype(np.uint8)
    return mapping, layer, codes


@settings(max_examples=80, deadline=None)
@given(layers())
def test_ideal_arrays_give_the_integer_product(case):
    mapping, layer, codes = case
    keys = np.zeros(len(codes), np.uint64)
    kernel, reference, _ = products(Hardware(mapping), layer, codes, keys)
    side = kernel.shape[1]
    breadth = layer.spec.output_sides(8, 7)[1] if layer.spec.kernel else 1
    for n in range(len(codes)):
        for position in {0, side // 2, side - 1}:
            inputs = oracle.patch(codes[n], layer.spec, *divmod(position, breadth))
            exact = oracle.integer_product(layer.matrix, inputs)
            assert kernel[n, position].tolist() == exact
            assert reference[n, position].tolist() == exact


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize(("bits", "kernel"), [((4, 3), 3), ((8, 8), 0), ((1, 2), 0)])
def test_imperfect_arrays_equal_the_oracle(name, scheme, bits, kernel):
    hardware = CHIPS[name]
    precision = Precision(*bits)
    dac_bits = min(hardware.mapping.dac_bits, precision.activation_bits)
    mapping = ArrayMapping(rows=23, columns=24, cell_bits=2, dac_bits=dac_bits, scheme=scheme)
    hardware = replace(hardware, mapping=mapping)
    generator = np.random.default_rng(11)
    inputs = 3 if kernel else 40
    window = {"kernel": (kernel, kernel), "padding": (1, 1), "sides": (4, 4)} if kernel else {}
    layer = random_layer(generator, precision, inputs, 9, **window)
    shape = (2, inputs, 4, 4) if kernel else (2, inputs)
    codes = generator.integers(0, precision.activation_max + 1, shape).astype(np.uint8)
    codes[generator.random(shape) < 0.5] = 0
    keys = generator.integers(0, 2**63, 2).astype(np.uint64)
    fast, slow, arrays = products(hardware, layer, codes, keys)
    np.testing.assert_array_equal(fast, slow)
    for n in range(2):
        for position in (0, fast.shape[1] - 1):
            patch = oracle.patch(codes[n], layer.spec, *divmod(position, 4))
            expected = oracle.read_position(arrays, patch, int(keys[n]), position)
            assert fast[n, position].tolist() == expected


@pytest.mark.parametrize("scheme", ["differential", "offset"])
@pytest.mark.parametrize(
    "name",
    ["variation, 5-bit ADC", "nonlinear ADC", "noisy sense column",
     "read noise of each level, sensed", "sums that float32 cannot hold"],
)  # fmt: skip
@pytest.mark.parametrize("kernel", [(), (3, 3)], ids=["linear", "convolution"])
def test_a_large_layer_reads_row_by_row_what_tables_of_patterns_give(
    name, scheme, kernel, monkeypatch
):
    mapping = ArrayMapping(rows=64, columns=48, cell_bits=2, scheme=scheme)
    hardware, generator = replace(CHIPS[name], mapping=mapping), np.random.default_rng(4)
    window = {"padding": (1, 1), "sides": (4, 4)} if kernel else {}
    inputs = 9 if kernel else 90
    layer = random_layer(generator, Precision(4, 3), inputs, 33, kernel, **window)
    codes = generator.integers(0, 8, (3, inputs, 4, 4) if kernel else (3, inputs)).astype(np.uint8)
    codes[generator.random(codes.shape) < 0.5] = 0
    keys = generator.integers(0, 2**63, 3).astype(np.uint64)
    arrays = written(layer, hardware, 3)
    tabled = CompiledReader(arrays)
    monkeypatch.setattr(layout, "LARGEST_TABLES", 0)
    monkeypatch.setattr(layout, "ROW_COLUMNS", 40)  # several blocks
    by_rows = CompiledReader(arrays)
    table = by_rows.tables.layout.tables
    assert table.dtype == arrays.conductance.dtype
    assert (tabled.tables.layout.group, by_rows.tables.layout.group) == (3 if kernel else 4, 1)
    assert len(table) > 1
    assert table.nbytes < tabled.tables.layout.tables.nbytes / 2
    np.testing.assert_array_equal(by_rows(codes, keys), tabled(codes, keys))


WIDTHS = {"differential": (1, 2, 4), "twos-complement": (1, 1, 2, 4), "offset": (1, 1, 2, 4),
          "signed-digit": (1, 1, 2, 4)}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("devices", "adc"),
    [
        (DeviceModel(), Adc()),
        (VARIED, Adc(6)),
        (
            DeviceModel(20.0, (RangeVariation(0.05),), ProportionalReadNoise(0.1)),
            Adc(5, noise_lsb=0.3),
        ),
        (VARIED, Adc(7, nonlinearity=CURVE)),
    ],
)  # fmt: skip
def test_slices_of_their_own_widths_equal_the_oracle(scheme, devices, adc):
    mapping = ArrayMapping(rows=40, columns=64, cell_bits=WIDTHS[scheme], scheme=scheme)
    generator = np.random.default_rng(5)
    layer = random_layer(generator, Precision(8, 4), 60, 7)
    codes = generator.integers(0, 16, (2, 60)).astype(np.uint8)
    keys = generator.integers(0, 2**63, 2).astype(np.uint64)
    wires = Wires(20.0) if adc.bits == 6 else None
    fast, slow, arrays = products(Hardware(mapping, devices, adc, wires=wires), layer, codes, keys)
    np.testing.assert_array_equal(fast, slow)
    exact = [oracle.integer_product(layer.matrix, inputs) for inputs in codes]
    for n in range(2):
        assert fast[n, 0].tolist() == oracle.read_position(arrays, codes[n], int(keys[n]))
    if adc.bits is None:
        assert fast[:, 0].tolist() == exact
    if adc.bits == 6:  # near it, and only if each slice has the LSB that its cells fill
        assert set(arrays.scales) == {1 * 15, 2 * 5, 16 * 1}
        off = np.abs(fast[:, 0] * arrays.lsb - exact).max() / np.abs(exact).max()
        assert 0 < off < 0.4, off


def test_a_remainder_tile_is_read():
    layer = random_layer(np.random.default_rng(0), Precision(4, 3), 150, 5)
    codes = np.zeros((1, 150), np.uint8)
    codes[0, 149] = 7  # the last row of the 22 beyond the first 128
    kernel, _, _ = products(Hardware(), layer, codes, np.zeros(1, np.uint64))
    assert kernel[0, 0].tolist() == (7 * layer.matrix[149].astype(int)).tolist()


def test_an_idle_array_with_converter_offset_still_gives_codes():
    layer = random_layer(np.random.default_rng(0), Precision(3, 2), 10, 4)
    hardware = Hardware(adc=Adc(6, nonlinearity=Nonlinearity(offset_lsb=-3.0, inl_lsb=0.5)))
    codes = np.zeros((1, 10), np.uint8)
    fast, slow, arrays = products(hardware, layer, codes, np.zeros(1, np.uint64))
    np.testing.assert_array_equal(fast, slow)
    assert fast[0, 0].tolist() == oracle.read_position(arrays, [0] * 10)


def test_limited_converters_do_lose_something():
    layer = random_layer(np.random.default_rng(0), Precision(4, 4), 100, 8)
    codes = np.full((1, 100), 15, np.uint8)
    exact, _, _ = products(Hardware(), layer, codes, np.zeros(1, np.uint64))
    coarse, _, _ = products(Hardware(adc=Adc(3)), layer, codes, np.zeros(1, np.uint64))
    assert (exact != coarse).any()


def test_codes_of_another_shape_or_kind_are_refused():
    layer = random_layer(np.random.default_rng(0), Precision(4, 3), 2, 3, (3, 3), sides=(5, 6))
    reader, keys = CompiledReader(written(layer, Hardware())), np.zeros(1, np.uint64)
    for bad in (np.zeros((1, 2, 6, 5), np.uint8), np.zeros((1, 2, 5, 6))):
        with pytest.raises(ValueError, match=r"layer: expected uint8 codes of shape \(N, 2, 5, 6"):
            reader(bad, keys)
    with pytest.raises(ValueError, match="make a key for each row"):
        reader(np.zeros((2, 2, 5, 6), np.uint8), keys)


@pytest.mark.parametrize("grid", [(32, 4, 1e9, ()), (8, 1, 1.5, (RetentionDrift(1e8, 0.1),))])
def test_reference_columns_beyond_int16_are_held(grid):
    """Of cells that all hold little beside a reference column that holds much, or less than 0."""
    rows, bits, ratio, effects = grid
    devices = DeviceModel(ratio if effects else float("inf"), effects)
    hardware = Hardware(ArrayMapping(rows=rows, columns=64, scheme="offset"), devices)
    codes = np.full((2, 3), -Precision(4, bits).weight_max, np.int8)
    spec = LayerSpec("layer", 3, 2)
    layer = QuantizedLayer(spec, Precision(4, bits), codes, 1.0, 1.0, np.zeros(2), (3,))
    inputs = np.ones((2, 3), np.uint8)
    fast, slow, _ = products(hardware, layer, inputs, np.zeros(2, np.uint64))
    np.testing.assert_array_equal(fast, slow)
    if not effects:
        assert (fast == -21).all()
