"""`compose`: MIDI files, sound and pictures of a finished run's model, and what can go wrong."""

import dataclasses
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import scipy.io.wavfile

from common.error import ConfigError
from common.melody import decode_events, swap_specials
from common.midi import read_melody, write_melody
from common.plot import LARGEST_BYTES
from common.record import DataUsed, read_record, write_record
from experiments import trained
from experiments.cli import main
from experiments.compose import compose
from experiments.melodies.domain import MELODIES, PARAMS
from experiments.registry import Composer, find
from tutor.config import SequenceModelConfig
from tutor.evaluation import Policy
from tutor.music.piano_roll import draw_piano_roll
from tutor.music.theory import score_composition

MODEL = SequenceModelConfig(units=8, initial_range=1.0)
DATA = DataUsed("none", "1.0.0", None, {}, {})
RESULTS = Path(__file__).parents[2] / "results"
PRIMER = [14, 1, 16, 0, 18, 1, 0, 21]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return keep(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def swapped(tmp_path_factory) -> Path:
    return keep(tmp_path_factory.mktemp("swapped"), swapped_specials=True)


@pytest.fixture
def primer(tmp_path) -> Path:
    write_melody(PRIMER, tmp_path / "primer.mid")
    return tmp_path / "primer.mid"


def keep(run: Path, swapped_specials: bool = False) -> Path:
    """A run that has finished, its model as it was initialised."""
    graph, params = trained.make_graph(MODEL, MELODIES.num_events)
    # Held notes and rests likelier than by chance, so that compositions have both.
    params["output_bias"] = params["output_bias"].at[:2].set(3.0)
    notes = {"swapped_specials": swapped_specials}
    model = trained.Trained(MELODIES, graph, Policy(params, params), MODEL, "q", DATA, notes)
    trained.save(run, model)
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def answer(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    try:
        code = main(["compose", *map(str, arguments)])
    except SystemExit as stop:  # argparse leaves this way
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def sounding(path: Path) -> list[tuple[int, int, int]]:
    """Start and duration in sixteenths, and pitch, of each note in a MIDI file."""
    (track,) = pretty_midi.PrettyMIDI(str(path)).instruments
    return [
        (round(n.start * 8), round((n.end - n.start) * 8), n.pitch)  # at 120 beats a minute
        for n in track.notes
    ]


def test_the_command_writes_midi_files_sound_and_a_picture(capsys, run):
    code, out, _ = answer(capsys, run, "-n", 2, "--wav")
    assert code == 0
    folder = run / "compositions"
    assert content(folder).keys() == {
        "composition1.mid", "composition1.wav", "composition2.mid", "composition2.wav",
        "piano_roll.png",
    }  # fmt: skip
    assert str(folder) in out
    for k in (1, 2):
        events = read_melody(folder / f"composition{k}.mid")
        assert events.shape == (32,)
        total = np.sum(score_composition(events)["total"])
        assert re.search(rf"composition{k}\.mid \| +{total:.1f} \|", out)
        rate, sound = scipy.io.wavfile.read(folder / f"composition{k}.wav")
        assert len(sound) == 4 * rate
        assert np.abs(sound).max() > 1000
    assert (folder / "piano_roll.png").stat().st_size < LARGEST_BYTES


def test_files_hold_the_composed_events(run, tmp_path):
    made = compose(run, tmp_path, count=3)
    assert made.events.shape == (3, 32)
    for path, events in zip(made.files, made.events, strict=True):
        np.testing.assert_array_equal(read_melody(path), events)
    np.testing.assert_array_equal(made.scores["key"], score_composition(made.events)["key"])
    row = dict(zip(made.table.titles, made.table.rows[1], strict=True))
    assert row["file"] == "composition2.mid"
    assert row["outside the key"] == np.sum(made.scores["key"][1] < 0)
    assert row["repeated too often"] == np.sum(made.scores["penalize_repeating"][1] < 0)


def test_the_same_seed_gives_the_same_files_and_another_others(run, tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        compose(run, folder, count=2, seed=seed, wav=True)
    first, again, other = map(content, folders)
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_asking_for_more_keeps_the_first_and_draws_another_picture(capsys, run, tmp_path):
    few = compose(run, tmp_path, count=2)
    many = compose(run, tmp_path, count=9)
    np.testing.assert_array_equal(many.events[:2], few.events)
    assert [path.name for path in many.pictures] == ["piano_roll.png", "piano_roll2.png"]
    (tmp_path / "mine.mid").touch()
    assert "deleted" not in capsys.readouterr().err
    compose(run, tmp_path, count=1)
    told = "9 files of earlier compositions deleted"  # eight pieces and a picture
    assert f"{tmp_path}: {told}" in capsys.readouterr().err
    assert content(tmp_path).keys() == {"composition1.mid", "piano_roll.png", "mine.mid"}


def test_compositions_go_on_from_a_primer(run, tmp_path, primer):
    made = compose(run, tmp_path / "primed", count=4, primer=primer)
    for path, events in zip(made.files, made.events, strict=True):
        np.testing.assert_array_equal(read_melody(path), [*PRIMER, *events])
    plain = compose(run, tmp_path / "plain", count=4)
    assert made.events.tolist() != plain.events.tolist()


def test_a_model_of_swapped_data_is_written_as_the_released_code_does(swapped, tmp_path, primer):
    made = compose(swapped, tmp_path, count=4, primer=primer, wav=True)
    assert {0, 1} <= set(made.events.flat)
    swap = {0: 1, 1: 0}
    for path, events in zip(made.files, made.events, strict=True):
        # The file begins with the primer as it was, but for the pitch.
        heard = PRIMER + [swap.get(event, event) for event in events.tolist()]
        assert sounding(path) == [(s, d, pitch + 2) for s, d, pitch in decode_events(heard)]


def test_a_model_of_swapped_data_sees_the_primer_swapped(run, swapped, tmp_path, primer):
    seen = [{0: 1, 1: 0}.get(event, event) for event in PRIMER]
    write_melody(seen, tmp_path / "seen.mid")
    np.testing.assert_array_equal(
        compose(swapped, tmp_path / "swapped", count=8, primer=primer).events,
        compose(run, tmp_path / "plain", count=8, primer=tmp_path / "seen.mid").events,
    )
    assert swap_specials(np.array([[0, 1, 2], [1, 1, 37]])).tolist() == [[1, 0, 2], [0, 0, 37]]


@pytest.mark.parametrize("pitch", [47, 84])
def test_a_primer_out_of_range(capsys, run, tmp_path, pitch):
    write_melody([2, 14, 37], tmp_path / "high.mid", transpose=1 if pitch == 84 else -1)
    code, _, error = answer(capsys, run, "--primer", tmp_path / "high.mid", "--out", tmp_path / "o")
    assert code == 3
    assert f"high.mid: out of range: {'C6' if pitch == 84 else 'B2'} (MIDI {pitch})" in error
    assert "C3..B5 (48..83)" in error
    assert not (tmp_path / "o").exists()


def test_primers_that_are_no_melody(capsys, run, tmp_path):
    def refused(name: str) -> str:
        code, _, error = answer(capsys, run, "--primer", tmp_path / name, "--out", tmp_path / "o")
        assert code == 3
        assert error.startswith("error: ")
        assert name in error
        return error

    assert "cannot read" in refused("missing.mid")
    (tmp_path / "text.mid").write_text("la la la")
    assert "not a MIDI file" in refused("text.mid")
    chord = pretty_midi.PrettyMIDI()
    piano = pretty_midi.Instrument(0)
    piano.notes = [pretty_midi.Note(90, pitch, 0, 1) for pitch in (60, 64)]
    chord.instruments.append(piano)
    chord.write(str(tmp_path / "chord.mid"))
    assert "polyphonic" in refused("chord.mid")
    write_melody([], tmp_path / "nothing.mid")
    assert "1 to 4,096 sixteenths, not 0" in refused("nothing.mid")
    write_melody([14, *[1] * 4096], tmp_path / "long.mid")
    assert "not 4,097" in refused("long.mid")


def test_a_primer_is_never_overwritten(capsys, run, tmp_path):
    first = compose(run, tmp_path, count=2).files[1]
    before = content(tmp_path)
    code, _, error = answer(capsys, run, "--primer", first, "--out", tmp_path)
    assert code == 2
    assert "--out" in error
    assert content(tmp_path) == before


def test_a_run_without_a_model(capsys, tmp_path):
    for run in (tmp_path, tmp_path / "nowhere"):
        code, _, error = answer(capsys, run)
        assert code == 3
        assert f"{run}: no trained sequence model here" in error
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_vocabulary_or_core(tmp_path):
    keep(tmp_path)
    (notes,) = [p for p in tmp_path.rglob("*") if p.is_file() and b"num_events" in p.read_bytes()]
    text = notes.read_text()
    assert json.loads(text)
    notes.write_text(text.replace('"num_events": 38', '"num_events": 30'))
    with pytest.raises(ConfigError, match="knows 30 events; melodies have 38"):
        compose(tmp_path, tmp_path / "out")
    notes.write_text(text.replace('"core": "lstm"', '"core": "gru"'))
    with pytest.raises(ConfigError, match="gru"):
        compose(tmp_path, tmp_path / "out")
    notes.write_text(text.replace('"core": "lstm"', '"core": "rhn"'))
    with pytest.raises(ConfigError, match="other settings"):
        compose(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["r", "-n", "0"], ["r", "-n", "101"], ["r", "-n", "x"], ["r", "--seed", "-1"]]
)
def test_what_argparse_refuses_exits_with_2(capsys, arguments):
    code, _, error = answer(capsys, *arguments)
    assert code == 2
    assert "--help" in error


def test_as_many_as_there_are(run, tmp_path):
    for count in (0, 101):
        with pytest.raises(ConfigError, match="choose from 1 to 100"):
            compose(run, tmp_path / "o", count=count)


def test_a_folder_that_cannot_be_made(capsys, run, tmp_path):
    (tmp_path / "file").touch()
    code, _, error = answer(capsys, run, "--out", tmp_path / "file")
    assert code == 3
    assert str(tmp_path / "file") in error


def test_compositions_keep_out_of_the_folders_of_a_run(capsys, tmp_path):
    run = keep(tmp_path / "run")
    for name in ("record.json", "composition1.mid", "piano_roll.png"):
        (run / name).write_text("the run's own")
    link = tmp_path / "link"
    link.symlink_to(run)
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.jsonl").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    folders = [run, link, run / "policy", run / "policy" / "0", run / "checkpoints", other]
    folders += [run / "compositions" / "..", run / ".before"]
    for folder in folders:
        code, _, error = answer(capsys, run, "--out", folder)
        assert code == 2, folder
        assert f"error: {folder}: here lie the files of a run" in error
        assert "--out" in error
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for folder in (run / "compositions", run / "mine", tmp_path / "elsewhere"):
        assert answer(capsys, run, "-n", 1, "--out", folder)[0] == 0


def test_length_key_and_temperature(capsys, run, tmp_path):
    plain, high, long = (tmp_path / name for name in ("plain", "high", "long"))
    assert answer(capsys, run, "-n", 1, "--out", plain)[0] == 0
    assert answer(capsys, run, "-n", 1, "--out", high, "--key", "Eb")[0] == 0
    up = [(start, end, pitch + 3) for start, end, pitch in sounding(plain / "composition1.mid")]
    assert sounding(high / "composition1.mid") == up
    assert answer(capsys, run, "-n", 2, "--out", long, "--bars", 16)[0] == 0
    assert read_melody(long / "composition2.mid").shape == (256,)
    cold = compose(run, tmp_path / "cold", count=4, temperature=1e-4)
    assert len({tuple(events[4:]) for events in cold.events}) < 4  # nearly always the likeliest
    assert not np.array_equal(cold.events, compose(run, plain, count=4).events)


def test_long_pieces_are_scored_in_sections_of_eight_bars(run, tmp_path):
    """Without the rule of autocorrelation: tunes are meant to come back to what they began with."""
    made = compose(run, tmp_path, count=2, bars=16)
    params = replace(PARAMS.without("penalize_autocorrelation"), length=128)
    halves = score_composition(made.events.reshape(4, 128), params)
    np.testing.assert_array_equal(made.scores["total"], np.reshape(halves["total"], (2, 256)))


@pytest.mark.parametrize(("key", "semitones"), [("C", -2), ("D", 0), ("A", -5)])
def test_a_key_that_is_asked_for_is_that_of_the_file(capsys, swapped, tmp_path, key, semitones):
    """Also of a model of the released code, whose files are else two semitones sharp."""
    files = [tmp_path / name / "composition1.mid" for name in ("plain", "moved")]
    assert answer(capsys, swapped, "-n", 1, "--out", files[0].parent)[0] == 0
    assert answer(capsys, swapped, "-n", 1, "--out", files[1].parent, "--key", key)[0] == 0
    plain, moved = (sounding(file) for file in files)
    assert moved == [(start, end, pitch + semitones) for start, end, pitch in plain]


def test_autocorrelation_is_marked_in_pieces_as_long_as_in_training(monkeypatch, run, tmp_path):
    """Longer ones are meant to come back to what they began with."""
    drawn = []

    def watched(events, path, params, **keywords):
        drawn.append({rule.name for rule in params.rules})
        return draw_piano_roll(events, path, params, **keywords)

    monkeypatch.setattr("experiments.melodies.domain.draw_piano_roll", watched)
    short, long = (compose(run, tmp_path, count=1, bars=bars).table for bars in (2, 8))
    assert set(short.titles) - set(long.titles) == {"autocorrelated"}
    assert drawn[0] - drawn[1] == {"penalize_autocorrelation"}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--bars", 3], "--bars 3: choose from 1, 2, 4, 8, 16"),
        (["--key", "H"], "--key H: melodies: choose from C, Db"),
        (["--temperature", 0], "'0': choose a number from 1e-06 on"),
        (["--temperature", 1e-40], "'1e-40': choose a number from 1e-06 on"),
        (["--key", "D", "--primer", "tune.mid"], "--key D with --primer"),
    ],
)
def test_what_can_not_be_composed(capsys, run, tmp_path, option, words):
    code, _, error = answer(capsys, run, "--out", tmp_path, *option)
    assert code == 2
    assert words in error


