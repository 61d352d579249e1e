"""Codes are packed and come back; damaged files do no harm."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from nvlib import DeviceModel, Hardware, LevelMeans, QuantizedNetwork, RangeVariation
from nvlib.chip import STORABLE
from nvlib.storage import (
    pack_codes,
    plain,
    read,
    read_metadata,
    restored,
    unpack_codes,
    write,
    write_text,
    write_whole,
)


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_packed_codes_come_back(bits, seed):
    generator = np.random.default_rng(seed)
    limit = max(2 ** (bits - 1) - 1, 1)
    codes = generator.integers(-limit, limit + 1, (3, 7)).astype(np.int8)
    if bits == 1:
        codes[codes == 0] = 1
    packed = pack_codes(codes, bits)
    assert len(packed) == -(-21 * bits // 8)
    np.testing.assert_array_equal(unpack_codes(packed, bits, (3, 7)), codes)


def test_facts_tensors_and_words_come_back_in_one_file(tmp_path):
    path = tmp_path / "file"
    turned = np.arange(6).reshape(2, 3).T  # not in one piece in memory
    write(path, {"a": [1, None, {"b": "c"}]}, {"x.y": turned}, {"made": "here"})
    found = read(path, lambda facts, tensors: (facts, dict(tensors)))
    assert found[0] == {"a": [1, None, {"b": "c"}]}
    np.testing.assert_array_equal(found[1]["x.y"], turned)
    assert read_metadata(path.read_bytes())["made"] == "here"
    assert list(load(path.read_bytes())) == ["x.y"]  # others can read it too


def test_hardware_with_nested_effects_comes_back():
    devices = DeviceModel(40.0, (RangeVariation(0.1), LevelMeans((0.1, 0.9))))
    data = json.loads(json.dumps(plain(Hardware(devices=devices), STORABLE)))
    assert restored(data, STORABLE) == Hardware(devices=devices)


def test_what_lacks_a_part_or_is_something_else_is_a_value_error(tmp_path):
    path = tmp_path / "file"
    write(path, {"steps": []}, {}, {})
    with pytest.raises(
        ValueError, match=r"file: expected a file that save\(\) wrote, received KeyError"
    ):
        QuantizedNetwork.load(path)
    with pytest.raises(ValueError, match="file: expected one in the format of safetensors"):
        QuantizedNetwork.load(b"garbage that is no file")
    with pytest.raises(FileNotFoundError):
        QuantizedNetwork.load(tmp_path / "nowhere")


def test_a_full_disk_is_one_clear_message_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")

    def full(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"expected to write .*table.csv, received: No space left"):
        write_whole(path, full)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="make the folder writable, and start again"):
        write_text(tmp_path / "file" / "table.csv", "text")
