"""Points are computed once, in any process, and nothing stale is read."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from artifact import provenance, sweep
from artifact.notebook import Session
from artifact.paths import ROOT
from artifact.studies import precision, residual

KILLS = 24
#: Children are forked from a process without threads: a fork of one that has some can hang.
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload([__name__])
# Starts two workers, each with a point that does not end; says who they are.
SLOW = """
import os, pathlib, time
from artifact import sweep
def slow(x, dataset, folder):
    pathlib.Path(folder, f"{os.getpid()}").touch()
    time.sleep(600)
folder = os.environ["FOLDER"]
points = [{"x": x, "dataset": "embedded", "folder": folder} for x in range(2)]
sweep.run("slow", slow, points, jobs=2, folder=pathlib.Path(folder, "points"))
"""


def test_workers_and_what_they_share_end_with_a_run_that_is_killed(tmp_path):
    before = set(Path("/dev/shm").glob("*")) if Path("/dev/shm").is_dir() else set()
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW], env=os.environ | {"FOLDER": str(tmp_path)}, cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(workers := [int(path.name) for path in tmp_path.glob("[0-9]*")]) < 2:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    helpers = [child.pid for child in psutil.Process(run.pid).children(recursive=True)]
    assert set(workers) <= set(helpers)
    shared = {
        path for path in set(Path("/dev/shm").glob("*")) - before if str(run.pid) in path.name
    }
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in helpers) or any(p.exists() for p in shared):
        assert time.monotonic() < deadline, (helpers, shared)
        time.sleep(0.1)


def test_files_that_a_point_names_belong_to_its_key(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "_CONTENTS", {"csv": provenance.file_hash})
    (tmp_path / "mine.csv").write_text("level,conductance_s\n")
    (tmp_path / "same.csv").write_text("level,conductance_s\n")
    point = {"x": 1, "csv": "mine.csv"}
    first = sweep._key(dict, point)
    assert sweep._key(dict, {"x": 1, "csv": "same.csv"}) != first
    (tmp_path / "mine.csv").write_text("level,conductance_s\n0,1e-6\n")
    assert sweep._key(dict, point) != first


def test_data_belong_to_the_key_whatever_they_are_called(monkeypatch):
    keys = set()
    for digest in ("a" * 64, "b" * 64):
        monkeypatch.setitem(provenance._CONTENTS, "dataset", lambda _, digest=digest: digest)
        keys.add(sweep._key(dict, {"dataset": "auto"}))
    assert len(keys) == 2


def test_a_csv_of_ones_own_is_computed_though_recorded_tables_are_shown(tmp_path, capsys):
    mine = os.path.relpath(tmp_path / "mine.csv", ROOT)
    text = (ROOT / "examples" / "device.csv").read_text()
    (tmp_path / "mine.csv").write_text(text)
    session = Session("embedded", True, "quick", 1, "checkpoints")
    points = residual.device_points("embedded", 10, 1, csv=mine)[:2]
    recorded = session.table("residual_device", residual.device_point, points[:0])
    assert len(recorded) > 2
    recorded = recorded.assign(csv="examples/device.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("artifact.record.Record.read_table", lambda *_: recorded)
        patch.setattr(sweep.run, "__defaults__", (1, tmp_path, ""))
        found = session.table("residual_device", residual.device_point, points)
    assert found["csv"].tolist() == [mine, mine]
    assert "computed, for the recorded table is of another CSV" in capsys.readouterr().out


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


@pytest.mark.parametrize("told", ["line", ""])
def test_in_a_log_a_study_is_one_line(told, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NVLIB_PROGRESS", told)
    sweep.run("squares", square, [{"x": 2, "dataset": "embedded"}] * 3, folder=tmp_path)
    shown = capsys.readouterr().err
    assert ("%|" in shown) != bool(told)
    assert bool(re.fullmatch(r"squares: 3 points in \d+ s\n", shown)) == bool(told)


def test_processes_change_nothing(tmp_path):
    points = precision.seed_points("embedded", 20)
    one = sweep.run("a", precision.chip_point, points, jobs=1, folder=tmp_path / "one")
    two = sweep.run("a", precision.chip_point, points, jobs=2, folder=tmp_path / "two")
    pd.testing.assert_frame_equal(one, two)


def slow_point(x, dataset, checkpoints):
    """A point that takes long enough to be killed in."""
    time.sleep(0.004)
    return {"y": x**0.5, "text": "z" * 5000}


def points(count):
    return [{"x": x, "dataset": "embedded", "checkpoints": "checkpoints"} for x in range(count)]


def run_in(folder, count, begun=None):
    sweep.data.load = sweep.inputs = lambda _: None  # takes a second, and is not what is tested
    sweep.code_hash()  # another second
    if begun is not None:
        begun.set()
    sweep.run("slow", slow_point, points(count), folder=folder)


def test_a_run_killed_at_random_moments_ends_with_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "inputs", lambda _: None)
    expected = sweep.run("slow", slow_point, points(200), folder=tmp_path / "undisturbed")
    moments, folder = random.Random(7), tmp_path / "killed"
    killed, finished = 0, set()
    for _ in range(KILLS):
        begun = forked.Event()
        child = forked.Process(target=run_in, args=(folder, 200, begun))
        child.start()
        assert begun.wait(60)
        time.sleep(moments.uniform(0.0, 0.05))
        child.kill()
        child.join(60)
        killed += child.exitcode == -9
        finished.add(len(list(folder.glob("slow/*.json"))))
    assert killed >= 20
    assert len(finished) > 5
    assert max(finished) < 200
    pd.testing.assert_frame_equal(
        sweep.run("slow", slow_point, points(200), folder=folder), expected
    )


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path):
    both = [forked.Process(target=run_in, args=(tmp_path, 20)) for _ in range(2)]
    for child in both:
        child.start()
    for child in both:
        child.join(120)
        assert child.exitcode == 0
    found = [json.loads(path.read_text()) for path in (tmp_path / "slow").glob("*.json")]
    assert sorted(point["y"] for point in found) == [x**0.5 for x in range(20)]
    assert not list((tmp_path / "slow").glob(".*"))


def test_threads_batches_and_instruction_sets_change_no_table():
    def digest(threads, batch, instructions):
        done = subprocess.run(
            [sys.executable, "-m", "tests.elsewhere", str(threads), str(batch)],
            env=os.environ | {"ATEN_CPU_CAPABILITY": instructions}, cwd=ROOT,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    digests = {digest(1, 64, "default"), digest(2, 7, "avx2")}
    assert len(digests) == 1


def test_points_are_cached_by_code_parameters_and_checkpoints(tmp_path):
    point = precision.seed_points("embedded", 10)[0]
    one = sweep._key(precision.chip_point, point)
    assert one != sweep._key(precision.quantized_point, point)
    assert one != sweep._key(precision.chip_point, point | {"images": 11})
    assert one == sweep._key(precision.chip_point, dict(reversed(point.items())))
    assert np.unique([len(one)]).tolist() == [32]
