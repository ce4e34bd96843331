"""What the papers claim of depth beside what runs found, and whether they agree.

Also this family's part of the report. Verdicts follow from a record's metrics alone.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from common.progress import Progress
from common.record import Record, write_atomically
from common.table import Table
from experiments.depth.catalogue import HIGHWAY, PLAIN, layer_metric
from experiments.train import Place

TOLERANCE = 0.01
"""Share by which two losses must differ for one to be the better."""
SOLVED = 0.01
"""Training losses in nats below which networks are as good as one another."""
HARDER = 2.0
"""Ratio of best training losses from which on the deeper networks are harder to train."""
SIGNIFICANT = 0.05
LEARNED = 0.5
"""Training loss in nats from which on a network hasn't learned, and nothing can be said of it."""
HARMLESS_SHARE = 0.5
"""Share of layers that "most" begins with."""

Metrics = Mapping[str, float]
Judgement = Literal["holds", "does not hold", "undecided"]


class Claim(NamedTuple):
    """A claim, what was found, and whether that bears it out here."""

    text: str
    found: str
    verdict: Judgement


def _holds(condition: bool) -> Judgement:
    return "holds" if condition else "does not hold"


def analysis_claims(metrics: Metrics) -> list[Claim]:
    """Judge what is claimed of a trained RHN's layers and spectrum (Zilly et al. 2017)."""
    costs, activity = (_layers(metrics, one) for one in ("lesion_cost", "transform_activity"))
    others = max(activity[1:], default=0.0)
    found = [
        Claim(
            "The first layer matters most: its lesion costs more than any other's (section 6)",
            f"lesion of layer 1 costs {costs[0]:.3f} nats, of the others "
            f"{_range(costs[1:]) or 'nothing, there are none'}",
            _holds(costs[0] >= max(costs)),
        ),
        Claim(
            "No layer can be removed without loss (section 6)",
            f"the least costly lesion is of layer {costs.index(min(costs)) + 1}: "
            f"{min(costs):+.4f} nats",
            _holds(min(costs) > 0),
        ),
        Claim(
            "The first layer's transform gates are the most active (section 6)",
            f"mean activity {activity[0]:.3f} in layer 1, at most {others:.3f} in the others",
            _holds(activity[0] >= max(activity)),
        ),
    ]
    centre = metrics["rhn/valid/disc_centre"]
    radius = metrics["rhn/valid/spectral_radius"]
    text = (
        "Carry gates hold the discs' centres between 0 and 1, away from a plain RNN's (section 4)"
    )
    if (plain := metrics.get(f"{PLAIN}/valid/disc_centre")) is not None:
        plain_radius = metrics[f"{PLAIN}/valid/spectral_radius"]
        found.append(
            Claim(
                text,
                f"mean centre {centre:.3f} (plain {plain:.3f}); largest |eigenvalue| "
                f"{radius:.3f} (plain {plain_radius:.3f})",
                _holds(0 < centre < 1 and centre > abs(plain)),
            )
        )
    return found


def stacked_claims(metrics: Metrics) -> list[Claim]:
    """Judge deep transitions against as many stacked layers (Zilly et al. 2017, figure 1)."""
    found = []
    words = {"rnn": "plain", "rhn": "highway"}
    for kind, word in words.items():
        for depth in _stacked_depths(metrics, kind):
            deep, stacked = (_loss(metrics, f"{kind}_{way}{depth}") for way in ("deep", "stacked"))
            text = f"{depth} {word} layers do better in the transition than stacked (figure 1)"
            found.append(Claim(text, *_compared(deep, stacked, "in the transition", "stacked")))
    for kind in words:
        shallow, depths = _loss(metrics, f"{kind}1"), _stacked_depths(metrics, kind)
        if math.isinf(shallow) or not depths:
            continue
        deep = _loss(metrics, f"{kind}_deep{max(depths)}")
        found_text, verdict = _compared(deep, shallow, f"at depth {max(depths)}", "at depth 1")
        if kind == "rhn":
            text = "Highway transitions gain from depth at the same size (section 5.2)"
        else:
            text = "Plain transitions gain nothing: they get harder to optimise (section 5.1)"
            verdict = _holds(verdict != "holds")
        found.append(Claim(text, found_text, verdict))
    return found


