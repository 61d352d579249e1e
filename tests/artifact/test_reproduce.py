"""The runner: its options, what stops it, and that it leaves the record as it is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest

from artifact import catalogue, checkpoints, claims, data, recipes, record, reproduce
from artifact.checkpoints import CheckpointName
from artifact.paths import NOTEBOOKS, ROOT
from artifact.record import Record
from nvlib import Precision, Recipe
from tests.artifact.runs import CLAIM, FULL, GRID, made
from tests.faults import left_out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "07_nothing"], "expected notebooks among 00_overview"),
        (["--profile", "huge"], "invalid choice"),
        (["--fast"], "unrecognized arguments: --fast"),
        (["--jobs", "0"], "expected at least 1, received 0"),
        (["--minutes", "-1"], "--minutes: expected a number above 0, received -1.0"),
        (["--minutes", "2", "--record"], "own size, received --minutes; leave it out"),
        (["--retrain", "--only", "10_harder_task"], "--retrain: expected a notebook on digits"),
        (["--minutes", "nan"], "--minutes: expected a number above 0, received nan"),
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
        n.name for n in catalogue.CATALOGUE
    }
    assert all(notebook.name in listed for notebook in catalogue.CATALOGUE)


def test_parameters_are_checked_against_the_notebook():
    notebook = catalogue.CATALOGUE[1]
    for profile in catalogue.PROFILES:
        catalogue.check_parameters(notebook, notebook.parameters(profile))
    with pytest.raises(ValueError, match="expected parameters among .* received imagse"):
        catalogue.check_parameters(notebook, {"imagse": 10})
    with pytest.raises(ValueError, match="expected images of type int, received '10'"):
        catalogue.check_parameters(notebook, {"images": "10"})


def test_a_failing_notebook_is_named_with_its_cell_and_the_rest_goes_on(tmp_path, monkeypatch):
    broken = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("x = 1"), nbformat.v4.new_code_cell("1 / 0")],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    nbformat.write(broken, tmp_path / "99_broken.ipynb")
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    broken_one = catalogue.Notebook("99_broken", "", (0, 0, 0))
    failure = reproduce.run_notebook(broken_one, {}, tmp_path / "build/notebooks")
    assert "99_broken, cell 2: ZeroDivisionError: division by zero" in failure
    assert (tmp_path / "build/notebooks/99_broken.ipynb").is_file()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped; start again to go on where it stopped"),
        (OSError(28, "No space left on device"), 1, "stopped: No space left on device; start"),
        (OSError(28, "No space left on device", "/a/b"), 1, "left on device: /a/b; start again"),
    ],
)
def test_what_stops_a_run_is_one_line(error, code, message, monkeypatch, capsys):
    def stopped():
        raise error

    monkeypatch.setattr(reproduce, "main", stopped)
    monkeypatch.setattr(reproduce.signal, "signal", lambda *_: None)
    assert reproduce.run() == code
    assert message in capsys.readouterr().err


def notebook_of(folder, name, code):
    """A notebook with one cell, of parameters."""
    cell = nbformat.v4.new_code_cell(code, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "", "language": "python"}
    book = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(book, folder / f"{name}.ipynb")
    return catalogue.Notebook(name, "", (1.0, 1.0, 1.0))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_a_notebook_is_told_with_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    book, target = notebook_of(tmp_path, "01_some", "x = 1"), tmp_path / "build"
    target.mkdir()
    (target / "01_some.ipynb").symlink_to("/dev/full")
    failure = reproduce.run_notebook(book, {}, target)
    assert "No space left on device; it was to be written to " + str(target) in failure


def test_minutes_go_to_the_notebooks_that_take_them(tmp_path, monkeypatch, capsys, digits):
    for module in (catalogue, reproduce):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    books = [notebook_of(tmp_path, "01_free", "x = 0"),
             notebook_of(tmp_path, "02_limited", "minutes = 0.0")]  # fmt: skip
    assert ["minutes" in catalogue.defaults(book) for book in books] == [False, True]
    monkeypatch.setattr(data, "load", lambda _: digits)
    handed = {}

    def check(book, parameters):
        handed[book.name] = parameters.get("minutes")
        assert parameters["profile"] == "standard, 2.5 minutes"  # is of no profile's size
        raise OSError("far enough")

    monkeypatch.setattr(reproduce, "check_parameters", check)
    monkeypatch.setattr(reproduce, "CATALOGUE", tuple(books[::-1]))
    with pytest.raises(OSError, match="far enough"):
        reproduce.main(["--minutes", "2.5"])
    assert handed == {"02_limited": 2.5}
    monkeypatch.setattr(reproduce, "CATALOGUE", tuple(books[:1]))
    assert reproduce.main(["--minutes", "2.5"]) == 2
    assert "expected a notebook with that parameter, found none" in capsys.readouterr().err


def test_the_end_of_a_run_has_no_table_without_rows(tmp_path):
    nothing = record.Record(tmp_path, tmp_path, tmp_path)
    row = {"what": "table x", "recorded": "2 rows", "yours": "1 rows"}
    other, same = "not comparable: quick for full profile", "yes"
    for answer, lines in ((other, 0), (same, 2)):
        table = pd.DataFrame([row | {"agrees?": answer}])
        said = reproduce.summary([(nothing, nothing)], table).splitlines()
        assert len([line for line in said if line.startswith(("what", "table x"))]) == lines
        assert said[-1].startswith("agrees? ")


@contextlib.contextmanager
def signals_kept():
    """Handlers are those of before again, whatever a run set."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize("ignored", [True, False])
