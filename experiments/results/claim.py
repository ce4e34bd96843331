"""What a paper claims beside what was found, and whether that bears it out. Imports no JAX."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from common.progress import Progress
from common.table import Table

Judgement = Literal["holds", "holds in part", "does not hold", "undecided"]

FINDINGS = "findings.txt"
"""A file of a run: its claims and tables in Markdown."""
SIGNIFICANT = 0.05
"""The p below which a test says something."""
FEWEST = 5
"""Pairs, or runs a side, below which a rank test decides nothing: it could hardly reach
`SIGNIFICANT`."""
TITLES = ("claim", "found", "verdict")


class Claim(NamedTuple):
    """A claim, what was found, and whether that bears it out here."""

    text: str
    found: str
    verdict: Judgement

    @property
    def sentence(self) -> str:
        """All three in a sentence."""
        return f"{self.text}: {self.verdict} here ({self.found})."


def at_scale(claim: Claim, scale: str) -> str:
    """Return a claim in a sentence, and in words by what its run is less than the paper's."""
    return claim.sentence + (f" {scale[0].upper()}{scale[1:]}." if scale else "")


def holds(condition: bool) -> Judgement:
    """Return the verdict on a claim that can be decided."""
    return "holds" if condition else "does not hold"


def table(claims: Iterable[Claim]) -> Table:
    """Return claims as a table."""
    return Table(TITLES, [tuple(claim) for claim in claims])


def tell(claims: Iterable[Claim], label: str) -> None:
    """Tell the verdicts to whoever started a run."""
    progress = Progress(label)
    for claim in claims:
        progress.note(f"{claim.verdict}: {claim.text}: {claim.found}")