def feed_forward_claims(metrics: Metrics) -> list[Claim]:
    """Judge plain against highway networks by depth (Srivastava et al. 2015)."""
    depths = sorted(
        int(name.removeprefix(HIGHWAY).partition("/")[0])
        for name in metrics
        if name.startswith(HIGHWAY) and name.endswith("/train/best_loss")
    )
    found = []
    texts = {
        PLAIN: "Plain networks get harder to train with depth",
        HIGHWAY: "Highway networks don't get harder to train with depth",
    }
    for kind, text in texts.items():
        losses = [metrics.get(f"{kind}{depth}/train/best_loss", math.inf) for depth in depths]
        if len(depths) < 2:
            continue
        told = ", ".join(
            f"{loss:.2g} at {depth}" if math.isfinite(loss) else f"all diverged at {depth}"
            for depth, loss in zip(depths, losses, strict=True)
        )
        harder = losses[-1] > HARDER * max(losses[0], SOLVED)
        learned = losses[0] < LEARNED
        verdict = _holds(harder == (kind == PLAIN)) if learned else "undecided"
        found.append(Claim(text, f"best training loss by layers: {told}", verdict))
    for depth in depths:
        if (p := metrics.get(f"{HIGHWAY}{depth}/train/rank_p")) is None:
            continue
        medians = [metrics.get(f"{kind}{depth}/train/median_loss") for kind in texts]
        told = " against ".join("over half diverged" if m is None else f"{m:.2g}" for m in medians)
        text = (
            f"At {depth} layers, settings drawn at random, highways end lower than plain networks"
        )
        found.append(
            Claim(
                text,
                f"median, plain against highway: {told}; rank test p = {p:.2g}",
                _holds(p < SIGNIFICANT),
            )
        )
    for depth in depths[-1:]:
        share = metrics.get(f"{HIGHWAY}{depth}/train/harmless_layers")
        if share is None or metrics[f"{HIGHWAY}{depth}/train/best_loss"] >= LEARNED:
            continue
        text = "Most layers of a trained highway network can be taken out at little cost"
        told = f"at {depth} layers {100 * share:.0f} % of them, one at a time"
        found.append(Claim(text, told, _holds(share > HARMLESS_SHARE)))
    return found


CLAIMS: Mapping[str, Callable[[Metrics], list[Claim]]] = {
    "rhn_analysis": analysis_claims,
    "stacked_or_deep": stacked_claims,
    "highway_depth": feed_forward_claims,
}
"""Experiment → what is claimed of its subject, judged by its metrics."""

FINDINGS = "findings.txt"
TITLES_OF_RUNS = ("claim", "found", "verdict", "run")
RULES = f"""\
A claim *holds* here by these rules. One loss is better than another if it is lower by over \
{100 * TOLERANCE:g} %; otherwise it's undecided. Networks are harder to train where the best \
training loss is over {HARDER:g} times as high, losses under {SOLVED:g} nats counting as \
{SOLVED:g}; nothing is said of networks that end above {LEARNED:g}. Rank tests are Mann and \
Whitney's, one-sided, at {SIGNIFICANT:g}. A layer is taken out at little cost if the training \
error rises by less than one point.
"""


def table(claims: Iterable[Claim]) -> Table:
    """Return claims as a table."""
    return Table(("claim", "found", "verdict"), [tuple(claim) for claim in claims])


def write_findings(place: Place, claims: Iterable[Claim], *tables: Table) -> None:
    """Write claims, and tables below them, into a run's directory; tell the claims' verdicts."""
    claims = list(claims)
    text = "\n".join(one.markdown() for one in (table(claims), *tables))
    write_atomically(place.path / FINDINGS, text)
    progress = Progress(place.label)
    for claim in claims:
        progress.note(f"{claim.verdict}: {claim.text}: {claim.found}")


def findings(records: Iterable[Record]) -> list[str]:
    """Return the claims that hold, a sentence each, with what was found."""
    return [
        f"{claim.text}: {claim.found}."
        for name, judge in CLAIMS.items()
        for record in sorted(records, key=lambda one: (one.preset, one.seed))
        if record.experiment == name and record.status == "done" and record.preset != "smoke"
        for claim in judge(record.metrics)
        if claim.verdict == "holds"
    ]


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write claims and findings of all finished runs in Markdown."""
    lines = [
        (*claim, f"{record.experiment}, {record.preset}, seed {record.seed}")
        for name, judge in CLAIMS.items()
        for record in sorted(records, key=lambda one: (one.preset, one.seed))
        if record.experiment == name and record.status == "done"
        for claim in judge(record.metrics)
    ]
    if not lines:
        return []
    return ["### Depth: claims and findings\n", Table(TITLES_OF_RUNS, lines).markdown(), RULES]


def _layers(metrics: Metrics, measure: str) -> list[float]:
    """A measure of all layers of a recurrence, in order."""
    found: list[float] = []
    while (value := metrics.get(layer_metric(len(found) + 1, measure))) is not None:
        found.append(value)
    return found


def _range(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}" if values else ""


def _stacked_depths(metrics: Metrics, kind: str) -> list[int]:
    """The depths at which a kind was trained in either way."""
    pattern = re.compile(rf"{kind}_(?:deep|stacked)(\d+)/")
    return sorted({int(match[1]) for name in metrics if (match := pattern.match(name))})


def _loss(metrics: Metrics, model: str) -> float:
    """The test loss of a model, by the published protocol where it was measured so.

    Infinite for one that has none: it diverged.
    """
    return metrics.get(f"{model}/test_full/loss", metrics.get(f"{model}/test/loss", math.inf))


def _compared(ours: float, other: float, name: str, other_name: str) -> tuple[str, Judgement]:
    """Two losses in words, and whether the first is the better."""
    told = f"loss {_words(ours)} {name}, {_words(other)} {other_name}"
    if math.isinf(ours) or math.isinf(other):
        return told, _holds(ours < other)
    if abs(ours - other) <= TOLERANCE * other:
        return told, "undecided"
    return told, _holds(ours < other)


def _words(loss: float) -> str:
    return f"{loss:.4f}" if math.isfinite(loss) else "(diverged)"
