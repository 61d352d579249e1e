"""Whether one hardware gives all claims with numbers and trends at once: C1, C2, C3, C5 and C6.

A search, and disclosed as one: whatever it finds was found by looking, in the knowledge of the
paper's numbers. C4 has no number to be searched for.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd

from artifact.studies import common, compromise, precision, sampling, schemes
from artifact.studies.common import PAIR
from artifact.studies.readings import MIXED, Reading, mapping
from artifact.sweep import Point
from nvlib import (
    Adc,
    Chip,
    DeviceModel,
    Hardware,
    Nonlinearity,
    ProportionalReadNoise,
    ProportionalVariation,
)

#: Converter bits at W4A3; at W8A8 they are 8.
LOW_BITS = (4, 5, 6)
#: Precisions that W4A3 is chosen among.
NEIGHBOURS = ("W4A3", "W4A4", "W4A2", "W3A4", "W3A3", "W3A2", "W2A4", "W2A3")
ENERGY_IMAGES = 5  # that the energies of the choice are counted on
#: Points below floating point of which C2 may be read; W4A3 must be the choice at one of them.
TOLERANCES = (0.3, 0.5, 0.75, 1.0)
SIGMA = 0.2  # proportional programming error of C3a
INL_LSB = 2.0  # of one and the same 8-bit converter, of C3b
WALDEN_PJ = (0.017, 0.022, 0.030)  # a step: best, between, median of the survey
PARTIAL = ("sar-cycles", "constant-power", "linear")
MECHANISMS = ("all, sensed", "column sums, digital zero skip")
CLAIMS = ["C1", "C2", "C3a", "C3b", "C5_W8A8", "C5_W4A3", "C6_W8A8", "C6_W4A3"]
#: Cells of the laboratory's later simulator MemIntelli (arXiv:2511.17418): G_on 10 uS and G_off
#: 0.1 uS, and its default read variation: a factor exp(N(0, 0.02)), at every access. Its converters
#: reach over all rows of the array, not calibrated; it takes two's-complement slices.
MEMINTELLI = DeviceModel(on_off_ratio=100.0, read_noise=ProportionalReadNoise(0.02))


def points(
    dataset: str, images: int, whole_images: int, event_images: int, chips: int, seeds: int,
    checkpoints: str = common.SHIPPED,
) -> list[Point]:  # fmt: skip
    """Every recipe, scheme and cell, and the preset of the authors' later simulator."""
    readings = [
        (scheme, bits, False)
        for scheme in schemes.SCHEMES
        for bits in ((1, 2) if scheme != MIXED else (4,))
    ]
    readings += [("twos-complement", 1, True), (MIXED, 4, True)]
    return [
        {"dataset": dataset, "training": training, "scheme": scheme, "cell_bits": cell_bits,
         "memintelli": memintelli, "images": images, "whole_images": whole_images,
         "event_images": event_images, "chips": chips, "seeds": seeds, "checkpoints": checkpoints}
        for training in precision.RECIPES
        for scheme, cell_bits, memintelli in readings
    ]  # fmt: skip


