"""Schemes: savings are those of a reading, and needed converters lose what is allowed."""

from __future__ import annotations

import pytest

from artifact.studies import common, one_hardware, schemes
from artifact.studies.readings import MIXED, Reading, mapping
from nvlib import Adc, ArrayMapping, Chip, Hardware


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_a_scheme_counts_what_its_reading_counts(scheme):
    point = {"dataset": "embedded", "training": "qat", "scheme": scheme, "precision": "W4A3",
             "seed": 0, "images": 4, "bits_images": 20, "checkpoints": common.SHIPPED}  # fmt: skip
    stated, needed = schemes.point(**point)["results"]
    numbers = Reading(scheme=scheme, cell_bits=schemes.SCHEMES[scheme]).four("embedded", 4)
    assert stated["saving"] == pytest.approx(numbers["saving_W4A3"])
    assert stated["gain"] == pytest.approx(numbers["gain_W4A3"])
    assert stated["gain"] == pytest.approx(stated["energy_nj"] / stated["sparse_nj"])
    assert needed["loss"] <= schemes.CONVERTER_LOSS
    assert schemes.FEWEST_BITS <= needed["bits"] <= (9 if scheme == MIXED else 8)
    fewer = {"offset": 4 / 6, "twos-complement": 4 / 6, MIXED: 3 / 6, "signed-digit": 8 / 6}
    assert needed["cells"] == round(368_820 * fewer.get(scheme, 1))


def test_slices_of_mixed_width_are_those_of_memintelli():
    widths = [mapping(MIXED, 4, f"W{bits}A3").cell_bits for bits in (8, 4, 3, 2)]
    assert widths == [(1, 1, 2, 4), (1, 1, 2), (1, 1, 1), (1, 1)]
    assert mapping(MIXED, 2, "W8A8").cell_bits == (1, 1, 2, 2, 2)
    assert mapping("offset", 2, "W8A8", 3) == ArrayMapping(scheme="offset", cell_bits=2, dac_bits=3)


def test_slices_of_mixed_width_lose_nothing_with_converters_over_all_rows():
    net, (pixels, _) = common.network("embedded", "W4A3"), common.test_images("embedded", 20)
    laid = mapping(MIXED, 4, "W4A3")  # 128 cells of 3 levels: 9 bits
    chip = Chip(net, common.calibrated(net, Hardware(laid, adc=Adc(bits=9)), "embedded"))
    assert (chip.logits(pixels, threads=1) == net.logits(pixels)).all()


def test_the_search_takes_memintellis_cells_and_slices():
    points = one_hardware.points("embedded", 10, 20, 4, 2, 1)
    (point,) = (p for p in points if p["scheme"] == MIXED and p["memintelli"]
                and p["training"] == "qat")  # fmt: skip
    found = one_hardware.point(**point)
    laws = len(one_hardware.PARTIAL) * len(one_hardware.WALDEN_PJ) * len(one_hardware.MECHANISMS)
    assert len(found["results"]) == laws * len(one_hardware.LOW_BITS)
    chip = Reading(scheme=MIXED, cell_bits=4).chip("embedded", "W8A8")
    pixels, _ = common.test_images("embedded", None)
    events = chip.events(pixels[:: len(pixels) // 4][:4])
    # Neither spread nor noise of cells changes what is saved, but slices do.
    numbers = Reading().numbers("W8A8", events)
    assert found["results"][0]["saving_W8A8"] == pytest.approx(numbers["saving_W8A8"], abs=0.01)
