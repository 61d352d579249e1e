"""Schemes: savings are those of a reading, and needed converters lose what is allowed."""

from __future__ import annotations

import pytest

from artifact.studies import common, schemes
from artifact.studies.readings import Reading


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_a_scheme_counts_what_its_reading_counts(scheme):
    point = {"dataset": "embedded", "training": "qat", "scheme": scheme, "precision": "W4A3",
             "seed": 0, "images": 4, "bits_images": 20, "checkpoints": common.SHIPPED}  # fmt: skip
    stated, needed = schemes.point(**point)["results"]
    numbers = Reading(scheme=scheme).four("embedded", 4)
    assert stated["saving"] == pytest.approx(numbers["saving_W4A3"])
    assert stated["gain"] == pytest.approx(numbers["gain_W4A3"])
    assert stated["gain"] == pytest.approx(stated["energy_nj"] / stated["sparse_nj"])
    assert needed["loss"] <= schemes.CONVERTER_LOSS
    assert needed["bits"] == 8 or needed["bits"] in schemes.LOOKED_AT
    assert (needed["cells"] < 368_820) == (scheme in ("offset", "twos-complement"))
