"""The melody datasets: what is kept, what is left out and why, and that splits share no tune."""

import importlib.util
import io
import itertools
from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from common.datasets import DATASETS, load, status, store, verify
from common.datasets import folk_melodies as folk
from common.datasets.chorale_melodies import ChoraleMelodies
from common.datasets.folk_melodies import FolkMelodies, corpus_folder, read_abc, read_tune
from common.datasets.melody import group_tunes, split_tunes, tune_passages
from common.error import DataError
from common.melody import NoMelody, Note, canonical, decode_events, encode_notes
from common.midi import write_melody
from experiments.cli import main

needs_music21 = pytest.mark.skipif(
    importlib.util.find_spec("music21") is None, reason="the extra 'music' isn't installed"
)


def tune(seed: int, notes: int = 20) -> list[Note]:
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.integers(1, 5, notes)).tolist()
    pitches = random.integers(55, 72, notes).tolist()
    ends = [*starts[1:], starts[-1] + 2]
    return [Note(s, e - s, p) for s, e, p in zip(starts, ends, pitches, strict=True)]


def transposed(notes: list[Note], semitones: int) -> list[Note]:
    return [note._replace(pitch=note.pitch + semitones) for note in notes]


def slower(notes: list[Note], times: int) -> list[Note]:
    return [Note(times * start, times * duration, pitch) for start, duration, pitch in notes]


def all_melodies(melodies):
    return [*melodies.train, *melodies.valid, *melodies.test]


# Splits


def test_variants_of_a_tune_are_one_group():
    one, other = tune(1), tune(2)
    later = [note._replace(start=note.start + 3) for note in one]
    short = [note._replace(duration=1) for note in one]
    variants = [one, transposed(one, 5), later, short, slower(one, 2), one[2:], [*one, *other]]
    assert len(group_tunes([*variants, tune(3), tune(4)])) == 3
    assert group_tunes([one, tune(3), other, [*one, *other]]) in (
        [[0, 2, 3], [1]],
        [[1], [0, 2, 3]],
    )


def test_no_transposition_crosses_splits():
    tunes = [transposed(tune(seed), shift) for seed in range(60) for shift in (0, 3, -5)]
    splits, groups = split_tunes(tunes)
    assert groups == 60
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 162,
        "valid": 9,
        "test": 9,
    }
    passages = [
        {passage for events in split for passage in tune_passages(decode_events(events))}
        for split in splits.values()
    ]
    for one, other in itertools.combinations(passages, 2):
        assert not one & other


def test_the_split_of_a_tune_does_not_depend_on_order_or_key():
    tunes = [tune(seed) for seed in range(40)]
    moved = [transposed(notes, 2) for notes in reversed(tunes)]
    for split, events in split_tunes(tunes)[0].items():
        keys = {tuple(tune_passages(decode_events(e))) for e in events}
        assert keys == {
            tuple(tune_passages(decode_events(e))) for e in split_tunes(moved)[0][split]
        }


def test_the_first_groups_are_for_the_test_and_the_next_for_validation():
    tunes = [tune(seed) for seed in range(60)]
    order = [events_of(tunes[number]).tolist() for group in group_tunes(tunes) for number in group]
    splits = {
        split: [e.tolist() for e in events] for split, events in split_tunes(tunes)[0].items()
    }
    assert splits == {"test": order[:3], "valid": order[3:6], "train": order[6:]}


@pytest.mark.parametrize(("tunes", "sizes"), [(1, [1, 0, 0]), (2, [2, 0, 0]), (3, [1, 1, 1])])
def test_few_tunes(tunes, sizes):
    splits, _ = split_tunes([tune(seed) for seed in range(tunes)])
    assert [len(splits[split]) for split in ("train", "valid", "test")] == sizes


def test_very_short_tunes():
    one_note = [[Note(0, 1, pitch)] for pitch in (60, 62)]
    assert len(group_tunes([*one_note, [Note(0, 1, 60), Note(1, 1, 62)]])) == 2


# Folk melodies

HEADER = "X:1\nT:A tune\nM:4/4\nL:1/8\nK:G\n"


@needs_music21
@pytest.mark.parametrize(
    ("abc", "notes"),
    [
        ("C2 D F z2 | G8", [(0, 4, 60), (4, 2, 62), (6, 2, 66), (12, 16, 67)]),
        ("C- C D2- | D2", [(0, 4, 60), (4, 8, 62)]),
        ("=F2- | F2 F2", [(0, 8, 65), (8, 4, 66)]),  # tied over the bar: the natural stays
        ("C-D", [(0, 2, 60), (2, 2, 62)]),
        ("C>D {E}C<D", [(0, 3, 60), (3, 1, 62), (4, 1, 60), (5, 3, 62)]),
        ("|: C2 :|", [(0, 4, 60)]),
    ],
)
def test_abc_is_read(abc, notes):
    spans = read_abc("x", HEADER + abc)
    assert spans == [(start, start + length, pitch) for start, length, pitch in notes]


