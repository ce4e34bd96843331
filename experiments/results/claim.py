"""What a paper claims beside what was found, and whether that bears it out. Imports no JAX."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from common.progress import Progress
from common.table import Table
from experiments.results.paper_table import anchor

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


def in_brief(claim: Claim, scale: str, title: str) -> str:
    """Return a claim and its verdict in a short sentence, with a link to what was found.

    Args:
      claim: what is claimed.
      scale: in words, by what its run is less than the paper's, as a verdict says it; or empty.
      title: the heading below which all that was found stands.
    """
    smaller = f", {scale.partition(':')[0]}" if scale else ""
    return f"{claim.text}: {claim.verdict} here{smaller} ([what was found](#{anchor(title)}))."


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
