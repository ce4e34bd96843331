"""The music-theory reward and statistics in plain Python, from docs/music_theory.md alone.

Written without a look at the JAX code: lists, loops, everything computed anew from the whole
history, and exact fractions where a threshold is compared. Slow and meant to be read.

h is the list of events so far, a the next event, t = len(h). 0 is a rest (note off), 1 a hold (no
event), 2..37 are notes.
"""

import math
from collections import Counter
from fractions import Fraction

NO_LEAP = (0, None, 0)
"""Direction of the open leap, the note it came from, events since the last leap."""


def sounds(event):
    return event >= 2


def last_note(h):
    return next((event for event in reversed(h) if sounds(event)), None)


# ------------------------------------------------------------------------------------- the rules


def key(h, a):
    return -1.0 if sounds(a) and (a - 2) % 12 not in (0, 2, 4, 5, 7, 9, 11) else 0.0


def tonic(h, a, length=32):
    t = len(h)
    if t in (0, length - 4):
        return 3.0 if a == 14 else 0.0
    if t == length - 3:
        return 3.0 if a == 1 else 0.0
    if t in (length - 2, length - 1):
        return 3.0 if a in (0, 1) else 0.0
    return 0.0


def penalize_repeating(h, a):
    n, special = 0, False
    for event in reversed(h):
        if event == a:
            n += 1
        elif event in (0, 1):
            special = True
        else:
            break
    too_often = (a == 0 and n >= 2) or (n >= 5 and not special) or (n >= 7 and special)
    return -100.0 if too_often else 0.0


def autocorrelation(s, lag):
    """The exact coefficient, None where the variance is 0."""
    n, total = len(s), sum(s)
    d = [n * x - total for x in s]
    denominator = sum(x * x for x in d)
    if denominator == 0:
        return None
    return Fraction(sum(d[i] * d[i + lag] for i in range(n - lag)), denominator)


def penalize_autocorrelation(h, a):
    coefficients = [autocorrelation([*h, a], lag) for lag in (1, 2, 3)]
    over = [abs(c) for c in coefficients if c is not None and abs(c) > Fraction(15, 100)]
    return -3.0 * float(sum(over))


def motif_notes(s):
    """The number of distinct notes in the last 8 events, 0 where those aren't a motif."""
    if len(s) < 8:
        return 0
    distinct = len({event for event in s[-8:] if sounds(event)})
    return distinct if distinct >= 3 else 0


def motif(h, a):
    u = motif_notes([*h, a])
    return 3 + 0.3 * (u - 3) if u else 0.0


def repeated_motif(h, a):
    s = [*h, a]
    u = motif_notes(s)
    before, block = s[:-8], s[-8:]
    if u and any(before[i : i + 8] == block for i in range(len(before) - 7)):
        return 4 + 1.0 * (u - 3)
    return 0.0


def interval_code(h, a):
    prev = last_note(h)
    if prev is None:
        return 0
    pitch_class = (prev - 2) % 12
    if a in (0, 1):
        special = pitch_class in (0, 7)
        return {(0, True): -2, (0, False): -1, (1, True): -2.5, (1, False): -1.5}[a, special]
    distance = abs(a - prev)
    if distance == 7 and pitch_class in (0, 7):
        return -5
    if distance == 4 and pitch_class in (0, 4):
        return -3
    return distance


def preferred_intervals(h, a):
    code = interval_code(h, a)
    if code > 12:
        return -5.0
    table = {-2: 0.75, -1: 0.25, -2.5: 1.5, -1.5: 0.375, -5: 0.5, 7: 0.1, -3: 0.75, 4: 0.45}
    table |= {2: 0.4, 5: 0.35, 9: 0.25, 11: -1.5}
    return table.get(code, 0.0)


def leap_step(state, h, a):
    """The state after event a, and its outcome: +1 resolved, −1 leapt twice, 0 neither."""
    direction, origin, k = state
    if not h:
        return state, 0
    if a in (0, 1):
        return (direction, origin, k + 1), 0
    code = interval_code(h, a)
    if code >= 7 or code == -5:
        prev = last_note(h)
        new_direction = 1 if a > prev else -1
        if direction == 0:
            return (new_direction, prev, 0), 0
        if direction == new_direction:
            return (direction, origin, 0), -1
        return (0, None, 0), (1 if k > 6 else 0)
    k += 1
    if (direction == 1 and a <= origin) or (direction == -1 and a >= origin):
        return (0, None, k), 1
    return (direction, origin, k), 0


def leap_state(h):
    state = NO_LEAP
    for i, event in enumerate(h):
        state, _ = leap_step(state, h[:i], event)
    return state


