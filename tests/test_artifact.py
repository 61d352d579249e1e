"""The artifact around the library: runner, sweep, claims, notebooks, README."""

from __future__ import annotations

import json
import os
import re
import signal
import sys

import nbformat
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from artifact import claims, publish, record, reproduce, sweep
from artifact.checkpoints import CheckpointName, load_float
from artifact.notebook import CheckError, Session
from artifact.paths import FIGURES, NOTEBOOKS, RESULTS, ROOT
from artifact.studies import precision
from tests.faults import FAULTS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "07_nothing"], "expected notebooks among 00_overview"),
        (["--profile", "huge"], "invalid choice"),
        (["--fast"], "unrecognized arguments: --fast"),
        (["--jobs", "0"], "expected at least 1, received 0"),
    ],
)
def test_unknown_options_end_with_usage_and_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        reproduce.main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "usage: ./run_all.sh" in error
    assert message in error


def test_the_list_names_every_notebook(capsys):
    assert reproduce.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {
        n.name for n in reproduce.CATALOGUE
    }
    assert all(notebook.name in listed for notebook in reproduce.CATALOGUE)


def test_parameters_are_checked_against_the_notebook():
    notebook = reproduce.CATALOGUE[1]
    for profile in reproduce.PROFILES:
        reproduce.check_parameters(notebook, notebook.parameters(profile))
    with pytest.raises(ValueError, match="expected parameters among .* received imagse"):
        reproduce.check_parameters(notebook, {"imagse": 10})
    with pytest.raises(ValueError, match="expected images of type int, received '10'"):
        reproduce.check_parameters(notebook, {"images": "10"})


def test_a_failing_notebook_is_named_with_its_cell_and_the_rest_goes_on(tmp_path, monkeypatch):
    broken = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("x = 1"), nbformat.v4.new_code_cell("1 / 0")],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    nbformat.write(broken, tmp_path / "99_broken.ipynb")
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    broken_one = reproduce.Notebook("99_broken", "", (0, 0, 0))
    failure = reproduce.run_notebook(broken_one, {}, tmp_path / "build/notebooks")
    assert "99_broken, cell 2: ZeroDivisionError: division by zero" in failure
    assert (tmp_path / "build/notebooks/99_broken.ipynb").is_file()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped; start again to go on where it stopped"),
        (OSError(28, "No space left on device"), 1, "stopped: No space left on device; start"),
    ],
)
def test_what_stops_a_run_is_one_line(error, code, message, monkeypatch, capsys):
    def stopped():
        raise error

    monkeypatch.setattr(reproduce, "main", stopped)
    monkeypatch.setattr(reproduce.signal, "signal", lambda *_: None)
    assert reproduce.run() == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("ignored", [True, False])
def test_a_run_under_nohup_outlives_its_terminal(ignored, monkeypatch):
    before = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        monkeypatch.setattr(reproduce, "main", lambda: os.kill(os.getpid(), signal.SIGHUP) or 0)
        assert reproduce.run() == (0 if ignored else 130)
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])


calls = []


def square(x, checkpoints="checkpoints", dataset="embedded"):
    calls.append(x)
    return {"y": x * x}


def test_a_sweep_keeps_order_resumes_and_notices_other_parameters(tmp_path):
    points = [{"x": x, "dataset": "embedded"} for x in (3, 1, 2)]
    calls.clear()
    table = sweep.run("squares", square, points, folder=tmp_path)
    assert table["y"].tolist() == [9, 1, 4]
    sweep.run("squares", square, points, folder=tmp_path)
    assert calls == [3, 1, 2]
    next((tmp_path / "squares").glob("*.json")).write_text("{half a res")  # as a crash leaves it
    again = sweep.run(
        "squares", square, [*points, {"x": 5, "dataset": "embedded"}], folder=tmp_path
    )
    assert again["y"].tolist() == [9, 1, 4, 25]
    assert len(calls) == 5
    assert not list((tmp_path / "squares").glob(".*"))


def test_processes_change_nothing(tmp_path):
    points = precision.seed_points("embedded", 20)
    one = sweep.run("a", precision.chip_point, points, jobs=1, folder=tmp_path / "one")
    two = sweep.run("a", precision.chip_point, points, jobs=2, folder=tmp_path / "two")
    pd.testing.assert_frame_equal(one, two)


def seeds_table(correct, dataset="mnist"):
    return pd.DataFrame(
        [{"precision": "W4A3", "dataset": dataset, "images": 10_000, "correct": c} for c in correct]
    )


def test_verdicts_follow_the_tolerance_and_the_data():
    assert claims.judge_accuracy(seeds_table([9882, 9884]))[0]["verdict"] == "reproduced"
    assert claims.judge_accuracy(seeds_table([9800, 9801]))[0]["verdict"] == "not reproduced"
    embedded = claims.judge_accuracy(seeds_table([9871], "embedded"))
    assert embedded[0]["verdict"] == "not comparable"
    assert "98.82" not in claims.table(embedded).to_string()


