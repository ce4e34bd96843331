"""The runs by which claims about Table 1 are tested, and what a single setting changes."""

from experiments.melodies.comparison import Change, Runs
from experiments.melodies.table import ANYWHERE, DATA

Q, G = "tutor_melodies_q", "tutor_melodies_g"

Q_IN_C = Runs("Q, c = 0.5", Q, "in_c")
Q_AT_1 = Runs("Q, c = 1", Q, "in_c", ("learn.c=1.0",), "10 11 12")
Q_AT_2 = Runs("Q, c = 2", Q, "in_c", ("learn.c=2.0",), "25 26 27")
Q_BOLTZMANN_AT_2 = Runs(
    "Q, Boltzmann, c = 2",
    Q,
    "in_c",
    ("learn.c=2.0", "learn.exploration=boltzmann"),
    "46 47 48",
)
PUBLISHED = Runs("own keys, masked, rate 0.5 (as published)", Q, "paper")
OWN_BEGINNINGS = Runs("own keys, beginnings learned, rate 0.5", Q, "paper_beginnings")
C_MASKED = Runs(
    "in C, masked, rate 0.5",
    Q,
    "in_c",
    seeds="31 32 33",
    note_rnn=Runs("", "note_rnn", "cpu", ("prior.learning_rate=0.5", "prior.beginnings=0.0"), "13"),
)
C_BEGINNINGS = Runs(
    "in C, beginnings learned, rate 0.5",
    Q,
    "in_c",
    seeds="28 29 30",
    note_rnn=Runs("", "note_rnn", "cpu", ("prior.learning_rate=0.5",), "10"),
)
SLOW_RATE = Runs(
    "own keys, masked, rate 0.01",
    Q,
    "in_c",
    seeds="34 35 36",
    note_rnn=Runs("", "note_rnn", "cpu_own_key", seeds="0"),
)
C_SLOW_RATE = Runs("in C, beginnings learned, rate 0.01", Q, "in_c")
SWAPPED = Runs("`swapped_stretched`, c = 0.5", Q, "swapped_stretched")
SWAPPED_AT_1 = Runs(
    "`swapped_stretched`, c = 1", Q, "swapped_stretched", ("learn.c=1.0",), "10 11 12"
)
DOUBLE = Runs("Q, double, c = 0.5", Q, "in_c", ("learn.double=true",), "13 14 15")
BOLTZMANN = Runs("Q, Boltzmann, c = 0.5", Q, "in_c", ("learn.exploration=boltzmann",), "16 17 18")
LONGER = Runs("Q, c = 0.5, 3,000,000 events", Q, "in_c", ("learn.iterations=3000000",), "22 23 24")
FAR_SIGHT = Runs("Q, c = 0.5, γ = 0.9", Q, "in_c", ("learn.discount=0.9",), "19 20 21")
BEST_IN_C = Runs(
    "Q, c = 0.5, the best event", Q, "in_c", ("evaluation.temperature=0.001",), "49 50 51"
)
BEST_OF_OWN_BEGINNINGS = Runs(
    "own keys, beginnings learned, rate 0.5, the best event",
    Q,
    "paper_beginnings",
    ("evaluation.temperature=0.001",),
    "10 11 12",
)
OWN_KEY = Runs("Note RNN, own keys", "note_rnn", "cpu_own_key", seeds="0")
MOVED_TO_C = Runs("Note RNN, in C", "note_rnn", "cpu_own_key", ("data.key=C",), "20")
AS_THEY_ARE = Runs("data as they are", DATA, "own_key", seeds="0")
IN_C = Runs("data, in C", DATA, "in_c", seeds="0")
SWAPPED_DATA = Runs("data, rests and holds swapped", DATA, "swapped", seeds="0")
SLOW_DATA = Runs("data, four times slower", DATA, "slow", seeds="0")
SWAPPED_SLOW_DATA = Runs("data, swapped and four times slower", DATA, "swapped_slow", seeds="0")
G_FOR_TUNES = Runs(
    "G, Boltzmann, c = 2",
    G,
    "in_c",
    ("learn.exploration=boltzmann", "learn.c=2.0"),
    "10 11 12",
)
TUNES = Runs("G, preset `melodies`", G, "melodies")
G_PUBLISHED = Runs("G, published settings", G, "paper")
G_QUIRKS = Runs("G that trains its prior, `swapped_stretched`", G, "swapped_stretched")


def _note_rnn(preset: str) -> Runs:
    return Runs(preset, "note_rnn", preset, seeds="0")


CHANGES = (
    Change(
        "beginnings learned, own keys, rate 0.5",
        "prior.beginnings",
        "Q",
        PUBLISHED,
        OWN_BEGINNINGS,
    ),
    Change("beginnings learned, in C, rate 0.5", "prior.beginnings", "Q", C_MASKED, C_BEGINNINGS),
    Change(
        "rate of the Note RNN 0.5 → 0.01", "prior.learning_rate", "Q", C_BEGINNINGS, C_SLOW_RATE
    ),
    Change("c 0.5 → 1", "learn.c", "Q", Q_IN_C, Q_AT_1),
    Change("c 0.5 → 2", "learn.c", "Q", Q_IN_C, Q_AT_2),
    Change("double Q-learning", "learn.double", "Q", Q_IN_C, DOUBLE),
    Change("Boltzmann exploration", "learn.exploration", "Q", Q_IN_C, BOLTZMANN),
    Change("three times the events", "learn.iterations", "Q", Q_IN_C, LONGER),
    Change("γ 0.5 → 0.9", "learn.discount", "Q", Q_IN_C, FAR_SIGHT),
    Change(
        "beginnings learned",
        "prior.beginnings",
        "Note RNN",
        _note_rnn("paper"),
        _note_rnn("paper_beginnings"),
    ),
    Change("tunes moved to C", "data.key", "Note RNN", OWN_KEY, MOVED_TO_C),
    Change(
        "rests and holds swapped", "original_quirks", "Note RNN", OWN_KEY, _note_rnn("cpu_quirks")
    ),
    Change(
        "the first 8 events trained too",
        "prior.masked",
        "Note RNN",
        OWN_KEY,
        _note_rnn("cpu_unmasked"),
    ),
    Change(
        "rests and holds swapped", "original_quirks", "data", AS_THEY_ARE, SWAPPED_DATA, ANYWHERE
    ),
    Change("four times slower", "data.stretch", "data", AS_THEY_ARE, SLOW_DATA, ANYWHERE),
)
"""What moves the rows of Table 1, one thing at a time."""
