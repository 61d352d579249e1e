"""What of a run becomes the record, and what documents quote of it."""

from __future__ import annotations

import json
import re

import pytest

from artifact import claims, publish, record
from artifact.paths import FIGURES, RESULTS, ROOT
from artifact.publish import PromotionError
from artifact.record import Record
from tests.artifact.runs import CLAIM, FULL, GRID, made


def test_every_figure_and_table_is_there():
    tables = {path.stem for path in RESULTS.glob("*.csv")}
    assert {"precision_grid", "precision_chips", "device_requirements", "converter_requirements",
            "requirements", "together",
            "zeros", "conversions", "energy", "adc_reduction", "region", "tornado", "guard_rows",
            "beyond"} <= tables  # fmt: skip
    figures = {path.stem for path in FIGURES.glob("*.png")}
    assert figures == {path.stem for path in FIGURES.glob("*.pdf")}
    shown = set(re.findall(r"figures/(\w+)\.png", (ROOT / "README.md").read_text()))
    assert shown <= figures
    assert len(shown) >= 6


def test_the_readme_table_is_that_of_the_results():
    assert publish.claims_markdown() in (ROOT / "README.md").read_text()
    assert publish.requirements_markdown() in (ROOT / "README.md").read_text()
    assert publish.conditions_markdown() in (ROOT / "README.md").read_text()
    assert publish.region_markdown() in (ROOT / "README.md").read_text()
    assert publish.harder_markdown() in (ROOT / "README.md").read_text()
    ids = [claim["id"] for claim in json.loads((RESULTS / "claims.json").read_text())]
    assert ids == list(claims.expected())


def test_the_readmes_claims_fit_a_phone():
    rows = publish.claims_markdown().splitlines()[2:]
    assert len(rows) == len(claims.expected())
    longest = max((word for row in rows for word in re.split(r"[ -]", row)), key=len)
    assert len(longest) < 14, longest
    assert not any("training" in row or ".csv" in row for row in rows)


def test_every_claim_has_a_short_name_and_every_verdict_a_mark():
    for name in claims.expected():
        assert len(publish.short(name)) < 40
    words = (claims.REPRODUCED, claims.TREND, claims.FAILED, claims.UNDECIDED, claims.INCOMPARABLE)
    assert len({publish.mark({"verdict": word})[0] for word in words}) == len(words)


def test_a_promoted_run_is_the_record_and_nothing_older_stays(tmp_path):
    run, known = made(tmp_path / "run"), made(tmp_path / "known", FULL | {"code": "old"})
    known.write_table("gone", GRID, FULL | {"code": "old"})
    (known.figures / "gone.png").write_bytes(b"old")
    (known.results / "faults.csv").write_text("of the tests\n")
    publish.promote(run, known)
    assert known.tables() == ["grid"]
    assert [path.name for path in known.pictures()] == ["grid.png"]
    assert publish.one_origin(known) == {key: FULL[key] for key in publish.COMMON}
    assert claims.read(known) == [CLAIM]
    assert (known.results / "faults.csv").is_file()


def test_of_the_embedded_digits_tables_alone_are_promoted(tmp_path):
    run = made(tmp_path / "run", FULL | {"dataset": "embedded", "profile": "quick"})
    known = Record(tmp_path / "results", tmp_path / "figures", tmp_path / "notebooks")
    publish.promote(run, known)
    assert known.tables() == ["grid"]
    assert not known.figures.exists()


def test_of_another_task_there_are_tables_and_figures_but_no_claims(tmp_path):
    run, known = made(tmp_path / "run", FULL | {"dataset": "cifar10"}), tmp_path / "known"
    (run.results / "claims.json").unlink()
    origins = run.origins()
    del origins["claims.json"]
    (run.results / record.PROVENANCE).write_text(json.dumps(origins))
    known = Record(known / "results", known / "figures", known / "notebooks")
    publish.promote(run, known)
    assert known.tables() == ["grid"]
    assert [path.name for path in known.pictures()] == ["grid.png"]
    assert publish.one_origin(known) == {key: FULL[key] for key in publish.COMMON}


@pytest.mark.parametrize("fact", publish.COMMON)
def test_a_mixture_is_not_promoted(tmp_path, fact):
    run, known = made(tmp_path / "run"), made(tmp_path / "known")
    run.write_table("other", GRID, FULL | {fact: "another"})
    before = known.origins()
    with pytest.raises(PromotionError, match=f"expected one {fact} of all tables, received .*othe"):
        publish.promote(run, known)
    assert known.origins() == before


def test_an_altered_table_or_a_run_without_claims_is_not_promoted(tmp_path):
    run, known = made(tmp_path / "run"), made(tmp_path / "known")
    (run.results / "grid.csv").write_text("precision\n")
    with pytest.raises(PromotionError, match=r"grid.csv: expected SHA-256 .* was altered"):
        publish.promote(run, known)
    run = made(tmp_path / "run")
    (run.results / "claims.json").unlink()
    with pytest.raises(PromotionError, match=r"claims.json: expected a file of an earlier run"):
        publish.promote(run, known)
