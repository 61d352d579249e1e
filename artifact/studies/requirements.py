"""What hardware each precision needs: losses at the sizes of a nonideality around its limit.

A trial is one training seed, one chip and one weighted sample of test images
(`artifact.studies.sampling`). What it loses is counted against the same network's integer
arithmetic, which an ideal chip equals to the last bit, on the same images. Trial number k has the
same random numbers and images at every size, precision, recipe and scheme, whatever the number of
trials, so curves are smooth, comparisons sharp, and the trials of a small run are the first ones
of a large run.

A search first looks, with few trials, for the rungs of a ladder of sizes between which the loss
rises through `DELTAS`; all trials are made there. Where two precisions are searched together,
trials are added at `LOOKS` until it is decided which of them is stricter, or the budget is spent:
`artifact.studies.trends` says how the error rate is kept.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import pandas as pd

from artifact.paths import POINTS
from artifact.studies import common, sampling, trends
from artifact.studies.limits import DELTAS, LOOKS
from artifact.studies.nonidealities import AXES, NONIDEALITIES
from artifact.sweep import Point, cached
from nvlib.checks import require_integer
from nvlib.chip import Chip
from nvlib.network import QuantizedNetwork

#: Trials of the first search for the rungs.
PILOT = 5
SCHEMES = ("differential", "offset", "twos-complement")
TRAININGS = ("qat", "ptq", "plain")
#: Trials by minutes of 2 cores for one notebook: of the pair that C3 compares, under every scheme
#: with today's training; of all other searches on the default scheme; of the pair with other
#: recipes; of other precisions elsewhere.
PLANS = {0.0: (2, 2, 0, 0), 1.0: (5, 2, 2, 0), 3.0: (10, 5, 5, 0), 6.0: (20, 10, 10, 2),
         10.0: (40, 20, 10, 5)}  # fmt: skip
#: Chips of different runs differ: run s has the chips s x this + trial.
CHIPS_OF_A_RUN = 10**6


#: Of `trial_loss`, as columns of the tidy table.
PARAMETERS = ["dataset", "precision", "nonideality", "scheme", "training", "size", "seed", "trial",
              "images", "checkpoints"]  # fmt: skip


def points(
    names: list[str], dataset: str, minutes: float, seed: int = 0,
    checkpoints: str = common.SHIPPED, images: int = sampling.IMAGES,
) -> list[Point]:  # fmt: skip
    """Searches that fit the time: what C3 rests on under every scheme and recipe, the rest once.

    Parameters
    ----------
    minutes : float
        Of 2 cores; chooses one of `PLANS`, so one number of minutes is one result on any machine.

    Examples
    --------
    >>> found = points(["stuck cells", "ADC resolution"], "embedded", minutes=3.0)
    >>> [point["precisions"] for point in found[:2]], found[0]["trials"], found[-1]["trials"]
    (['W8A8 W4A3', 'W8A8 W4A3'], 10, 5)
    """
    pair, single, recipe, elsewhere = PLANS[max(k for k in PLANS if k <= minutes)]
    together, alone = " ".join(common.PAIR), [p for p in common.PRECISIONS if p not in common.PAIR]
    found = []
    for precisions, name, training, scheme in product(
        (together, *alone), names, TRAININGS, SCHEMES
    ):
        default = (scheme, training) == (SCHEMES[0], TRAININGS[0])
        if precisions == together and training == TRAININGS[0] and NONIDEALITIES[name].counted:
            trials = pair
        elif default:
            trials = single
        else:
            trials = recipe if precisions == together else elsewhere
        if not default and name not in AXES:
            continue
        trained = (
            common.training_seeds(dataset, precision, checkpoints, training)
            for precision in precisions.split()
        )
        if trials and all(trained):
            found.append(
                {"dataset": dataset, "precisions": precisions, "nonideality": name,
                 "scheme": scheme, "training": training, "seed": seed, "trials": trials,
                 "images": images, "checkpoints": checkpoints}
            )  # fmt: skip
    return found


def trial_loss(
    dataset: str, precision: str, nonideality: str, scheme: str, training: str, size: float,
    seed: int, trial: int, images: int, checkpoints: str,
) -> Point:  # fmt: skip
    """Points of accuracy that one trial loses to a nonideality of one size.

    Parameters
    ----------
    seed : int
        Of the run; shifts all chips and images.
    images : int
        Read by the trial.
    """
    require_integer("trial", trial, 0, CHIPS_OF_A_RUN - 1)
    require_integer("seed", seed, 0, CHIPS_OF_A_RUN)
    kind = NONIDEALITIES[nonideality]
    own = nonideality if kind.against_size_0 else ""
    right, net, pixels, labels, weights = _ideal(
        dataset, precision, own, scheme, training, seed, trial, images, checkpoints
    )
    chip = Chip(net, kind.hardware(size, net, scheme, dataset), _chip(seed, trial))
    lost = right - _right(chip, pixels, labels)
    return {"loss": round(float(100 * weights @ lost), 6)}


def _chip(seed: int, trial: int) -> int:
    return seed * CHIPS_OF_A_RUN + trial


def _right(chip: Chip, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (chip.predict(pixels, threads=1) == labels).astype(float)


@lru_cache(maxsize=512)
def _ideal(
    dataset: str, precision: str, nonideality: str, scheme: str, training: str, seed: int,
    trial: int, images: int, checkpoints: str,
) -> tuple[np.ndarray, QuantizedNetwork, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """A trial of size 0: what is right, network, images, labels and weights."""
    sample = sampling.of_trial(dataset, seed, trial, images, checkpoints)
    pixels, labels = (values[sample.chosen] for values in common.test_images(dataset, None))
    number = training_seed(dataset, precision, training, trial, checkpoints)
    net = common.network(dataset, precision, number, checkpoints, training)
    if nonideality:
        hardware = NONIDEALITIES[nonideality].hardware(0.0, net, scheme, dataset)
        right = _right(Chip(net, hardware, _chip(seed, trial)), pixels, labels)
    else:  # an ideal chip equals the integer network
        right = (net.predict(pixels) == labels).astype(float)
    return right, net, pixels, labels, sample.weights


def training_seed(dataset: str, precision: str, training: str, trial: int, checkpoints: str) -> int:
    """Trials take the training seeds in turn."""
    seeds = common.training_seeds(dataset, precision, checkpoints, training)
    return seeds[trial % len(seeds)]


def losses_of(trials: int, first: int = 0, **point: object) -> Point:
    """`trial_loss` of several trials, which are kept together."""
    found = [trial_loss(trial=first + k, **point)["loss"] for k in range(trials)]  # type: ignore
    return {"losses": found}


class _Search:
    """Losses at the rungs that the search of one precision visits, a block of trials at a time."""

    def __init__(self, point: Point) -> None:
        self.kind, self.point = NONIDEALITIES[point["nonideality"]], point
        self.kept: dict[float, list[float]] = {}

    def losses(self, rung: float, trials: int) -> list[float]:
        """Of the first trials at a rung; what is missing is computed up to the next look."""
        known = self.kept.setdefault(rung, [])
        for look in (PILOT, *LOOKS):
            wanted = min(look, trials) - len(known)
            if wanted > 0:
                block = {"size": self.kind.size(rung), "first": len(known), "trials": wanted}
                known += cached(losses_of, self.point | block, POINTS / "trials")["losses"]
        return known[:trials]

    def bracket(self, trials: int) -> list[int]:
        """Rungs from the last that loses no more than all of `DELTAS` to the first beyond them."""
        bottom, top = self._stepped_out(0, 0, min(PILOT, trials))
        bottom, top = self._stepped_out(bottom, top, trials)
        while bottom + 1 < top and self._mean(bottom + 1, trials) <= min(DELTAS):
            bottom += 1
        while top - 1 > bottom and self._mean(top - 1, trials) > max(DELTAS):
            top -= 1
        return list(range(bottom, top + 1))

    def _stepped_out(self, bottom: int, top: int, trials: int) -> tuple[int, int]:
        lowest, highest = self.kind.span
        while top < highest and self._mean(top, trials) <= max(DELTAS):
            top += 1
        while bottom > lowest and self._mean(bottom, trials) > min(DELTAS):
            bottom -= 1
        return bottom, top

    def _mean(self, rung: int, trials: int) -> float:
        return float(np.mean(self.losses(rung, trials)))


def search_point(
    dataset: str, precisions: str, nonideality: str, scheme: str, training: str, seed: int,
    trials: int, images: int, checkpoints: str,
) -> Point:  # fmt: skip
    """Losses around the limits of one nonideality, at one precision or at two to be compared.

    Parameters
    ----------
    precisions : str
        One name; or two, the order of whose limits is to be decided.
    trials : int
        At most; of two precisions no more than decide their order.

    Raises
    ------
    ValueError
        If there are too few trials for an interval.
    """
    require_integer("trials", trials, 2, LOOKS[-1])
    shared = {"dataset": dataset, "nonideality": nonideality, "scheme": scheme,
              "training": training, "seed": seed, "images": images,
              "checkpoints": checkpoints}  # fmt: skip
    searches = {name: _Search(shared | {"precision": name}) for name in precisions.split()}
    looks = [look for look in LOOKS if look < trials] + [trials]
    for look in looks if len(searches) == 2 else looks[-1:]:
        rungs = {name: search.bracket(look) for name, search in searches.items()}
        found = [
            [name, rung, search.losses(rung, look)]
            for name, search in searches.items()
            for rung in rungs[name]
        ]
        if len(searches) == 2 and trends.decided(tidy_one(shared, found)):
            break
    return {"found": found}


def tidy_one(shared: Point, found: list) -> pd.DataFrame:
    """A row for each trial at each size that one search visited."""
    kind = NONIDEALITIES[shared["nonideality"]]
    first = ("dataset", "nonideality", "scheme", "training")
    rows = []
    for name, rung, losses in found:
        for trial, loss in enumerate(losses):
            number = training_seed(
                shared["dataset"], name, shared["training"], trial, shared["checkpoints"]
            )
            rows.append(
                {**{key: shared[key] for key in first}, "precision": name, "size": kind.size(rung),
                 "seed": shared["seed"], "trial": trial, "images": shared["images"],
                 "checkpoints": shared["checkpoints"], "rung": rung, "training_seed": number,
                 "loss": loss}
            )  # fmt: skip
    return pd.DataFrame(rows)


def tidy(searches: pd.DataFrame) -> pd.DataFrame:
    """A row for each trial at each size that was visited."""
    tables = [tidy_one(row, row["found"]) for row in searches.to_dict("records")]
    return pd.concat(tables, ignore_index=True)
