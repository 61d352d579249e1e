"""One way to refuse: NumPy's numbers are numbers, and no message is long."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import pytest

from nvlib.checks import (
    require,
    require_choice,
    require_flag,
    require_instance,
    require_integer,
    require_number,
    require_numbers,
    require_path,
    settle,
)


@dataclass(frozen=True)
class Settled:
    """A frozen dataclass as the package's own."""

    rows: int
    sigmas: tuple[float, ...]
    on: bool

    def __post_init__(self):
        settle(
            self,
            rows=require_integer("rows", self.rows, 1, 4096),
            sigmas=require_numbers("sigmas", self.sigmas),
            on=require_flag("on", self.on),
        )


def test_numbers_of_numpy_are_stored_as_those_of_python():
    own = Settled(3, (0.5, 1), True)
    other = Settled(np.int64(3), np.array([0.5, 1.0], np.float32), np.True_)
    assert own == other
    assert hash(own) == hash(other)
    assert json.dumps(asdict(other)) == '{"rows": 3, "sigmas": [0.5, 1.0], "on": true}'


@pytest.mark.parametrize("value", [
    True, np.True_, np.bool_(False), None, "3", b"3", 3j, math.nan, math.inf, 10**400, [3],
    np.array(3), np.array([3]), object(),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="rows: expected an integer from 1 to 4096"):
        require_integer("rows", value, 1, 4096)
    with pytest.raises(ValueError, match="sigma: expected a finite number from 0 to inf"):
        require_number("sigma", value)


def nested(depth):
    return [nested(depth - 1)] * 9 if depth else "lol"


@pytest.mark.parametrize(
    "value", ["x" * 10_000, 10**4000, 10**5000, [10**5000], list(range(10_000)),
              nested(5), {1: nested(4)}, np.zeros((500, 500)), Settled(1, (0.5,) * 1000, False)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_no_message_is_long(value):
    with pytest.raises(ValueError, match="^size: expected less, received .{1,130}; lower it$"):
        require(False, "size", "less", value, "lower it")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: require_integer("rows", 0, 1, 9), "rows: expected an integer from 1 to 9, rec"),
        (lambda: require_integer("rows", 2.0, 1, 9), "rows: expected an integer .* received 2.0"),
        (lambda: require_flag("on", 1), "on: expected True or False, received 1"),
        (lambda: require_choice("shape", [], ("bow",)), r"shape: expected one of bow, .* \[\]"),
        (lambda: require_choice("shape", "box", ("bow",)), "shape: expected one of bow"),
        (lambda: require_numbers("means", "01"), "means: expected a tuple, received '01'"),
        (lambda: require_numbers("means", np.zeros((2, 2))), "means: expected a tuple"),
        (lambda: require_numbers("means", [0] * 70_000), "means: expected at most 65536 items"),
        (lambda: require_numbers("means", [0, math.nan]), r"means\[1\]: expected a finite number"),
        (lambda: require_path("table", 3), "table: expected a path, received 3"),
        (lambda: require_instance("adc", 8, Settled, "write Settled(8)"),
         r"adc: expected an instance of Settled, received 8; write Settled\(8\)"),
    ],
)  # fmt: skip
def test_each_check_says_what_it_expected(check, message):
    with pytest.raises(ValueError, match=message):
        check()
