"""Notebooks as committed, and what each does with its tables."""

from __future__ import annotations

import dataclasses
import re

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure

from artifact import catalogue, notebook, provenance, record
from artifact.notebook import CheckError, Session, readable
from artifact.paths import NOTEBOOKS
from artifact.record import Record
from artifact.studies import precision
from tests.artifact.runs import FULL, GRID, made


def notebooks():
    return {path.stem: nbformat.read(path, 4) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


@pytest.mark.parametrize("name", [notebook.name for notebook in catalogue.CATALOGUE])
def test_notebooks_are_committed_with_outputs_and_short_cells(name):
    cells = [cell for cell in notebooks()[name].cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.execution_count is not None for cell in cells)
    assert not any(o.output_type == "error" for cell in cells for o in cell.outputs)
    checks = [cell for cell in cells if "NBVAL_CHECK_OUTPUT" in cell.source]
    assert checks
    assert all("ok" in str(cell.outputs) for cell in checks)
    assert any("image/png" in str(cell.outputs) for cell in cells)
    assert any("parameters" in cell.metadata.get("tags", []) for cell in cells)
    for cell in cells:
        assert len(cell.source.splitlines()) <= 15
        assert not re.search(r"^\s*(def|class|for .*:\n\s+for)\b", cell.source, re.M)


def test_tables_are_shown_in_words():
    table = pd.DataFrame({
        "training": ["ptq", "qat"], "scheme": ["offset", "signed-digit"],
        "unit": ["G_on / G_off"] * 2,
        "images": [10_000, 1], "explains": [True, False], "energy_nj": [1234.5, float("nan")],
    })  # fmt: skip
    shown = readable(table, precision=1).to_html()
    for word in ("quantization after training", "signed digits", "G<sub>on</sub>", "10,000",
                 ">yes<", ">no<", "energy (nJ)", "1,234.5"):  # fmt: skip
        assert word in shown, word
    assert not re.search(r"\b(ptq|qat|True|nan|energy_nj)\b", shown)
    assert ">1<" in shown  # a count is not yes
    wide = table.pivot(index="scheme", columns="training", values="energy_nj")
    assert "offset columns" in readable(wide).to_html()


def test_the_sentences_of_a_notebook_are_paragraphs(monkeypatch):
    shown = []
    monkeypatch.setattr(notebook, "display", shown.append)
    notebook.say("W4A3: 98.83 +- 0.15 %\nmore")
    assert shown[0].data == "> W4A3: 98.83 ± 0.15 %\n>\n> More"


def test_answers_gather_below_the_title(monkeypatch):
    class Place:
        def update(self, shown):
            self.shown = shown.data

    monkeypatch.setattr(notebook, "display", lambda *_, **__: Place())
    session = notebook.start("embedded")
    session.answer("two bits +- 1 suffice.\nSo they do.")
    figure = Figure()
    figure.suptitle("A title that\nis broken")
    session.on("cifar10", "checkpoints/harder", True).answer(figure)
    told = "> Two bits ± 1 suffice.\n>\n> So they do.\n>\n> A title that is broken."
    assert session.top.place.shown == told


@pytest.mark.parametrize("name", [notebook.name for notebook in catalogue.CATALOGUE])
def test_the_answer_of_a_notebook_stands_before_its_method(name):
    cells = notebooks()[name].cells
    (place,) = [n for n, cell in enumerate(cells) if "notebook.start(" in cell.source]
    assert not any(cell.cell_type == "markdown" for cell in cells[1:place])
    told = "".join(str(o.get("data", {}).get("text/markdown", "")) for o in cells[place].outputs)
    assert re.search(r"> .*[0-9]", told), told


def test_a_changed_table_is_noticed(monkeypatch):
    table = record.committed("embedded").read_table("precision_chips")
    session = Session("embedded", False, "quick", 1, "checkpoints")
    parameters = ["dataset", "precision", "seed", "images", "checkpoints"]
    monkeypatch.setattr(record.Record, "read_table", lambda place, name: table)
    session.check_sample("precision_chips", precision.chip_point, parameters)
    table["correct"] -= 1
    with pytest.raises(CheckError, match="the engine or the checkpoints changed"):
        session.check_sample("precision_chips", precision.chip_point, parameters)


def test_another_task_has_tables_of_its_own_and_shows_them_where_its_data_are_not(
    tmp_path, monkeypatch, capsys
):
    places = {}

    def place(kind):
        def of(dataset="mnist"):
            folder = tmp_path / kind / dataset
            return places.setdefault(
                (kind, dataset), Record(folder / "results", folder / "figures", folder / "books")
            )

        return of

    monkeypatch.setattr(record, "of_run", place("run"))
    monkeypatch.setattr(record, "committed", place("known"))
    monkeypatch.setattr(Session, "provenance", lambda session: FULL | {"dataset": session.dataset})
    session = Session("mnist", False, "quick", 1, "checkpoints")
    other = session.on("cifar10", "checkpoints/harder", at_hand=True)
    assert (other.dataset, other.checkpoints, other.recorded) == (
        "cifar10", "checkpoints/harder", False
    )  # fmt: skip
    other.record("grid", GRID)
    session.record("digits", GRID)
    assert record.of_run("cifar10").tables() == ["grid"]
    assert record.of_run("mnist").tables() == ["digits"]
    shown = session.on("cifar10", "checkpoints/harder", at_hand=False)
    record.committed("cifar10").write_table("grid", GRID[:1], FULL)
    assert len(shown.table("grid", dict, [])) == 1
    embedded = dataclasses.replace(session, dataset="embedded", recorded=True)
    record.committed("mnist").write_table("digits", GRID, FULL)
    assert len(embedded.recorded_table("digits")) == 2  # MNIST's are shown


def test_a_notebook_run_alone_takes_the_others_tables_from_the_record(
    tmp_path, monkeypatch, capsys
):
    run, known = tmp_path / "run", made(tmp_path / "known")
    place = Record(run / "results", run / "figures", run / "notebooks")
    monkeypatch.setattr(record, "of_run", lambda _: place)
    monkeypatch.setattr(record, "committed", lambda *_: known)
    monkeypatch.setattr(provenance, "data_hash", lambda dataset: dataset)
    session = Session("mnist", False, "quick", 1, "checkpoints")
    assert len(session.recorded_table("grid")) == 2
    assert "grid: this run has none, so the recorded table stands in" in capsys.readouterr().out
    place.write_table("grid", GRID[:1], session.provenance() | {"profile": "full"})
    assert len(session.recorded_table("grid")) == 2  # of another profile
    place.write_table("grid", GRID[:1], session.provenance())
    assert len(session.recorded_table("grid")) == 1  # its own comes first
    assert len(dataclasses.replace(session, recorded=True).recorded_table("grid")) == 2
    retrained = dataclasses.replace(session, checkpoints="build/checkpoints")
    (place.results / "grid.csv").unlink()
    with pytest.raises(FileNotFoundError, match="the same networks, found neither; run"):
        retrained.recorded_table("grid")
