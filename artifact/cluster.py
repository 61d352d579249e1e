"""Points of a study on a Dask cluster: the same numbers as on one machine, or a refusal.

``dask scheduler`` runs on one machine, ``dask worker tcp://host:8786 --nthreads 1`` on each that
helps, in the environment of this artifact. Whoever reaches these ports can run code: a cluster
belongs on a trusted network, or behind TLS, whose certificates Dask's own configuration names
(``DASK_DISTRIBUTED__COMM__TLS__CA_FILE`` and so on) for ``tls://host:8786``. What a worker must
have in common with this process is compared before its first point.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import nvlib
from artifact.provenance import code_hash, inputs

if TYPE_CHECKING:
    from distributed import Client

Point = dict[str, Any]

TIMEOUT_S = 15
MENDS = {
    "nvlib": "install the same version there", "code": "check out the same commit there",
    "checkpoints": "copy the folder of the networks there", "dataset": "set NVLIB_DATA_DIR there",
    "csv": "copy the file of measurements there",
    "numpy": "install requirements.lock there", "torch": "install requirements.lock there",
    "python": "install requirements.lock there",
}  # fmt: skip


class ClusterError(ConnectionError):
    """The cluster cannot be used."""


def fingerprint(point: Point) -> dict[str, str]:
    """What the numbers of a point depend on, in this process.

    Examples
    --------
    >>> sorted(fingerprint({"dataset": "embedded"}))
    ['checkpoints', 'code', 'dataset', 'numpy', 'nvlib', 'python', 'torch']
    """
    return inputs(point) | {
        "nvlib": nvlib.__version__, "code": code_hash(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__, "torch": torch.__version__.split("+")[0],
    }  # fmt: skip


def compare(where: str, wanted: dict[str, str], found: dict[str, str]) -> None:
    """Refuse a worker that differs.

    Raises
    ------
    ClusterError

    Examples
    --------
    >>> compare("tcp://host:1", {"nvlib": "0.2"}, {"nvlib": "0.1"})
    Traceback (most recent call last):
    ...
    artifact.cluster.ClusterError: worker tcp://host:1: expected nvlib 0.2 as here, found 0.1; ...
    """
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ClusterError(
                f"worker {where}: expected {name} {value} as here, found {found.get(name)}; "
                f"{MENDS[name]}, and start the worker again"
            )


def connect(address: str, point: Point) -> Client:
    """A client of the scheduler, once every worker has been compared with this process.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://host:8786``.
    point : dict
        Names the data, networks and files that all points will use, as `artifact.sweep` does.

    Raises
    ------
    ClusterError
        If Dask is not installed, nothing answers, there is no worker, or a worker has another
        version, other networks or other data.

    Examples
    --------
    >>> connect("tcp://127.0.0.1:1", {"dataset": "embedded"})  # doctest: +SKIP
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            "expected Dask for a cluster, found none; install the extra with "
            "pip install -e '.[cluster]'"
        ) from error
    try:
        client = Client(address, timeout=TIMEOUT_S)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"cluster: expected a Dask scheduler at {address}, received: {error}; start one with "
            "'dask scheduler', and workers with 'dask worker ADDRESS --nthreads 1'"
        ) from error
    try:
        wanted, workers = fingerprint(point), client.run(fingerprint, point)
        if not workers:
            raise ClusterError(
                f"cluster: expected workers at {address}, found none; start some with "
                f"'dask worker {address} --nthreads 1'"
            )
        for where, found in workers.items():
            compare(where, wanted, found)
    except BaseException:
        client.close()
        raise
    return client


def run(
    address: str, function: Callable[..., Point], points: list[Point]
) -> Iterator[tuple[int, Point]]:
    """Results of points as they come, each with its place in the list.

    A worker that dies loses nothing: its points go to the others.

    Parameters
    ----------
    address : str
        Of the scheduler; see `connect`, also for what is raised.
    function : callable
        At the top of a module.
    points : list of dict
        All of the same data, networks and files.

    Examples
    --------
    >>> list(run("tcp://127.0.0.1:8786", dict, [{"x": 1}]))  # doctest: +SKIP
    [(0, {"x": 1})]
    """
    with connect(address, points[0]) as client:
        from distributed import as_completed

        task = partial(_guarded, function, fingerprint(points[0]))
        places = {client.submit(task, p, pure=False, retries=3): i for i, p in enumerate(points)}
        for future, result in as_completed(places, with_results=True):
            yield places[future], result


def _guarded(function: Callable[..., Point], wanted: dict[str, str], point: Point) -> Point:
    """A point on a worker, which may have joined after the others were compared."""
    from distributed import get_worker

    compare(get_worker().address, wanted, fingerprint(point))
    return function(**point)
