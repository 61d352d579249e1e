"""Processes: workers that are replaced take no result with them; one that dies is an error."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from artifact.processes import in_processes

kept = []


def growing(task):
    """Keep 360 MB and take longer than loky waits between two looks at a worker's memory."""
    kept.append(np.ones(45_000_000))
    time.sleep(1.1)
    return task, os.getpid()


def waiting(seconds):
    """Take that long."""
    time.sleep(seconds)
    return os.getpid()


def test_slow_tasks_behind_many_fast_ones_are_shared_out():
    tasks = [delayed(waiting)(seconds) for seconds in [0.02] * 200 + [0.5] * 8]
    assert len(set(list(in_processes(2, tasks))[-4:])) == 2


def test_a_worker_that_is_replaced_for_its_memory_loses_nothing_and_says_nothing(recwarn):
    found = list(in_processes(2, [delayed(growing)(task) for task in range(8)]))
    assert [task for task, _ in found] == list(range(8))
    assert len({worker for _, worker in found}) > 2
    assert [str(warning.message) for warning in recwarn] == []


def test_a_worker_that_dies_in_a_task_is_an_error():
    with pytest.raises(TerminatedWorkerError):
        list(in_processes(2, [delayed(os._exit)(1), delayed(abs)(2)]))
