"""The one way to refuse a value: what was expected, what came, and how to mend it.

Checks raise ValueError or return the value as Python's own type, so that what a frozen dataclass
stores compares, hashes and turns into JSON, whether it came from Python, NumPy or a table.
"""

from __future__ import annotations

import numbers
import reprlib
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
#: Characters of a received value, and of an error that another library raised.
LONGEST_SHOWN, LONGEST_REASON = 120, 200


class _Short(reprlib.Repr):
    """Few characters of a value, at whatever depth it is large."""

    def repr_int(self, x: int, level: int) -> str:  # Python writes at most 4,300 digits
        return repr(x) if abs(x) < 10**30 else f"an integer of {x.bit_length()} bits"

    def repr_ndarray(self, x: np.ndarray, level: int) -> str:
        return repr(x) if x.size <= 8 else f"an array of shape {x.shape} and type {x.dtype}"


_short = _Short()
_short.maxlevel, _short.maxstring, _short.maxother = 3, 60, 100


def shown(value: object) -> str:
    """A value for a message: of few characters, however large it is."""
    text = " ".join(_short.repr(value).split())
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def require(holds: bool, name: str, expected: str, received: object, mend: str) -> None:
    """Raise ValueError unless `holds`."""
    if not holds:
        raise ValueError(f"{name}: expected {expected}, received {shown(received)}; {mend}")


@contextmanager
def refusing(
    name: str, expected: str, mend: str, passing: type[Exception] | tuple[()] = ()
) -> Iterator[None]:
    """Raise the ValueError of `require` for whatever is raised within, but for `passing`."""
    try:
        yield
    except passing:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON]
        raise ValueError(f"{name}: expected {expected}, received {text}; {mend}") from error


def as_number(value: object) -> int | float | None:
    """Python's int or float; None for a bool and for what is no number that a float can hold."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        whole = int(value)
        return whole if abs(whole) <= sys.float_info.max else None
    return float(value) if isinstance(value, (float, np.floating)) else None


def require_integer(name: str, value: object, lowest: int, highest: int) -> int:
    """The value, an integer in [lowest, highest]."""
    number = as_number(value)
    fits = isinstance(number, int) and lowest <= number <= highest
    wanted = f"an integer from {lowest} to {highest}"
    require(fits, name, wanted, value, "choose one in that range")
    return number  # type: ignore[return-value]


def require_number(name: str, value: object, lowest: float = 0, highest: float = inf) -> float:
    """The value, a finite number in [lowest, highest]."""
    number = as_number(value)
    fits = number is not None and isfinite(number) and lowest <= number <= highest
    wanted = f"a finite number from {lowest:g} to {highest:g}"
    require(fits, name, wanted, value, "choose one in that range")
    return number  # type: ignore[return-value]


def require_tuple(name: str, value: object, mend: str, most: int = 2**16) -> tuple[Any, ...]:
    """The items of a tuple, a list or an array of one dimension."""
    array = isinstance(value, np.ndarray) and value.ndim == 1
    require(array or isinstance(value, (tuple, list)), name, "a tuple", value, mend)
    items: Any = value
    require(len(items) <= most, name, f"at most {most} items", len(items), "shorten it")
    return tuple(items)


def require_numbers(
    name: str, value: object, lowest: float = 0, highest: float = inf
) -> tuple[float, ...]:
    """The numbers of a tuple, each finite and in [lowest, highest]; the faulty one is named."""
    items = enumerate(require_tuple(name, value, "list the numbers"))
    return tuple(require_number(f"{name}[{i}]", item, lowest, highest) for i, item in items)


def require_one_or_each(
    name: str, value: object, lowest: float = 0, highest: float = inf
) -> float | tuple[float, ...]:
    """One number for all, or a tuple with one for each; finite and in [lowest, highest]."""
    if not isinstance(value, (tuple, list, np.ndarray)):
        return require_number(name, value, lowest, highest)
    found = require_numbers(name, value, lowest, highest)
    require(len(found) > 0, name, "a number, or one for each", found, "give at least one")
    return found


def require_flag(name: str, value: object) -> bool:
    """The value, a bool."""
    require(isinstance(value, (bool, np.bool_)), name, "True or False", value, "choose one")
    return bool(value)


def require_choice(name: str, value: object, choices: Collection[str]) -> str:
    """The value, one of the choices."""
    fits = isinstance(value, str) and value in choices
    require(fits, name, f"one of {', '.join(choices)}", value, "use one")
    return str(value)


def require_instance(name: str, value: object, kind: type[T], mend: str) -> T:
    """The value, an instance of `kind`."""
    require(isinstance(value, kind), name, f"an instance of {kind.__name__}", value, mend)
    return value  # type: ignore[return-value]


def require_path(name: str, value: object) -> Path:
    """The value, a str or a path that a file can have, as a Path."""
    possible = isinstance(value, (str, Path)) and 0 < len(str(value)) < 4096
    require(possible and "\0" not in str(value), name, "a path", value, "give the name of a file")
    return Path(value)  # type: ignore[arg-type]


def settle(instance: object, **values: object) -> None:
    """Set fields of a frozen dataclass, from its ``__post_init__``, to what checks returned."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def settle_fields(
    instance: object, names: str, check: Callable[..., object], *limits: object
) -> None:
    """Set the fields of those names to what one of the checks above makes of them."""
    for name in names.split():
        settle(instance, **{name: check(name, getattr(instance, name), *limits)})