def test_a_run_under_nohup_outlives_its_terminal(ignored, monkeypatch):
    with signals_kept():
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        monkeypatch.setattr(reproduce, "main", lambda: os.kill(os.getpid(), signal.SIGHUP) or 0)
        assert reproduce.run() == (0 if ignored else 130)


def test_a_signal_lost_within_a_notebook_stops_the_run_after_it(tmp_path, monkeypatch, digits):
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    books = tuple(notebook_of(tmp_path, name, "recorded = True") for name in ("01_one", "02_two"))
    monkeypatch.setattr(reproduce, "CATALOGUE", books)
    monkeypatch.setattr(reproduce, "check_parameters", lambda *_: None)
    monkeypatch.setattr(data, "load", lambda _: digits)
    folders = [tmp_path / name for name in ("results", "figures", "notebooks")]
    monkeypatch.setattr(record, "of_run", lambda _: Record(*folders))
    ran = []

    def loses_it(book, *_):
        ran.append(book.name)
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(reproduce, "run_notebook", loses_it)
    monkeypatch.setattr(sys, "argv", ["run"])
    with signals_kept():
        assert reproduce.run() == 130
    assert ran == ["01_one"]


def copy_to(folder):
    """The artifact as it stands, with its pictures, and kernels that are compiled already."""
    shutil.copytree(ROOT, folder, ignore=left_out)
    for part in ("figures", "nvlib/__pycache__"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, dirs_exist_ok=True)


@pytest.fixture
def artifact(tmp_path):
    """A copy of the artifact, whose results may be overwritten, and its environment."""
    copy = tmp_path / "artifact"
    copy_to(copy)
    return copy, os.environ | {"PYTHONPATH": str(copy)}


