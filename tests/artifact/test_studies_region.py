"""The region counts what the judged study counts, and sizes converters by the stated rule."""

from __future__ import annotations

import pandas as pd
import pytest

from artifact import claims
from artifact.studies import common, region, sparsity
from nvlib.energy import DESIGN_LAWS

EMBEDDED = {"dataset": "embedded", "images": 10, "checkpoints": common.SHIPPED}
PLAIN = {"network": "lenet5", "cell_bits": 1, "inputs": "bit-serial"}


@pytest.fixture(scope="module")
def table():
    points = [EMBEDDED | PLAIN | {"precision": name} for name in common.PAIR]
    return region.tidy_region(pd.DataFrame([p | region.region_point(**p) for p in points]))


def test_the_marked_combination_is_the_one_judged(table):
    (row,) = claims.mark_region(table).query("default").to_dict("records")
    assert row["images"] == 10
    for name in common.PAIR:
        judged = sparsity.saving_point(precision=name, array_size=128, **EMBEDDED)
        for column in ("adc_saving", "efficiency_gain"):
            assert row[f"{column}_{name}"] == pytest.approx(judged[column], abs=5e-5)


def test_rules_that_give_as_many_bits_share_their_numbers_and_others_do_not(table):
    keys = ["design", "partial", "mechanism"]
    by_rule = {rule: rows.set_index(keys) for rule, rows in table.groupby("adc_rule")}
    assert set(by_rule) == {"B = W", "B = 8", "B = 4"}
    for name, same, other in (("W8A8", "B = 8", "B = 4"), ("W4A3", "B = 4", "B = 8")):
        column = f"adc_saving_{name}"
        assert by_rule["B = W"][column].equals(by_rule[same][column])
        assert not by_rule["B = W"][column].equals(by_rule[other][column])
    combinations = len(DESIGN_LAWS) * len(region.SOURCED_PARTIAL_LAWS) * len(sparsity.MECHANISMS)
    assert len(table) == 3 * combinations
    # Of all readings of hardware: 2 networks, 3 cells, 3 inputs, 3 rules.
    assert len(region.region_points(*list(EMBEDDED.values())[:2])) == 2 * 3 * 3 * 2


def test_the_tornado_has_each_constant_and_law_and_its_range_holds_the_default():
    point = EMBEDDED | {"precision": "W4A3"}
    rows = common.tidy(pd.DataFrame([point | region.tornado_point(**point)]))
    assert set(rows["constant"]) == {*region.RANGES, "partial law", "design law"}
    for number in ("saving", "gain"):
        assert rows[number].between(rows[f"{number}_low"], rows[f"{number}_high"]).all()
    judged = sparsity.saving_point(precision="W4A3", array_size=128, **EMBEDDED)
    assert rows["saving"].iloc[0] == pytest.approx(judged["adc_saving_net"])
