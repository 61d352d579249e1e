"""The shipped presets as cells of the artifact's hardware, one published effect after another.

Cells hold one bit, as in the hardware that the claims are measured on: the lowest and the highest
level of a preset. What nobody has published of a device is left out, not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from nvlib import Adc, Hardware, RangeVariation, ReadNoise, Wires
from nvlib.devices import DeviceModel, Effect
from nvlib.measured import MeasuredDevice, read_device
from nvlib.presets import NAMES, phase_change, preset

DAY = 86400.0
#: Of a 1T1R cell in copper of 32 nm: the mean of its two directions, 1.4 and 4.2 ohm; see `Wires`.
OHM_PER_SEGMENT = 2.8
#: 8 bits over the 128 rows of an array: an LSB is half of a cell's current.
FINE = Adc(8, full_scale=127.5)
#: Of SONOS cells, as shares of the range: noise of each read, and the spread that five days add at
#: either level (Agrawal et al., IEDM 2022, figs. 11b and 10a, as CrossSim fits them).
SONOS_NOISE, SONOS_AGED = 0.0080, (0.0012, 0.0179)
#: What acts, in this order, and the devices that it is published of. Noise is 1/f of PCM, and that
#: of each read of SONOS; ageing is a day's drift of PCM, five days of SONOS.
EFFECTS: dict[str, tuple[str, ...]] = {
    "write errors": NAMES,
    "finite on/off": NAMES,
    "noise": ("PCM", "SONOS"),
    "ageing": ("PCM", "SONOS"),
    "wires": NAMES,
}


@lru_cache(maxsize=len(NAMES))
def cell(name: str) -> MeasuredDevice:
    """A preset's lowest and highest level.

    Examples
    --------
    >>> cell("RRAM").cell_bits, round(1e6 * cell("RRAM").means_s[1])  # uS
    (1, 40)
    """
    device, _ = read_device(preset(name))
    tables = ("means_s", "sigmas_s", "counts", "log_sigmas", "quantiles_s")
    ends = {table: getattr(device, table)[:: len(device.means_s) - 1] for table in tables}
    drift = device.drift
    if drift is not None:
        last = len(drift.level_nus) - 1
        drift = replace(
            drift, level_nus=drift.level_nus[::last], level_sigmas=drift.level_sigmas[::last]
        )
    return replace(device, **ends, drift=drift)


def hardware(
    name: str, effects: Sequence[str] = tuple(EFFECTS), spread: float = 1.0, adc: Adc = FINE
) -> Hardware:
    """Hardware of a preset's cells with some of `EFFECTS`; `spread` multiplies the write errors.

    Examples
    --------
    >>> hardware("PCM", ("finite on/off",)).devices.on_off_ratio, hardware("PCM").wires is None
    (25.000094, False)
    """
    fresh, drift, day = cell(name).model(), cell(name).drift, phase_change(seconds=DAY)
    acting: list[Effect] = []
    if "write errors" in effects:
        span = fresh.on_conductance_s - cell(name).means_s[0]
        sigmas = (spread * sigma / span for sigma in cell(name).sigmas_s)
        acting.append(RangeVariation(tuple(sigmas)))
    aged = "ageing" in effects
    if aged and drift is not None:
        acting.append(drift.effect(DAY, (0, 1)))
    elif aged and name == "SONOS":
        acting.append(RangeVariation(SONOS_AGED))
    devices = DeviceModel(
        effects=tuple(acting),
        on_conductance_s=fresh.on_conductance_s,
        read_noise=ReadNoise(SONOS_NOISE * (name == "SONOS" and "noise" in effects)),
        slow_noise=day.slow_noise if name == "PCM" and "noise" in effects else None,
    )
    if "finite on/off" in effects:
        devices = replace(devices, on_off_ratio=fresh.on_off_ratio)
    wires = Wires(OHM_PER_SEGMENT) if "wires" in effects else None
    return Hardware(devices=devices, adc=adc, wires=wires)


def compensated(name: str, spread: float = 1.0, adc: Adc = FINE) -> Hardware:
    """All effects, and one digital factor for each layer that makes up for the mean loss."""
    return replace(hardware(name, spread=spread, adc=adc), compensated=True)
