"""Runs the notebooks with papermill: which ones, at which size, in which order.

Usage: ./run_all.sh, or python -m artifact.reproduce; --help lists the options.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.catalogue import CATALOGUE, PROFILES, Notebook, check_parameters, defaults, fitting
from artifact.paths import BUILD, NOTEBOOKS, PROGRESS, ROOT

if TYPE_CHECKING:
    import pandas as pd

    from artifact.record import Record

# torch, pandas and papermill take seconds to import; functions that need them do it, so that
# --list, --help and wrong options answer at once.

#: Signals that asked to stop.
_stopped: list[int] = []
#: Reading 200 digits of the example network on the machine of `CATALOGUE`, one thread.
PROBE_SECONDS = 0.027
#: Networks trained again beside the shipped ones.
RETRAINED = "retrained.csv"


class Parser(argparse.ArgumentParser):
    """Errors end with exit code 2 and say how to go on."""

    def error(self, message: str) -> Any:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Command line; exit code 2 for what is unknown."""
    parser = Parser(prog="./run_all.sh", description="Regenerate every figure of the artifact.")
    parser.add_argument("--profile", choices=PROFILES, default="standard", help="how much to run")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these notebooks")
    parser.add_argument("--record", action="store_true",
                        help="make this run, of the full profile, the recorded one")  # fmt: skip
    parser.add_argument("--retrain", action="store_true", help="train the networks from scratch")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--minutes", type=float, metavar="N",
                        help="time that each notebook with such a parameter may take")  # fmt: skip
    parser.add_argument("--cluster", default="", metavar="ADDRESS",
                        help="compute on a Dask cluster, such as tcp://host:8786")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the notebooks and stop")
    options = parser.parse_args(arguments)
    known = [notebook.name for notebook in CATALOGUE]
    for name in options.only or []:
        if name not in known:
            parser.error(f"expected notebooks among {', '.join(known)}, received {name}")
    if options.jobs < 1:
        parser.error(f"--jobs: expected at least 1, received {options.jobs}")
    if options.minutes is not None and not 0 < options.minutes < math.inf:
        parser.error(f"--minutes: expected a number above 0, received {options.minutes}")
    digits = any(not n.dataset for n in CATALOGUE if not options.only or n.name in options.only)
    if options.retrain and not digits:
        parser.error("--retrain: expected a notebook on digits, whose networks it trains; add one")
    if options.minutes and options.record:
        parser.error("--record: expected the profile's own size, received --minutes; leave it out")
    return options


def list_notebooks() -> None:
    """Notebooks, what each yields, and its expected time on 2 cores."""
    print(f"{'notebook':28}{'quick':>7}{'standard':>10}{'full':>7}  minutes on 2 cores; yields")
    for notebook in CATALOGUE:
        quick, standard, full = notebook.minutes
        print(f"{notebook.name:28}{quick:7.1f}{standard:10.1f}{full:7.0f}  {notebook.yields}")


def run_notebook(notebook: Notebook, parameters: dict[str, Any], target: Path) -> str | None:
    """Execute a copy in folder `target`; None, or what went wrong and where."""
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source = NOTEBOOKS / f"{notebook.name}.ipynb"
    target.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(source), str(target / source.name), parameters, cwd=str(ROOT),
            kernel_name="python3", progress_bar=False, stderr_file=sys.stderr,
            extra_arguments=["--log-level=CRITICAL"],
        )  # fmt: skip
    except PapermillExecutionError as error:
        return f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}"
    except (OSError, RuntimeError, nbformat.ValidationError) as error:
        return f"{notebook.name}: {error}; it was to be written to {target}"
    return None


def retrain(jobs: int, dataset: str) -> str:
    """Train every network from scratch; the folder they lie in, relative to the artifact.

    Their accuracies are told beside those of the shipped ones.
    """
    from artifact import checkpoints, compare, recipes
    from nvlib.storage import write_text

    folder, begun = BUILD / "checkpoints", time.monotonic()
    recipes.train_all(recipes.shipped(dataset), folder, jobs)
    beside = compare.networks(checkpoints.read_manifest(), checkpoints.read_manifest(folder))
    write_text(BUILD / RETRAINED, beside.to_csv(index=False))
    print(f"trained in {(time.monotonic() - begun) / 60:.1f} min; accuracy on test images (%):\n")
    print(f"{compare.as_text(beside.round(2))}\n")
    return folder.relative_to(ROOT).as_posix()


