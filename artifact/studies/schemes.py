"""C5 and C6, and what C2 calls overhead, by the way of laying signed weights onto cells.

Each scheme with the converters as stated, 8 bits at W8A8 and 4 at W4A3, and with those that it
needs: the fewest bits that lose at most a tenth of a point on training images. Full scales are
calibrated, but for slices of mixed width, whose converters reach over all rows, as MemIntelli's do.
"""

from __future__ import annotations

import pandas as pd

from artifact import data
from artifact.studies import common
from artifact.studies.common import PAIR
from artifact.studies.compromise import CONVERTER_LOSS
from artifact.studies.readings import MECHANISMS, MIXED, Reading, mapping
from artifact.sweep import Point
from nvlib import Adc, Chip, Hardware
from nvlib.mapping import count_arrays

#: Ways of laying weights onto cells, and the bits of their (widest) cells.
SCHEMES = {"differential": 1, "offset": 1, "twos-complement": 1, MIXED: 4, "signed-digit": 1}
FEWEST_BITS = 3  # from which on the needed ones are looked for
STATED, NEEDED = "as stated", "as needed"
NUMBERS = ["bits", "loss", "saving", "net", "gain", "energy_nj", "sparse_nj", "cells"]


def points(
    dataset: str, images: int, bits_images: int, seeds: int = 1, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Both precisions, by recipe with several training seeds and by scheme."""
    return [
        {"dataset": dataset, "training": training, "scheme": scheme, "precision": precision,
         "seed": seed, "images": images, "bits_images": bits_images, "checkpoints": checkpoints}
        for training in ("ptq", "qat")
        for scheme in SCHEMES
        for precision in PAIR
        for seed in common.training_seeds(dataset, precision, checkpoints, training)[:seeds]
    ]  # fmt: skip


def point(
    dataset: str, training: str, scheme: str, precision: str, seed: int, images: int,
    bits_images: int, checkpoints: str,
) -> Point:  # fmt: skip
    """Saving, gain, energy (nJ) and cells of a chip with the stated and the needed converters.

    `loss` is what the converters lose on training images, in points. Energies are counted on
    `images` test images; `energy_nj` is without sparsity processing, `sparse_nj` with it.
    """
    net = common.network(dataset, precision, seed, checkpoints, training)
    laid = mapping(scheme, SCHEMES[scheme], precision)
    digits, pixels = data.load(dataset), common.test_images(dataset, images)[0]
    seen, answers = digits.train_images[-bits_images:], digits.train_labels[-bits_images:]
    alone = int((net.predict(seen) == answers).sum())

    def chip(bits: int) -> Chip:
        return Chip(net, common.calibrated(net, Hardware(laid, adc=Adc(bits=bits)), dataset))

    def loss(bits: int) -> float:
        return 100 * (alone - common.correct(chip(bits), seen, answers)) / bits_images

    lossless = laid.largest_sum.bit_length()
    fine = (bits for bits in range(FEWEST_BITS, lossless) if loss(bits) <= CONVERTER_LOSS)
    stated = Reading().bits(precision)
    specs = [layer.spec for layer in net.layers]
    cells = sum(count_arrays(s.rows, s.outputs, net.precision, laid).cells for s in specs)
    results = []
    for kind, bits in ((STATED, stated), (NEEDED, next(fine, lossless))):
        events = chip(bits).events(pixels)
        numbers = Reading(adc_bits=(bits, bits)).numbers(precision, events)
        before, after = (
            common.energy_nj(events, MECHANISMS[name], bits) for name in ("nothing", "all, sensed")
        )
        named = {name.removesuffix(f"_{precision}"): value for name, value in numbers.items()}
        results.append(
            {"converters": kind, "bits": bits, "loss": loss(bits), **named,
             "energy_nj": before, "sparse_nj": after, "cells": cells}
        )  # fmt: skip
    return {"results": results}


def summary(table: pd.DataFrame, training: str = "qat") -> pd.DataFrame:
    """Means over training seeds, by scheme, precision and converters."""
    mine = table[table["training"] == training]
    keys = ["scheme", "precision", "converters"]
    return mine.groupby(keys, sort=False)[NUMBERS].mean().reset_index()
