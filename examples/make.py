"""Makes device.csv, adc.csv and dac.csv: synthetic measurements, drawn from known models.

Usage: python examples/make.py [FOLDER]. They show the form of your own tables, and tests fit
them to get the models back. adc_energy.csv is not made here: its numbers are of a survey.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from nvlib.converters import Nonlinearity, adc_transitions, dac_levels

LEVELS, CYCLES, TIMES_S = 4, 40, (20.0, 200.0, 2000.0, 20000.0)
LOWEST_S, HIGHEST_S, BEND = 1e-6, 25e-6, 0.12
SPREADS = (0.010, 0.022, 0.028, 0.020)  # of each level, as a share of the range
NU, NU_SIGMA, READ_NOISE = 0.031, 0.008, 0.002


def device(generator: np.random.Generator) -> pd.DataFrame:
    """Conductances of cells of 2 bits whose levels bend and drift."""
    rows = []
    for level in range(LEVELS):
        share = level / (LEVELS - 1)
        share += BEND * share * (1 - share)
        for cycle in range(CYCLES):
            written = LOWEST_S + (HIGHEST_S - LOWEST_S) * (
                share + SPREADS[level] * generator.standard_normal()
            )
            nu = NU + NU_SIGMA * generator.standard_normal()
            for time in TIMES_S:
                noise = 1 + READ_NOISE * generator.standard_normal()
                value = max(written, 1e-7) * (time / TIMES_S[0]) ** -nu * noise
                rows.append({"level": level, "conductance_s": value, "time_s": time,
                             "cycle": cycle})  # fmt: skip
    return pd.DataFrame(rows)


def main(folder: Path) -> None:
    """Write ``device.csv``, ``adc.csv`` and ``dac.csv``."""
    generator = np.random.default_rng(2022)
    tables = {"device": device(generator)}
    bent = Nonlinearity(inl_lsb=0.8, shape="random-walk")
    transitions = adc_transitions(5, bent, generator)
    tables["adc"] = pd.DataFrame({"code": range(1, 32), "transition_lsb": transitions})
    outputs = dac_levels(3, Nonlinearity(inl_lsb=0.2), generator)
    tables["dac"] = pd.DataFrame({"code": range(8), "output_lsb": outputs})
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        table.to_csv(path, index=False, lineterminator="\n", float_format="%.5g")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
