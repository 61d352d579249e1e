"""Nonidealities whose limits are sought: each in one physical unit, on otherwise ideal hardware.

All on 128 x 128 arrays of 1-bit cells with bit-serial inputs, unless an entry says otherwise.
Every precision, recipe and scheme gets the same cells and the same 8-bit converter, whose LSB is
the current of one cell that is on (one unit): limits of different precisions compare as they
stand. Where a converter of a precision's own size is asked for, its row is for designers and no
part of C3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from artifact.studies import common, real_devices
from nvlib.converters import Adc, Dac, Nonlinearity
from nvlib.devices import (
    DeviceModel,
    Effect,
    ProportionalVariation,
    RangeVariation,
    ReadNoise,
    RetentionDrift,
    StuckCells,
)
from nvlib.hardware import Hardware
from nvlib.mapping import ArrayMapping
from nvlib.network import QuantizedNetwork
from nvlib.presets import NAMES
from nvlib.wires import Wires

#: G_on / G_off of all cells, unless an entry says otherwise: published devices reach 10 to 50, so
#: cells that are off conduct, and err. The nominal G_off of active rows is subtracted before
#: conversion.
ON_OFF = 20.0
#: The ends of that range: how much cells that are off conduct, and err, is asked there too.
OTHER_ON_OFF = (10.0, 50.0)
#: LSB of the fine converter that leaves the error to the cells, in units.
FINE_LSB = 1 / 16
#: Programming variation, sigma / G, of the cells behind a converter of uneven steps: with ideal
#: cells sums are integers, which steps of one unit resolve whatever their width.
BEHIND = 0.05


@dataclass(frozen=True)
class Nonideality:
    """One nonideality, and the ladder of sizes it is searched on.

    Attributes
    ----------
    family : str
        "device" (C3a), "nonlinearity" (C3b) or "resolution": its figure too; "real device" and
        "real converter" are what C3 says of chips that have everything at once.
    unit : str
        Physical unit of the size.
    hardware : callable
        (size, network, scheme, dataset) -> Hardware that is ideal but for this.
    start, step : float
        Rung i is start x step^i; a step below 1 is a nonideality that grows as its size falls.
        With `rungs`, by how much severity grows from one to the next.
    rungs : tuple of float
        In place of the geometric ladder, sizes in order of severity.
    counted : bool
        Whether C3 rests on it: variants of what is counted already are not, nor are drift, whose
        limit in time is that in conductance to the power 1/nu, and wires, for neither is variation.
    against_size_0 : bool
        Losses count against the chip of size 0, which is not lossless, instead of the integer
        network.
    """

    family: str
    unit: str
    hardware: Callable[..., Hardware]
    start: float = 1.0
    step: float = 1.4
    rungs: tuple[float, ...] = ()
    counted: bool = False
    against_size_0: bool = False
    farthest: int = 10

    @property
    def span(self) -> tuple[int, int]:
        """First and last rung that is tested."""
        return (0, len(self.rungs) - 1) if self.rungs else (-self.farthest, self.farthest)

    def size(self, rung: float) -> float:
        """Size at a rung; between rungs the ladder is geometric."""
        if self.rungs:
            return self.rungs[int(rung)]
        return float(f"{self.start * self.step**rung:.6g}")


def cells(*effects: Effect, noise: float = 0.0, on_off: float = ON_OFF) -> DeviceModel:
    """Cells of the on/off ratio that all have, unless another is asked for."""
    return DeviceModel(on_off, effects, ReadNoise(noise))


def _written(
    effect: Callable[[float], Effect], size: float, _, scheme: str, __, on_off: float = ON_OFF
) -> Hardware:
    return Hardware(ArrayMapping(scheme=scheme), cells(effect(size), on_off=on_off), Adc(bits=8))


def _stuck(size: float) -> StuckCells:
    return StuckCells(size / 2, size / 2)


def _finely_converted(size: float, net: QuantizedNetwork, scheme: str, dataset: str) -> Hardware:
    hardware = _written(RangeVariation, size, net, scheme, dataset)
    bits = 12
    return replace(hardware, adc=Adc(bits, full_scale=(2**bits - 1) * FINE_LSB))


def _cell_per_weight(size: float, network: QuantizedNetwork, scheme: str, _) -> Hardware:
    bits = max(network.precision.weight_bits - 1, 1)
    return Hardware(ArrayMapping(cell_bits=bits, scheme=scheme), cells(RangeVariation(size)))


def _window(size: float, _, scheme: str, __) -> Hardware:
    varied = DeviceModel(on_off_ratio=size, effects=(ProportionalVariation(0.1),))
    return Hardware(ArrayMapping(scheme=scheme), varied, Adc(bits=8))


def _noise(size: float, _, scheme: str, __) -> Hardware:
    return Hardware(ArrayMapping(scheme=scheme), cells(noise=size), Adc(bits=8))


def _wired(size: float, _, scheme: str, __, on_siemens: float = 10e-6) -> Hardware:
    devices = replace(cells(), on_conductance_s=on_siemens)
    return Hardware(ArrayMapping(scheme=scheme), devices, Adc(bits=8), wires=Wires(size))


def _nonlinear(error: str, size: float, devices: DeviceModel, scheme: str) -> Hardware:
    adc = Adc(bits=8, nonlinearity=random_walk(error, size))
    return Hardware(ArrayMapping(scheme=scheme), devices, adc)


def random_walk(error: str, size_lsb: float) -> Nonlinearity:
    """INL or DNL of one size; a random walk, drawn for each array."""
    return Nonlinearity(shape="random-walk", monotone=False, **{error: size_lsb})


def _inl(size: float, _, scheme: str, __) -> Hardware:
    return _nonlinear("inl_lsb", size, DeviceModel(), scheme)


def _dnl(size: float, _, scheme: str, __) -> Hardware:
    return _nonlinear("dnl_lsb", size, cells(ProportionalVariation(BEHIND)), scheme)


def _thermal(size: float, _, scheme: str, __) -> Hardware:
    return Hardware(ArrayMapping(scheme=scheme), adc=Adc(bits=8, noise_lsb=size))


def _own_inl(size: float, network: QuantizedNetwork, scheme: str, dataset: str) -> Hardware:
    hardware = _sized(common.adc_bits_of(str(network.precision)), network, scheme, dataset)
    return replace(hardware, adc=replace(hardware.adc, nonlinearity=random_walk("inl_lsb", size)))


def _sized(bits: float, network: QuantizedNetwork, scheme: str, dataset: str) -> Hardware:
    """Converters of so many bits, full scale calibrated."""
    hardware = Hardware(ArrayMapping(scheme=scheme), adc=Adc(bits=int(bits)))
    return common.calibrated(network, hardware, dataset)


def _ladder(size: float, network: QuantizedNetwork, scheme: str, _) -> Hardware:
    mapping = ArrayMapping(dac_bits=network.precision.activation_bits, scheme=scheme)
    return Hardware(mapping, dac=Dac(random_walk("inl_lsb", size / 100 * mapping.digit_max)))


def _more_spread(preset: str, size: float, *_: object) -> Hardware:
    return real_devices.compensated(preset, spread=size)


def _more_inl(preset: str, size: float, *_: object) -> Hardware:
    adc = replace(real_devices.FINE, nonlinearity=random_walk("inl_lsb", size))
    return real_devices.compensated(preset, adc=adc)


def _rows(size: float, network: QuantizedNetwork, scheme: str, _) -> Hardware:
    bits = common.adc_bits_of(str(network.precision))
    return Hardware(ArrayMapping(rows=int(size), scheme=scheme), adc=Adc(bits=bits))


_RANGE = "sigma / (G_on - G_off)"
_LSB = "LSB of 8 bits"
#: What is asked at other on/off ratios too.
VARIATIONS = {
    "proportional variation": Nonideality(
        "device", "sigma / G", partial(_written, ProportionalVariation), 0.23, counted=True),
    "range variation": Nonideality(
        "device", _RANGE, partial(_written, RangeVariation), 0.085, counted=True),
}  # fmt: skip


def _of_window(kind: Nonideality, on_off: float) -> Nonideality:
    """The same of cells of another on/off ratio; not counted, for it is a variant."""
    return replace(kind, hardware=partial(kind.hardware, on_off=on_off), counted=False)


OTHER_WINDOWS = {
    f"{name}, on/off {ratio:g}": _of_window(kind, ratio)
    for name, kind in VARIATIONS.items() for ratio in OTHER_ON_OFF
}  # fmt: skip
NONIDEALITIES: dict[str, Nonideality] = {
    **VARIATIONS,
    "range variation, fine converter": Nonideality(
        "device", _RANGE, _finely_converted, 0.12),
    "range variation, one cell per weight": Nonideality(
        "device", _RANGE, _cell_per_weight, 0.06),
    **OTHER_WINDOWS,
    "on/off ratio, sigma = 0.1 G": Nonideality(
        "device", "G_on / G_off, least", _window, 3.5, 0.75),
    "stuck cells": Nonideality(
        "device", "share, half on, half off", partial(_written, _stuck), 0.015, 2.0, counted=True),
    "read noise": Nonideality("device", _RANGE, _noise, 0.13, 1.35, counted=True),
    "drift, nu = 0.031": Nonideality(
        "device", "days after programming",
        partial(_written, lambda days: RetentionDrift(86400 * days)), 1.0, 16.0, farthest=3),
    "wire resistance": Nonideality(
        "device", "ohm per segment, G_on of 10 uS", _wired, 10.0, 10 ** (1 / 3), farthest=3),
    "wire resistance, 100 uS cells": Nonideality(
        "device", "ohm per segment, G_on of 100 uS", partial(_wired, on_siemens=100e-6),
        1.0, 10 ** (1 / 3), farthest=3),
    "ADC INL": Nonideality("nonlinearity", _LSB, _inl, 4.0, counted=True),
    "ADC DNL": Nonideality(
        "nonlinearity", _LSB, _dnl, 4.0, 1.5, counted=True, against_size_0=True),
    "ADC thermal noise": Nonideality("nonlinearity", f"{_LSB}, rms", _thermal, 1.0, 1.5),
    "ADC INL, own converter": Nonideality(
        "nonlinearity", "LSB of max(W, 4) bits", _own_inl, 2.0, 1.4, against_size_0=True),
    "DAC INL, one ladder for all rows": Nonideality(
        "nonlinearity", "percent of full scale", _ladder, 17.0, 1.5),
    "ADC resolution": Nonideality(
        "resolution", "bit, least", _sized, step=2.0, rungs=(8, 7, 6, 5, 4, 3, 2, 1)),
    "array rows, full scale over all": Nonideality(
        "resolution", "rows, ADC of max(W, 4) bits", _rows,
        step=2.0, rungs=(8, 16, 32, 64, 128, 256, 512)),
    # On chips that have all that is published of a device; see `real_devices`.
    **{f"write errors, {preset}": Nonideality(
        "real device", "times the published spread", partial(_more_spread, preset), 3.0, 2.0,
        counted=True, against_size_0=True) for preset in NAMES},
    **{f"ADC INL, {preset}": Nonideality(
        "real converter", "LSB of half a cell", partial(_more_inl, preset), 4.0, 2.0,
        counted=True, against_size_0=True) for preset in NAMES},
}  # fmt: skip

#: What C3 rests on: measured for every scheme and recipe.
AXES = ("proportional variation", "range variation", "stuck cells", "read noise", "ADC INL")


def of_family(*families: str, counted: bool = False) -> list[str]:
    """Names of the nonidealities of some families; `counted` leaves those that C3 rests on.

    Examples
    --------
    >>> of_family("resolution")[0], of_family("nonlinearity", counted=True)
    ('ADC resolution', ['ADC INL', 'ADC DNL'])
    """
    return [
        name
        for name, kind in NONIDEALITIES.items()
        if kind.family in families and (kind.counted or not counted)
    ]
