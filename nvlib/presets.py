"""Published devices: a phase-change cell, a filamentary one, a charge-trapping one.

`preset` names tables for `read_device`, like your own. Nobody has published their cells one by one,
so the tables are synthesized: the samples of each level are evenly spaced quantiles of the normal
distribution that has the published mean and spread; each file says whose, and
``examples/presets.py`` makes them. `phase_change` is the same phase-change cell as formulas, for
any number of levels and with its slow noise.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from nvlib.checks import require_choice, require_integer, require_number
from nvlib.devices import DeviceModel, RangeVariation, RetentionDrift

NAMES = ("PCM", "RRAM", "SONOS")
LOWEST_SHARE = 0.04  # of 25 uS: the lowest level whose cells, with their spread, stay above zero
READ_S = 250e-9  # read pulse of the phase-change cell


def preset(name: str) -> Path:
    """File of a published device, PCM, RRAM or SONOS, for `read_device`.

    Examples
    --------
    >>> from nvlib import read_device
    >>> device, _ = read_device(preset("RRAM"))
    >>> [round(1e6 * mean) for mean in device.means_s]  # uS
    [4, 16, 28, 40]
    """
    file = f"{require_choice('name', name, NAMES).lower()}.csv"
    return Path(str(files("nvlib").joinpath("presets", file)))


def pcm_moments(g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Spread (uS), mean and spread of nu, and 1/f amplitude, at conductances g of 25 uS.

    Fits of IBM's aihwkit to a million doped-GST mushroom cells (Nandakumar et al., ICECS 2019;
    Joshi et al. 2020, doi:10.1038/s41467-020-16108-9).

    Examples
    --------
    >>> [float(moment.round(4)) for moment in pcm_moments(np.array(1.0))]
    [1.0554, 0.049, 0.008, 0.0088]
    """
    log = np.log(g)
    spread = np.maximum(-1.1731 * g**2 + 1.9650 * g + 0.2635, 0)
    nu = np.clip(-0.0155 * log + 0.0244, 0.049, 0.1)
    nu_sigma = np.clip(-0.0125 * log - 0.0059, 0.008, 0.045)
    return spread, nu, nu_sigma, np.minimum(0.0088 / g**0.65, 0.2)


def phase_change(cell_bits: int = 1, seconds: float = 20.0) -> DeviceModel:
    """Phase-change cells after Joshi et al. 2020, `seconds` after programming, at least 20.

    Write errors, exponents of drift and their spread, and 1/f noise all depend on the level. Levels
    are spaced evenly from 1 to 25 uS; `Hardware` compensates the drift. See `pcm_moments`.

    Examples
    --------
    >>> day = phase_change(seconds=86400.0)
    >>> day.on_conductance_s, round(day.on_off_ratio, 1), [round(nu, 3) for nu in day.effects[1].nu]
    (2.5e-05, 25.0, [0.074, 0.049])
    """
    levels = 2 ** require_integer("cell_bits", cell_bits, 1, 8)
    seconds = require_number("seconds", seconds, 20.0, 1e12)
    g = np.linspace(LOWEST_SHARE, 1, levels)
    spread, nu, nu_sigma, amplitude = pcm_moments(g)
    drifted = g * (seconds / 20.0) ** -nu
    noise = drifted * amplitude * np.sqrt(np.log((seconds + READ_S) / (2 * READ_S)))
    window = 1 - LOWEST_SHARE
    written = RangeVariation(tuple(spread / 25.0 / window))
    drift = RetentionDrift(seconds, tuple(nu), tuple(nu_sigma))  # from 20 s on
    slow = RangeVariation(tuple(noise / window))
    return DeviceModel(1 / LOWEST_SHARE, (written, drift), on_conductance_s=25e-6, slow_noise=slow)