def summary(pairs: list[tuple[Record, Record]], beside: pd.DataFrame) -> str:
    """Claims of this run, and the run beside the record, as text.

    Parameters
    ----------
    pairs : list of (Record, Record)
        What this run made and what is recorded, of each data set; the first has claims.
    beside : DataFrame
        All of them compared, see `artifact.compare.beside`.
    """
    from artifact import claims, compare

    judged = claims.table(claims.read(pairs[0][0]))
    text = compare.as_text(judged.drop(columns="what")) if len(judged) else "no claim was judged"
    if len(beside):
        missing = sum(len(set(known.tables()) - set(mine.tables())) for mine, known in pairs)
        compared = beside[~beside["agrees?"].str.startswith("not comparable: ")]
        text += f"\n\n{compare.as_text(compared)}" if len(compared) else ""
        text += f"\n\nagrees? {compare.counted(beside)}"
        text += f"; {missing} recorded tables are not of this run" if missing else ""
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.list:
        list_notebooks()
        return 0
    from artifact import fetch, publish

    try:
        return _execute(options)
    except fetch.DataError as error:
        print(f"data: {error}", file=sys.stderr)
        return 1
    except (UsageError, publish.PromotionError) as error:
        print(error, file=sys.stderr)
        return 2


class UsageError(ValueError):
    """What was asked for cannot be run."""


def _execute(options: argparse.Namespace) -> int:
    """Check everything, train where asked, run the notebooks, compare, report; the exit code."""
    import pandas as pd

    from artifact import compare, data, provenance, record, report
    from artifact.studies.common import SHIPPED

    chosen = [n for n in CATALOGUE if not options.only or n.name in options.only]
    digits = data.load("auto")
    print(f"data: {digits.label}")
    whole = _recordable(options, chosen, digits)
    # What is of another time is of another size, and no table of the profile.
    profile = options.profile + (f", {options.minutes:g} minutes" if options.minutes else "")
    plans = _plans(options, chosen, digits, profile)
    _find_cluster(options.cluster, digits.name, SHIPPED)
    networks = SHIPPED
    if options.retrain:
        networks = retrain(options.jobs, digits.name)
        _find_cluster(options.cluster, digits.name, networks)
        for _, parameters in plans:
            parameters["checkpoints"] = networks
    facts, names = provenance.of_run(digits.name, profile, networks), [digits.name]
    record.of_run(digits.name).begin(facts)
    other = any(notebook.dataset for notebook in chosen)
    if (other or record.of_run(data.OTHER_TASK).tables()) and _begin_other(profile) and other:
        names.append(data.OTHER_TASK)
    pairs = [(record.of_run(name), record.committed(name)) for name in names]
    if not sys.stderr.isatty():
        os.environ[PROGRESS] = "line"
    times, failures = _run_all(plans, options, pairs[0][0].notebooks)
    beside = pd.concat([compare.beside(known, mine) for mine, known in pairs], ignore_index=True)
    took = {f"{name} (min)": f"{minutes:.1f}" for name, minutes in times.items()}
    page = report.write(facts | {"data": digits.label} | took, pairs[0][0], beside)
    print(f"\n{summary(pairs, beside)}")
    print(f"\n{sum(times.values()):.1f} min in all")
    for mine, _ in pairs:
        if mine.tables():
            print(f"tables: {_short(mine.results)}; figures: {_short(mine.figures)}")
    print(f"report: {_short(page)}")
    if options.record and not failures:
        failures += _record(whole, options.profile)
    elif options.record:
        failures.append("--record: expected every notebook to succeed; nothing was recorded")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


def _recordable(options: argparse.Namespace, chosen: list[Notebook], digits: Any) -> list[str]:
    """Data sets whose record the run becomes; PromotionError where it cannot."""
    from artifact import publish

    if not options.record:
        return []
    whole = _whole(chosen, digits)
    for dataset in whole or [digits.name]:
        publish.check_options(dataset, options.profile, not whole, options.retrain)
    return whole


def _plans(
    options: argparse.Namespace, chosen: list[Notebook], digits: Any, profile: str
) -> list[tuple[Notebook, dict[str, Any]]]:
    """Notebooks and their parameters, each of which they have; UsageError where none is limited."""
    common = {
        "dataset": digits.name, "recorded": False, "profile": profile, "jobs": options.jobs,
        "cluster": options.cluster,
    }  # fmt: skip
    plans = [(notebook, common | fitting(notebook, options.profile, digits)) for notebook in chosen]
    if options.minutes and not limit(plans, options.minutes):
        raise UsageError(
            "--minutes: expected a notebook with that parameter, found none; leave it out"
        )
    for notebook, parameters in plans:
        check_parameters(notebook, parameters)
    return plans


def _find_cluster(address: str, dataset: str, networks: str) -> None:
    """Refuse, before any work, a cluster that would fail in the first notebook."""
    if address:
        from artifact import cluster

        cluster.connect(address, {"dataset": dataset, "checkpoints": networks}).close()


