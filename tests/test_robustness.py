"""Nothing is lost when a run dies, nothing changes elsewhere, and no file can do harm."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from artifact import checkpoints, data, sweep
from artifact.paths import FIGURES, ROOT
from artifact.studies import common, precision
from nvlib import files
from tests.faults import LEFT_OUT
from tests.fuzzing import fuzz

KILLS = 24
#: Children are forked from a process without threads: a fork of one that has some can hang.
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload([__name__])


def slow_point(x, dataset, checkpoints):
    """A point that takes long enough to be killed in."""
    time.sleep(0.004)
    return {"y": x**0.5, "text": "z" * 5000}


def points(count):
    return [{"x": x, "dataset": "embedded", "checkpoints": "checkpoints"} for x in range(count)]


def run_in(folder, count, begun=None):
    sweep.data.load = sweep.inputs = lambda _: None  # takes a second, and is not what is tested
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


def test_a_full_disk_is_one_clear_message_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    files.write_text(path, "old")

    def full(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"expected to write .*table.csv, received: No space left"):
        files.write_whole(path, full)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="make the folder writable, and start again"):
        files.write_text(tmp_path / "file" / "table.csv", "text")


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


@pytest.fixture
def artifact(tmp_path):
    """A copy of the artifact, whose results may be overwritten, and its environment."""
    copy = tmp_path / "artifact"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    shutil.copytree(FIGURES, copy / "figures")
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


def test_no_idx_file_does_harm():
    valid = struct.pack(">HBBIII", 0, 8, 3, 2, 4, 4) + bytes(32)
    assert data.parse_idx(valid).shape == (2, 4, 4)
    fuzz("idx", valid, data.parse_idx, data.DataError)


def test_no_manifest_does_harm(tmp_path):
    valid = json.dumps({"mnist/a.safetensors": {"sha256": "0" * 64, "seed": "0"}}).encode()

    def read(content):
        checkpoints.read_manifest.cache_clear()
        (tmp_path / checkpoints.MANIFEST).write_bytes(content)
        checkpoints.read_manifest(tmp_path)

    read(valid)
    fuzz("manifest", valid, read, checkpoints.CheckpointError)
    checkpoints.read_manifest.cache_clear()


def test_no_checkpoint_is_read_that_its_manifest_does_not_vouch_for(tmp_path):
    name = checkpoints.CheckpointName("embedded", "lenet5", common.Precision(2, 2), 0)
    valid = (ROOT / "checkpoints" / name.path).read_bytes()
    target = tmp_path / name.path
    target.parent.mkdir()
    target.write_bytes(valid)
    checkpoints.write_manifest(tmp_path)
    checkpoints.read_manifest.cache_clear()
    assert checkpoints.load_quantized(name, tmp_path).precision == common.Precision(2, 2)

    def read(content):
        target.write_bytes(content)
        checkpoints.load_quantized(name, tmp_path)

    fuzz("checkpoint", valid, read, checkpoints.CheckpointError)


def test_the_manifest_names_every_checkpoint_and_its_hash():
    manifest = checkpoints.read_manifest(ROOT / "checkpoints")
    found = {p.relative_to(ROOT / "checkpoints").as_posix(): hashlib.sha256(p.read_bytes())
             for p in (ROOT / "checkpoints").glob("*/*.safetensors")}  # fmt: skip
    assert {name: entry["sha256"] for name, entry in manifest.items()} == {
        name: digest.hexdigest() for name, digest in found.items()
    }


def test_points_are_cached_by_code_parameters_and_checkpoints(tmp_path):
    point = precision.seed_points("embedded", 10)[0]
    one = sweep._key(precision.chip_point, point)
    assert one != sweep._key(precision.quantized_point, point)
    assert one != sweep._key(precision.chip_point, point | {"images": 11})
    assert one == sweep._key(precision.chip_point, dict(reversed(point.items())))
    assert np.unique([len(one)]).tolist() == [32]
