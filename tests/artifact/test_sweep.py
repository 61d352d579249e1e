"""Points are computed once, in any process, and nothing stale is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from artifact import provenance, sweep
from artifact.notebook import Session
from artifact.paths import ROOT
from artifact.studies import residual

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
