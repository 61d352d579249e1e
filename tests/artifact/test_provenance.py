"""What numbers depend on: the code's hash."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from artifact import provenance
from artifact.paths import ROOT
from artifact.provenance import meaning

CODE = b'''"""A module."""

class Cell:
    """One."""

    def read(self, volts):
        """Its current."""
        return 2 * volts
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (b"Its current.", b"Its current, in ampere.", True),
        (b'        """Its current."""\n', b"", True),
        (b"2 * volts", b"(2 * volts)  # twice", True),
        (b"2 * volts", b"3 * volts", False),
        (b"2 * volts", b'"volts"', False),
        (b"read", b"reads", False),
    ],
)
def test_words_about_the_code_are_no_part_of_its_hash(old, new, same):
    assert (meaning(CODE) == meaning(CODE.replace(old, new))) == same


def test_of_data_every_byte_counts():
    assert meaning(b"a: 1", ".yaml") != meaning(b"a: 1  # one", ".yaml")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("nvlib/energy_table.yaml", True),
        ("nvlib/area_table.yaml", True),
        ("nvlib/presets/rram.csv", True),
        ("nvlib/lenet5-W4A3.safetensors", True),
        ("nvlib/wires.py", True),
        ("artifact/studies/region.py", True),
        ("artifact/report.py", False),
        ("artifact/figures/energy.py", False),
    ],
)
def test_what_numbers_depend_on_is_part_of_the_hash_of_the_code(
    name, counts, tmp_path, monkeypatch
):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    shutil.copy(ROOT / name, path)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    before = provenance.code_hash.__wrapped__()
    path.write_bytes(path.read_bytes() + b"\nx = 1\n")
    assert (provenance.code_hash.__wrapped__() != before) == counts


def test_all_data_that_nvlib_ships_are_part_of_the_hash_of_the_code():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["nvlib"]
    assert {Path(pattern).suffix for pattern in patterns} - {".typed"} <= provenance._SOURCES