def test_the_papers_numbers_stand_in_one_place():
    numbers = {name: entry["paper"] for name, entry in claims.expected().items()}
    assert numbers["C1"] == 0.9882
    assert (numbers["C5_W8A8"], numbers["C5_W4A3"]) == (0.79, 0.53)
    share = {p: (1 - 1 / numbers[f"C6_{p}"]) / numbers[f"C5_{p}"] for p in ("W8A8", "W4A3")}
    assert share["W8A8"] == pytest.approx(0.841, abs=1e-3)
    assert share["W4A3"] == pytest.approx(0.246, abs=1e-3)


def notebooks():
    return {path.stem: nbformat.read(path, 4) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


@pytest.mark.parametrize("name", [notebook.name for notebook in reproduce.CATALOGUE])
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
        assert len(cell.source.splitlines()) <= 14
        assert not re.search(r"^\s*(def|class|for .*:\n\s+for)\b", cell.source, re.M)


def test_no_path_of_this_machine_is_committed():
    text = "".join(path.read_text() for path in [*NOTEBOOKS.glob("*.ipynb"), ROOT / "README.md"])
    assert str(ROOT) not in text
    assert "/tmp/" not in text


def test_every_figure_and_table_is_there():
    tables = {path.stem for path in RESULTS.glob("*.csv")}
    assert {"precision_grid", "precision_seeds", "device_requirements", "converter_requirements",
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
    assert publish.region_markdown() in (ROOT / "README.md").read_text()
    ids = [claim["id"] for claim in json.loads((RESULTS / "claims.json").read_text())]
    assert ids == list(claims.expected())


def test_a_changed_table_is_noticed(monkeypatch):
    table = record.committed("embedded").read_table("precision_chips")
    session = Session("embedded", False, "quick", 1, "checkpoints")
    parameters = ["dataset", "precision", "seed", "images", "checkpoints"]
    monkeypatch.setattr(record.Record, "read_table", lambda place, name: table)
    session.check_sample("precision_chips", precision.chip_point, parameters)
    table["correct"] -= 1
    with pytest.raises(CheckError, match="the engine or the checkpoints changed"):
        session.check_sample("precision_chips", precision.chip_point, parameters)


def test_the_readmes_two_commands_are_the_scripts():
    text = (ROOT / "README.md").read_text()
    assert "./run_all.sh" in text
    assert "./run_tests.sh" in text
    assert "./run_tests.sh" in (ROOT / ".ci/run").read_text()
    assert sys.version_info >= (3, 11)


def test_the_readmes_code_runs(digits, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    images = torch.from_numpy(digits.test_images[:100, None].astype("float32") / 255)
    model = load_float(CheckpointName("embedded", "residual", None, 0))
    names = {"model": model, "training_images": images, "test_images": images,
             "test_labels": digits.test_labels[:100]}  # fmt: skip
    for block in blocks:
        exec(block, names)  # as a reader would paste it
    shown = capsys.readouterr().out
    assert "[0 1 2 3 4 5 6 7 8 9]" in shown
    assert "TOPS/W" in shown


def test_every_command_of_the_appendix_is_one_that_exists():
    text = (ROOT / "ARTIFACT.md").read_text()
    commands = re.findall(r"(?:^|`)(\./run_\w+\.sh|python [^\s`]+)([^`\n]*)", text, re.M)
    assert len(commands) >= 10
    for script, arguments in commands:
        assert (ROOT / script.removeprefix("python ")).is_file()
        if script == "./run_all.sh":
            reproduce.parse(arguments.split())  # ends with an error where an option is unknown
    names = {notebook.name for notebook in reproduce.CATALOGUE}
    assert set(re.findall(r"`(\d\d_\w+)`", text)) <= names
    assert publish.appendix_markdown() in text
    minutes = re.search(r"`\./run_all\.sh` \| (\d+) ", text)
    expected = sum(notebook.minutes[1] for notebook in reproduce.CATALOGUE)
    assert abs(int(minutes[1]) - expected) <= 1


def test_every_table_and_figure_has_an_origin():
    for origin in record.committed().origins().values():
        for fact in ("commit", "data", "checkpoints", "machine", "nvlib", "profile", "time"):
            assert origin[fact]
    for path in FIGURES.glob("*.png"):
        described = Image.open(path).text["Description"]
        assert "'commit'" in described
        assert "'data'" in described


def test_deliberate_faults_were_caught():
    table = pd.read_csv(RESULTS / "faults.csv")
    assert len(FAULTS) >= len(table) >= 25  # faults planted since the last recorded run count too
    assert table["caught by"].notna().mean() >= 0.95


def test_metadata_for_archives_agree():
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert zenodo["license"] == citation["license"] == "MIT"
    assert "10.3389/felec.2022.954661" in json.dumps(zenodo)
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["test"]["steps"][-1]["run"] == "bash .ci/run"
