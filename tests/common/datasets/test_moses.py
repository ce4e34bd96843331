"""MOSES: the sample that ships, and the full set from small files of its format."""

import gzip
import hashlib

import pytest

from common.datasets import load, moses, status
from common.datasets.moses import Moses
from common.datasets.source import SourceFile, Sources
from common.error import DataError
from common.molecule import MOSES


def test_the_sample(tmp_path):
    found = load("moses_sample", cache_dir=tmp_path)
    splits = (found.train, found.valid, found.test, found.test_scaffolds)
    assert [len(split) for split in splits] == [39_000, 1_000, 5_000, 5_000]
    everything = [smiles for split in splits for smiles in split]
    assert len(set(everything)) == 50_000
    assert found.train[0] == "CCCS(=O)c1ccc2[nH]c(=NC(=O)OC)[nH]c2c1"  # line 1 of train.csv
    assert found.test[0] == "CC1C2CCC(C2)C1CN(CCO)C(=O)c1ccc(Cl)cc1"
    for smiles in everything[::97]:
        assert MOSES.decode(MOSES.encode(smiles)) == smiles


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with MOSES's three files, of few molecules, and a builder that expects them."""
    folder, files = tmp_path / "files", []
    folder.mkdir()
    molecules = {
        "train": ["C" * k for k in range(1, 101)],
        "test": ["N", "NN"],
        "test_scaffolds": ["O"],
    }
    for part, lines in molecules.items():
        content = gzip.compress("\n".join(["SMILES", *lines, ""]).encode(), mtime=0)
        (folder / f"{part}.csv.gz").write_bytes(content)
        files.append(
            SourceFile(f"{part}.csv.gz", len(content), hashlib.sha256(content).hexdigest())
        )
    monkeypatch.setattr(Moses, "SOURCES", Sources(tuple(files)))
    monkeypatch.setattr(Moses, "SIZES", {part: len(lines) for part, lines in molecules.items()})
    monkeypatch.setattr(moses, "_CHUNK", 30)  # several records
    return folder


def test_the_full_set_from_a_folder(small, tmp_path):
    found = load("moses", data_dir=small, cache_dir=tmp_path / "cache", download=False)
    assert [len(smiles) for smiles in found.valid] == [40, 80]
    expected = [k for k in range(1, 101) if k not in (40, 80)]
    assert [len(smiles) for smiles in found.train] == expected
    assert (found.test, found.test_scaffolds) == (("N", "NN"), ("O",))
    assert set(found.checksums) == {"train.csv.gz", "test.csv.gz", "test_scaffolds.csv.gz"}


def test_the_full_set_from_the_package(small, tmp_path, monkeypatch):
    assert status("moses", cache_dir=tmp_path).state == "missing"
    monkeypatch.setattr(moses, "package_folder", lambda: small)
    assert status("moses", cache_dir=tmp_path).path == small
    assert len(load("moses", cache_dir=tmp_path, download=False).train) == 98


def test_the_package_is_found_without_being_imported(small, tmp_path, monkeypatch):
    assert moses.package_folder() is None
    data = tmp_path / "moses" / "dataset" / "data"
    data.mkdir(parents=True)
    (tmp_path / "moses" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    assert moses.package_folder() is None  # its data isn't there
    for path in small.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    assert moses.package_folder() == data


def test_damaged_files(small, tmp_path):
    content = (small / "test.csv.gz").read_bytes()
    (small / "test.csv.gz").write_bytes(b"\0" + content[1:])
    with pytest.raises(DataError, match=r"not the expected test\.csv\.gz"):
        load("moses", data_dir=small, cache_dir=tmp_path, download=False)
    with pytest.raises(DataError, match="expected 'SMILES'"):
        moses.read_lines("x", b"smiles\nC\n", "SMILES")