def _run_all(
    plans: list[tuple[Notebook, dict[str, Any]]], options: argparse.Namespace, folder: Path
) -> tuple[dict[str, float], list[str]]:
    """Minutes of each notebook, one after the other, and what failed."""
    place = PROFILES.index(options.profile)
    expected = [
        options.minutes if options.minutes and "minutes" in parameters else notebook.minutes[place]
        for notebook, parameters in plans
    ]
    failures: list[str] = []
    times: dict[str, float] = {}
    pace = measured_pace(options.jobs)
    for number, (notebook, parameters) in enumerate(plans):
        left = minutes_left(expected, list(times.values()), pace)
        print(f"[{number + 1}/{len(plans)}] {notebook.name}: {notebook.yields}")
        print(f"      about {left:.1f} min left")
        started = time.monotonic()
        failure = run_notebook(notebook, parameters, folder)
        if _stopped:  # a signal that came while a kernel started or ended, and was lost there
            raise KeyboardInterrupt
        minutes = times[notebook.name] = (time.monotonic() - started) / 60
        print(f"      {'failed' if failure else 'done'} in {minutes:.1f} min")
        failures += [failure] if failure else []
    return times, failures


def _whole(chosen: list[Notebook], digits: Any) -> list[str]:
    """Data sets of which every notebook runs: each is a record of its own.

    The other task is set beside MNIST, and makes nothing without it.
    """
    found = {n.dataset for n in CATALOGUE} - {n.dataset for n in CATALOGUE if n not in chosen}
    return sorted(name or digits.name for name in found if digits.comparable or not name)


def _begin_other(profile: str) -> bool:
    """Make the place of the other task ready; whether its data are at hand."""
    from artifact import fetch, provenance, record
    from artifact.studies import harder

    try:
        facts = provenance.of_run(harder.DATASET, profile, harder.CHECKPOINTS)
    except fetch.DataUnavailableError:
        return False
    record.of_run(harder.DATASET).begin(facts)
    return True


def _record(datasets: list[str], profile: str) -> list[str]:
    """Make what a run made of data sets the record; what went wrong."""
    from artifact import publish, record

    for dataset in datasets:
        mine, recorded = record.of_run(dataset), record.committed(dataset)
        if not mine.tables():
            print(f"{dataset}: this run made nothing of it, its record stays")
            continue
        try:
            publish.promote(mine, recorded)
        except publish.PromotionError as error:
            return [f"--record: {error}"]
        if dataset != "embedded":
            publish.update()
        print(f"recorded, of the {profile} profile: {_short(recorded.results)}")
    return []


def limit(plans: list[tuple[Notebook, dict[str, Any]]], minutes: float) -> bool:
    """Hand a time to each notebook that takes one; whether any does."""
    limited = [parameters for notebook, parameters in plans if "minutes" in defaults(notebook)]
    for parameters in limited:
        parameters["minutes"] = minutes
    return bool(limited)


def minutes_left(expected: list[float], taken: list[float], pace: float) -> float:
    """Time that the notebooks after those `taken` will need.

    `pace` is believed as much as one expected minute of work, so a first short notebook, which is
    mostly start-up, does not upset the estimate. One that took less than a quarter of what `pace`
    says went on from an earlier run, and tells nothing.

    Examples
    --------
    >>> minutes_left([1.0, 3.0, 5.0], [], pace=2.0)
    18.0
    >>> minutes_left([1.0, 3.0, 5.0], [0.5, 1.5], pace=2.0)  # 4 minutes took 2, and 1 takes 2
    4.0
    >>> minutes_left([1.0, 3.0, 5.0], [0.1, 0.2], pace=2.0)  # both were there already
    10.0
    """
    known = took = 0.0
    for minutes, spent in zip(expected, taken, strict=False):
        if spent >= pace * minutes / 4:
            known, took = known + minutes, took + spent
    return (pace + took) / (1 + known) * sum(expected[len(taken) :])


def measured_pace(jobs: int) -> float:
    """Minutes that a minute of `CATALOGUE` takes here: chips are read once to see."""
    from nvlib import Chip, Hardware, example_digits, example_network

    chip, images = Chip(example_network(), Hardware()), example_digits().repeat(20, axis=0)
    times = []
    for _ in range(6):  # the first compiles
        begun = time.perf_counter()
        chip.predict(images, threads=1)
        times.append(time.perf_counter() - begun)
    return min(times) / PROBE_SECONDS * 2 / min(jobs, os.cpu_count() or 1)


def _short(path: Path) -> Path:
    return path.relative_to(ROOT)


def _told(error: OSError) -> str:
    """What failed and, where that is known, of which file."""
    return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")


def _stop(number: int, _frame: object) -> None:
    """As Ctrl-C: children end, files are whole."""
    _stopped.append(number)
    raise KeyboardInterrupt


def run() -> int:
    """`main`, with what stops it from outside told in one line; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish is kept
            signal.signal(number, _stop)
    again = "start again to go on where it stopped"
    try:
        return main()
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # else it reports the interrupted cell
        print(f"\nstopped; {again}", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"\nstopped: {_told(error)}; {again}", file=sys.stderr)
        return 1
    finally:
        _stopped.clear()


if __name__ == "__main__":
    sys.exit(run())
