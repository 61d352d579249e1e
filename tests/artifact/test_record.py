"""What is recorded is of one run, and is read only as it was written."""

from __future__ import annotations

import pandas as pd
import pytest
from PIL import Image

from artifact import catalogue, claims, publish, record
from artifact.paths import FIGURES
from artifact.record import AlteredError, Record
from tests.artifact.runs import FULL, GRID, made


def test_a_run_of_another_profile_begins_with_nothing_and_the_same_one_goes_on(tmp_path):
    place = made(tmp_path)
    below = Record(place.results / "embedded", tmp_path / "none", tmp_path / "none")
    below.begin(FULL | {"dataset": "embedded"})
    (place.results / "grid.csv").write_text("x\n1\n")  # by a run that died before it listed it
    place.begin(FULL | {"time": "later"})
    assert place.tables() == []
    place = made(tmp_path)
    place.begin(FULL | {"time": "later"})
    assert place.tables() == ["grid"]
    for change in ({"profile": "quick"}, {"code": "c2"}, {"checkpoints": "n2"}, {"data": "d2"}):
        place = made(tmp_path)
        place.begin(FULL | change)
        assert place.tables() == list(place.pictures()) == claims.read(place) == []
    assert (below.results / record.RUN).is_file()
    place = made(tmp_path)
    place.write_table("other", GRID, FULL | {"code": "edited in between"})
    place.begin(FULL)
    assert place.tables() == []


def test_an_altered_or_unlisted_file_is_not_read(tmp_path):
    place = made(tmp_path)
    pd.testing.assert_frame_equal(place.read_table("grid"), GRID)
    for name, read in (("grid.csv", lambda: place.read_table("grid")),
                       ("claims.json", lambda: claims.read(place))):  # fmt: skip
        path = place.results / name
        path.write_text(path.read_text().replace("9", "7"))
        with pytest.raises(AlteredError, match="the table was altered: restore both from git"):
            read()
    (place.results / "stray.csv").write_text("x\n1\n")
    with pytest.raises(AlteredError, match="found no entry"):
        place.read_table("stray")
    with pytest.raises(FileNotFoundError, match="none.csv: expected a file of an earlier run"):
        place.read_table("none")


def test_the_record_is_of_one_run_of_the_full_profile():
    origin = publish.one_origin(record.committed())
    assert origin["profile"] == "full"


def test_the_record_of_the_embedded_digits_is_of_one_run():
    place = record.committed("embedded")
    assert publish.one_origin(place)["profile"] in catalogue.PROFILES
    assert set(place.tables()) == set(record.committed().tables())


def test_the_record_of_the_harder_task_is_of_one_run_of_the_full_profile():
    place = record.committed("cifar10")
    assert publish.one_origin(place)["profile"] == "full"
    assert place.tables() == [f"harder_{name}" for name in
                              ("chips", "claims", "parts", "requirements", "varied")]  # fmt: skip


@pytest.mark.parametrize("dataset", ["mnist", "embedded", "cifar10"])
def test_every_recorded_file_has_its_hash_and_nothing_else_does(dataset):
    place = record.committed(dataset)
    files = {path.name for path in place.results.iterdir() if path.is_file()}
    files -= {record.PROVENANCE, record.RUN, *record.OF_TESTS}
    assert dataset == "cifar10" or {"claims.json", "requirements.csv"} <= files
    assert files == set(place.origins())
    for name in files:
        place.read(name)


def test_every_table_and_figure_has_an_origin():
    for origin in record.committed().origins().values():
        for fact in ("commit", "data", "checkpoints", "machine", "nvlib", "profile", "time"):
            assert origin[fact]
    for path in FIGURES.glob("*.png"):
        described = Image.open(path).text["Description"]
        assert "'commit'" in described
        assert "'data'" in described
