"""Faults are found by their syntax, each exactly once."""

from __future__ import annotations

import ast

import pandas as pd
import pytest

from artifact.paths import RESULTS, ROOT
from tests.faults import FAULTS, Fault, selections, source, with_fault

TEXT = "class A:\n    def f(self, x):\n        y = x + 1  # a comment\n        return x+1, y\n"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_applies_and_compiles(fault):
    text = (ROOT / source(fault.module)).read_text(encoding="utf-8")
    faulty = with_fault(text, fault)
    compile(faulty, fault.module, "exec")
    sound = ast.unparse(ast.parse(text)).splitlines()
    changed = set(faulty.splitlines()) ^ set(sound)
    assert 1 <= len(changed) <= 2


def test_tests_of_its_own_come_first():
    first = {fault.what: selections(fault)[0] for fault in FAULTS}
    assert all(len(tests) == 1 and tests[0].endswith(".py") for tests in first.values())
    assert first["truncation within a chain"] == ["tests/nvlib/engine/test_chain.py"]
    assert first["a wrong plane weight"] == ["tests/nvlib/engine/test_kernel.py"]
    assert first["a padding that is forgotten"] == ["tests/nvlib/graph/test_rewrites.py"]
    assert first["a limit at the wrong crossing"] == ["tests/artifact/test_studies_limits.py"]


def test_names_of_faults_are_unique():
    assert len({fault.what for fault in FAULTS}) == len(FAULTS) >= 41


def test_code_that_stands_twice_or_nowhere_is_an_error():
    turned = Fault("", "m", "A.f", "(x + 1, y)", "(x - 1, y)")
    assert "return (x - 1, y)" in with_fault(TEXT, turned)
    assert "pass" in with_fault(TEXT, Fault("", "m", "A.f", "y = x + 1", "pass"))
    with pytest.raises(ValueError, match="found it 2 times; mend FAULTS"):
        with_fault(TEXT, Fault("", "m", "A.f", "x + 1", "x"))
    with pytest.raises(ValueError, match="found it 0 times"):
        with_fault(TEXT, Fault("", "m", "A.f", "y = x + 2", "pass"))
    with pytest.raises(ValueError, match=r"expected A\.g in m, found none"):
        with_fault(TEXT, Fault("", "m", "A.g", "x", "y"))


def test_deliberate_faults_were_caught():
    table = pd.read_csv(RESULTS / "faults.csv")
    assert table["fault"].tolist() == [fault.what for fault in FAULTS]  # of today
    assert table["caught by"].notna().mean() >= 0.95
