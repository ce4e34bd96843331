"""What the tests of melody runs share: small tunings, and what is refused."""

from pathlib import Path

from run_case import run

Q = "tutor_melodies_q"
SMALL = [
    "learn.iterations=1200", "learn.report_every=400", "learn.epsilon_iterations=600",
    "learn.replay_capacity=400", "evaluation.every=600", "evaluation.compositions=200",
]  # fmt: skip
"""As many compositions in every evaluation as in the end: one compilation."""
FEW = [*SMALL[:-1], "evaluation.compositions=10", "evaluation.final_compositions=10"]
"""The same, and few compositions."""
LITTLE = [
    "prior.iterations=6", "prior.report_every=1", "prior.evaluate_every=2",
    "final_compositions=10",
]  # fmt: skip
"""A Note RNN that learned next to nothing."""
RULES = [
    "notes_excessively_repeated", "mean_autocorrelation1", "notes_not_in_key",
    "compositions_starting_with_tonic", "compositions_with_unique_high", "notes_in_motif",
    "note_density", "on_beat", "mean_interval", "leaps_over_fifth",
]  # fmt: skip
"""Statistics of Table 1 that are defined whatever is composed."""


def tune(out: Path, method: str, note_rnn: Path, *settings: str, seeds: tuple = (0,)) -> int:
    """Tunes the Note RNN of a run, little."""
    return run(
        out, f"tutor_melodies_{method}", "--seeds", *map(str, seeds),
        "--set", *SMALL, f"note_rnn.run={note_rnn}", *settings,
    )  # fmt: skip


def refused(capsys, code: int, *words: str) -> None:
    """The last message is one or two plain lines with these words in it."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    message = error[error.rindex("error: ") :].strip()
    assert len(message.splitlines()) <= 2
    for word in words:
        assert word in message, message
    assert code in (2, 3)