def test_ctrl_c_ends_a_run_with_one_message_and_the_next_goes_on(artifact):
    copy, environment = artifact
    command = [sys.executable, "-u", "-m", "artifact.reproduce", "--profile", "quick", "--only",
               "08_beyond"]  # fmt: skip
    points = copy / "build" / "points"
    with subprocess.Popen(
        command, cwd=copy, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Jobs in the background of a shell ignore SIGINT, and so would this one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as run:  # fmt: skip
        deadline = time.monotonic() + 120
        while not list(points.rglob("*.json")):  # a first point is done, others are under way
            assert run.poll() is None, run.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all of its processes
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.rstrip().endswith("stopped; start again to go on where it stopped")
    assert "Traceback" not in errors
    deadline = time.monotonic() + 30
    while left := [p for p in psutil.process_iter(["cmdline"])
                   if str(copy) in " ".join(p.info["cmdline"] or [])]:  # fmt: skip
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    kept = {path: path.stat().st_mtime_ns for path in points.rglob("*.json")}
    again = subprocess.run(
        command, cwd=copy, env=environment, text=True, capture_output=True, timeout=300
    )
    assert again.returncode == 0, again.stderr
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    assert len(list(points.rglob("*.json"))) > len(kept)


@pytest.fixture
def repository(tmp_path):
    """A git repository of the artifact as it stands here, and its environment."""
    copy = tmp_path / "artifact"
    copy_to(copy)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t",
                    "commit", "-q", "-m", "as it stands"]):  # fmt: skip
        subprocess.run(["git", *command], cwd=copy, check=True)
    return copy, os.environ | {"PYTHONPATH": str(copy)}


