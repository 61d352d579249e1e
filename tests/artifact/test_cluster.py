"""A study on a real Dask scheduler with two worker processes on this machine's loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pytest

from artifact import cluster, sweep
from artifact.paths import ROOT
from artifact.studies import precision

pytest.importorskip("distributed")


@pytest.fixture
def certificate(tmp_path):
    """Settings under which Dask shows one certificate, and takes no other."""
    files = {"key": tmp_path / "key.pem", "cert": tmp_path / "certificate.pem"}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
         "-keyout", files["key"], "-out", files["cert"]], check=True, capture_output=True,
    )  # fmt: skip
    each = {f"{side}.{name}": str(path) for side in ("scheduler", "worker", "client")
            for name, path in files.items()}  # fmt: skip
    settings = each | {"ca-file": str(files["cert"])}
    return {f"distributed.comm.tls.{name}": value for name, value in settings.items()}


@contextmanager
def running(*command, **environment):
    """A process of Dask's, ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]],
        env=os.environ | environment, cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@contextmanager
def worker(address, **environment):
    """One worker, without a nanny that would start it again."""
    with running(
        "dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", **environment
    ) as process:
        yield process


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def scheduler():
    """Address of a scheduler."""
    port = free_port()
    options = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    with running("dask_scheduler", *options):
        yield f"tcp://127.0.0.1:{port}"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_behind_tls_dasks_own_settings_are_used(certificate):
    import dask

    point = precision.seed_points("embedded", 10)[:1]
    address = f"tls://127.0.0.1:{free_port()}"
    options = ("--protocol", "tls", "--host", address, "--no-dashboard")
    given = {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": value
             for name, value in certificate.items()}  # fmt: skip
    with running("dask_scheduler", *options, **given), worker(address, **given):
        with dask.config.set(certificate):
            wait_for(address, 1)
            ((place, result),) = cluster.run(address, precision.chip_point, point)
        assert (place, "correct" in result) == (0, True)
        with pytest.raises(cluster.ClusterError, match="expected a Dask scheduler at tls://"):
            cluster.connect(address, point[0])


def wait_for(address, workers):
    """Until so many workers have come."""
    from distributed import Client

    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=120)


def test_a_cluster_gives_the_same_table_though_a_worker_dies(scheduler, tmp_path):
    points = precision.seed_points("embedded", 60) * 2  # enough to be in the middle of
    points = [point | {"images": 60 + i} for i, point in enumerate(points)]
    alone = sweep.run("seeds", precision.chip_point, points, folder=tmp_path / "alone")
    with worker(scheduler) as one, worker(scheduler):
        wait_for(scheduler, 2)
        found = []
        for place, result in cluster.run(scheduler, precision.chip_point, points):
            found.append((place, result))
            if len(found) == 2:
                one.kill()
        assert sorted(place for place, _ in found) == list(range(len(points)))
        together = sweep.run(
            "seeds", precision.chip_point, points, folder=tmp_path / "cluster", address=scheduler
        )
    pd.testing.assert_frame_equal(together, alone)
    assert {place: result["correct"] for place, result in found} == dict(alone["correct"])
    # What was computed is kept here: no worker is left, and none is needed.
    again = sweep.run(
        "seeds", precision.chip_point, points, folder=tmp_path / "cluster", address=scheduler
    )
    pd.testing.assert_frame_equal(again, alone)


def test_workers_that_differ_are_refused(scheduler, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import nvlib; nvlib.__version__ = '0.0.1'\n")
    point = precision.seed_points("embedded", 10)[:1]
    with worker(scheduler, PYTHONPATH=f"{other}{os.pathsep}{ROOT}"):
        wait_for(scheduler, 1)
        with pytest.raises(cluster.ClusterError, match=r"expected nvlib .* found 0.0.1; install"):
            list(cluster.run(scheduler, precision.chip_point, point))


@pytest.mark.parametrize("what", sorted(cluster.MENDS))
def test_everything_that_numbers_depend_on_is_compared(what):
    here = cluster.fingerprint({"dataset": "embedded", "csv": "examples/device.csv"})
    cluster.compare("tcp://host:1", here, dict(here))
    with pytest.raises(cluster.ClusterError, match=f"expected {what} .* found other; "):
        cluster.compare("tcp://host:1", here, here | {what: "other"})


def test_no_scheduler_and_no_workers_are_told(scheduler, monkeypatch):
    point = precision.seed_points("embedded", 10)[:1]
    with pytest.raises(cluster.ClusterError, match="none; start some with 'dask worker"):
        list(cluster.run(scheduler, precision.chip_point, point))
    monkeypatch.setattr(cluster, "TIMEOUT_S", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(cluster.ClusterError, match="expected a Dask scheduler at .*start one"):
            list(cluster.run(address, precision.chip_point, point))


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(cluster.ClusterError, match=r"install the extra with pip install"):
        list(cluster.run("tcp://127.0.0.1:1", precision.chip_point, [{}]))
