"""Compositions of every sort on which rules could go wrong; integer arrays [N, length]."""

import numpy as np

BEATS = 32


def uniform(random, n, low=0, high=37, length=BEATS):
    return random.integers(low, high + 1, (n, length))


def constant():
    return np.repeat(np.arange(38)[:, None], BEATS, axis=1)


def sticky(random, n, choices, stay):
    """Each event repeats the one before with probability `stay`, else is drawn from choices."""
    pieces = random.choice(choices, (n, BEATS))
    again = random.random((n, BEATS)) < stay
    for t in range(1, BEATS):
        pieces[:, t] = np.where(again[:, t], pieces[:, t - 1], pieces[:, t])
    return pieces


def with_specials(random, pieces, rate):
    """Some events replaced by rests and holds."""
    specials = random.integers(0, 2, pieces.shape)
    return np.where(random.random(pieces.shape) < rate, specials, pieces)


def leaping(random, n, small, large):
    """Walks of small steps and leaps up to `large`, folded back into the range of the notes."""
    leaps = random.random((n, BEATS)) < random.uniform(0.05, 0.6, (n, 1))
    size = np.where(
        leaps, random.integers(6, large + 1, (n, BEATS)), random.integers(0, small + 1, (n, BEATS))
    )
    steps = size * random.choice([-1, 1], (n, BEATS))
    pieces = np.empty((n, BEATS), int)
    note = random.integers(2, 38, n)
    for t in range(BEATS):
        there = note + steps[:, t]
        note = np.where((there < 2) | (there > 37), np.clip(note - steps[:, t], 2, 37), there)
        pieces[:, t] = note
    return pieces


def motifs(random, n, choices):
    """A block of 6 to 9 events over and over, at some places one event off or one more put in."""
    pieces = np.empty((n, BEATS), int)
    for piece in pieces:
        block = list(random.choice(choices, random.integers(6, 10)))
        events = list(random.choice(choices, random.integers(0, 8)))
        while len(events) < BEATS:
            copy = list(block)
            if random.random() < 0.3:
                copy[random.integers(len(copy))] = random.choice(choices)
            if random.random() < 0.3:
                copy.insert(random.integers(len(copy)), random.choice(choices))
            events += copy
        piece[:] = events[:BEATS]
    return pieces


def endings(random, n):
    """Pieces that begin with C or so and end as the tonic rule wants, or nearly."""
    pieces = uniform(random, n, 12, 16)
    pieces[:, 28:] = random.choice([0, 1, 14], (n, 4))
    pieces[::2, 28:] = [14, 1, 1, 0]
    pieces[::4, 0] = 14
    return pieces


def fractions(pieces, lag):
    """Numerators and denominators of the autocorrelation of all beginnings, int64 [N, length]."""
    pieces = np.asarray(pieces, np.int64)
    numerators, denominators = np.zeros_like(pieces), np.zeros_like(pieces)
    for n in range(1, pieces.shape[1] + 1):
        d = n * pieces[:, :n] - pieces[:, :n].sum(axis=1, keepdims=True)
        numerators[:, n - 1] = (d[:, : max(n - lag, 0)] * d[:, lag:]).sum(axis=1)
        denominators[:, n - 1] = (d * d).sum(axis=1)
    return numerators, denominators


def has_tie(pieces):
    """Whether some coefficient of some beginning is exactly ± 0.15; bool [N]."""
    found = np.zeros(len(pieces), bool)
    for lag in (1, 2, 3):
        numerators, denominators = fractions(pieces, lag)
        ties = (20 * abs(numerators) == 3 * denominators) & (denominators > 0)
        found |= ties.any(axis=1)
    return found


def tied(random, n):
    """Pieces with a coefficient of exactly ± 0.15 somewhere."""
    found = []
    while sum(map(len, found)) < n:
        pieces = uniform(random, 4000, 0, int(random.integers(1, 38)))
        found.append(pieces[has_tie(pieces)])
    return np.concatenate(found)[:n]


def everything(seed, n):
    """About n compositions of all sorts, [N, 32]."""
    random = np.random.default_rng(seed)
    share = n // 12
    in_key = [note for note in range(2, 38) if (note - 2) % 12 in (0, 2, 4, 5, 7, 9, 11)]
    return np.concatenate(
        [
            uniform(random, 2 * share),
            uniform(random, share, 0, 4),
            constant(),
            sticky(random, share, np.arange(38), 0.85),
            sticky(random, share, [0, 1, 14, 15], 0.6),
            with_specials(random, sticky(random, share, [9, 14], 0.9), 0.2),
            with_specials(random, uniform(random, share, 12, 16), 0.6),
            leaping(random, share, 2, 13),
            with_specials(random, leaping(random, share, 3, 35), 0.3),
            motifs(random, share, in_key),
            motifs(random, share, [0, 1, 14, 16, 18, 21]),
            endings(random, share // 2),
            tied(random, share // 2),
        ]
    ).astype(np.int32)