@needs_music21
def test_abc_on_the_grid():
    assert read_tune("x", HEADER + "(3CDE C2") == [
        Note(0, 1, 60),
        Note(1, 2, 62),
        Note(3, 1, 64),
        Note(4, 4, 60),
    ]
    assert [note.pitch for note in read_tune("x", HEADER + "c''2 g'2")] == [83, 78]
    for abc, reason in (
        ("[CE]2 D2", "polyphonic"),
        ("z4", "without notes"),
        ("C/4D/4E/4F/4", "off the grid"),
        ("C,,2 c''2", "wider than the range"),
    ):
        with pytest.raises(NoMelody, match=f"^x: {reason}"):
            read_tune("x", HEADER + abc)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    folder = tmp_path / "corpus"
    letters = "CDEFGABcdefgab"
    for number, collection in enumerate(folk.COLLECTIONS):
        (folder / collection).mkdir(parents=True)
        random = np.random.default_rng(number)
        tunes = ["".join(letters[i] for i in random.integers(0, 14, 24)) for _ in range(10)]
        tunes += [tunes[0], "[CE]2"]
        text = "% a comment\n" + "\n".join(
            HEADER.replace("X:1", f"X:{index}") + abc + "\n" for index, abc in enumerate(tunes, 1)
        )
        (folder / collection / "tunes.abc").write_text(text)
    monkeypatch.setattr(folk, "corpus_folder", lambda: folder)
    return folder


@needs_music21
def test_folk_melodies_of_a_small_corpus(corpus, tmp_path):
    cache = tmp_path / "cache"
    assert store.status(FolkMelodies, None, cache).state == "preparable"
    melodies = store.load(FolkMelodies, None, cache, download=False)
    assert melodies.counts == {
        "found": 48,
        "kept": 40,
        "repeated": 4,
        "polyphonic": 4,
        "unrelated groups": 40,
    }
    assert melodies.skipped[0] == (
        "essenFolksong/tunes.abc 12: polyphonic: it has chords or several voices"
    )
    assert [len(s) for s in (melodies.train, melodies.valid, melodies.test)] == [36, 2, 2]
    for events in all_melodies(melodies):
        assert events.dtype == np.int32
        assert not events.flags.writeable
        assert np.array_equal(events, canonical(events))
    assert len(melodies.checksums) == 4
    advice = store.status(FolkMelodies, None, cache).advice
    assert "48 found, 40 kept, 4 repeated, 4 polyphonic" in advice
    again = store.load(FolkMelodies, None, cache, download=False)
    assert all(map(np.array_equal, all_melodies(melodies), all_melodies(again)))


def test_without_music21_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert corpus_folder() is None
    state = store.status(FolkMelodies, None, tmp_path)
    assert state.state == "missing"
    with pytest.raises(DataError) as caught:
        store.load(FolkMelodies, None, tmp_path, download=False)
    for text in (state.advice, str(caught.value)):
        assert 'pip install "highway-tutor[music]"' in text


def test_a_music21_without_corpus_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(folk, "corpus_folder", lambda: tmp_path / "corpus")
    with pytest.raises(DataError, match="essenFolksong: no ABC files"):
        store.load(FolkMelodies, None, tmp_path / "cache", download=False)


@needs_music21
def test_a_book_of_the_real_corpus(tmp_path):
    path = corpus_folder() / "airdsAirs" / "book1.abc"
    files = {"airdsAirs/book1.abc": path.read_bytes()}
    made = FolkMelodies(data_dir=tmp_path).preprocess(files)
    assert made.counts["found"] == 200
    assert made.counts["kept"] > 170
    (cockade,) = (
        events
        for split in made.splits.values()
        for events in split
        # Aird's first tune: AG | B2 B2 B2 AG in quavers
        if events[:16].tolist() == [23, 1, 21, 1, *[25, 1, 1, 1] * 3]
    )
    assert len(cockade) % 8 == 0


# Chorale melodies


def test_chorale_melodies_ship(tmp_path):
    assert store.status(ChoraleMelodies, None, tmp_path).state == "ships"
    melodies = load("chorale_melodies", cache_dir=tmp_path)
    chorales = load("jsb_chorales", cache_dir=tmp_path)
    for split in ("train", "valid", "test"):
        rolls, tunes = getattr(chorales, split), getattr(melodies, split)
        assert [4 * len(roll) for roll in rolls] == [len(events) for events in tunes]
    assert melodies.counts == {"found": 382, "kept": 382}
    assert set(np.concatenate(melodies.train)[1::4]) == {1}
    assert decode_events(melodies.test[0])[0] == Note(0, 4, 72)  # 84 in the file


