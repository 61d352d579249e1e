"""Do runs of other seeds contradict the record? Verdicts on C3 over several seeds of the run.

A contradiction is an order, or a verdict of a family, that a run decides opposite to the record.
Each seed has other chips and other images; searches are those of `minutes`, of what C3 rests on.

Usage: python benchmarks/seeds.py [--minutes 3] [--seeds 1 2 3 4 5] [--jobs 1]; resumable.
"""

from __future__ import annotations

import argparse

import pandas as pd

from artifact import sweep
from artifact.record import committed
from artifact.studies import common, requirements, trends
from artifact.studies.nonidealities import of_family

OPPOSITE = {frozenset((trends.STRICTER, trends.LOOSER))}
KEYS = ["family", "scheme", "training"]


def orders(trials: pd.DataFrame) -> pd.Series:
    """Order of each nonideality, and of each family pooled, at a loss of one point."""
    return trends.ratios(trials).set_index([*KEYS, "nonideality"])["order"]


def main() -> None:
    """Run the seeds and count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    names = of_family("device", "nonlinearity", counted=True)
    tables = [committed().read_table(f"{kind}_requirements") for kind in ("device", "converter")]
    recorded = orders(pd.concat(tables))
    contradictions = 0
    for seed in given.seeds:
        points = [
            point
            for point in requirements.points(names, "mnist", given.minutes, seed)
            if point["precisions"] == " ".join(common.PAIR)
        ]
        name = "seeds of the run"
        found = sweep.run(name, requirements.search_point, points, given.jobs)
        both = pd.concat({"recorded": recorded, "run": orders(requirements.tidy(found))}, axis=1)
        both = both.dropna()
        opposite = both.apply(lambda row: frozenset(row) in OPPOSITE, axis=1)
        same = (both["recorded"] == both["run"]).sum()
        contradictions += int(opposite.sum())
        print(f"seed {seed}: {same} of {len(both)} orders alike, "
              f"{opposite.sum()} opposite, the rest undecided in one of both")  # fmt: skip
        if opposite.any():
            print(both[opposite].to_string())
    print(f"{contradictions} contradictions over {len(given.seeds)} seeds")


if __name__ == "__main__":
    main()
