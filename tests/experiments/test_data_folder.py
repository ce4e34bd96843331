"""A folder of --data-dir that a run would ignore is refused, with what to do instead."""

from pathlib import Path

import pytest

from common.config import override
from common.error import ConfigError
from experiments import registry
from experiments.cli import main
from experiments.data_folder import reads_folder, require_reader


def reads(name: str, preset: str, *settings: str) -> bool:
    experiment = registry.find(name)
    return reads_folder(experiment, override(experiment.preset(preset).config, settings))


@pytest.mark.parametrize(
    ("name", "preset", "settings", "expected"),
    [
        ("rhn_penn_treebank_depth1_tied", "cpu", [], True),
        ("rhn_penn_treebank_depth1_tied", "smoke", [], False),
        ("rhn_penn_treebank_depth1_tied", "smoke", ["data.name=enwik8"], True),
        ("rhn_penn_treebank_depth1_tied", "smoke", ["data.name=nothing"], True),
        ("note_rnn", "cpu", [], False),
        ("note_rnn", "cpu", ["data.name=midi_melodies"], True),
        ("quickstart", "smoke", ["note_rnn.data.name=midi_melodies"], True),
        ("tutor_melodies_g", "cpu", [], False),
        ("tutor_molecules_g", "cpu", [], False),
        ("tutor_molecules_g", "paper", [], True),  # its prior learns from all of MOSES
        ("tutor_molecules_g", "paper", ["molecule_rnn.run=somewhere"], False),
        ("rhn_analysis", "smoke", ["run=somewhere"], True),
        ("highway_depth", "paper", [], True),
    ],
)
def test_which_runs_read_from_a_folder(name, preset, settings, expected):
    assert reads(name, preset, *settings) is expected


def refusal(name: str) -> str:
    experiment = registry.find(name)
    with pytest.raises(ConfigError) as caught:
        require_reader(experiment, experiment.preset("cpu").config, Path("my_midi"))
    return str(caught.value)


def test_the_refusal_says_how_to_use_the_folder():
    text = refusal("note_rnn")
    assert "its data is folk_melodies." in text
    assert "--set data.name=NAME. NAME is one of" in text
    assert "midi_melodies (*.mid, *.midi)" in text
    text = refusal("tutor_melodies_g")
    assert "run note_rnn --set data.name=NAME --data-dir my_midi" in text
    assert "--set note_rnn.run=DIR" in text


def test_a_run_that_would_ignore_the_folder_does_not_start(tmp_path, capsys):
    out = tmp_path / "runs"
    words = ["run", "note_rnn", "--preset", "smoke", "--out", str(out)]
    assert main([*words, "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --data-dir {tmp_path}: note_rnn would read nothing from it")
    assert not out.exists()
