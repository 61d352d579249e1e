"""Your own devices and converters, from CSV tables of measurements.

* device: ``level,conductance_s`` and, where measured, ``time_s`` after programming, ``cycle`` of
  programming and ``cell``
* ADC: ``code,transition_lsb``, the input at which code - 1 becomes code
* DAC: ``code,output_lsb``

A device's model takes mean and spread of each level when first read, normal unless Shapiro and
Wilk's test rejects that (Biometrika 52, 1965), else log-normal, else the measured quantiles; and a
power law of drift, one for all levels unless they differ (F test of means, Levene's of spreads).
Each decision is at `ALPHA`. What cannot be used raises a ValueError that names file and row; a
warning says what is doubtful or not used.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import linear_sum_assignment

from nvlib import devices
from nvlib.checks import refusing, require, require_path
from nvlib.converters import MAX_ADC_BITS, Adc, Dac
from nvlib.quantizers import MAX_BITS

FEWEST_SAMPLES, FEW_SAMPLES = 3, 10
ALPHA = 0.01
QUANTILES = 129  # that stand for a distribution
#: Exponents are not told apart more finely: 1e-4 moves 0.5 % in 21 decades of time.
FINEST_NU = 1e-4
#: Mean error of a power law that is worth a warning, as a share of the conductance.
MOST_STRAY = 0.05


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def _require_each(path: Path | str, name: str, numbers: Any, first: int, last: int) -> None:
    absent = np.setdiff1d(np.arange(first, last + 1), numbers).tolist()
    wanted, mend = f"every {name} from {first} to {last}", "number them without gaps"
    require(not absent, f"{path}", wanted, f"none of {absent[:5]}", mend)


@contextmanager
def _naming(path: Path | str) -> Iterator[None]:
    """Refusals of what is made from a table name its file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _read_columns(
    path: Path | str, required: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Known columns of a CSV file, indexed by line: finite numbers, and names of cells."""
    path = require_path("path", path)
    mend = "check the path, or export it again"
    with (
        refusing(str(path), "a CSV file in UTF-8", mend),
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        lines = list(enumerate(csv.reader(file, strict=True), start=1))
    table = [line for line in lines if (text := "".join(line[1]).strip()) and text[0] != "#"]
    (top, first), *rows = table or [(1, [])]
    header = [name.strip() for name in first]
    used = [name for name in header if name in (*required, *optional)]
    wanted = f"columns {', '.join(required)}" + "".join(f"[, {name}]" for name in optional)
    once = set(required) <= set(used) and len(set(used)) == len(used)
    mend = "name the columns so, in these units"
    require(once, f"{path}, row {top}", wanted, ", ".join(header), mend)
    if ignored := [name for name in header if name and name not in used]:
        _warn(f"{path}: columns {', '.join(ignored)[:80]} are not used; known are {used}")
    values = {}
    for line, row in rows:
        try:
            cells = dict(zip(header, map(str.strip, row), strict=True))
            values[line] = [cells[k] if k == "cell" else _finite(cells[k]) for k in used]
        except ValueError:
            wanted = f"{len(header)} values, finite numbers in {', '.join(used)}"
            require(False, f"{path}, row {line}", wanted, ",".join(row), "correct or remove it")
    require(len(values) > 0, f"{path}", "measurements", "none", "export it again")
    return pd.DataFrame(list(values.values()), index=list(values), columns=used)


@dataclass(frozen=True)
class DriftFit:
    """Power law fitted to conductances over time, G(t) = G_0 (t / t_0)^(-nu)."""

    nu: float  # mean exponent of the traces
    nu_error: float  # its standard error
    nu_sigma: float  # standard deviation from trace to trace
    reference_seconds: float  # t_0, the first time measured
    level_nus: tuple[float, ...] = ()  # mean at each level, where levels differ
    level_sigmas: tuple[float, ...] = ()  # standard deviation there

    def effect(self, seconds: float, levels: Sequence[int]) -> devices.RetentionDrift:
        """Drift of cells of those `levels`; conductances that grew are held constant."""
        start = self.reference_seconds
        if not self.level_nus:
            return devices.RetentionDrift(seconds, max(self.nu, 0.0), self.nu_sigma, start)
        nus = tuple(max(self.level_nus[level], 0.0) for level in levels)
        sigmas = tuple(self.level_sigmas[level] for level in levels)
        return devices.RetentionDrift(seconds, nus, sigmas, start)


@dataclass(frozen=True)
class MeasuredDevice:
    """What a table of conductances, in S, says about a device."""

    means_s: tuple[float, ...]  # at each level when first read
    sigmas_s: tuple[float, ...]  # standard deviations there
    counts: tuple[int, ...]  # measurements behind them
    drift: DriftFit | None = None
    log_sigmas: tuple[float, ...] = ()  # of ln G at log-normal levels, 0 at others; () for none
    quantiles_s: tuple[tuple[float, ...], ...] = ()  # of levels that nothing fits, () at others

    @property
    def cell_bits(self) -> int:
        """Bits that a cell stores, the most for which there are levels; of the mapping to use."""
        return len(self.means_s).bit_length() - 1

    @property
    def used_levels(self) -> tuple[int, ...]:
        """Levels that cells of `cell_bits` are written to: those spaced most evenly."""
        wanted = np.linspace(self.means_s[0], self.means_s[-1], 2**self.cell_bits)
        distance = np.abs(wanted[:, None] - np.array(self.means_s)) / self.means_s[-1]
        return tuple(sorted(map(int, linear_sum_assignment(distance)[1])))  # ties come unordered

    def model(self, seconds: float | None = None) -> devices.DeviceModel:
        """Device model of the mapping's `cell_bits`, `seconds` after programming or as first read.

        >>> device = MeasuredDevice((1e-6, 11e-6), (0.1e-6, 0.5e-6), (20, 20))
        >>> device.model().on_off_ratio, device.model().effects[1].sigma
        (11.0, (0.01, 0.05))
        """
        low, high = self.means_s[0], self.means_s[-1]
        span, levels = high - low, list(self.used_levels)
        means, sigmas = np.array([self.means_s, self.sigmas_s])[:, levels]
        logs = np.array(self.log_sigmas or [0.0] * len(self.means_s))[levels]
        quantiles = [self.quantiles_s[level] if self.quantiles_s else () for level in levels]
        normal = (logs == 0) & [not values for values in quantiles]
        # The median of a log-normal level, whose mean is then the measured one.
        medians = (means * np.exp(-(logs**2) / 2) - low) / span
        effects: list[devices.Effect] = [devices.LevelMeans(tuple(medians.round(12)))]
        effects.append(devices.RangeVariation(tuple((normal * sigmas / span).round(12))))
        if logs.any():
            effects.append(devices.LognormalVariation(tuple(logs)))
        if any(quantiles):
            pairs = zip(quantiles, means, strict=True)
            deviations = (tuple((np.array(values) - mean) / span) for values, mean in pairs)
            effects.append(devices.EmpiricalVariation(tuple(deviations)))
        if self.drift is None:
            mend = "follow cells over time: columns time_s, and cycle or cell"
            require(seconds is None, "seconds", "none without measured drift", seconds, mend)
        elif seconds is not None:
            effects.append(self.drift.effect(seconds, levels))
        ratio = round(high / low, 6) if low > 0 else math.inf
        return devices.DeviceModel(ratio, tuple(effects), on_conductance_s=high)


def read_device(path: Path | str) -> tuple[MeasuredDevice, pd.DataFrame]:
    """A device, and the measurements it was made from.

    >>> from artifact.paths import EXAMPLES
    >>> device, table = read_device(EXAMPLES / "device.csv")
    >>> device.cell_bits, device.counts, f"{device.drift.nu:.3f} +- {device.drift.nu_error:.3f}"
    (2, (40, 40, 40, 40), '0.031 +- 0.001')
    """
    table = _read_columns(path, ("level", "conductance_s"), ("time_s", "cycle", "cell"))
    _check_device(path, table)
    timed, twice = "time_s" in table, table.duplicated()
    again = timed and len(table.columns) > 3 and bool(twice.any())  # with a cell or a cycle
    place = f"{path}, row {twice.idxmax()}"
    require(not again, place, "each row once", "the same again", "remove it")
    first = table[table["time_s"] == table["time_s"].min()] if timed else table
    enough = f"at least {FEWEST_SAMPLES} measurements{' at the first time' * timed}"
    samples, places, means, sigmas = [], [], [], []
    for level in range(int(table["level"].max()) + 1):
        rows = first[first["level"] == level]
        span = f" (rows {rows.index[0]} to {rows.index[-1]})" if len(rows) else ""
        places.append(f"{path}, level {level}{span}")
        samples.append(rows["conductance_s"].to_numpy())
        require(len(rows) >= FEWEST_SAMPLES, places[-1], enough, len(rows), "measure more")
        if len(rows) < FEW_SAMPLES:
            _warn(f"{places[-1]}: a spread from {len(rows)} measurements is uncertain")
        if "cycle" in table:
            _check_endurance(places[-1], rows)
        means.append(float(samples[-1].mean()))
        sigmas.append(float(samples[-1].std(ddof=1)))
        if level:
            below, mean = means[-2:]
            wanted = f"a mean above that of level {level - 1}, {below:.4g} S"
            require(mean > below, places[-1], wanted, f"{mean:.4g} S", "number the levels upwards")
            if mean - below < sum(sigmas[-2:]):
                _warn(f"{places[-1]}: overlaps level {level - 1}; their spreads add up to more "
                      "than lies between their means")  # fmt: skip
    logs, quantiles = _distributions(samples, places)
    with _naming(path):
        drift = _fit_drift(path, table) if timed else None
        counts = tuple(map(len, samples))
        device = MeasuredDevice(tuple(means), tuple(sigmas), counts, drift, logs, quantiles)
        device.model(drift.reference_seconds if drift else None)
    if len(device.used_levels) < len(means):
        used = ", ".join(map(str, device.used_levels))
        _warn(f"{path}: of {len(means)} levels, cells of {device.cell_bits} bits use {used}, which "
              "are spaced most evenly")  # fmt: skip
    return device, table


def _check_device(path: Path | str, table: pd.DataFrame) -> None:
    """Refuse values that are no levels, conductances in S or times."""
    (short, long), top, (least, most) = devices.SECONDS, 2**MAX_BITS - 1, devices.PLAUSIBLE_S
    for name, low, high, unit, mend in (
        ("level", 0, top, "", "number the levels from G_off upwards"),
        ("conductance_s", 0, most, " S", "convert the column (1 uS is 1e-6)"),
        ("time_s", short, long, " s after programming", "a power law has no time 0"),
    ):
        if name in table:
            column = table[name]
            valid = column.between(low, high) & ((name != "level") | (column % 1 == 0))
            line, whole = valid.idxmin(), " whole" if name == "level" else ""
            wanted = f"a{whole} number from {low:g} to {high:g}{unit}"
            require(valid.all(), f"{path}, row {line}, {name}", wanted, float(column[line]), mend)
    _require_each(path, "level", table["level"], 0, max(int(table["level"].max()), 1))
    largest, mend = float(table["conductance_s"].max()), "convert the column to siemens"
    place = f"{path}, row {table['conductance_s'].idxmax()}"
    require(largest >= least, place, f"a largest conductance of {least:g} S or more", largest, mend)


def _check_endurance(place: str, rows: pd.DataFrame) -> None:
    """Refuse wear: a parabola over the cycles that explains a quarter of a level's variance."""
    rank = rows["cycle"].rank(method="dense")
    values = rows["conductance_s"] / devices.PLAUSIBLE_S[0]
    if "cell" in rows and rows["cell"].duplicated().any():
        values = values - values.groupby(rows["cell"]).transform("mean")
    if rank.nunique() < 4 or np.ptp(values) == 0:
        return
    fit = np.polyval(np.polyfit(rank, values, 2), rank)
    explained = 1 - float(((values - fit) ** 2).mean() / values.var(ddof=0))
    freedom = len(values) - 3
    p = stats.f.sf(explained / 2 / max(1 - explained, 1e-12) * freedom, 2, freedom)
    wears, ordered = explained > 0.25 and p < ALPHA / 10, rows.sort_values("cycle")["conductance_s"]
    trend = f"{ordered.iloc[0]:.3g} to {ordered.iloc[-1]:.3g} S, {explained:.0%} of the variance"
    mend = "keep the cycles of one age, endurance is not modelled"
    require(not wears, place, "conductances without a trend over the cycles", trend, mend)


def _distributions(
    samples: list[np.ndarray], places: list[str]
) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Spreads of ln G of the levels that are log-normal, quantiles of those that are neither."""

    def p_value(values: np.ndarray) -> float:
        values = values[:: -(-len(values) // 5000)]  # the test's p-value holds up to 5,000
        return float(stats.shapiro(values).pvalue) if np.ptp(values) > 0 else 1.0

    normal = [p_value(values / values.max(initial=1e-12)) for values in samples]
    if stats.combine_pvalues(normal).pvalue >= ALPHA:
        return (), ()
    log = [p_value(np.log(values)) if values.min() > 0 else 0.0 for values in samples]
    logs = [0.0] * len(samples)
    quantiles: list[tuple[float, ...]] = [()] * len(samples)
    for level, values in enumerate(samples):
        if normal[level] < ALPHA <= log[level]:
            logs[level] = float(np.log(values).std(ddof=1))
        elif normal[level] < ALPHA:
            quantiles[level] = tuple(np.quantile(values, np.linspace(0, 1, QUANTILES)).tolist())
            _warn(f"{places[level]}: neither normal (p = {normal[level]:.1g}) nor log-normal (p = "
                  f"{log[level]:.1g}); its errors are drawn from those measured")  # fmt: skip
    return tuple(logs), tuple(quantiles)


def _fit_drift(path: Path | str, table: pd.DataFrame) -> DriftFit | None:
    """Straight lines through ln G against ln t, one for each trace of a cell."""
    start = float(table["time_s"].min())
    positive = table[table["conductance_s"] > 0]
    if len(positive) < len(table):
        _warn(f"{path}: {len(table) - len(positive)} conductances of 0 S are left out of the drift")
    trace = ["level", *(name for name in ("cycle", "cell") if name in table)]
    if len(trace) == 1 or positive.duplicated([*trace, "time_s"]).any():
        _warn(
            f"{path}: no drift: rows do not tell which cell they follow; add a column cycle or cell"
        )
        return None
    followed = positive[positive.groupby(trace)["time_s"].transform("nunique") > 1]
    keys = [followed[name] for name in trace]
    logs = np.log(followed[["time_s", "conductance_s"]])
    age, log = (logs - logs.groupby(keys).transform("mean")).to_numpy().T
    sums = pd.DataFrame({"nu": -age * log, "squares": age**2}, followed.index)
    sums = sums.groupby(keys).transform("sum")
    nu_of = sums["nu"] / sums["squares"]  # of each row's trace, by least squares
    residuals, single = log + nu_of * age, nu_of.groupby(keys).first()
    exponents = {int(level): part.tolist() for level, part in single.groupby(level=0)}
    groups, pooled = list(exponents.values()), single.to_numpy()
    if len(pooled) < 2:
        _warn(f"{path}: no drift is fitted; that takes two traces of at least two times each")
        return None
    nu, spread = float(pooled.mean()), float(pooled.std(ddof=1))
    with warnings.catch_warnings():  # of traces that do not vary
        warnings.simplefilter("ignore")
        tests = (stats.f_oneway, stats.levene) if len(groups) > 1 else ()
        differ = any(test(*groups).pvalue < ALPHA for test in tests)
    nus, sigmas = [], []
    if differ and np.ptp(pooled) > FINEST_NU:
        levels = [exponents.get(k, [nu]) for k in range(int(table["level"].max()) + 1)]
        nus = [float(np.mean(level)) for level in levels]
        sigmas = [float(np.std(level, ddof=1)) if len(level) > 1 else spread for level in levels]
    if (least := min(nus, default=nu)) < 0:
        _warn(f"{path}: conductances grow with time (nu = {least:.3g}); the model holds them "
              "constant")  # fmt: skip
    stray = residuals.groupby(followed["time_s"]).agg(["mean", "sem"])
    clear = stray["mean"].abs().where(stray["mean"].abs() > 4 * stray["sem"], 0.0).max()
    if clear > MOST_STRAY:
        _warn(f"{path}: conductances follow no power law of time; its mean errs by {clear:.0%}")
    return DriftFit(nu, spread / math.sqrt(len(pooled)), spread, start, tuple(nus), tuple(sigmas))


def read_adc(path: Path | str) -> Adc:
    """An ADC from its measured code transition levels, none far from the ideal ones.

    >>> from artifact.paths import EXAMPLES
    >>> adc = read_adc(EXAMPLES / "adc.csv")
    >>> adc.bits, len(adc.transitions)
    (5, 31)
    """
    transitions = _codes(path, "transition_lsb", first=1)
    with _naming(path):
        return Adc(bits=len(transitions).bit_length(), transitions=transitions)


def read_dac(path: Path | str) -> Dac:
    """A DAC from its measured outputs, none far from the ideal ones.

    >>> from artifact.paths import EXAMPLES
    >>> len(read_dac(EXAMPLES / "dac.csv").outputs)
    8
    """
    outputs = _codes(path, "output_lsb", first=0)
    with _naming(path):
        return Dac(outputs=outputs)


def read_adc_energies(path: Path | str) -> Callable[[int], float]:
    """Joules of a full conversion by bits, from a table: a design law for `nvlib.AdcLaw`.

    Bits that are not listed are refused, for published energies do not grow steadily with them.

    >>> from artifact.paths import EXAMPLES
    >>> read_adc_energies(EXAMPLES / "adc_energy.csv")(8)
    1.09e-12
    """
    return partial(_listed, str(path), _by_number(path, "bits", "energy_j", 1, MAX_ADC_BITS))


def _listed(source: str, energies: dict[int, float], bits: int) -> float:
    mend = "list every resolution that is used, the sense column's too"
    require(bits in energies, f"bits of {source}", f"one of {sorted(energies)}", bits, mend)
    return energies[bits]


def _by_number(path: Path | str, name: str, column: str, first: int, last: int) -> dict[int, float]:
    """Values by whole numbers from `first` to `last`, each listed once, in ascending order."""
    table = _read_columns(path, (name, column))
    number = table[name]
    valid = number.between(first, last) & (number % 1 == 0) & ~number.duplicated()
    line, wanted = valid.idxmin(), f"a number from {first} to {last} that is not there yet"
    place = f"{path}, row {line}, {name}"
    require(valid.all(), place, wanted, float(number[line]), "list each once")
    return dict(sorted(zip(number.astype(int), table[column])))


def _codes(path: Path | str, column: str, first: int) -> tuple[float, ...]:
    """Values by code, `first` to 2^bits - 1."""
    found = _by_number(path, "code", column, first, 2**MAX_ADC_BITS - 1)
    _require_each(path, "code", list(found), first, 2 ** max(max(found).bit_length(), 1) - 1)
    values = tuple(found.values())
    if len(values) > 1:
        step, mend = (values[-1] - values[0]) / (len(values) - 1), "divide by the volts of one LSB"
        wanted = "values in LSB, 0.5 to 2 from code to code in the mean"
        require(0.5 <= step <= 2, f"{path}", wanted, f"{step:.3g}", mend)
    return values
