"""Only the real files are accepted, wherever they come from; nothing broken is kept."""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact import data, fetch
from tests.fuzzing import fuzz


@given(st.binary(max_size=60))
def test_any_bytes_are_an_array_or_a_data_error(content):
    try:
        array = data.parse_idx(content)
    except fetch.DataError:
        return
    assert array.size == len(content) - 4 - 4 * array.ndim


def test_a_header_cannot_ask_for_memory():
    huge = b"\x00\x00\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)
    with pytest.raises(fetch.DataError, match="truncated or foreign"):
        data.parse_idx(huge)
    empty = b"\x00\x00\x08\x04" + struct.pack(">4I", 0, *[2**32 - 1] * 3)  # found by fuzzing
    with pytest.raises(fetch.DataError, match="truncated or foreign"):
        data.parse_idx(empty)
    with pytest.raises(fetch.DataError, match="expected 1 to 4 dimensions"):
        data.parse_idx(b"\x00\x00\x08\x41" + bytes(300))


def idx(array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def small_mnist(monkeypatch):
    """Four tiny files that pass for MNIST, by name."""
    generator = np.random.default_rng(0)
    contents = {}
    for name in data.FILES:
        count = 6 if name.startswith("train") else 3
        shape = (count, 28, 28) if "images" in name else (count,)
        contents[name] = idx(generator.integers(0, 10, shape))
    files = {
        name: (hashlib.sha256(content).hexdigest(), len(content))
        for name, content in contents.items()
    }
    monkeypatch.setattr(data, "FILES", files)
    return contents


def put(folder, contents, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("compress", [True, False])
def test_the_folder_of_the_environment_comes_first(small_mnist, tmp_path, monkeypatch, compress):
    put(tmp_path / "mine" / "mnist", small_mnist, compress)
    monkeypatch.setenv("NVLIB_DATA_DIR", str(tmp_path / "mine"))
    digits = data.load_mnist(cache=tmp_path / "cache", mirrors=())
    assert digits.comparable
    assert digits.train_images.shape == (6, 28, 28)


def test_damage_is_refused_by_name(small_mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_DATA_DIR", str(tmp_path))
    put(tmp_path, small_mnist)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[:-30])
    with pytest.raises(fetch.DataError, match=r"train-images.*whole gzip file"):
        data.load_mnist()
    content = bytearray(small_mnist["train-images-idx3-ubyte"])
    content[100] ^= 1
    images.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(fetch.DataError, match="expected SHA-256 .* found"):
        data.load_mnist()
    images.write_bytes(gzip.compress(small_mnist["t10k-images-idx3-ubyte"]))
    with pytest.raises(fetch.DataError, match="these are the bytes of t10k-images"):
        data.load_mnist()
    images.unlink()
    with pytest.raises(fetch.DataError, match="found neither"):
        data.load_mnist()


def test_download_falls_back_to_the_second_mirror_and_is_kept(
    small_mnist, tmp_path, monkeypatch, serve
):
    monkeypatch.delenv("NVLIB_DATA_DIR", raising=False)
    put(tmp_path / "bad", dict.fromkeys(small_mnist, b"not the file"))
    put(tmp_path / "good", small_mnist)
    mirrors = (serve(tmp_path / "bad"), serve(tmp_path / "good"))
    cache = tmp_path / "cache"
    digits = data.load_mnist(cache, mirrors)
    assert digits.test_labels.shape == (3,)
    again = data.load_mnist(cache, mirrors=())  # from the cache alone
    np.testing.assert_array_equal(digits.train_images, again.train_images)


def test_a_broken_download_leaves_nothing_behind(small_mnist, tmp_path, monkeypatch, serve):
    monkeypatch.delenv("NVLIB_DATA_DIR", raising=False)
    put(tmp_path / "bad", dict.fromkeys(small_mnist, b"not the file"))
    cache = tmp_path / "cache"
    with pytest.raises(fetch.DataUnavailableError, match="Set NVLIB_DATA_DIR"):
        data.load_mnist(cache, (serve(tmp_path / "bad"), "http://127.0.0.1:9/"))
    assert list(cache.iterdir()) == []


def test_mirrors_that_cannot_be_found_are_given_up_within_seconds(tmp_path, monkeypatch):
    monkeypatch.delenv("NVLIB_DATA_DIR", raising=False)
    monkeypatch.setattr(fetch, "ANSWER_S", 0.2)
    over, answers = threading.Event(), []

    def look_up(*_, **__):
        over.wait(60)
        answers.append("none")
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(fetch.DataUnavailableError, match=r"mirror.test/: no answer within 0.2 s"):
        data.load_mnist(tmp_path, ("http://mirror.test/", "http://other.test/"))
    assert answers == []  # the look-up takes longer
    over.set()


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("NVLIB_DATA_DIR", raising=False)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(fetch.DataUnavailableError, match=r"a folder for it at .*file/cache.*XDG"):
        data.load_mnist(tmp_path / "file" / "cache")


def test_auto_says_what_it_took_and_why(tmp_path, monkeypatch):
    def unavailable():
        raise fetch.DataUnavailableError("could not fetch it: no network")

    monkeypatch.setattr(data, "load_mnist", unavailable)
    data.load.cache_clear()
    with pytest.warns(
        data.DataWarning, match=r"no network\. Until then: 5,000 MNIST digits of mlx"
    ):
        assert data.load("auto").name == "embedded"
    with pytest.raises(fetch.DataUnavailableError):
        data.load("mnist")
    data.load.cache_clear()


def test_embedded_digits_are_balanced_and_say_so(digits):
    assert not digits.comparable
    assert "not comparable" in digits.label
    assert np.bincount(digits.test_labels).tolist() == [100] * 10
    assert np.bincount(digits.train_labels).tolist() == [400] * 10
    train = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in train for image in digits.test_images)


def test_unknown_source_is_refused():
    with pytest.raises(ValueError, match="expected a data source among"):
        data.load("cifar")


def test_no_idx_file_does_harm():
    valid = struct.pack(">HBBIII", 0, 8, 3, 2, 4, 4) + bytes(32)
    assert data.parse_idx(valid).shape == (2, 4, 4)
    fuzz("idx", valid, data.parse_idx, fetch.DataError)
