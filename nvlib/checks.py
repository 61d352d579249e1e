"""Range checks that say what was expected, what came, and how to mend it."""

from __future__ import annotations

import math


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
        raise ValueError(f"{name}: expected {expected}, received {received!r}; {mend}")


def require_integer(name: str, value: object, lowest: int, highest: int) -> None:
    """Raise ValueError unless `value` is an integer in [lowest, highest].

    Examples
    --------
    >>> require_integer("rows", 128, 1, 4096)
    >>> require_integer("rows", 1.5, 1, 4096)
    Traceback (most recent call last):
    ...
    ValueError: rows: expected an integer from 1 to 4096, received 1.5; choose one in that range
    """
    fits = isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
    require(fits, name, f"an integer from {lowest} to {highest}", value, "choose one in that range")


def require_number(name: str, value: float, lowest: float = 0.0, highest: float = math.inf) -> None:
    """Raise ValueError unless `value` is a finite number in [lowest, highest].

    Examples
    --------
    >>> require_number("sigma", 0.1, highest=2)
    >>> require_number("sigma", -1, highest=2)
    Traceback (most recent call last):
    ...
    ValueError: sigma: expected a finite number from 0 to 2, received -1; choose one in that range
    """
    fits = isinstance(value, (int, float)) and math.isfinite(value) and lowest <= value <= highest
    wanted = f"a finite number from {lowest:g} to {highest:g}"
    require(fits, name, wanted, value, "choose one in that range")
