"""docs/model_card.md: the card of a committed language model, as an example."""

from collections.abc import Iterable

from common.record import Record
from experiments.export.card import card
from experiments.language.catalogue import FAMILY

EXAMPLE = """
---

This page is an example, kept current by `python -m experiments report`; the file of this model
is not in the repository.
"""
NONE = "# Model card\n\nNo run of a language model is recorded.\n"


def page(records: Iterable[Record]) -> str:
    """Write the page from the first finished run of the family, as it is sorted."""
    known = {one.name: one for one in FAMILY.experiments}
    done = [one for one in records if one.status == "done" and one.experiment in known]
    if not done:
        return NONE
    first = min(done, key=lambda one: (one.experiment, one.preset, one.seed))
    file = f"{first.experiment}.safetensors"
    return card(first, known[first.experiment], file, is_text=True, has_cells=True) + EXAMPLE
