"""Intervals cover what they say, however trials and seeds differ and however often one looks."""

from __future__ import annotations

import numpy as np

from artifact.statistics import Estimate
from artifact.studies.limits import CONFIDENCE, LOOKS


def test_intervals_cover_what_they_say_whether_or_not_seeds_differ():
    generator, hits = np.random.default_rng(1), 0
    for share in (0.0, 0.3, 3.0):  # variance of training seeds over that of trials
        for _ in range(200):
            seeds = np.sqrt(share) * generator.standard_normal(5)
            x = generator.standard_normal(20) + seeds[np.arange(20) % 5]
            without = (x.sum() - x) / 19
            found = Estimate.jackknife(x.mean(), without, np.arange(20) % 5)
            lower, upper = found.interval()
            hits += lower <= 0 <= upper
    assert 0.93 <= hits / 600 <= 0.985


def test_looking_three_times_errs_in_one_run_of_twenty():
    generator, wrong = np.random.default_rng(2), 0
    for _ in range(600):
        x = generator.standard_normal(LOOKS[-1])
        apart = []
        for look in LOOKS:
            part = x[:look]
            without = (part.sum() - part) / (look - 1)
            found = Estimate.jackknife(part.mean(), without, np.arange(look))
            apart.append(not found.interval(CONFIDENCE)[0] <= 0 <= found.interval(CONFIDENCE)[1])
        wrong += any(apart)
    assert 0.025 <= wrong / 600 <= 0.075
