"""Published devices: a phase-change cell, a filamentary one, a charge-trapping one.

`preset` names tables for `read_device`, like your own. Nobody has published their cells one by one,
so the tables are synthesized: the samples of each level are evenly spaced quantiles of the normal
distribution that has the published mean and spread; each file says whose. `phase_change` is the
same phase-change cell as formulas, for any number of levels and with its slow noise.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from statistics import NormalDist

import numpy as np

from nvlib.checks import require_choice, require_integer, require_number
from nvlib.devices import DeviceModel, RangeVariation, RetentionDrift

SOURCES = {
    "PCM": "Doped-GST mushroom cells: fits of IBM's aihwkit to a million of them (Nandakumar et "
    "al., ICECS 2019; Joshi et al. 2020, doi:10.1038/s41467-020-16108-9).",
    "RRAM": "HfOx filaments a second after writing: fit of aihwkit to the published figures of "
    "Wan et al. 2022 (doi:10.1038/s41586-022-04992-8).",
    "SONOS": "40 nm charge-trapping cells as programmed: CrossSim's fit to 128,000 cells of "
    "Agrawal et al., IEDM 2022 (doi:10.1109/IEDM45625.2022.10019564); 1.6 uA at 0.1 V is 16 uS.",
}
CELLS = 24  # of each level in a table
G_MAX_US = {"PCM": 25.0, "RRAM": 40.0, "SONOS": 16.0}
#: Conductance that level 0 is written to, as a share of that of the highest level: the lowest
#: whose cells, with their spread, stay above zero.
LOWEST = {"PCM": 0.04, "RRAM": 0.1, "SONOS": 0.01}
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
    file = f"{require_choice('name', name, SOURCES).lower()}.csv"
    return Path(str(files("nvlib").joinpath("presets", file)))


def pcm_moments(g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Spread (uS), mean and spread of nu, and 1/f amplitude, at conductances g of 25 uS.

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
    lowest = LOWEST["PCM"]
    g = np.linspace(lowest, 1, levels)
    spread, nu, nu_sigma, amplitude = pcm_moments(g)
    drifted = g * (seconds / 20.0) ** -nu
    noise = drifted * amplitude * np.sqrt(np.log((seconds + READ_S) / (2 * READ_S)))
    window = 1 - lowest
    return DeviceModel(
        1 / lowest,
        (
            RangeVariation(tuple(spread / 25.0 / window)),
            RetentionDrift(seconds, tuple(nu), tuple(nu_sigma)),  # from 20 s on
        ),
        on_conductance_s=25e-6,
        slow_noise=RangeVariation(tuple(noise / window)),
    )


def spread_us(name: str, g: np.ndarray) -> np.ndarray:
    """Spread (uS) of a device's cells as written, at shares g of its highest conductance.

    Examples
    --------
    >>> [float(spread_us(name, np.array(1.0)).round(2)) for name in SOURCES]
    [1.06, 1.1, 0.2]
    """
    if name == "RRAM":
        return np.polyval([-16.815, 45.393, -43.853, 16.030, 0.348], g)
    if name == "SONOS":  # 19.89 nA (1 - exp(-I / 176.3 nA))
        return 0.1988665 * (1 - np.exp(-1600 * g / 176.3115))
    return pcm_moments(g)[0]


def preset_table(name: str) -> str:
    """The shipped table of a device, as it is made from published moments.

    Examples
    --------
    >>> preset_table("RRAM") == preset("RRAM").read_text()
    True
    """
    g, times = np.linspace(LOWEST[name], 1, 4), (20, 1000, 86400)
    normal = np.array([NormalDist().inv_cdf((k + 0.5) / CELLS) for k in range(CELLS)])
    normal /= normal.std(ddof=1)
    cells_s = 1e-6 * (G_MAX_US[name] * g[:, None] + spread_us(name, g)[:, None] * normal)
    lines = [
        f"# {name}. {SOURCES[name]}",
        f"# Published: mean and spread of each level. Synthesized: {CELLS} cells of each level, at",
        "# evenly spaced quantiles of normal distributions. No line is a measurement of a cell.",
        "level,cell,time_s,conductance_s" if name == "PCM" else "level,cell,conductance_s",
    ]
    _, nu, nu_sigma, _ = pcm_moments(g)
    order = np.random.default_rng(2020).permuted(np.tile(normal, (4, 1)), axis=1)
    exponents = nu[:, None] + nu_sigma[:, None] * order  # spread alike, in another order
    for level, cell in np.ndindex(cells_s.shape):
        first = cells_s[level, cell]
        if name != "PCM":
            lines.append(f"{level},{cell},{first:.5g}")
            continue
        for seconds in times:
            siemens = first * (seconds / 20) ** -exponents[level, cell]
            lines.append(f"{level},{cell},{seconds},{siemens:.5g}")
    return "\n".join(lines) + "\n"
