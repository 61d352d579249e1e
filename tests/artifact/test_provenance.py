"""What numbers depend on: the code's hash."""

from __future__ import annotations

import pytest

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
