"""Runs the points of a study: in processes, cached, resumable, the same in any order.

A point is a dictionary of plain parameters; a study's function turns it into a dictionary
of plain results. Each result is a file of its own, named by the hash of the
point, the code and all files that the point names, so a run that died goes on where it
was, and nothing stale is ever read.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import delayed
from tqdm import tqdm  # the plain bar: papermill passes it on to the terminal

from artifact import cluster, data
from artifact.paths import POINTS, PROGRESS
from artifact.processes import in_processes
from artifact.provenance import code_hash, inputs
from nvlib.storage import write_text

Point = dict[str, Any]


def _key(function: Callable[..., Point], point: Point) -> str:
    name = f"{function.__module__}.{function.__qualname__}"
    text = json.dumps([name, point, code_hash(), inputs(point)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached(function: Callable[..., Point], point: Point, folder: Path) -> Point:
    """Result of one point: from its file in `folder`, or computed and written there.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     cached(dict, {"x": 1}, Path(folder)), len(list(Path(folder).iterdir()))
    ({'x': 1}, 1)
    """
    path = _file(function, point, folder)
    result = _kept(path)
    if result is None:
        result = function(**point)
        write_text(path, json.dumps(result))
    return result


def _file(function: Callable[..., Point], point: Point, folder: Path) -> Path:
    return folder / f"{_key(function, point)}.json"


def _kept(path: Path) -> Point | None:
    """A result that was written before; None if there is none, or only part of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def run(
    name: str,
    function: Callable[..., Point],
    points: list[Point],
    jobs: int = 1,
    folder: Path = POINTS,
    address: str = "",
) -> pd.DataFrame:
    """One row per point: its parameters and its results, in the order of `points`.

    Parameters
    ----------
    name : str
        Of the study; its cache and its progress bar are called so.
    function : callable
        At the top of a module, so that other processes find it.
    points : list of dict
    jobs : int
        Processes.
    folder : Path
        Where results of single points are kept.
    address : str
        Of a Dask scheduler, whose workers compute in place of processes here.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     run("doctest", dict, [{"dataset": "embedded", "x": 1}], folder=Path(folder))
        dataset  x
    0  embedded  1
    """
    if points:
        data.load(points[0].get("dataset", "auto"))  # complain about data before work starts
    one_line, begun = os.environ.get(PROGRESS) == "line", time.monotonic()
    bar = partial(tqdm, total=len(points), desc=name, unit="point", disable=one_line)
    if address:
        results = _on_cluster(address, function, points, folder / name, bar)
    else:
        tasks = (delayed(cached)(function, point, folder / name) for point in points)
        results = list(bar(in_processes(min(jobs, max(len(points), 1)), tasks)))
    if one_line:
        seconds = time.monotonic() - begun
        print(f"{name}: {len(points)} points in {seconds:.0f} s", file=sys.stderr)
    rows = [point | result for point, result in zip(points, results, strict=True)]
    return pd.DataFrame(rows)


def _on_cluster(
    address: str, function: Callable[..., Point], points: list[Point], folder: Path, bar: Callable
) -> list[Point]:
    """Results in the order of `points`: what is kept here, and the rest from the workers."""
    found: dict[int, Point] = {}
    for place, point in enumerate(points):
        if (known := _kept(_file(function, point, folder))) is not None:
            found[place] = known
    missing = [place for place in range(len(points)) if place not in found]
    with bar(initial=len(found)) as shown:
        if missing:
            work = cluster.run(address, function, [points[place] for place in missing])
            for number, result in work:
                place = missing[number]
                write_text(_file(function, points[place], folder), json.dumps(result))
                found[place] = result
                shown.update()
    return [found[place] for place in range(len(points))]


def recompute_sample(
    function: Callable[..., Point],
    table: pd.DataFrame,
    parameters: list[str],
    count: int,
    seed: int,
) -> list[tuple[Point, Point, Point]]:
    """Run a seeded sample of a table's rows again.

    Returns
    -------
    list of (point, recorded results, results now)

    Examples
    --------
    >>> recompute_sample(dict, pd.DataFrame({"x": [1, 2]}), ["x"], count=1, seed=0)
    [({'x': 2}, {'x': 2}, {'x': 2})]
    """
    rows = table.to_dict("records")
    chosen = random.Random(seed).sample(rows, min(count, len(rows)))
    sample = []
    for row in chosen:
        point = {name: row[name] for name in parameters}
        now = function(**point)
        sample.append((point, {name: row[name] for name in now}, now))
    return sample
