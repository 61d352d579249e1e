"""Your own devices and converters, from CSV tables of measurements.

Tables have a header and one measurement a line:

* device: ``level,conductance_s`` and, where measured, ``time_s`` and ``cycle``. A row is the
  conductance in siemens that was read, `time_s` after programming, from a cell that was
  programmed to `level`; `cycle` numbers the programming events.
* ADC: ``code,transition_lsb``, the input at which code - 1 becomes code
* DAC: ``code,output_lsb``
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nvlib.converters import MAX_ADC_BITS, Adc, Dac
from nvlib.devices import DeviceModel, Effect, LevelMeans, LevelVariation, RetentionDrift
from nvlib.quantizers import MAX_BITS

LARGEST_FILE = 2**26  # bytes
FEWEST_SAMPLES = 3
FEW_SAMPLES = 10
#: Largest conductances of memory cells that are taken for siemens.
PLAUSIBLE_S = (1e-9, 1e-1)


class MeasurementError(ValueError):
    """A table of measurements cannot be used."""


class MeasurementWarning(UserWarning):
    """A table of measurements can be used, with care."""


def _read_columns(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Finite numbers of a CSV file, indexed by line.

    Raises
    ------
    MeasurementError
        If a column is missing or unknown, or a value is no finite number; the line is named.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise MeasurementError(
                f"{path}: expected at most {LARGEST_FILE} bytes, found {size}; thin the table out"
            )
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise MeasurementError(
            f"{path}: expected a CSV file, received: {error.strerror}; check the path"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise MeasurementError(
            f"{path}: expected CSV text in UTF-8, found something else ({error}); export it again"
        ) from error
    header = [name.strip() for name in rows[0]] if rows else []
    missing = [name for name in required if name not in header]
    strange = [name for name in header if name not in (*required, *optional)]
    if missing or strange or len(set(header)) < len(header):
        wanted = ", ".join(required) + "".join(f"[, {name}]" for name in optional)
        raise MeasurementError(
            f"{path}, row 1: expected columns {wanted}, found {', '.join(header) or 'none'}; "
            "name the columns so, in these units"
        )
    lines, values = [], []
    for line, row in enumerate(rows[1:], start=2):
        if row:
            lines.append(line)
            values.append(_numbers(path, line, row, header))
    if not values:
        raise MeasurementError(f"{path}: expected measurements, found none; export it again")
    return pd.DataFrame(values, index=lines, columns=header)


def _numbers(path: Path, line: int, row: list[str], header: list[str]) -> list[float]:
    try:
        numbers = [float(cell) for cell in row]
    except ValueError:
        numbers = []
    if len(numbers) != len(header) or not all(map(math.isfinite, numbers)):
        shown = ",".join(row)[:60]
        raise MeasurementError(
            f"{path}, row {line}: expected {len(header)} finite numbers, found {shown!r}; "
            "correct or remove the row"
        )
    return numbers


@dataclass(frozen=True)
class DriftFit:
    """Power law fitted to conductances over time, G(t) = G_0 (t / t_0)^(-nu).

    Attributes
    ----------
    nu, nu_error : float
        Mean exponent of the traces, and its standard error.
    nu_sigma : float
        Standard deviation from trace to trace.
    reference_seconds : float
        t_0, the first time measured.
    traces : int
    """

    nu: float
    nu_error: float
    nu_sigma: float
    reference_seconds: float
    traces: int


@dataclass(frozen=True)
class MeasuredDevice:
    """What a table of conductances says about a device.

    Attributes
    ----------
    means_s, sigmas_s : tuple of float
        Mean and standard deviation at each level, in S, when first read.
    counts : tuple of int
        Measurements behind them.
    drift : DriftFit or None
    """

    means_s: tuple[float, ...]
    sigmas_s: tuple[float, ...]
    counts: tuple[int, ...]
    drift: DriftFit | None = None

    @property
    def cell_bits(self) -> int:
        """Bits that a cell stores; use a mapping of as many."""
        return (len(self.means_s) - 1).bit_length()

    @property
    def on_conductance(self) -> float:
        """Of the highest level, in S; an entry of the energy table."""
        return self.means_s[-1]

    def model(self, seconds: float | None = None) -> DeviceModel:
        """Device model of the mapping's `cell_bits`.

        Parameters
        ----------
        seconds : float, optional
            Time since programming, where drift was measured; as first read by default.

        Raises
        ------
        MeasurementError
            If drift is asked for that was not measured.

        Examples
        --------
        >>> device = MeasuredDevice((1e-6, 11e-6), (0.1e-6, 0.5e-6), (20, 20))
        >>> device.model().on_off_ratio, device.model().effects[1].sigmas
        (11.0, (0.01, 0.05))
        """
        low, high = self.means_s[0], self.means_s[-1]
        span = high - low
        means = tuple(round((mean - low) / span, 12) for mean in self.means_s)
        sigmas = tuple(round(sigma / span, 12) for sigma in self.sigmas_s)
        effects: tuple[Effect, ...] = (LevelMeans(means), LevelVariation(sigmas))
        if seconds is not None:
            if self.drift is None:
                raise MeasurementError(
                    f"seconds: expected none for a device without measured drift, received "
                    f"{seconds}; measure at several times and add a column time_s"
                )
            drift = self.drift
            effects += (
                RetentionDrift(seconds, max(drift.nu, 0.0), drift.nu_sigma,
                               drift.reference_seconds),
            )  # fmt: skip
        ratio = round(high / low, 6) if low > 0 else math.inf
        return DeviceModel(on_off_ratio=ratio, effects=effects)


def read_device(path: Path) -> tuple[MeasuredDevice, pd.DataFrame]:
    """A device, and the measurements it was made from.

    Raises
    ------
    MeasurementError
        If columns, levels, samples or units are not what the module's text says; the row is
        named.

    Warns
    -----
    MeasurementWarning
        If samples are few, levels overlap, or conductances grow with time.

    Examples
    --------
    >>> from artifact.paths import EXAMPLES
    >>> device, table = read_device(EXAMPLES / "device.csv")
    >>> device.cell_bits, device.counts, f"{device.drift.nu:.3f} +- {device.drift.nu_error:.3f}"
    (2, (40, 40, 40, 40), '0.031 +- 0.001')
    """
    table = _read_columns(path, ("level", "conductance_s"), ("time_s", "cycle"))
    _check_device(path, table)
    first = table
    if "time_s" in table:
        first = table[table["time_s"] == table["time_s"].min()]
    means: list[float] = []
    sigmas, counts, place = [], [], {}
    for level in range(int(table["level"].max()) + 1):
        rows = first[first["level"] == level]
        samples = rows["conductance_s"].to_numpy()
        place[level] = f"level {level}" + (
            f" (rows {rows.index[0]} to {rows.index[-1]})" if len(rows) else ""
        )
        if len(samples) < FEWEST_SAMPLES:
            when = " at the first time" if "time_s" in table else ""
            raise MeasurementError(
                f"{path}, {place[level]}: expected at least {FEWEST_SAMPLES} measurements{when}, "
                f"found {len(samples)}; measure more"
            )
        if len(samples) < FEW_SAMPLES:
            _warn(f"{path}, {place[level]}: a spread from {len(samples)} measurements is uncertain")
        if means and samples.mean() <= means[-1]:
            raise MeasurementError(
                f"{path}, {place[level]}: expected a mean above that of level {level - 1}, "
                f"{means[-1]:.4g} S, found {samples.mean():.4g} S; number the levels upwards"
            )
        means.append(float(samples.mean()))
        sigmas.append(float(samples.std(ddof=1)))
        counts.append(len(samples))
    for level in range(1, len(means)):
        if means[level] - means[level - 1] < sigmas[level] + sigmas[level - 1]:
            _warn(f"{path}, {place[level]}: overlaps level {level - 1}; their means are less "
                  "than the sum of their spreads apart")  # fmt: skip
    drift = _fit_drift(path, table) if "time_s" in table else None
    return MeasuredDevice(tuple(means), tuple(sigmas), tuple(counts), drift), table


def _warn(text: str) -> None:
    warnings.warn(text, MeasurementWarning, stacklevel=3)


def _check_device(path: Path, table: pd.DataFrame) -> None:
    highest = table["level"].max()
    for line, level in table["level"].items():
        if level != int(level) or not 0 <= level < 2**MAX_BITS:
            raise MeasurementError(
                f"{path}, row {line}: expected a level from 0 to {2**MAX_BITS - 1}, found "
                f"{level:g}; number the levels from G_off upwards"
            )
    bits = int(highest).bit_length()
    absent = sorted(set(range(2**bits)) - set(table["level"].astype(int)))
    if absent or bits == 0:
        raise MeasurementError(
            f"{path}: expected every level from 0 to {2 ** max(bits, 1) - 1}, found none of "
            f"{absent or [1]}; measure them, or number those you have without gaps"
        )
    for line, value in table["conductance_s"].items():
        if not 0 <= value <= PLAUSIBLE_S[1]:
            raise MeasurementError(
                f"{path}, row {line}: expected a conductance in S from 0 to {PLAUSIBLE_S[1]:g}, "
                f"found {value:g}; convert the column (1 uS is 1e-6)"
            )
    largest = table["conductance_s"].max()
    if largest < PLAUSIBLE_S[0]:
        raise MeasurementError(
            f"{path}, row {table['conductance_s'].idxmax()}: expected a largest conductance of at "
            f"least {PLAUSIBLE_S[0]:g} S, found {largest:g}; convert the column to siemens"
        )
    if "time_s" in table and (table["time_s"] <= 0).any():
        line = (table["time_s"] <= 0).idxmax()
        raise MeasurementError(
            f"{path}, row {line}: expected a time after programming above 0 s, found "
            f"{table['time_s'][line]:g}; a power law has no time 0"
        )


def _fit_drift(path: Path, table: pd.DataFrame) -> DriftFit | None:
    """Straight lines through ln G against ln t, one for each trace."""
    start = float(table["time_s"].min())
    traces = ["level", "cycle"] if "cycle" in table else ["level"]
    exponents = []
    for _, rows in table[table["conductance_s"] > 0].groupby(traces):
        age = np.log(rows["time_s"] / start)
        if age.nunique() > 1:
            exponents.append(-float(np.polyfit(age, np.log(rows["conductance_s"]), 1)[0]))
    if len(exponents) < 2:
        _warn(f"{path}: no drift is fitted; that takes two traces of at least two times each")
        return None
    nu, spread = float(np.mean(exponents)), float(np.std(exponents, ddof=1))
    if nu < 0:
        _warn(f"{path}: conductances grow with time (nu = {nu:.3g}); the model holds them constant")
    return DriftFit(nu, spread / math.sqrt(len(exponents)), spread, start, len(exponents))


def read_adc(path: Path) -> Adc:
    """An ADC from its measured code transition levels.

    Raises
    ------
    MeasurementError
        If codes are missing or double, transitions descend, or the unit is not the LSB.

    Examples
    --------
    >>> from artifact.paths import EXAMPLES
    >>> adc = read_adc(EXAMPLES / "adc.csv")
    >>> adc.bits, len(adc.transitions)
    (5, 31)
    """
    transitions = _codes(path, "transition_lsb", first=1)
    steps = np.diff(transitions)
    if (steps < 0).any():
        code = int((steps < 0).argmax()) + 2
        raise MeasurementError(
            f"{path}, code {code}: expected a transition not below that of code {code - 1}, "
            f"{transitions[code - 2]:g}, found {transitions[code - 1]:g}; a missing code has the "
            "transition of the one before"
        )
    return Adc(bits=len(transitions).bit_length(), transitions=tuple(transitions))


def read_dac(path: Path) -> Dac:
    """A DAC from its measured outputs.

    Raises
    ------
    MeasurementError
        If codes are missing or double, or the unit is not the LSB.

    Examples
    --------
    >>> from artifact.paths import EXAMPLES
    >>> len(read_dac(EXAMPLES / "dac.csv").outputs)
    8
    """
    return Dac(outputs=tuple(_codes(path, "output_lsb", first=0)))


def _codes(path: Path, column: str, first: int) -> list[float]:
    """Values by code, `first` to 2^bits - 1."""
    table = _read_columns(path, ("code", column))
    seen: dict[float, int] = {}
    for line, code in zip(table.index, table["code"], strict=True):
        if code in seen or code != int(code) or not first <= code < 2**MAX_ADC_BITS:
            raise MeasurementError(
                f"{path}, row {line}: expected a code from {first} to {2**MAX_ADC_BITS - 1} that "
                f"is not there yet, found {code:g}; list every code once"
            )
        seen[code] = line
    top = int(table["code"].max())
    absent = sorted(set(range(first, 2 ** top.bit_length())) - set(map(int, seen)))
    if absent or top == 0:
        raise MeasurementError(
            f"{path}: expected every code from {first} to {2 ** max(top.bit_length(), 1) - 1}, "
            f"found none of {absent[:5] or [1]}; measure them"
        )
    values = table.set_index("code")[column].sort_index().to_list()
    if len(values) > 1:
        step = (values[-1] - values[0]) / (len(values) - 1)
        if not 0.5 <= step <= 2:
            raise MeasurementError(
                f"{path}, row {seen[float(top)]}: expected values in LSB, 0.5 to 2 from code to "
                f"code, found {step:.3g} on the average; divide by the voltage of one LSB"
            )
    return values
