"""Files are whole or not there."""

from __future__ import annotations

import pytest

from nvlib import files


def test_a_full_disk_is_one_clear_message_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    files.write_text(path, "old")

    def full(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"expected to write .*table.csv, received: No space left"):
        files.write_whole(path, full)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="make the folder writable, and start again"):
        files.write_text(tmp_path / "file" / "table.csv", "text")