def point(
    dataset: str, training: str, scheme: str, cell_bits: int, memintelli: bool, images: int,
    whole_images: int, event_images: int, chips: int, seeds: int, checkpoints: str,
) -> Point:  # fmt: skip
    """Accuracies, the choices, losses to devices and converters, savings and gains.

    What a chip gains or loses is measured on a sample of the test images, more of the hard ones
    and weighted, and added to the accuracy of the network itself on `whole_images`. Savings and
    gains are counted on `event_images`, evenly spaced.
    """
    pixels, labels = common.test_images(dataset, None)
    sample = sampling.of_trial(dataset, 0, 0, images, checkpoints)
    spaced = pixels[:: max(len(pixels) // event_images, 1)]  # the first ones are easier
    typical, pixels, labels = spaced[:event_images], pixels[sample.chosen], labels[sample.chosen]
    there = precision.shipped(dataset, training, checkpoints)
    used = [seed for name, seed in there if name == "W4A3" and seed < seeds]
    devices = MEMINTELLI if memintelli else DeviceModel()

    def hardware(name: str, seed: int, bits: int) -> Hardware:
        sized = Hardware(mapping(scheme, cell_bits, name), devices, Adc(bits=bits))
        if memintelli:
            return sized
        net = common.network(dataset, name, seed, checkpoints, training)
        return common.calibrated(net, sized, dataset)

    def right(name: str, seed: int, hardware: Hardware, chip: int = 0) -> float:
        net = common.network(dataset, name, seed, checkpoints, training)
        return share(Chip(net, hardware, chip).predict(pixels, threads=1))

    def share(classes: np.ndarray) -> float:
        return 100 * float(sample.weights @ (classes == labels))

    def whole(name: str, seed: int) -> float:
        return _accuracy(dataset, name, seed, training, checkpoints, whole_images)

    def on_chip(name: str, seed: int, bits: int) -> float:
        net = common.network(dataset, name, seed, checkpoints, training)
        gained = right(name, seed, hardware(name, seed, bits)) - share(net.predict(pixels))
        return whole(name, seed) + gained

    most = float(np.mean([whole("float", seed) for seed in used]))
    result: Point = {"float": most}
    for what, spoil in (("variation", _varied), ("inl", _nonlinear)):
        for name in PAIR:
            lost = []
            for seed in used:
                ideal = hardware(name, seed, 8)
                best = right(name, seed, ideal)
                lost += [best - right(name, seed, spoil(ideal), chip) for chip in range(chips)]
            result[f"{what}_lost_{name}"] = float(np.mean(lost))
            result[f"{what}_error_{name}"] = float(np.std(lost, ddof=1) / np.sqrt(len(lost)))
    net = common.network(dataset, "W8A8", used[0], checkpoints, training)
    events = {"W8A8": Chip(net, hardware("W8A8", used[0], 8)).events(typical)}
    results = []
    for bits in LOW_BITS:
        rows = {}
        for name in NEIGHBOURS:
            trained = [seed for seed in used if (name, seed) in there]
            if not trained:
                continue
            net = common.network(dataset, name, trained[0], checkpoints, training)
            seen = Chip(net, hardware(name, trained[0], bits)).events(typical[:ENERGY_IMAGES])
            shares = [on_chip(name, seed, bits) for seed in trained]
            rows[name] = {
                "accuracy": np.mean(shares),
                "energy_nj": common.energy_nj(seen, (), bits),
            }
        table = pd.DataFrame(rows).T
        picked = [compromise.cheapest(table, t, most) == "W4A3" for t in TOLERANCES]
        net = common.network(dataset, "W4A3", used[0], checkpoints, training)
        events["W4A3"] = Chip(net, hardware("W4A3", used[0], bits)).events(typical)
        for partial, step, mechanism in itertools.product(PARTIAL, WALDEN_PJ, MECHANISMS):
            reading = Reading(
                training, adc_bits=(8, bits), partial=partial, mechanism=mechanism,
                constants={"walden_step": step},
            )  # fmt: skip
            numbers = reading.numbers("W8A8", events["W8A8"])
            numbers |= reading.numbers("W4A3", events["W4A3"])
            results.append(
                {"low_bits": bits, "partial": partial, "walden_step": step, "mechanism": mechanism,
                 "accuracy": float(table.loc["W4A3", "accuracy"]), "picked": sum(picked)}
                | numbers
            )  # fmt: skip
    return result | {"results": results}


@lru_cache(maxsize=256)
def _accuracy(
    dataset: str, name: str, seed: int, training: str, checkpoints: str, images: int
) -> float:
    """Accuracy (%) of a network without hardware."""
    pixels, labels = common.test_images(dataset, images)
    classes = common.classes(dataset, name, seed, training, checkpoints, pixels)
    return 100 * float((classes == labels).mean())


def _varied(ideal: Hardware) -> Hardware:
    return replace(ideal, devices=replace(ideal.devices, effects=(ProportionalVariation(SIGMA),)))


def _nonlinear(ideal: Hardware) -> Hardware:
    curve = Nonlinearity(INL_LSB, shape="random-walk", monotone=False)
    return replace(ideal, adc=replace(ideal.adc, nonlinearity=curve))


def distances(table: pd.DataFrame, paper: dict[str, float]) -> pd.DataFrame:
    """How far each hardware is from each claim, in units of its tolerance: 1 or less holds.

    Tolerances: C1 0.4 points (two standard deviations of training seeds and test images after
    training), C5 5 points, C6 10 %. C2 holds if W4A3 is chosen; C3a and C3b hold if W8A8 loses
    more than W4A3 by more than two standard errors. `held` counts the claims that hold.

    Parameters
    ----------
    table : DataFrame
        From `common.tidy`.
    paper : dict
        The paper's accuracy in percent, and saving_W8A8, gain_W8A8, saving_W4A3, gain_W4A3.
    """
    found = table.assign(C1=(table["accuracy"] - paper["accuracy"]).abs() / 0.4)
    found["C2"] = np.where(table["picked"] > 0, 0.0, 2.0)
    for claim, what in (("C3a", "variation"), ("C3b", "inl")):
        more = table[f"{what}_lost_W8A8"] - table[f"{what}_lost_W4A3"]
        error = np.hypot(table[f"{what}_error_W8A8"], table[f"{what}_error_W4A3"])
        found[claim] = np.where(more > 2 * error, 0.0, 2.0)
    for name in PAIR:
        found[f"C5_{name}"] = (table[f"saving_{name}"] - paper[f"saving_{name}"]).abs() / 0.05
        ratio = table[f"gain_{name}"] / paper[f"gain_{name}"]
        found[f"C6_{name}"] = (ratio - 1).abs() / 0.1
    held = found[CLAIMS] <= 1
    excess = (found[CLAIMS] - 1).clip(0, 1).sum(axis=1)
    ranked = found.assign(held=held.sum(axis=1), excess=excess)
    return ranked.sort_values(["held", "excess"], ascending=[False, True], ignore_index=True)


def nearest(ranked: pd.DataFrame) -> pd.DataFrame:
    """Of each recipe, scheme, cell and converter the laws that are nearest, best first."""
    keys = ["training", "scheme", "cell_bits", "memintelli", "low_bits"]
    best = ranked.drop_duplicates(keys)
    return best[[*keys, "partial", "walden_step", "mechanism", "accuracy", *CLAIMS, "held"]]