# MIDI melodies


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "songs"
    (folder / "more").mkdir(parents=True)
    for seed in range(6):
        path = folder / ("more" if seed % 2 else "") / f"song{seed}.{'midi' if seed else 'MID'}"
        write_melody(events_of(tune(seed)), path)
    write_melody(events_of(tune(0)), folder / "again.mid")
    (folder / "broken.mid").write_bytes(b"MThd")
    (folder / "read me.txt").write_text("no MIDI")
    (folder / "chords.mid").write_bytes(chords())
    return folder


def events_of(notes: list[Note]) -> np.ndarray:
    return encode_notes(notes, notes[-1].end)


def chords() -> bytes:
    score = pretty_midi.PrettyMIDI()
    piano = pretty_midi.Instrument(0)
    piano.notes = [pretty_midi.Note(80, pitch, 0, 1) for pitch in (60, 64, 67)]
    score.instruments.append(piano)
    content = io.BytesIO()
    score.write(content)
    return content.getvalue()


def load_folder(folder: Path, cache: Path):
    return load("midi_melodies", data_dir=folder, cache_dir=cache)


def test_a_folder_of_midi_files(folder, tmp_path):
    cache = tmp_path / "cache"
    assert status("midi_melodies", folder, cache).state == "preparable"
    melodies = load_folder(folder, cache)
    assert melodies.counts == {
        "found": 9,
        "kept": 6,
        "unreadable": 1,
        "polyphonic": 1,
        "repeated": 1,
        "unrelated groups": 6,
    }
    assert melodies.skipped == (
        "broken.mid: unreadable: cut off in its header, after 4 bytes",
        "chords.mid: polyphonic: no track plays one note at a time",
    )
    expected = {tuple(events_of(tune(seed))) for seed in range(6)}
    assert {tuple(events) for events in all_melodies(melodies)} == expected
    state = status("midi_melodies", folder, cache)
    assert state.state == "ready"
    assert f"left out {'; '.join(melodies.skipped)}" in state.advice
    assert verify("midi_melodies", data_dir=folder, cache_dir=cache).ok


def test_a_changed_folder_is_prepared_anew(folder, tmp_path):
    cache = tmp_path / "cache"
    load_folder(folder, cache)
    write_melody(events_of(tune(7)), folder / "song1.mid")
    assert status("midi_melodies", folder, cache).state == "preparable"
    assert load_folder(folder, cache).counts["kept"] == 7
    (folder / "song1.mid").unlink()
    assert status("midi_melodies", folder, cache).state == "ready"
    assert load_folder(folder.rename(tmp_path / "moved"), cache).counts["kept"] == 6


def test_one_usable_file_is_enough(tmp_path):
    (tmp_path / "songs").mkdir()
    write_melody(events_of([Note(40, 4, 60), Note(44, 4, 62)]), tmp_path / "songs" / "a.mid")
    melodies = load_folder(tmp_path / "songs", tmp_path / "cache")
    # two whole bars of silence are left out, half a bar stays
    assert melodies.train[0].tolist() == [*[1] * 8, 14, 1, 1, 1, 16, 1, 1, 1]
    assert (melodies.valid, melodies.test) == ((), ())


def test_a_folder_that_cannot_be_used_is_told(folder, tmp_path):
    cache = tmp_path / "cache"
    for path in folder.rglob("*.*"):
        if path.name not in ("broken.mid", "chords.mid", "read me.txt"):
            path.unlink()
    with pytest.raises(DataError, match=r"2 found, 1 unreadable, 1 polyphonic \(broken"):
        load_folder(folder, cache)
    for name in ("broken.mid", "chords.mid"):
        (folder / name).unlink()
    with pytest.raises(DataError, match=f"no MIDI files .* in {folder}"):
        load_folder(folder, cache)
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_folder(tmp_path / "nowhere", cache)
    assert status("midi_melodies", folder, cache).state == "missing"


def test_without_a_folder(tmp_path, monkeypatch, capsys):
    state = status("midi_melodies", cache_dir=tmp_path)
    assert (state.state, state.path) == ("missing", None)
    with pytest.raises(DataError, match="--data-dir FOLDER"):
        load("midi_melodies", cache_dir=tmp_path)
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path))
    assert main(["data", "midi_melodies"]) == DataError.exit_code
    assert "--data-dir FOLDER" in capsys.readouterr().err


def test_the_command_prepares_a_folder_only_when_asked(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HIGHWAY_TUTOR_CACHE", str(tmp_path / "cache"))
    names = ("chorale_melodies", "midi_melodies")
    monkeypatch.setattr("experiments.cli.DATASETS", {name: DATASETS[name] for name in names})
    assert main(["data", "--data-dir", str(folder)]) == 0
    assert not (tmp_path / "cache" / "tfds" / "midi_melodies").exists()
    assert main(["data", "midi_melodies", "--data-dir", str(folder)]) == 0
    assert "9 found, 6 kept" in capsys.readouterr().out.replace("\n", " ")
