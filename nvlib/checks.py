"""The one way to refuse a value: what was expected, what came, and how to mend it.

Checks return the value as Python's own type, so that what a frozen dataclass stores compares,
hashes and turns into JSON, whether it came from Python, NumPy or a table.
"""

from __future__ import annotations

import math
import numbers
import reprlib
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
LONGEST_SHOWN = 120  # characters of a received value


class _Short(reprlib.Repr):
    """Few characters of a value, at whatever depth it is large."""

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write 4,300 digits or more.
        return repr(x) if abs(x) < 10**30 else f"an integer of {x.bit_length()} bits"

    def repr_ndarray(self, x: np.ndarray, level: int) -> str:
        return repr(x) if x.size <= 8 else f"an array of shape {x.shape} and type {x.dtype}"


_short = _Short()
_short.maxlevel, _short.maxstring, _short.maxother = 3, 60, 100


def shown(value: object) -> str:
    """A value for a message: of few characters, however large it is.

    Examples
    --------
    >>> shown("W4A3"), shown(list(range(1000))), len(shown(10**5000)) < 120
    ("'W4A3'", '[0, 1, 2, 3, 4, 5, ...]', True)
    """
    text = _short.repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def require(holds: bool, name: str, expected: str, received: object, mend: str) -> None:
    """Raise ValueError unless `holds`.

    Examples
    --------
    >>> require(False, "rows", "an integer of at least 1", 0, "give the array rows")
    Traceback (most recent call last):
    ...
    ValueError: rows: expected an integer of at least 1, received 0; give the array rows
    """
    if not holds:
        raise ValueError(f"{name}: expected {expected}, received {shown(received)}; {mend}")


def as_number(value: object) -> int | float | None:
    """A real number of Python or NumPy as Python's int or float; None for all else.

    A bool is no number, nor is an integer that a float cannot hold.

    Examples
    --------
    >>> as_number(np.int64(3)), as_number(np.float32(0.5)), as_number(True), as_number("3")
    (3, 0.5, None, None)
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        whole = int(value)
        return whole if abs(whole) <= sys.float_info.max else None
    return float(value) if isinstance(value, (float, np.floating)) else None


def require_integer(name: str, value: object, lowest: int, highest: int) -> int:
    """The value as an int; ValueError unless it is an integer in [lowest, highest].

    Examples
    --------
    >>> require_integer("rows", np.int64(128), 1, 4096)
    128
    >>> require_integer("rows", 1.5, 1, 4096)
    Traceback (most recent call last):
    ...
    ValueError: rows: expected an integer from 1 to 4096, received 1.5; choose one in that range
    """
    number = as_number(value)
    whole = number if isinstance(number, int) and lowest <= number <= highest else None
    wanted = f"an integer from {lowest} to {highest}"
    require(whole is not None, name, wanted, value, "choose one in that range")
    assert whole is not None
    return whole


def require_number(
    name: str, value: object, lowest: float = 0.0, highest: float = math.inf
) -> int | float:
    """The value as an int or float; ValueError unless it is finite and in [lowest, highest].

    Examples
    --------
    >>> require_number("sigma", np.float32(0.5), highest=2)
    0.5
    >>> require_number("sigma", -1, highest=2)
    Traceback (most recent call last):
    ...
    ValueError: sigma: expected a finite number from 0 to 2, received -1; choose one in that range
    """
    number = as_number(value)
    fits = number is not None and math.isfinite(number) and lowest <= number <= highest
    wanted = f"a finite number from {lowest:g} to {highest:g}"
    require(fits, name, wanted, value, "choose one in that range")
    assert number is not None
    return number


def require_tuple(name: str, value: object, mend: str, most: int = 2**16) -> tuple[Any, ...]:
    """The items of a tuple, a list or an array of one dimension; ValueError for all else.

    Examples
    --------
    >>> require_tuple("effects", ["drift"], "list the effects")
    ('drift',)
    """
    array = isinstance(value, np.ndarray) and value.ndim == 1
    require(array or isinstance(value, (tuple, list)), name, "a tuple", value, mend)
    items: Any = value
    require(len(items) <= most, name, f"at most {most} items", len(items), "shorten it")
    return tuple(items)


def require_numbers(
    name: str, value: object, lowest: float = 0.0, highest: float = math.inf
) -> tuple[int | float, ...]:
    """The numbers of a tuple, each finite and in [lowest, highest]; the faulty one is named.

    Examples
    --------
    >>> require_numbers("means", np.array([0.0, 1.0]))
    (0.0, 1.0)
    >>> require_numbers("means", (0.5, "1"), highest=2)
    Traceback (most recent call last):
    ...
    ValueError: means[1]: expected a finite number from 0 to 2, received '1'; choose one in that range
    """  # noqa: E501
    items = require_tuple(name, value, "list the numbers")
    return tuple(
        require_number(f"{name}[{i}]", item, lowest, highest) for i, item in enumerate(items)
    )


def require_one_or_each(
    name: str, value: object, lowest: float = 0.0, highest: float = math.inf
) -> int | float | tuple[int | float, ...]:
    """One number for all, or a tuple with one for each; finite and in [lowest, highest].

    Examples
    --------
    >>> require_one_or_each("nu", 0.03), require_one_or_each("nu", [0.03, 0.1])
    (0.03, (0.03, 0.1))
    """
    several = isinstance(value, (tuple, list, np.ndarray))
    return (require_numbers if several else require_number)(name, value, lowest, highest)


def require_flag(name: str, value: object) -> bool:
    """The value as a bool; ValueError unless it is one.

    Examples
    --------
    >>> require_flag("monotone", np.True_)
    True
    """
    require(isinstance(value, (bool, np.bool_)), name, "True or False", value, "choose one")
    return bool(value)


def require_choice(name: str, value: object, choices: Collection[str]) -> str:
    """The value as a str; ValueError unless it is one of the choices.

    Examples
    --------
    >>> require_choice("shape", "zigzag", ("bow", "s-shape"))
    Traceback (most recent call last):
    ...
    ValueError: shape: expected one of bow, s-shape, received 'zigzag'; use one
    """
    fits = isinstance(value, str) and value in choices
    require(fits, name, f"one of {', '.join(choices)}", value, "use one")
    return str(value)


def require_instance(name: str, value: object, kind: type[T], mend: str) -> T:
    """The value; ValueError unless it is an instance of `kind`.

    Examples
    --------
    >>> require_instance("adc", 8, Path, "write Adc(8)")
    Traceback (most recent call last):
    ...
    ValueError: adc: expected an instance of Path, received 8; write Adc(8)
    """
    require(isinstance(value, kind), name, f"an instance of {kind.__name__}", value, mend)
    return value  # type: ignore[return-value]


def require_path(name: str, value: object) -> Path:
    """The value as a Path; ValueError unless it is a str or a path that a file can have.

    Examples
    --------
    >>> require_path("override", "mine.yaml").name
    'mine.yaml'
    """
    possible = isinstance(value, (str, Path)) and 0 < len(str(value)) < 4096
    require(possible and "\0" not in str(value), name, "a path", value, "give the name of a file")
    return Path(value)  # type: ignore[arg-type]


def settle(instance: object, **values: object) -> None:
    """Set fields of a frozen dataclass, from its ``__post_init__``, to what checks returned."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)