def test_the_tunes_of_the_readme_are_pieces_of_eight_bars():
    folder = RESULTS.parent / "docs" / "tunes"
    named = (RESULTS.parent / "README.md").read_text()
    for path in sorted(folder.glob("*.mid")):
        assert 7 * 16 < len(read_melody(path)) <= 8 * 16
        assert f"docs/tunes/{path.name}" in named
    assert len(list(folder.glob("*.mid"))) == 3


def test_the_last_part_of_a_run_composes(run, tmp_path):
    """As of the quickstart: the model lies in a folder of a part."""
    for part in ("a_tutor", "note_rnn"):
        shutil.copytree(run / trained.FOLDER, tmp_path / part / trained.FOLDER)
    assert trained.find(tmp_path) == tmp_path / "note_rnn"  # without a record the last by name
    made = {"parameters": {"rhn": 1, "note_rnn": 2, "a_tutor": 3}}
    old = read_record(RESULTS / "quickstart/cpu/seed0/record.json")
    write_record(dataclasses.replace(old, **made), tmp_path)
    assert trained.find(tmp_path) == tmp_path / "a_tutor"
    assert len(compose(tmp_path, tmp_path / "compositions", count=1).files) == 1


def test_without_a_run_one_is_trained_once_and_kept(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.cli.composer", lambda: Composer("note_rnn", "smoke", 8))
    code, out, error = answer(capsys, "-n", 1)
    kept = Path("runs/note_rnn/smoke/seed0")
    assert code == 0
    assert "trains a model to compose with first, about 1 minutes" in error
    assert str(kept / "compositions") in out
    assert len(read_melody(kept / "compositions" / "composition1.mid")) == 128  # eight bars
    code, _, error = answer(capsys, "-n", 1, "--bars", 4)
    assert (code, error.count("trains")) == (0, 0)
    assert len(read_melody(kept / "compositions" / "composition1.mid")) == 64


def test_the_time_that_is_promised_counts_the_model_that_is_tuned(capsys, monkeypatch, tmp_path):
    def stop(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.run.run", stop)
    tutor, prior = find("tutor_melodies_g").preset("melodies"), find("note_rnn").preset("cpu")
    told = answer(capsys, "-n", 1)[2]
    assert f"first, about {(tutor.hours + prior.hours) * 60:.0f} minutes" in told
    trained_before = Path("runs/note_rnn/cpu/seed0")
    trained_before.mkdir(parents=True)
    (trained_before / "record.json").touch()
    assert f"first, about {tutor.hours * 60:.0f} minutes" in answer(capsys, "-n", 1)[2]


def test_what_is_for_language_models_is_refused(run, tmp_path, capsys):
    for option in (["--tokens", "9"], ["--data-dir", str(tmp_path)]):
        code, _, told = answer(capsys, run, "--out", tmp_path / "out", *option)
        assert code == 2
        assert f"{' '.join(option)}: for language models" in told
