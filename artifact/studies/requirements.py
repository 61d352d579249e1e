"""What hardware each precision needs: the largest tolerated size of every imperfection.

A trial is one training seed, one chip and one share of the test images; what it loses is
counted against the same network's integer arithmetic, which an ideal chip equals to the
last bit, on the same images. Trial number k has the same random numbers and images at every
size and every precision, so curves are smooth and comparisons sharp.

The limit is where the mean loss of the trials crosses delta. It is searched on a ladder of
sizes: stepping out until the loss is bracketed, then bisecting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from artifact.paths import POINTS
from artifact.statistics import jackknife_half_width, mean_interval
from artifact.studies import common
from artifact.sweep import Point, cached
from nvlib.checks import require_integer
from nvlib.chip import Chip
from nvlib.converters import Adc, Dac, Nonlinearity
from nvlib.devices import (
    DeviceModel,
    ProportionalVariation,
    RangeVariation,
    ReadNoise,
    RetentionDrift,
    StuckCells,
)
from nvlib.hardware import Hardware
from nvlib.mapping import ArrayMapping
from nvlib.network import QuantizedNetwork
from nvlib.quantizers import Precision

#: Tolerated losses that the search brackets, in points; the middle one is the default.
DELTAS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Imperfection:
    """One imperfection, and the ladder of sizes it is searched on.

    Attributes
    ----------
    family : str
        "device" (claim C3a), "nonlinearity" (C3b) or "resolution": its figure too.
    unit : str
        Physical unit of the size.
    hardware : callable
        (size, network, dataset) -> Hardware that is ideal but for this imperfection.
    start, step : float
        Rung i is start x step^i; a step below 1 is an imperfection that grows as its size falls.
        With `rungs`, by how much severity grows from one to the next.
    highest : int
        Last rung that is tested; the first is -`highest`.
    rungs : tuple of float
        In place of the geometric ladder, sizes in order of severity.
    lsb : callable, optional
        Precision -> LSB per physical unit, where a least significant bit means something else.
    lsb_unit : str
    against_size_0 : bool
        Losses count against the chip of size 0, whose converters are not lossless, instead of
        the integer network.
    """

    family: str
    unit: str
    hardware: Callable[[float, QuantizedNetwork, str], Hardware]
    start: float = 1.0
    step: float = 1.5
    highest: int = 6
    rungs: tuple[float, ...] = ()
    lsb: Callable[[Precision], float] | None = None
    lsb_unit: str = ""
    against_size_0: bool = False

    @property
    def span(self) -> tuple[int, int]:
        """First and last rung."""
        return (0, len(self.rungs) - 1) if self.rungs else (-self.highest, self.highest)

    def size(self, rung: float) -> float:
        """Size at a rung; between rungs the ladder is geometric."""
        if self.rungs:
            return self.rungs[int(rung)]
        return float(f"{self.start * self.step**rung:.6g}")


def _cells(effect: Callable, size: float, *_) -> Hardware:
    return Hardware(devices=DeviceModel(effects=(effect(size),)), adc=Adc(bits=8))


def _cell_per_weight(size: float, network: QuantizedNetwork, _: str) -> Hardware:
    mapping = ArrayMapping(cell_bits=max(network.precision.weight_bits - 1, 1))
    return Hardware(mapping, DeviceModel(effects=(RangeVariation(size),)))


def _window(size: float, *_) -> Hardware:
    cells = DeviceModel(
        on_off_ratio=size, effects=(ProportionalVariation(0.1),), pedestal_removed=False
    )
    return Hardware(devices=cells, adc=Adc(bits=8))


def _noise(size: float, *_) -> Hardware:
    return Hardware(devices=DeviceModel(read_noise=ReadNoise(size)), adc=Adc(bits=8))


def _adc_bits(size: float, network: QuantizedNetwork, dataset: str) -> Hardware:
    return common.calibrated(network, Hardware(adc=Adc(bits=int(size))), dataset)


def _bent(error: str, size_lsb: float) -> Nonlinearity:
    return Nonlinearity(shape="random-walk", monotone=False, **{error: size_lsb})


def _bent_adc(error: str, size: float, network: QuantizedNetwork, dataset: str) -> Hardware:
    hardware = common.default_hardware(network, dataset)
    bent = _bent(error, size * _own_codes(network.precision))
    return replace(hardware, adc=replace(hardware.adc, nonlinearity=bent))


def _bent_8_bit_adc(size: float, *_) -> Hardware:
    return Hardware(adc=Adc(bits=8, nonlinearity=_bent("inl_lsb", size)))


def _bent_dac(error: str, size: float, network: QuantizedNetwork, _: str) -> Hardware:
    mapping = ArrayMapping(dac_bits=network.precision.activation_bits)
    return Hardware(mapping, dac=Dac(_bent(error, size * mapping.digit_max)))


def _rows(size: float, network: QuantizedNetwork, _: str) -> Hardware:
    bits = common.adc_bits_of(str(network.precision))
    return Hardware(ArrayMapping(rows=int(size)), adc=Adc(bits=bits))


def _calibrated_rows(size: float, network: QuantizedNetwork, dataset: str) -> Hardware:
    return common.default_hardware(network, dataset, rows=int(size))


def _own_codes(precision: Precision) -> float:
    return 2.0 ** common.adc_bits_of(str(precision)) - 1


def _level_steps(precision: Precision) -> float:
    return float(precision.weight_max)


def _input_codes(precision: Precision) -> float:
    return float(precision.activation_max)


_RANGE = "sigma / (G_on - G_off)"
_SHARE = "share of full scale"
_OWN_ADC: dict[str, Any] = {
    "lsb": _own_codes, "lsb_unit": "LSB of max(W, 4) bits", "against_size_0": True,
}  # fmt: skip
_DAC_LSB: dict[str, Any] = {"lsb": _input_codes, "lsb_unit": "LSB of A bits"}
IMPERFECTIONS: dict[str, Imperfection] = {
    "proportional variation": Imperfection(
        "device", "sigma / G", partial(_cells, ProportionalVariation), 0.23, 1.4),
    "range variation": Imperfection(
        "device", _RANGE, partial(_cells, RangeVariation), 0.085, 1.4),
    "range variation, one cell per weight": Imperfection(
        "device", _RANGE, _cell_per_weight, 0.06, 1.4, lsb=_level_steps, lsb_unit="level steps"),
    "on/off ratio, sigma = 0.1 G": Imperfection(
        "device", "G_on / G_off, least", _window, 3.5, 0.8, 4),
    "stuck cells": Imperfection(
        "device", "share, half on, half off",
        partial(_cells, lambda size: StuckCells(size / 2, size / 2)), 0.015, 1.6),
    "read noise": Imperfection("device", _RANGE, _noise, 0.13, 1.35),
    "drift, nu = 0.031": Imperfection(
        "device", "s after programming", partial(_cells, RetentionDrift), 1e6, 10.0, 4),
    "ADC resolution": Imperfection(
        "resolution", "bit, least", _adc_bits, step=2.0, rungs=(7, 6, 5, 4, 3, 2, 1)),
    "ADC INL": Imperfection(
        "nonlinearity", _SHARE, partial(_bent_adc, "inl_lsb"), 0.05, 1.5, 4, **_OWN_ADC),
    "ADC DNL": Imperfection(
        "nonlinearity", _SHARE, partial(_bent_adc, "dnl_lsb"), 0.02, 1.7, 4, **_OWN_ADC),
    "ADC INL, 8 bits for all": Imperfection(
        "nonlinearity", "LSB of 8 bits", _bent_8_bit_adc, 5.0, 1.5),
    "DAC INL": Imperfection(
        "nonlinearity", _SHARE, partial(_bent_dac, "inl_lsb"), 0.17, 1.5, **_DAC_LSB),
    "DAC DNL": Imperfection(
        "nonlinearity", _SHARE, partial(_bent_dac, "dnl_lsb"), 0.11, 1.5, **_DAC_LSB),
    "array rows, full scale over all": Imperfection(
        "resolution", "rows, ADC of max(W, 4) bits", _rows,
        step=2.0, rungs=(8, 16, 32, 64, 128, 256, 512)),
    "array rows, full scale calibrated": Imperfection(
        "resolution", "rows, ADC of max(W, 4) bits", _calibrated_rows,
        step=2.0, rungs=(32, 64, 128, 256, 512)),
}  # fmt: skip


def points(
    nonidealities: list[str], dataset: str, images: int, chips: int, refinements: int,
    precisions: tuple[str, ...] = common.PRECISIONS, training: str = "qat",
    checkpoints: str = common.SHIPPED,
) -> list[Point]:  # fmt: skip
    """One search for each imperfection and precision, the longest first."""
    return [
        {"dataset": dataset, "precision": precision, "nonideality": name, "training": training,
         "images": images, "chips": chips, "refinements": refinements, "checkpoints": checkpoints}
        for precision in precisions
        for name in nonidealities
    ]  # fmt: skip


def of_family(*families: str) -> list[str]:
    """Names of the imperfections of some families.

    Examples
    --------
    >>> of_family("resolution")[0]
    'ADC resolution'
    """
    return [name for name, kind in IMPERFECTIONS.items() if kind.family in families]


def evaluate(
    dataset: str, precision: str, nonideality: str, training: str, size: float, images: int,
    chips: int, checkpoints: str,
) -> Point:  # fmt: skip
    """Images that each trial loses to an imperfection of one size, in one string.

    Parameters
    ----------
    images : int
        Of all trials together; each reads its own share.
    chips : int
        Trials.

    Raises
    ------
    ValueError
        If there are too few chips for an interval, or fewer images than chips.
    """
    require_integer("chips", chips, 2, 10**6)
    require_integer("images", images, chips, 10**6)
    kind = IMPERFECTIONS[nonideality]
    lost = []
    for trial in range(chips):
        right, net, pixels, labels = _ideal(
            dataset, precision, kind if kind.against_size_0 else None, training, trial, images,
            chips, checkpoints,
        )  # fmt: skip
        chip = Chip(net, kind.hardware(size, net, dataset), trial)
        lost.append(right - common.correct(chip, pixels, labels))
    return {"lost": " ".join(map(str, lost))}


def _shares(images: int, trials: int) -> list[np.ndarray]:
    """Which images each trial reads."""
    return np.array_split(np.arange(images), trials)


@lru_cache(maxsize=256)
def _ideal(
    dataset: str, precision: str, kind: Imperfection | None, training: str, trial: int,
    images: int, chips: int, checkpoints: str,
) -> tuple[int, QuantizedNetwork, np.ndarray, np.ndarray]:  # fmt: skip
    """A trial without the imperfection: right answers, network, its images and labels."""
    pixels, labels = common.test_images(dataset, images)
    chosen = _shares(images, chips)[trial]
    pixels, labels = pixels[chosen], labels[chosen]
    seeds = common.training_seeds(dataset, precision, checkpoints)
    net = common.network(dataset, precision, seeds[trial % len(seeds)], checkpoints, training)
    if kind is None:  # an ideal chip equals the integer network
        right = int((net.predict(pixels) == labels).sum())
    else:
        ideal = Chip(net, kind.hardware(0.0, net, dataset), trial)
        right = common.correct(ideal, pixels, labels)
    return right, net, pixels, labels


def search_point(
    dataset: str, precision: str, nonideality: str, training: str, images: int, chips: int,
    refinements: int, checkpoints: str,
) -> Point:  # fmt: skip
    """Losses at the rungs that a search visits: stepping out, then bisecting.

    Each evaluation is kept, so a search that died goes on where it was.
    """
    kind, tried = IMPERFECTIONS[nonideality], {}

    def loss(rung: float) -> float:
        if rung not in tried:
            point = {"dataset": dataset, "precision": precision, "nonideality": nonideality,
                     "training": training, "size": kind.size(rung), "images": images,
                     "chips": chips, "checkpoints": checkpoints}  # fmt: skip
            tried[rung] = cached(evaluate, point, POINTS / "chips")["lost"]
        return 100 * sum(map(int, tried[rung].split())) / images

    lowest, highest = kind.span
    bottom = top = 0.0
    while loss(top) <= max(DELTAS) and top < highest:
        top += 1
    while loss(bottom) > min(DELTAS) and bottom > lowest:
        bottom -= 1
    for _ in range(0 if kind.rungs else refinements):
        beyond = [rung for rung in sorted(tried) if loss(rung) > DELTAS[1]]
        below = [rung for rung in tried if rung < beyond[0]] if beyond else []
        if below:
            loss((max(below) + beyond[0]) / 2)
    visited = sorted(tried)
    return {"visited": [[rung, kind.size(rung), tried[rung]] for rung in visited]}


def tidy(searches: pd.DataFrame) -> pd.DataFrame:
    """One row per chip population that a search visited: rung, size, images lost by each trial."""
    rows = [
        {key: row[key] for key in row if key not in ("visited", "refinements")}
        | {"rung": rung, "size": size, "lost": lost}
        for row in searches.to_dict("records")
        for rung, size, lost in row["visited"]
    ]
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class Curve:
    """Loss against the rung of one imperfection at one precision.

    Attributes
    ----------
    kind : Imperfection
    rungs : ndarray, shape (S,)
    losses : ndarray, shape (S, trials)
        In points of accuracy.
    """

    kind: Imperfection
    rungs: np.ndarray
    losses: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Curve:
        """From the tidy rows of one imperfection, precision and training."""
        rows = rows.sort_values("rung")
        kind = IMPERFECTIONS[rows["nonideality"].iloc[0]]
        lost = np.array([str(cell).split() for cell in rows["lost"]], float)
        shares = [len(part) for part in _shares(int(rows["images"].iloc[0]), lost.shape[1])]
        return cls(kind, rows["rung"].to_numpy(float), 100 * lost / np.array(shares))

    def crossing(self, delta: float, without: int | None = None) -> float:
        """Rung at which the mean loss exceeds `delta`; the last one where it never does.

        An imperfection that grows can only do more harm, so the means are first made
        monotone (isotonic regression). `without` leaves out one trial.
        """
        losses = self.losses if without is None else np.delete(self.losses, without, axis=1)
        mean = isotonic_regression(losses.mean(axis=1)).x
        beyond = int(np.searchsorted(mean, delta, side="right"))
        if beyond in (0, len(mean)):
            return float(self.rungs[min(beyond, len(mean) - 1)])
        share = (delta - mean[beyond - 1]) / (mean[beyond] - mean[beyond - 1])
        return float(self.rungs[beyond - 1] + share * np.diff(self.rungs)[beyond - 1])

    def jackknife(self, delta: float) -> np.ndarray:
        """The crossing without each of the trials in turn."""
        return np.array([self.crossing(delta, k) for k in range(self.losses.shape[1])])

    def bound(self, delta: float) -> str:
        """Equal sign where the limit was met, ">" or "<" where it lies beyond what was tested."""
        mean = isotonic_regression(self.losses.mean(axis=1)).x
        return "<" if mean[0] > delta else ">" if mean[-1] <= delta else "="

    def size(self, rung: float) -> float:
        """Size at a rung, of those that exist."""
        rung = float(np.clip(rung, *self.kind.span))
        return self.kind.size(np.floor(rung) if self.kind.rungs else rung)


def curves(table: pd.DataFrame) -> dict[tuple[str, str], Curve]:
    """Curves of a tidy table by (nonideality, precision)."""
    groups = table.groupby(["nonideality", "precision"], sort=False)
    return {(str(name), str(prec)): Curve.of(rows) for (name, prec), rows in groups}


def losses(table: pd.DataFrame) -> pd.DataFrame:
    """Mean loss and its 95 % interval at every visited size, for drawing."""
    rows = []
    for (name, precision), curve in curves(table).items():
        for rung, loss in zip(curve.rungs, curve.losses, strict=True):
            lower, upper = mean_interval(loss)
            rows.append(
                {"nonideality": name, "precision": precision, "size": curve.kind.size(rung),
                 "loss": loss.mean(), "loss_lower": lower, "loss_upper": upper}
            )  # fmt: skip
    return pd.DataFrame(rows)


def limits(table: pd.DataFrame, delta: float = DELTAS[1]) -> pd.DataFrame:
    """Largest tolerated size of every imperfection and precision, in each of its units.

    Returns
    -------
    DataFrame
        Columns precision, nonideality, unit, limit, lower, upper (one-sided 95 % bounds: lower
        is the milder size), chips, images, delta_points, and bound: "=" for a limit that was
        met; ">" where even the severest size tested loses less, "<" where the mildest loses
        more, and the limit then is that size.

    Raises
    ------
    ValueError
        If `delta` is not above zero or beyond what the searches bracketed.
    """
    if not 0 < delta <= max(DELTAS):
        raise ValueError(
            f"delta: expected points above 0, at most {max(DELTAS):g}, received {delta!r}; "
            "choose one, or widen DELTAS and search again"
        )
    rows = []
    for (name, precision), curve in curves(table).items():
        rung = curve.crossing(delta)
        half = jackknife_half_width(curve.jackknife(delta), confidence=0.90)
        sizes = [curve.size(rung + shift) for shift in (0.0, -half, half)]
        units = [(curve.kind.unit, 1.0)]
        if curve.kind.lsb:
            units.append((curve.kind.lsb_unit, curve.kind.lsb(Precision.parse(precision))))
        for unit, factor in units:
            limit, lower, upper = (float(f"{factor * size:.4g}") for size in sizes)
            rows.append(
                {"precision": precision, "nonideality": name, "unit": unit, "limit": limit,
                 "lower": lower, "upper": upper, "chips": curve.losses.shape[1],
                 "images": int(table["images"].iloc[0]), "delta_points": delta,
                 "bound": curve.bound(delta)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def as_written(limits: pd.DataFrame) -> pd.DataFrame:
    """Limits as ``results/requirements.csv`` holds them: what was not met is text, not a number."""
    table = limits.drop(columns="bound").astype({"limit": object, "lower": object, "upper": object})
    for sign, words, unknown in ((">", "> max tested", "upper"), ("<", "< min tested", "lower")):
        beyond = limits["bound"] == sign
        table.loc[beyond, "limit"] = [f"{words} ({size:g})" for size in limits.loc[beyond, "limit"]]
        table.loc[beyond, unknown] = ""
    return table


def contrast(table: pd.DataFrame, weights: dict[str, float], delta: float) -> pd.DataFrame:
    """A weighted sum of ln(limit) over precisions, for every imperfection and unit.

    Weights of +1 and -1 compare two precisions; those of `slope` give the trend over
    all. Trials are shared by the precisions, so leaving one out leaves it out of all of them
    (jackknife), and what is common to the pair drops out.

    Returns
    -------
    DataFrame
        Columns nonideality, unit, factor, lower, upper (exponential of the sum, its 95 %
        interval) and order: "stricter" below 1, "looser" above 1, else "undecided".
    """
    found, rows = curves(table), []
    for name in dict.fromkeys(table["nonideality"]):
        picked = {p: found[name, p] for p in weights}
        kind = next(iter(picked.values())).kind
        total = sum(w * picked[p].crossing(delta) for p, w in weights.items())
        without = sum(w * picked[p].jackknife(delta) for p, w in weights.items())
        half = jackknife_half_width(np.asarray(without))
        grows = abs(np.log(kind.step))
        units = [(kind.unit, 0.0)]
        if kind.lsb:
            lsb = {p: np.log(kind.lsb(Precision.parse(p))) for p in weights}
            units.append((kind.lsb_unit, sum(w * lsb[p] for p, w in weights.items())))
        for unit, shift in units:
            low, high = (total - half) * grows + shift, (total + half) * grows + shift
            order = "stricter" if high < -1e-9 else "looser" if low > 1e-9 else "undecided"
            rows.append(
                {"nonideality": name, "unit": unit, "factor": np.exp(total * grows + shift),
                 "lower": np.exp(low), "upper": np.exp(high), "order": order}
            )  # fmt: skip
    return pd.DataFrame(rows)


def compare(
    table: pd.DataFrame, high: str = "W8A8", low: str = "W4A3", delta: float = DELTAS[1]
) -> pd.DataFrame:
    """Limit of `high` over that of `low`; below 1 is stricter. See `contrast`."""
    return contrast(table, {high: 1.0, low: -1.0}, delta)


def slope(table: pd.DataFrame, delta: float = DELTAS[1]) -> pd.DataFrame:
    """Factor that the limit changes by for each weight bit, over all precisions of the table."""
    names = list(dict.fromkeys(table["precision"]))
    bits = np.array([Precision.parse(name).weight_bits for name in names], float)
    centred = bits - bits.mean()
    weights = dict(zip(names, centred / (centred**2).sum(), strict=True))
    return contrast(table, weights, delta)


def orders(table: pd.DataFrame, high: str = "W8A8", low: str = "W4A3") -> pd.DataFrame:
    """Whether `high` is stricter than `low`, for each tolerated loss of `DELTAS`."""
    columns = {f"{delta:g} points": compare(table, high, low, delta) for delta in DELTAS}
    first = next(iter(columns.values()))[["nonideality", "unit"]]
    return first.assign(**{name: found["order"] for name, found in columns.items()})


#: Imperfections that a chip has all at once in `together_point`; on the default hardware.
TOGETHER = ("range variation", "stuck cells", "read noise", "ADC INL")


def together_points(
    limits: pd.DataFrame, dataset: str, images: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Every precision and training seed: half of the limits, and all of them.

    Errors of independent sources add in squares, so four of them at half their limits are
    about as bad as one at its own.
    """
    rows = []
    physical = limits[[row.unit == IMPERFECTIONS[row.nonideality].unit
                       for row in limits.itertuples()]]  # fmt: skip
    for precision in common.PRECISIONS:
        own = physical[physical["precision"] == precision].set_index("nonideality")["limit"]
        for seed in common.training_seeds(dataset, precision, checkpoints):
            for share in (0.5, 1.0):
                sizes = {name: float(f"{share * own[name]:.6g}") for name in TOGETHER}
                rows.append({"dataset": dataset, "precision": precision, "seed": seed,
                             "share": share, **sizes, "images": images,
                             "checkpoints": checkpoints})  # fmt: skip
    return rows


def together_point(
    dataset: str, precision: str, seed: int, share: float, images: int, checkpoints: str,
    **sizes: float,
) -> Point:  # fmt: skip
    """Right answers of a chip that has all imperfections of `TOGETHER` at once."""
    net = common.network(dataset, precision, seed, checkpoints)
    stuck = sizes["stuck cells"] / 2
    cells = DeviceModel(
        effects=(RangeVariation(sizes["range variation"]), StuckCells(stuck, stuck)),
        read_noise=ReadNoise(sizes["read noise"]),
    )
    hardware = replace(_bent_adc("inl_lsb", sizes["ADC INL"], net, dataset), devices=cells)
    pixels, labels = common.test_images(dataset, images)
    return {"correct": common.correct(Chip(net, hardware, seed), pixels, labels)}
