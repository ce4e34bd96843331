"""Images of digits: what ships, and MNIST from small files of its format."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from common.datasets import load, status
from common.datasets.digits import read_digits
from common.datasets.mnist import Mnist, read_idx
from common.datasets.source import SourceFile, Sources
from common.error import DataError


def idx(array: np.ndarray) -> bytes:
    """An array as IDX: the format written by its description, not by our reader."""
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder with MNIST's four files, of few images, and a builder that expects them."""
    generator = np.random.default_rng(0)
    arrays, folder = {}, tmp_path / "files"
    folder.mkdir()
    for part, count in (("train", 30), ("t10k", 7)):
        arrays[f"{part}-images-idx3-ubyte.gz"] = generator.integers(
            0, 256, (count, 28, 28), dtype=np.uint8
        )
        arrays[f"{part}-labels-idx1-ubyte.gz"] = generator.integers(0, 10, count, dtype=np.uint8)
    files = []
    for name, array in arrays.items():
        content = idx(array)
        (folder / name).write_bytes(content)
        files.append(SourceFile(name, len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(Mnist, "SOURCES", Sources(tuple(files)))
    monkeypatch.setattr(Mnist, "VALID", 6)
    monkeypatch.setattr(Mnist, "_IMAGES", 10)  # several records
    return folder, arrays


def test_digits(tmp_path):
    found = load("digits", cache_dir=tmp_path)
    splits = (found.train, found.valid, found.test)
    assert [len(images.labels) for images in splits] == [1440, 180, 177]
    assert found.train.pixels.shape == (1440, 8, 8)
    assert all(images.pixels.max() == found.largest == 16 for images in splits)
    for images in splits:  # every class about as often
        counts = np.bincount(images.labels, minlength=found.classes)
        assert counts.min() > 0.7 * counts.mean()
    assert not found.train.pixels.flags.writeable
    # The first line of the file: a zero.
    assert found.train.labels[0] == 0
    assert found.train.pixels[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_lines_that_are_no_digit_are_named():
    good = ",".join(["0"] * 64 + ["3"])
    assert read_digits(f"{good}\n".encode())["train"].labels.tolist() == [3]
    for bad in (good + ",1", good[:-1] + "10", "17" + good[1:], "x" + good[1:]):
        with pytest.raises(DataError, match="line 2"):
            read_digits(f"{good}\n{bad}\n".encode())


def test_mnist_from_files_brought_by_hand(small_mnist, tmp_path):
    folder, arrays = small_mnist
    assert status("mnist", folder, tmp_path / "cache").state == "preparable"
    found = load("mnist", folder, tmp_path / "cache", download=False)
    images = arrays["train-images-idx3-ubyte.gz"]
    np.testing.assert_array_equal(found.train.pixels, images[:24])
    np.testing.assert_array_equal(found.valid.pixels, images[24:])
    np.testing.assert_array_equal(found.test.pixels, arrays["t10k-images-idx3-ubyte.gz"])
    np.testing.assert_array_equal(found.valid.labels, arrays["train-labels-idx1-ubyte.gz"][24:])
    assert (found.classes, found.largest) == (10, 255)
    assert set(found.checksums) == set(arrays)


def test_what_mnist_lacks_is_said(small_mnist, tmp_path):
    folder, _ = small_mnist
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: not found"):
        load("mnist", folder, tmp_path / "cache", download=False)


def test_the_real_mnist_is_known_by_size_and_checksum():
    assert sum(file.size for file in Mnist.SOURCES.files) == 11_594_722
    assert all(len(file.mirrors) > 1 for file in Mnist.SOURCES.files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "isn't a gzip file"),
        (gzip.compress(b"\0\0\x08\x01\0\0"), "isn't an IDX file"),
        (idx(np.zeros((2, 3), np.uint8)), "isn't an IDX file of bytes in 1 dim"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x05abc"), "has 3 values, expected 5"),
    ],
    ids=["no gzip", "cut", "images", "values missing"],
)
def test_files_that_are_no_idx_are_refused(content, message):
    with pytest.raises(DataError, match=message):
        read_idx(content, "labels", 1)
