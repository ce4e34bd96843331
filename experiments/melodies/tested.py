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
PUBLISHED = Runs("Q, own keys, masked, learning rate 0.5 (as published)", Q, "paper")
OWN_BEGINNINGS = Runs("Q, own keys, beginnings learned, learning rate 0.5", Q, "paper_beginnings")
ADAGRAD = Runs("Q, own keys, masked, Adagrad on the summed loss from 0.5", Q, "adagrad")
OPTIMISER = ("prior.optimizer", "prior.reduction")
"""Settings of the Note RNN's training that differ between the paper's words and the public
trainer's code (docs/deviations.md)."""
C_MASKED = Runs(
    "Q, in C, masked, learning rate 0.5",
    Q,
    "in_c",
    seeds="31 32 33",
    note_rnn=Runs("", "note_rnn", "cpu", ("prior.learning_rate=0.5", "prior.beginnings=0.0"), "13"),
)
C_BEGINNINGS = Runs(
    "Q, in C, beginnings learned, learning rate 0.5",
    Q,
    "in_c",
    seeds="28 29 30",
    note_rnn=Runs("", "note_rnn", "cpu", ("prior.learning_rate=0.5",), "10"),
)
SLOW_RATE = Runs(
    "Q, own keys, masked, learning rate 0.01",
    Q,
    "in_c",
    seeds="34 35 36",
    note_rnn=Runs("", "note_rnn", "cpu_own_key", seeds="0"),
)
C_MASKED_SLOW_RATE = Runs(
    "Q, in C, masked, learning rate 0.01",
    Q,
    "in_c",
    seeds="52 53 54",
    note_rnn=Runs("", "note_rnn", "cpu", ("prior.beginnings=0.0",), "14"),
)
C_SLOW_RATE = Runs("Q, in C, beginnings learned, learning rate 0.01", Q, "in_c")
SWAPPED = Runs("Q, `swapped_stretched`, c = 0.5", Q, "swapped_stretched")
SWAPPED_AT_1 = Runs(
    "Q, `swapped_stretched`, c = 1", Q, "swapped_stretched", ("learn.c=1.0",), "10 11 12"
)
DOUBLE = Runs("Q, double, c = 0.5", Q, "in_c", ("learn.double=true",), "13 14 15")
BOLTZMANN = Runs("Q, Boltzmann, c = 0.5", Q, "in_c", ("learn.exploration=boltzmann",), "16 17 18")
LONGER = Runs("Q, c = 0.5, 3,000,000 events", Q, "in_c", ("learn.iterations=3000000",), "22 23 24")
FAR_SIGHT = Runs("Q, c = 0.5, γ = 0.9", Q, "in_c", ("learn.discount=0.9",), "19 20 21")
BEST_IN_C = Runs(
    "Q, c = 0.5, the best event", Q, "in_c", ("evaluation.temperature=0.001",), "49 50 51"
)
BEST_OF_OWN_BEGINNINGS = Runs(
    "Q, own keys, beginnings learned, learning rate 0.5, the best event",
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
FITTED_DATA = Runs("data of `swapped_stretched`", DATA, "swapped_stretched", seeds="0")
SWAPPED_SLOW_DATA = Runs("data, swapped and four times slower", DATA, "swapped_slow", seeds="0")
G_FOR_TUNES = Runs(
    "G, Boltzmann, c = 2",
    G,
    "in_c",
    ("learn.exploration=boltzmann", "learn.c=2.0"),
    "10 11 12",
)
TUNES = Runs("G, preset `melodies`", G, "melodies")
TUNES_OF_Q = Runs("Q, preset `melodies`", Q, "melodies")
G_PUBLISHED = Runs("G, published settings", G, "paper")
G_TRAINING_ITS_PRIOR = Runs(
    "G that trains its prior", G, "paper", ("trains_prior=true",), "10 11 12"
)
G_QUIRKS = Runs("G that trains its prior, `swapped_stretched`", G, "swapped_stretched")


def note_rnn(preset: str, seeds: str = "0 1 2") -> Runs:
    """Return the Note RNNs of a preset themselves."""
    return Runs(f"Note RNN `{preset}`", "note_rnn", preset, seeds=seeds)


CHANGES = (
    Change("optimiser and loss of the Note RNN", OPTIMISER, "Q", PUBLISHED, ADAGRAD),
    Change("share of beginnings, own keys", ("prior.beginnings",), "Q", PUBLISHED, OWN_BEGINNINGS),
    Change("share of beginnings, in C", ("prior.beginnings",), "Q", C_MASKED, C_BEGINNINGS),
    Change(
        "learning rate of the Note RNN, masked",
        ("prior.learning_rate",),
        "Q",
        C_MASKED,
        C_MASKED_SLOW_RATE,
    ),
    Change(
        "learning rate of the Note RNN, beginnings learned",
        ("prior.learning_rate",),
        "Q",
        C_BEGINNINGS,
        C_SLOW_RATE,
    ),
    Change("weight of the prior", ("learn.c",), "Q", Q_IN_C, Q_AT_1),
    Change("weight of the prior", ("learn.c",), "Q", Q_IN_C, Q_AT_2),
    Change("double Q-learning", ("learn.double",), "Q", Q_IN_C, DOUBLE),
    Change("exploration", ("learn.exploration",), "Q", Q_IN_C, BOLTZMANN),
    Change("events of the tuning", ("learn.iterations",), "Q", Q_IN_C, LONGER),
    Change("discount γ", ("learn.discount",), "Q", Q_IN_C, FAR_SIGHT),
    Change(
        "the best event in place of a drawn one",
        ("evaluation.temperature",),
        "Q",
        Q_IN_C,
        BEST_IN_C,
    ),
    Change("G trains its prior", ("trains_prior",), "G", G_PUBLISHED, G_TRAINING_ITS_PRIOR),
    Change("optimiser and loss", OPTIMISER, "Note RNN", note_rnn("paper"), note_rnn("adagrad")),
    Change(
        "share of beginnings",
        ("prior.beginnings",),
        "Note RNN",
        note_rnn("paper"),
        note_rnn("paper_beginnings"),
    ),
    Change("tunes moved to C", ("data.key",), "Note RNN", OWN_KEY, MOVED_TO_C),
    Change(
        "rests and holds swapped",
        ("original_quirks",),
        "Note RNN",
        OWN_KEY,
        note_rnn("cpu_quirks", "0"),
    ),
    Change(
        "events at the start that aren't trained",
        ("prior.masked",),
        "Note RNN",
        OWN_KEY,
        note_rnn("cpu_unmasked", "0"),
    ),
    Change(
        "rests and holds swapped", ("original_quirks",), "data", AS_THEY_ARE, SWAPPED_DATA, ANYWHERE
    ),
    Change("slower tunes", ("data.stretch",), "data", AS_THEY_ARE, SLOW_DATA, ANYWHERE),
)
"""What moves the rows of Table 1, one thing at a time."""