def leap_up_back(h, a):
    return 5.0 * leap_step(leap_state(h), h, a)[1]


def high_is_unique(s):
    return s.count(max(s)) == 1


def low_is_unique(s):
    notes = [event for event in s if sounds(event)]
    return bool(notes) and notes.count(min(notes)) == 1


def high_low_unique(h, a, length=32):
    s = [*h, a]
    if len(s) != length:
        return 0.0
    return 3.0 * high_is_unique(s) + 3.0 * low_is_unique(s)


def components(h, a, length=32):
    """Every component's reward for event a after h, and the total."""
    found = {
        "key": key(h, a),
        "tonic": tonic(h, a, length),
        "penalize_repeating": penalize_repeating(h, a),
        "penalize_autocorrelation": penalize_autocorrelation(h, a),
        "motif": motif(h, a),
        "repeated_motif": repeated_motif(h, a),
        "preferred_intervals": preferred_intervals(h, a),
        "leap_up_back": leap_up_back(h, a),
        "high_low_unique": high_low_unique(h, a, length),
    }
    return found | {"total": sum(found.values())}


def score(s, length=32):
    """Components of every event of a composition: name → list."""
    steps = [components(s[:i], a, length) for i, a in enumerate(s)]
    return {name: [step[name] for step in steps] for name in steps[0]}


# ------------------------------------------------------------------------------------ statistics

INTERVALS = {
    "num_rest_intervals": lambda code: code == -1,
    "num_special_rest_intervals": lambda code: code == -2,
    "num_octave_jumps": lambda code: code > 12,
    "num_fifths": lambda code: code == 7,
    "num_thirds": lambda code: code == 4,
    "num_sixths": lambda code: code == 9,
    "num_seconds": lambda code: code == 2,
    "num_fourths": lambda code: code == 5,
    "num_sevenths": lambda code: code == 11,
    "num_in_key_preferred_intervals": lambda code: code == -5,
}


def counts(s):
    """All counters of one composition, and its autocorrelations (NaN for a constant piece)."""
    steps = [(s[:i], a) for i, a in enumerate(s)]
    outcomes = [leap_step(leap_state(h), h, a)[1] for h, a in steps]
    found = {
        "notes_not_in_key": sum(key(h, a) != 0 for h, a in steps),
        "notes_in_motif": sum(motif(h, a) != 0 for h, a in steps),
        "notes_in_repeated_motif": sum(repeated_motif(h, a) != 0 for h, a in steps),
        "num_repeated_notes": sum(penalize_repeating(h, a) != 0 for h, a in steps),
        "num_resolved_leaps": outcomes.count(1),
        "num_leap_twice": outcomes.count(-1),
        "num_starting_tonic": int(s[0] == 14),
        "num_high_unique": int(high_is_unique(s)),
        "num_low_unique": int(low_is_unique(s)),
    }
    codes = [interval_code(h, a) for h, a in steps]
    found |= {name: sum(map(test, codes)) for name, test in INTERVALS.items()}
    for lag in (1, 2, 3):
        coefficient = autocorrelation(s, lag)
        found[f"autocorrelation{lag}"] = math.nan if coefficient is None else float(coefficient)
    return found


def summary(compositions):
    """Table 1: percentages, and the mean autocorrelations over pieces that aren't constant."""
    every = [counts(s) for s in compositions]
    total = Counter()
    for found in every:
        total.update({n: v for n, v in found.items() if not n.startswith("autocorrelation")})
    pieces = len(compositions)
    leaps = total["num_resolved_leaps"] + total["num_leap_twice"]
    result = {
        "notes_excessively_repeated": 100 * total["num_repeated_notes"] / (32 * pieces),
        "notes_not_in_key": 100 * total["notes_not_in_key"] / (32 * pieces),
        "notes_in_motif": 100 * total["notes_in_motif"] / (32 * pieces),
        "notes_in_repeated_motif": 100 * total["notes_in_repeated_motif"] / (32 * pieces),
        "compositions_starting_with_tonic": 100 * total["num_starting_tonic"] / pieces,
        "compositions_with_unique_high": 100 * total["num_high_unique"] / pieces,
        "compositions_with_unique_low": 100 * total["num_low_unique"] / pieces,
        "leaps_resolved": 100 * total["num_resolved_leaps"] / leaps if leaps else math.nan,
    }
    for lag in (1, 2, 3):
        values = [found[f"autocorrelation{lag}"] for found in every]
        values = [value for value in values if not math.isnan(value)]
        result[f"mean_autocorrelation{lag}"] = sum(values) / len(values) if values else math.nan
    return result
