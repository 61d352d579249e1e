"""Requirements beside published parts."""

from __future__ import annotations

import pandas as pd

from artifact.studies import buildable
from artifact.studies.nonidealities import NONIDEALITIES


def limit(lower, upper, bound="="):
    return pd.DataFrame(
        [{"nonideality": "read noise", "scheme": "differential", "training": "qat",
          "precision": "W4A3", "unit": "share", "limit": 0.1, "lower": lower, "upper": upper,
          "bound": bound}]
    )  # fmt: skip


def test_only_whole_intervals_decide():
    def answer(*given):
        return buildable.beside(limit(*given))["buildable"].tolist()

    has = buildable.parts().set_index("nonideality").loc["read noise", "value"]
    assert answer(has * 1.1, has * 2) == ["yes"]
    assert answer(has * 0.9, has * 2) == ["undecided"]
    assert answer(has * 0.5, has * 0.9) == ["no"]
    assert answer(has * 0.5, has * 0.9, ">") == ["undecided"]


def test_every_part_has_a_source_and_a_requirement():
    parts = buildable.parts()
    known = r"doi|ieeexplore|microchip|Petrovic|Mandrumaka|Son and Jang"
    assert parts["source"].str.contains(known).all()
    assert set(parts["nonideality"]) <= set(NONIDEALITIES)


def test_errors_of_converters_are_in_steps_of_8_bits():
    parts = buildable.parts()
    parts = parts[parts["nonideality"].isin(["ADC INL", "ADC DNL"])]
    told = parts["source"].str.extract(r"([\d.]+) LSB of (\d+) bits").astype(float)
    assert (parts["value"] - told[0] / 2 ** (told[1] - 8)).abs().max() < 6e-4
