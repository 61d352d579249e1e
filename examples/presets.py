"""Makes the tables of published devices that nvlib ships, from published moments.

Usage: python examples/presets.py [FOLDER]. Cells were not published one by one, and are not drawn:
those of a level are evenly spaced quantiles of the normal distribution of its mean and spread.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np

from nvlib.presets import LOWEST_SHARE, pcm_moments

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
LOWEST = {"PCM": LOWEST_SHARE, "RRAM": 0.1, "SONOS": 0.01}


def spread_us(name: str, g: np.ndarray) -> np.ndarray:
    """Spread (uS) of a device's cells as written, at shares g of its highest conductance."""
    if name == "RRAM":
        return np.polyval([-16.815, 45.393, -43.853, 16.030, 0.348], g)
    if name == "SONOS":  # 19.89 nA (1 - exp(-I / 176.3 nA))
        return 0.1988665 * (1 - np.exp(-1600 * g / 176.3115))
    return pcm_moments(g)[0]


def preset_table(name: str) -> str:
    """The shipped table of a device, as it is made from published moments."""
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


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "nvlib/presets")
    for device in SOURCES:
        (folder / f"{device.lower()}.csv").write_text(preset_table(device), encoding="utf-8")
