"""What a size of each nonideality is, in the units that its limits are given in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from artifact.studies.nonidealities import NONIDEALITIES
from nvlib import (
    Adc,
    ArrayMapping,
    Dac,
    DeviceModel,
    Hardware,
    Nonlinearity,
    Precision,
    ProportionalVariation,
    RangeVariation,
    ReadNoise,
    RetentionDrift,
    StuckCells,
    Wires,
)

OFFSET = ArrayMapping(scheme="offset")


def cells(*effects, on_off=20.0, **more):
    return Hardware(OFFSET, DeviceModel(on_off, effects, **more), Adc(8))


def walk(**error):
    return Nonlinearity(shape="random-walk", monotone=False, **error)


def converter(adc, *effects):
    return Hardware(OFFSET, DeviceModel(20.0, effects) if effects else DeviceModel(), adc)


@pytest.mark.parametrize(("name", "size", "hardware"), [
    ("proportional variation", 0.2, cells(ProportionalVariation(0.2))),
    ("range variation", 0.1, cells(RangeVariation(0.1))),
    ("range variation, on/off 10", 0.1, cells(RangeVariation(0.1), on_off=10.0)),
    ("proportional variation, on/off 50", 0.2, cells(ProportionalVariation(0.2), on_off=50.0)),
    ("range variation, fine converter", 0.1,
     Hardware(OFFSET, DeviceModel(20.0, (RangeVariation(0.1),)), Adc(12, 4095 / 16))),
    ("range variation, one cell per weight", 0.1,
     Hardware(ArrayMapping(cell_bits=3, scheme="offset"),
              DeviceModel(20.0, (RangeVariation(0.1),)))),
    ("on/off ratio, sigma = 0.1 G", 4.0, cells(ProportionalVariation(0.1), on_off=4.0)),
    ("stuck cells", 0.02, cells(StuckCells(on_rate=0.01, off_rate=0.01))),
    ("read noise", 0.1, cells(read_noise=ReadNoise(0.1))),
    ("drift, nu = 0.031", 2.0, cells(RetentionDrift(2 * 86400.0, 0.031, 0.0, 20.0))),
    ("wire resistance", 5.0,
     Hardware(OFFSET, DeviceModel(20.0, on_conductance_s=10e-6), Adc(8), wires=Wires(5.0))),
    ("wire resistance, 100 uS cells", 5.0,
     Hardware(OFFSET, DeviceModel(20.0, on_conductance_s=100e-6), Adc(8), wires=Wires(5.0))),
    ("ADC INL", 3.0, converter(Adc(8, nonlinearity=walk(inl_lsb=3.0)))),
    ("ADC DNL", 3.0,
     converter(Adc(8, nonlinearity=walk(dnl_lsb=3.0)), ProportionalVariation(0.05))),
    ("ADC thermal noise", 2.0, converter(Adc(8, noise_lsb=2.0))),
    ("DAC INL, one ladder for all rows", 50.0,  # percent of the 7 steps of 3 bits
     Hardware(ArrayMapping(dac_bits=3, scheme="offset"), dac=Dac(walk(inl_lsb=3.5)))),
    ("array rows, full scale over all", 64,
     Hardware(ArrayMapping(rows=64, scheme="offset"), adc=Adc(4))),
])  # fmt: skip
def test_a_size_is_what_its_unit_says(name, size, hardware):
    network = SimpleNamespace(precision=Precision(4, 3))
    found = NONIDEALITIES[name].hardware(size, network, "offset", "mnist")
    assert found == hardware