@pytest.mark.parametrize("dataset", ["mnist", "embedded"])
def test_a_run_leaves_the_tree_clean_and_the_tests_of_the_record_pass_after_it(
    repository, tmp_path, dataset
):
    copy, environment = repository
    if dataset == "mnist" and data.load("auto").name != "mnist":
        pytest.skip("needs MNIST")
    if dataset == "embedded":  # neither data nor a network, nor a home that can be written
        environment.pop("NVLIB_DATA_DIR", None)
        (tmp_path / "file").write_text("in the way")
        environment["HOME"] = str(tmp_path / "file" / "home")
        nowhere = "http://127.0.0.1:9"
        environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HTTPS_PROXY": nowhere,
                        "https_proxy": nowhere, "http_proxy": nowhere}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "artifact.reproduce", "--profile", "quick", "--only",
         "04_sparsity"],
        cwd=copy, env=environment, text=True, capture_output=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("Until then: 5,000 MNIST digits" in done.stderr) == (dataset == "embedded")
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=copy, text=True, capture_output=True, check=True
    )
    assert changed.stdout == ""
    own = "embedded" if dataset == "embedded" else ""
    assert (copy / "build" / "results" / own / "guard_rows.csv").is_file()
    assert (copy / "build" / "figures" / own / "guard_rows.pdf").is_file()
    assert (copy / "build" / "notebooks" / own / "04_sparsity.ipynb").is_file()
    assert not (copy / "build" / "results" / own / "energy.csv").exists()
    assert "agrees?" in done.stdout
    assert " 0 do NOT" in done.stdout
    page = (copy / "build" / "report" / "beside.html").read_text(encoding="utf-8")
    assert "<td>table guard_rows</td>" in page
    again = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "tests/artifact/test_publish.py", "tests/artifact/test_record.py",
         "tests/test_documents.py",
         "-k", "readme_table or appendix or figure_and_table or origin"],
        cwd=copy, env=environment, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        ("mnist", [], "expected the full profile, received standard; add --profile full"),
        ("mnist", ["--profile", "quick"], "expected the full profile, received quick"),
        ("mnist", ["--profile", "full", "--only", "00_overview"], "received --only"),
        ("mnist", ["--profile", "full", "--retrain"], "expected the shipped networks"),
        ("mnist", ["--only", "10_harder_task"], "expected the full profile, received standard"),
        ("embedded", ["--only", "00_overview"], "received --only; leave it out"),
    ],
)
def test_what_cannot_become_the_record_is_refused_before_any_work(
    dataset, arguments, message, monkeypatch, capsys, digits
):
    named = dataclasses.replace(digits, name=dataset)
    monkeypatch.setattr(data, "load", lambda _: named)
    for work in ("check_parameters", "run_notebook", "retrain"):
        monkeypatch.setattr(reproduce, work, lambda *_: pytest.fail("begins to work"))
    assert reproduce.main(["--record", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_networks_trained_again_are_told_beside_the_shipped_ones(tmp_path, monkeypatch, capsys):
    name = CheckpointName("embedded", "lenet5", Precision(4, 3), 0)
    floating = dataclasses.replace(name, precision=None)
    monkeypatch.setattr(recipes, "shipped", lambda _: [floating, name])
    short = dict.fromkeys(("float", "qat"), Recipe(epochs=1))
    monkeypatch.setattr(recipes, "RECIPES", short)
    monkeypatch.setattr(recipes, "EMBEDDED_TIMES", {"float": 1, "qat": 1})
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setattr(reproduce, "BUILD", tmp_path / "build")
    assert reproduce.retrain(1, "embedded") == "build/checkpoints"
    told = capsys.readouterr().out
    assert re.search(r"trained in \d+\.\d min; accuracy on test images", told)
    row = pd.read_csv(tmp_path / "build" / "retrained.csv").iloc[0]
    assert (row["networks"], row["count"]) == ("others, one seed each", 2)
    entries = checkpoints.read_manifest(tmp_path / "build" / "checkpoints")
    mine = [float(entries[n.path.as_posix()]["test_accuracy"]) for n in (floating, name)]
    assert row["trained"] == pytest.approx(100 * np.mean(mine))
    assert row["gained"] == pytest.approx(row["trained"] - row["shipped"])


def test_another_task_is_recorded_alone_and_only_if_the_run_made_it(tmp_path, monkeypatch, capsys):
    places = {name: made(tmp_path / name, FULL | {"dataset": name}) for name in ("mnist", "old")}
    monkeypatch.setattr(record, "of_run", lambda name: places.get(name, empty))
    monkeypatch.setattr(record, "committed", lambda name: places["old"])
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setattr("artifact.publish.update", lambda: print("documents"))
    empty = Record(*[tmp_path / "none" / name for name in ("results", "figures", "notebooks")])
    assert reproduce._record(["cifar10"], "full") == []
    assert "cifar10: this run made nothing of it, its record stays" in capsys.readouterr().out
    places["cifar10"] = made(tmp_path / "cifar10", FULL | {"dataset": "cifar10"})
    places["cifar10"].write_table("harder_chips", GRID, FULL | {"dataset": "cifar10"})
    assert reproduce._record(["cifar10"], "full") == []
    assert "documents" in capsys.readouterr().out
    assert places["old"].tables() == ["grid", "harder_chips"]
    places["cifar10"].write_table("stray", GRID, FULL | {"code": "other"})
    (failure,) = reproduce._record(["cifar10"], "full")
    assert failure.startswith("--record: ")


@pytest.mark.parametrize(("failure", "code"), [(None, 0), ("00_overview, cell 2: it broke", 1)])
def test_a_run_with_a_failure_is_not_recorded(failure, code, tmp_path, monkeypatch, capsys, digits):
    run, known = tmp_path / "build", made(tmp_path / "known", FULL | {"code": "old"})
    place = Record(run / "results", run / "figures", run / "notebooks")

    def runs(notebook, parameters, folder):
        assert folder == place.notebooks
        claims.write([CLAIM], place, facts)
        place.write_table(notebook.name, GRID, facts)
        return failure if notebook.name == "00_overview" else None

    facts = FULL | {"dataset": "embedded", "profile": "quick"}
    before = known.origins()
    monkeypatch.setattr(data, "load", lambda _: digits)
    monkeypatch.setattr(record, "of_run", lambda _: place)
    monkeypatch.setattr(record, "committed", lambda *_: known)
    monkeypatch.setattr("artifact.provenance.of_run", lambda *_: facts)
    monkeypatch.setattr(reproduce, "run_notebook", runs)
    monkeypatch.setattr(reproduce, "check_parameters", lambda *_: None)
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setattr("artifact.report.write", lambda *_: tmp_path / "index.html")
    assert reproduce.main(["--profile", "quick", "--record"]) == code
    shown = capsys.readouterr()
    if failure:
        assert known.origins() == before
        assert "FAILED --record: expected every notebook to succeed; nothing was" in shown.err
    else:
        assert known.tables() == [notebook.name for notebook in catalogue.CATALOGUE]
        assert "recorded, of the quick profile: known/results" in shown.out
