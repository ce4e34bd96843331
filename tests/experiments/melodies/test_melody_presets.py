"""Presets of melody experiments as they are shown, and the better side of their metrics."""

from melody_case import Q

from experiments.cli import main
from experiments.registry import find


def test_presets_as_they_are_shown(capsys):
    for method in ("q", "psi", "g", "rl_only"):
        shown = []
        for preset in ("original", "paper"):
            assert main(["show", f"tutor_melodies_{method}", "--preset", preset]) == 0
            shown.append(capsys.readouterr().out)
        assert shown[0] == shown[1]
        assert "Preset paper (of smoke, cpu, vectorised, paper, original):" in shown[0]
        assert "learn.environments=1\n" in shown[0]
        assert main(["show", f"tutor_melodies_{method}", "--preset", "vectorised"]) == 0
        vectorised = capsys.readouterr().out
        assert "learn.environments=40\n" in vectorised
        changed = set(vectorised.splitlines()) ^ set(shown[0].splitlines())
        assert len(changed) == 4  # the heading and the environments: as many events and updates
    assert main(["show", Q, "--preset", "origina"]) == 2
    assert "Did you mean 'original'?" in capsys.readouterr().err


def test_the_better_side_of_each_published_statistic():
    directions = {p.metric: find(Q).metric(p.metric).better for p in find(Q).published}
    assert directions["composed/mean_autocorrelation1"] == "toward zero"
    assert directions["composed/notes_not_in_key"] == "toward zero"
    assert directions["composed/leaps_resolved"] == "higher"
    assert len(directions) == 11
    note_rnn = {metric.name: metric.better for metric in find("note_rnn").metrics}
    assert note_rnn["valid/accuracy"] == "higher"
    assert note_rnn["valid/log_perplexity"] == "lower"
    assert find("tutor_melodies_rl_only").published == ()
