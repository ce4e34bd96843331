"""Source files brought by hand, loose or in a zip: what is accepted, what is refused and why."""

import stat
import tracemalloc
import zipfile

import pytest
from source_case import ONE, TWO, sha256, zipped

from common.datasets.source import Archive, SourceFile, Sources, collect, find
from common.error import DataError

BOTH = {"one.txt": ONE, "two.txt": TWO}


def pair() -> Sources:
    return Sources(
        tuple(SourceFile(name, len(BOTH[name]), sha256(BOTH[name])) for name in BOTH),
        archive=Archive("both.zip"),
    )


@pytest.fixture
def hand(tmp_path):
    folder = tmp_path / "hand"
    folder.mkdir()
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "downloads"


# By hand


def test_loose_files(hand, cache):
    for name, content in BOTH.items():
        (hand / name).write_bytes(content)
    assert collect(pair(), hand, cache, download=False) == BOTH
    assert not cache.exists()


@pytest.mark.parametrize("folder", ["", "data/", "simple-examples/data/"])
def test_zip_with_the_files_in_any_folder(hand, cache, folder):
    members = {folder + name: content for name, content in BOTH.items()}
    extras = {f"__MACOSX/{folder}one.txt": b"junk", "README": b"read me"}
    (hand / "both.zip").write_bytes(zipped(members | extras))
    assert collect(pair(), hand, cache, download=False) == BOTH


def test_a_loose_file_wins_and_the_zip_gives_the_rest(hand, cache):
    (hand / "one.txt").write_bytes(ONE)
    (hand / "both.zip").write_bytes(zipped({"one.txt": b"another", "two.txt": TWO}))
    assert collect(pair(), hand, cache, download=False) == BOTH


def test_the_folder_is_only_read(hand, cache):
    (hand / "both.zip").write_bytes(zipped(BOTH))
    (hand / "both.zip").chmod(0o444)
    hand.chmod(0o555)
    before = (sorted(hand.iterdir()), hand.stat().st_mtime_ns, (hand / "both.zip").read_bytes())
    collect(pair(), hand, cache, download=False)
    after = (sorted(hand.iterdir()), hand.stat().st_mtime_ns, (hand / "both.zip").read_bytes())
    hand.chmod(0o755)
    assert before == after


