"""A generated transfer function, measured, has the INL and DNL that were asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvlib.converters import (
    SHAPES,
    Adc,
    Dac,
    Nonlinearity,
    adc_transitions,
    dac_levels,
    measure_adc,
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SHAPES), st.integers(3, 10), st.floats(0.05, 0.9), st.integers(0, 1000),
    st.floats(-2, 2), st.floats(-0.2, 0.2),
)  # fmt: skip
def test_measured_inl_is_the_asked_one(shape, bits, inl, seed, offset, gain):
    asked = Nonlinearity(inl, shape=shape, offset_lsb=offset, gain_error=gain, monotone=False)
    dac = measure_adc(dac_levels(bits, asked, np.random.default_rng(seed)) + 0.5)
    assert dac.inl_lsb == pytest.approx(inl, abs=0.01)
    assert dac.gain_error == pytest.approx(gain, abs=1e-9)
    curve = adc_transitions(bits, asked, np.random.default_rng(seed))
    assert (np.diff(curve) >= 0).all()
    if shape in ("bow", "s-shape"):  # a gain above 1 narrows the steps at the input
        assert measure_adc(curve).gain_error == pytest.approx(1 / (1 + gain) - 1, abs=0.01)
    if shape in ("bow", "s-shape") and inl < 0.3:  # others may have missing codes
        assert measure_adc(curve).inl_lsb == pytest.approx(inl, abs=0.01)


@pytest.mark.parametrize("dnl", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("inl", [0.0, 1.5])
def test_measured_dnl_is_the_asked_one(inl, dnl):
    asked = Nonlinearity(inl_lsb=inl, dnl_lsb=dnl)
    measured = measure_adc(adc_transitions(8, asked, np.random.default_rng(1)))
    assert measured.dnl_lsb == pytest.approx(dnl, abs=0.01)
    if inl:
        assert measured.inl_lsb == pytest.approx(inl, abs=0.01)
    assert measured.dnl.min() >= -1


def test_measurement_by_hand():
    measured = measure_adc(np.array([0.5, 1.5, 3.0, 3.5]))
    np.testing.assert_allclose(measured.dnl, [0, 0.5, -0.5])
    np.testing.assert_allclose(measured.inl, [0, 0, 0.5, 0])
    shifted = measure_adc(np.array([0.75, 2.75, 4.75]))
    assert (shifted.offset_lsb, shifted.gain_error, shifted.inl_lsb) == (0.25, 1.0, 0.0)


def test_lsb_never_resolves_less_than_one_cell():
    assert Adc(10).lsb(128, 0) == 1.0
    assert Adc(4).lsb(150, 0) == 10.0
    assert Adc(4, full_scale=(30.0, 45.0)).lsb(150, 1) == 3.0
    assert Adc().resolution(128) == 8
    assert Adc().resolution(127) == 7


def test_one_full_scale_serves_any_number_of_layers():
    Adc(4, full_scale=30.0).check_arrays(7)
    Adc(4, full_scale=(30.0, 45.0)).check_arrays(2)
    Adc(4).check_arrays(3)


def test_numbers_of_numpy_make_the_same_converters():
    own = Adc(2, (4.0, 5.0), Nonlinearity(), 0.5), Dac(outputs=(0.0, 1.0))
    scales, zero = np.array([4.0, 5.0]), np.float64(0)
    other = (
        Adc(np.int64(2), scales, Nonlinearity(zero, zero), np.float32(0.5)),
        Dac(outputs=np.arange(2.0)),
    )
    assert own == other
    assert hash(own) == hash(other)
    assert repr(own) == repr(other)


def test_a_driver_at_rest_drives_nothing():
    levels = Dac(Nonlinearity(offset_lsb=0.4)).levels(2, np.random.default_rng(0))
    assert levels.tolist() == [0.0, 1.4, 2.4, 3.4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adc(0), "ADC bits: expected an integer from 1 to 16, received 0"),
        (lambda: Adc(4, full_scale=0.0), "full_scale: expected a finite number"),
        (lambda: Nonlinearity(dnl_lsb=1.2), "dnl_lsb: expected at most 1 where monotone"),
        (lambda: Nonlinearity(inl_lsb=-1.0), "inl_lsb: expected a finite number from 0"),
        (lambda: Nonlinearity(shape="zigzag"), "shape: expected one of"),
        (lambda: Adc(2, transitions=(0.5, 0.4, 1.0)), r"transitions\[1\]: expected 0.5 or above"),
        (lambda: Adc(2, transitions=(0.5, 1.5)), "transitions: expected 3 values .* received 2"),
        (lambda: Adc(transitions=(0.5, 1.5)), "ADC bits: expected those of the transitions"),
        (lambda: Adc(2, transitions=(0.5, 1.5, 1e12)), r"transitions\[2\]: .* from 0.75 to 4.25"),
        (lambda: Adc(2, transitions=(0.5, 1.5, math.nan)), r"transitions\[2\]: expected a finite"),
        (
            lambda: Adc(1, nonlinearity=Nonlinearity(1.0), transitions=(0.5,)),
            "nonlinearity: expected none beside transitions",
        ),
        (lambda: Dac(outputs=(0, 1, 2, 3, 40, 5, 6, 7)), r"outputs\[4\]: expected .* from 1 to 7"),
        (lambda: Dac(outputs=(0, 1, 2, 1e12)), r"outputs\[3\]: expected a finite number"),
        (lambda: Dac(outputs=(0, 1, math.nan, 3)), r"outputs\[2\]: expected a finite number"),
        (lambda: Dac(outputs=(0, 1, 2)), "outputs: expected 4 values in LSB, received 3"),
        (lambda: Dac(outputs=()), "outputs: expected 2 values in LSB, received 0"),
        (lambda: Dac(Nonlinearity(1.0), (0, 1)), "nonlinearity: expected none beside outputs"),
        (lambda: Dac(0.5), "nonlinearity: expected an instance of Nonlinearity, received 0.5"),
        (lambda: Adc(8, nonlinearity=0.5), r"nonlinearity: .* write Nonlinearity\(inl_lsb=0.5\)"),
        (lambda: Adc(True), "ADC bits: expected an integer from 1 to 16, received True"),
        (lambda: Adc(4, full_scale="x"), "full_scale: expected a finite number .* received 'x'"),
        (lambda: Adc(4, full_scale=(30.0, None)), r"full_scale\[1\]: expected a finite number"),
        (lambda: Adc(4, full_scale=(30.0,)).check_arrays(2), "full_scale: .* each of 2 arrays"),
        (lambda: Adc(4, full_scale=(30.0,) * 3).check_arrays(2), "full_scale: .* each of 2 arrays"),
        (lambda: Nonlinearity(offset_lsb=1e15), "offset_lsb: expected a finite number from"),
        (lambda: Nonlinearity(gain_error=9), "gain_error: expected a finite number from -0.9 to 1"),
        (
            lambda: adc_transitions(3, Nonlinearity(offset_lsb=99), np.random.default_rng(0)),
            "offset_lsb: expected a finite number from -16 to 16",
        ),
        (lambda: dac_levels(1, Nonlinearity(5.0), np.random.default_rng(0)), "inl_lsb: .* to 4,"),
        (lambda: measure_adc(np.array([0.5])), "curve: expected two values or more"),
        (lambda: measure_adc(np.zeros(4)), "curve: expected two values or more, the last above"),
        (lambda: measure_adc(np.array([0, math.nan, 2])), r"curve\[1\]: expected a finite number"),
        (lambda: Adc(8, noise_lsb=float("nan")), "noise_lsb: expected a finite number"),
    ],
)
def test_impossible_converters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_carries_of_a_capacitor_array_are_where_bits_change():
    bent = Nonlinearity(inl_lsb=0.5, shape="capacitor", monotone=False)
    for seed in range(5):
        dnl = np.diff(dac_levels(4, bent, np.random.default_rng(seed))) - 1
        # The step to a code adds its lowest bit and takes all bits below: it depends on that bit.
        lowest = [int(np.log2(code & -code)) for code in range(1, 16)]
        for bit in range(4):
            assert np.ptp(dnl[[low == bit for low in lowest]]) < 1e-12
    one = adc_transitions(1, bent, np.random.default_rng(0))
    assert one.tolist() == [0.5]  # a single level has no INL


@pytest.mark.parametrize("shape", ["random-walk", "capacitor", "s-shape"])
def test_an_inl_that_brings_falling_steps_along_is_refused_where_monotone(shape):
    wanted = f"inl_lsb: expected a {shape} whose levels rise, received 3.0; .*monotone=False"
    for make in (adc_transitions, dac_levels):
        with pytest.raises(ValueError, match=wanted):
            make(4, Nonlinearity(3.0, shape=shape), np.random.default_rng(1))
        make(4, Nonlinearity(3.0, shape=shape, monotone=False), np.random.default_rng(1))
        make(4, Nonlinearity(0.2, shape=shape), np.random.default_rng(1))
