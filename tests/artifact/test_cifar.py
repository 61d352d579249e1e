"""CIFAR-10 as JPEG files: only the real ones are accepted, in the order of their numbers."""

from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from artifact import cifar, data
from artifact.fetch import DataError, DataUnavailableError
from tests.fuzzing import fuzz


@pytest.fixture
def small_cifar(monkeypatch):
    """Four training and two test images of two classes that pass for CIFAR-10, by name."""
    contents, parts = {}, {}
    for part, count in (("train", 2), ("test", 1)):
        digest, length = hashlib.sha256(), 0
        for kind in ("cat", "dog"):
            for number in range(count):
                file = io.BytesIO()
                grey = 40 * number + (100 if kind == "dog" else 0)
                Image.new("RGB", (32, 32), (grey, grey, grey)).save(file, "jpeg")
                name = f"{part}/{kind}/{number:04}.jpg"
                contents[name] = file.getvalue()
                digest.update(name.encode() + b"\0" + hashlib.sha256(file.getvalue()).digest())
                length += len(file.getvalue())
        parts[part] = digest.hexdigest(), length
    monkeypatch.setattr(cifar, "PARTS", parts)
    return contents


def zipped(path, contents, before="", method=zipfile.ZIP_STORED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(before + name, content)


def put_cifar(folder, contents):
    for part in cifar.PARTS:
        mine = {name: content for name, content in contents.items() if name.startswith(part)}
        zipped(folder / "cifar10-jpeg" / f"{part}.zip", mine)


def test_cifar_is_read_by_number_so_that_classes_alternate(small_cifar, tmp_path, monkeypatch):
    put_cifar(tmp_path, small_cifar)
    monkeypatch.setenv("NVLIB_DATA_DIR", str(tmp_path))
    found = data.load.__wrapped__("cifar10")
    assert not found.comparable
    assert found.label == "CIFAR-10 (JPEG copy)"
    assert found.train_labels.tolist() == [0, 1, 0, 1]
    assert found.test_labels.tolist() == [0, 1]
    pixels = found.train_images[:]
    assert (pixels.shape, pixels.dtype) == ((4, 3, 32, 32), np.float32)
    grey = [0, 100 / 255, 40 / 255, 140 / 255]  # the first cat and dog, then the second ones
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), grey, atol=1 / 255)
    np.testing.assert_array_equal(found.train_images[np.array([2, 0])], pixels[[2, 0]])
    np.testing.assert_array_equal(found.train_images[3], pixels[3])
    whole = b"".join(small_cifar[f"test/{kind}/0000.jpg"] for kind in ("cat", "dog"))
    assert found.test_images.tobytes() == whole


def test_cifar_is_downloaded_as_its_repository_packs_it_and_kept(
    small_cifar, tmp_path, monkeypatch, serve
):
    monkeypatch.delenv("NVLIB_DATA_DIR", raising=False)
    others = {"README.md": b"words", "train/notes.txt": b"more"}
    zipped(tmp_path / "bad" / cifar.ARCHIVE, others)
    zipped(tmp_path / "good" / cifar.ARCHIVE, small_cifar | others, "CIFAR-10-images-1/",
           zipfile.ZIP_DEFLATED)  # fmt: skip
    cache, mirrors = tmp_path / "cache", (serve(tmp_path / "bad"), serve(tmp_path / "good"))
    found = cifar.load(cache, mirrors)
    again = cifar.load(cache, mirrors=())  # from the cache alone
    assert found[0].files == again[0].files
    assert [path.name for path in cache.iterdir()] == [cifar.ARCHIVE]


def test_cifar_that_is_not_there_is_unavailable_and_damage_is_refused(
    small_cifar, tmp_path, monkeypatch
):
    monkeypatch.delenv("NVLIB_DATA_DIR", raising=False)
    with pytest.raises(DataUnavailableError, match=r"cifar10-jpeg with train.zip and test"):
        cifar.load(tmp_path / "cache", mirrors=())
    monkeypatch.setenv("NVLIB_DATA_DIR", str(tmp_path))
    with pytest.raises(DataUnavailableError, match=r"a folder cifar10-jpeg .* there"):
        cifar.load(mirrors=())
    put_cifar(tmp_path, small_cifar)
    path = tmp_path / "cifar10-jpeg" / "test.zip"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="expected a whole ZIP file, found a broken one"):
        cifar.load()
    cats = {name: content for name, content in small_cifar.items() if name.startswith("test/cat")}
    zipped(path, cats)
    with pytest.raises(DataError, match="files of test with the SHA-256 .* and 1 files"):
        cifar.load()
    changed = bytearray(small_cifar["test/dog/0000.jpg"])
    changed[-5] ^= 1
    zipped(path, cats | {"test/dog/0000.jpg": bytes(changed)})
    with pytest.raises(DataError, match="files of test with the SHA-256 .* and 2 files"):
        cifar.load()
    zipped(path, cats | {"test/dog/0000.jpg": bytes(10**6)}, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="bytes of JPEG files, found 1,0"):
        cifar.load()


def test_no_archive_does_harm(small_cifar, tmp_path):
    path = tmp_path / "some.zip"
    zipped(path, small_cifar, method=zipfile.ZIP_DEFLATED)
    valid = path.read_bytes()
    assert len(cifar._read_jpegs(path)) == 6

    def read(content):
        path.write_bytes(content)
        cifar._read_jpegs(path)

    fuzz("archive", valid, read, DataError)
