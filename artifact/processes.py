"""Tasks in processes of this machine, which end with the one that started them."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from joblib import Parallel


def in_processes(jobs: int, tasks: Iterable[Any], ordered: bool = True) -> Iterator[Any]:
    """Results of tasks of joblib, in their order or as they come.

    Examples
    --------
    >>> from joblib import delayed
    >>> list(in_processes(1, [delayed(abs)(-1), delayed(abs)(2)]))
    [1, 2]
    """
    order = "generator" if ordered else "generator_unordered"
    # By default tasks that are fast, as those of what is there already, make joblib hand out the
    # slow ones behind them in large batches: no progress is seen, and one process has them all.
    work = Parallel(jobs, return_as=order, batch_size=1, initializer=_end_with,
                    initargs=(os.getpid(),))  # fmt: skip
    with warnings.catch_warnings():
        # A worker that has grown by 300 MB, as by images that it keeps, is replaced after a task
        # and before the next, so nothing is lost; there is no setting for it. Where a worker dies
        # in a task, an error is raised (github.com/joblib/joblib/issues/883, joblib/loky/pull/641).
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        yield from work(tasks)


def _end_with(parent: int) -> None:
    """End this worker soon after `parent`, which has no time to do so where it is killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
