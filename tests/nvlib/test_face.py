"""The package as its users meet it: what it needs, how large it is, what it shows."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions

import pytest

import nvlib
from artifact.paths import ROOT

MODULES = sorted((ROOT / "nvlib").rglob("*.py"))
NEEDED = {"numpy", "scipy", "torch", "numba", "safetensors", "yaml", "pandas", "tqdm"}
#: Lines of code, without docstrings, comments and blank lines, of `nvlib`; and lines of a module.
MOST_CODE, MOST_LINES = 4_600, 400


def imported(path):
    """Top-level names of everything that a module imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative import"
            yield str(node.module).split(".")[0]


def code_lines(path):
    """Lines that are neither blank, nor comments, nor docstrings."""
    text = path.read_text(encoding="utf-8")
    prose = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            prose |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return sum(bool(line) and line[0] != "#" and n not in prose for n, line in lines)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_needs_what_the_package_says_and_nothing_of_the_artifact(path):
    names = set(imported(path)) - set(sys.stdlib_module_names) - {"nvlib"}
    if path.stem == "compiled":
        names -= {"llvmlite"}  # comes with Numba
    assert names <= NEEDED


def test_what_is_needed_is_what_is_installed_with_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    distributions = packages_distributions()
    wanted = {distributions[name][0].lower() for name in NEEDED}
    assert {name.lower() for name in project["dependencies"]} == wanted
    everything = {name for path in MODULES for name in imported(path)}
    assert everything >= NEEDED  # and each is used


def test_modules_import_in_one_direction():
    """What is imported for type checkers alone, or while a function runs, does not count."""
    needs = {}
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        body = ast.parse(path.read_text(encoding="utf-8")).body
        body += [inner for node in body if isinstance(node, ast.If)
                 and ast.unparse(node.test) == "COMPILED" for inner in node.body]  # fmt: skip
        found = [node for node in body if isinstance(node, ast.ImportFrom)]
        needs[name] = {str(node.module) for node in found} | {
            f"{node.module}.{alias.name}" for node in found for alias in node.names
        }
    known = {
        name: needs[name] & needs.keys() - {"nvlib", "nvlib.engine", "nvlib.graph"}
        for name in needs
    }
    order = list(TopologicalSorter(known).static_order())  # CycleError if there is none
    assert order[-1] == "nvlib"
    read, chip, cost = (order.index(f"nvlib.{name}") for name in ("engine.kernel", "chip", "cost"))
    assert read < chip < cost


def test_the_simulator_stays_small():
    assert sum(map(code_lines, MODULES)) <= MOST_CODE
    for path in MODULES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MOST_LINES, path.name


def test_every_function_on_the_face_has_an_example():
    shown = [getattr(nvlib, name) for name in nvlib.__all__]
    for function in filter(inspect.isfunction, shown):
        assert ">>> " in function.__doc__, function.__name__


def test_the_face_shows_what_users_need_and_no_more():
    assert dir(nvlib) == sorted([*nvlib.__all__, "__version__"])
    assert list(nvlib.__all__) == sorted(nvlib.__all__)
    assert len(set(nvlib.__all__)) == len(nvlib.__all__)
    for name in nvlib.__all__:
        assert getattr(nvlib, name).__doc__ if name != "ALL_POLICIES" else nvlib.ALL_POLICIES
    assert all(hasattr(nvlib, name) for name in nvlib.__all__)


ALONE = """
import json, sys
sys.modules["artifact"] = None  # whoever imports it fails
import numpy as np
from nvlib import (
    Adc, ArrayMapping, Chip, DeviceModel, Hardware, Precision, RangeVariation, example_network,
)
network = example_network()
assert network.precision == Precision.parse("W4A3")
varied = DeviceModel(effects=(RangeVariation(0.05),))
chip = Chip(network, Hardware(ArrayMapping(rows=64), varied, Adc(bits=6)), seed=1)
logits = chip(np.random.default_rng(0).integers(0, 256, (3, 28, 28)))
loaded = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps([logits.shape, logits.tolist(), loaded]))
"""


def test_the_simulator_works_alone_in_an_empty_folder(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "nvlib").symlink_to(ROOT / "nvlib")
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=tmp_path / "empty", capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shape, logits, loaded = json.loads(done.stdout)
    assert shape == [3, 10]
    assert len({round(value, 9) for row in logits for value in row}) > 20
    assert not {"matplotlib", "mlxtend", "joblib", "IPython"} & set(loaded)
    assert not list((tmp_path / "empty").iterdir())
