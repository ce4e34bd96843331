"""By how much tunings of the same seed and Note RNN differ from method to method."""

from collections.abc import Mapping, Sequence

from common.record import Record
from experiments.melodies.table import CHECKSUM, KL, NAMES, NOTE_RNN, TUNED, words_of
from experiments.results.same_seed import LEGEND, seed_by_seed

READING = (
    LEGEND.format(
        prior=CHECKSUM,
        shared="Their settings differ in the method alone, and they explore, replay and draw the "
        "compositions that are measured by the same random numbers, of which other policies make "
        "other melodies.",
    )
    + "\n"
)
"""How to read the tables."""
DRIFTS = (
    "With the released code's quirks G also updates its prior: its KL isn't comparable with that "
    "of the other methods.\n"
)


def between_methods(found: Mapping[str, Sequence[Record]]) -> list[str]:
    """Write in Markdown by how much the tunings of a setting differ in reward and divergence."""
    tuned = {NAMES[name]: group for name, group in found.items() if name in TUNED}
    words = {f"composed/{one}": words_of(one) for one in ("reward", KL)}
    parts = seed_by_seed(tuned, NOTE_RNN, words)
    drifts = any(one.config["original_quirks"] for one in found.get("tutor_melodies_g", ()))
    return [*parts, DRIFTS] if parts and drifts else parts