@pytest.mark.parametrize(
    "content", [b"", ONE[:-1], ONE + b"x", b"F" + ONE[1:]], ids=["empty", "cut", "long", "changed"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_file_is_told_with_both_checksums_and_sizes(hand, cache, content, packed):
    if packed:
        (hand / "both.zip").write_bytes(zipped({"one.txt": content, "two.txt": TWO}))
    else:
        (hand / "one.txt").write_bytes(content)
        (hand / "two.txt").write_bytes(TWO)
    with pytest.raises(DataError) as caught:
        collect(pair(), hand, cache, download=True)
    message = str(caught.value)
    assert str(hand / ("both.zip" if packed else "one.txt")) in message
    assert "one.txt" in message
    assert caught.value.exit_code == 3
    if packed and len(content) > len(ONE):
        assert f"more than {len(ONE)} bytes" in message
    else:
        assert f"{len(ONE)} bytes, sha256 {sha256(ONE)}" in message
        assert f"{len(content)} bytes, sha256 {sha256(content)}" in message


def test_missing_files_are_named_with_what_to_bring(hand, cache):
    (hand / "one.txt").write_bytes(ONE)
    with pytest.raises(DataError) as caught:
        collect(pair(), hand, cache, download=False)
    message = str(caught.value)
    assert message.startswith("two.txt: not found in")
    assert "downloading is off" in message
    assert message.endswith("--data-dir FOLDER with one.txt and two.txt, or both.zip.")


def test_a_data_folder_that_does_not_exist(hand, cache):
    with pytest.raises(DataError, match=r"data folder .* does not exist"):
        collect(pair(), hand / "nowhere", cache, download=True)


@pytest.mark.parametrize("name", ["one.txt", "both.zip"])
def test_a_folder_in_place_of_a_file(hand, cache, name):
    (hand / name).mkdir()
    with pytest.raises(DataError, match=f"{name}: not a file"):
        collect(pair(), hand, cache, download=False)


@pytest.mark.parametrize("name", ["one.txt", "both.zip"])
def test_a_dangling_link_is_told(hand, cache, name):
    (hand / name).symlink_to(hand / "gone")
    with pytest.raises(DataError, match=f"cannot read .*{name}"):
        collect(pair(), hand, cache, download=False)


def test_find_goes_by_names(hand):
    assert find(pair(), hand) == []
    (hand / "one.txt").write_bytes(ONE)
    assert find(pair(), hand) == []
    (hand / "both.zip").write_bytes(b"")
    assert find(pair(), hand) == [(hand / "one.txt", len(ONE)), (hand / "both.zip", None)]
    (hand / "two.txt").write_bytes(TWO)
    assert find(pair(), hand) == [(hand / "one.txt", len(ONE)), (hand / "two.txt", len(TWO))]


# Zips


def damaged_zips():
    good = zipped(BOTH)
    middle = good.index(b"one.txt") + 20
    lying = bytearray(zipped({"one.txt": ONE * 4, "two.txt": TWO}))
    entry = lying.index(b"PK\x01\x02")
    lying[entry + 24 : entry + 28] = len(ONE).to_bytes(4, "little")
    return {
        "empty": b"",
        "garbage": b"<html>not found</html>" * 20,
        "truncated": good[: len(good) // 2],
        "flipped": good[:middle] + bytes([good[middle] ^ 0xFF]) + good[middle + 1 :],
        "lying about a size": bytes(lying),
    }


DAMAGED = (
    r"both\.zip: not a zip file, or truncated or damaged .*\n"
    r"Expected a zip with one.txt, two.txt; found [0-9,]+ bytes, sha256 [0-9a-f]{64}"
)


@pytest.mark.parametrize("damage", damaged_zips())
def test_a_damaged_zip_is_named(hand, cache, damage):
    (hand / "both.zip").write_bytes(damaged_zips()[damage])
    with pytest.raises(DataError, match=DAMAGED):
        collect(pair(), hand, cache, download=False)


@pytest.mark.parametrize(
    "name", ["../one.txt", "a/../../x", "/etc/passwd", "C:\\x", "..\\x", "\\\\host\\share\\x", "."]
)
def test_a_zip_with_an_unsafe_path_is_refused(hand, cache, name):
    (hand / "both.zip").write_bytes(zipped(BOTH | {name: b"x"}))
    with pytest.raises(DataError, match=r"both\.zip: refused, it holds the unsafe path"):
        collect(pair(), hand, cache, download=False)


def test_a_zip_with_a_symbolic_link_is_refused(hand, cache):
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(hand / "both.zip", "w") as archive:
        archive.writestr("one.txt", ONE)
        archive.writestr("two.txt", TWO)
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"'link\.txt' is a symbolic link"):
        collect(pair(), hand, cache, download=False)


def test_a_zip_bomb_is_not_unpacked(hand, cache):
    bomb = zipped({"one.txt": bytes(30_000_000), "two.txt": TWO})
    (hand / "both.zip").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(DataError, match=rf"'one\.txt' has more than {len(ONE)} bytes"):
        collect(pair(), hand, cache, download=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_an_encrypted_member_is_told(hand, cache):
    packed = bytearray(zipped(BOTH))
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    (hand / "both.zip").write_bytes(packed)
    with pytest.raises(DataError, match=r"'one\.txt' is encrypted"):
        collect(pair(), hand, cache, download=False)


def test_two_members_of_the_wanted_name_are_refused(hand, cache):
    (hand / "both.zip").write_bytes(zipped(BOTH | {"old/one.txt": ONE}))
    with pytest.raises(DataError, match=r"more than one file named one\.txt"):
        collect(pair(), hand, cache, download=False)


def test_a_zip_without_the_wanted_file(hand, cache):
    (hand / "both.zip").write_bytes(zipped({"one.txt": ONE}))
    with pytest.raises(DataError, match=r"both\.zip: holds no file named two\.txt"):
        collect(pair(), hand, cache, download=False)
