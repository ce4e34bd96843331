"""What the papers claim of depth beside what runs found, and whether they agree.

Also this family's part of the report. Verdicts follow from a record's metrics alone.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from common.record import Record, write_atomically
from common.table import Cell, Table
from experiments.depth.catalogue import HIGHWAY, PLAIN, STEP_MEASURES, layer_metric
from experiments.results import claim as results
from experiments.results.claim import FEWEST, FINDINGS, SIGNIFICANT, Claim, Judgement, holds
from experiments.run import Context

TOLERANCE = 0.01
"""Share by which two losses must differ for one to be the better."""
SOLVED = 0.01
"""Training losses in nats below which networks are as good as one another."""
HARDER = 2.0
"""Ratio of best training losses from which on the deeper networks are harder to train."""
LEARNED = 0.5
"""Training loss in nats from which on a network hasn't learned, and nothing can be said of it."""
HARMLESS_SHARE = 0.5
"""Share of layers that "most" begins with."""

CENTRED = 0.95
"""Share of the discs that "the discs" stands for."""

Metrics = Mapping[str, float]


def analysis_claims(metrics: Metrics) -> list[Claim]:
    """Judge what is claimed of a trained RHN's layers and spectrum (Zilly et al. 2017)."""
    costs, activity = (_layers(metrics, one) for one in ("lesion_cost", "transform_activity"))
    others = max(activity[1:], default=0.0)
    found = [
        Claim(
            "The first layer matters most: its lesion costs more than any other's (section 6)",
            "it alone reads the input, which its lesion takes away; "
            f"lesion of layer 1 costs {costs[0]:.3f} nats, of the others "
            f"{_range(costs[1:]) or 'nothing, there are none'}",
            holds(costs[0] >= max(costs)),
        ),
        Claim(
            "No layer can be removed without loss (section 6)",
            f"the least costly lesion is of layer {costs.index(min(costs)) + 1}: "
            f"{min(costs):+.4f} nats",
            holds(min(costs) > 0),
        ),
        Claim(
            "The first layer's transform gates are the most active (section 6)",
            f"mean activity {activity[0]:.3f} in layer 1, at most {others:.3f} in the others",
            holds(activity[0] >= max(activity)),
        ),
    ]
    text = "Carry gates hold the discs' centres between 0 and 1, unlike a plain RNN's (section 4)"
    share = metrics["rhn/valid/centres_in_unit"]
    if (plain := metrics.get(f"{PLAIN}/valid/centres_in_unit")) is not None:
        means = [metrics[f"{name}/valid/disc_centre"] for name in ("rhn", PLAIN)]
        found.append(
            Claim(
                text,
                f"{100 * share:.0f} % of the centres lie there (plain {100 * plain:.0f} %), at "
                f"{means[0]:.3f} on average (plain {means[1]:.3f}); at depth d the Jacobian is a "
                "product of d layers, and its diagonal isn't bound to lie there",
                holds(share >= CENTRED > plain),
            )
        )
    elif metrics.get(f"{PLAIN}/train/diverged"):
        told = f"{100 * share:.0f} % of the centres lie there; the plain model diverged"
        found.append(Claim(text, told, "undecided"))
    return found


def stacked_claims(metrics: Metrics) -> list[Claim]:
    """Judge deep transitions against as many stacked layers (Zilly et al. 2017, figure 1)."""
    found = []
    words = {"rhn": "highway", "rnn": "plain"}
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
            verdict = holds(verdict != "holds")
        found.append(Claim(text, found_text, verdict))
    for kind, word in words.items():
        for depth in _stacked_depths(metrics, kind):
            deep, stacked = (_loss(metrics, f"{kind}_{way}{depth}") for way in ("deep", "stacked"))
            text = f"{depth} {word} layers do better in the transition than stacked (figure 1)"
            found.append(Claim(text, *_compared(deep, stacked, "in the transition", "stacked")))
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
        HIGHWAY: "Highway networks don't get harder to train with depth",
        PLAIN: "Plain networks get harder to train with depth",
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
        verdict = holds(harder == (kind == PLAIN)) if learned else "undecided"
        found.append(Claim(text, f"best training loss by layers: {told}", verdict))
    for depth in depths:
        if (p := metrics.get(f"{HIGHWAY}{depth}/train/rank_p")) is None:
            continue
        count = int(metrics.get(f"{HIGHWAY}{depth}/train/rank_n", 0))
        medians = [metrics.get(f"{kind}{depth}/train/median_loss") for kind in (PLAIN, HIGHWAY)]
        told = " against ".join("over half diverged" if m is None else f"{m:.2g}" for m in medians)
        text = (
            f"At {depth} layers, settings drawn at random, highways end lower than plain networks"
        )
        found.append(
            Claim(
                text,
                f"median, plain against highway: {told}; rank test p = {p:.2g} (n = {count} each)",
                holds(p < SIGNIFICANT) if count >= FEWEST else "undecided",
            )
        )
    for depth in depths[-1:]:
        share = metrics.get(f"{HIGHWAY}{depth}/train/harmless_layers")
        if share is None or metrics[f"{HIGHWAY}{depth}/train/best_loss"] >= LEARNED:
            continue
        text = "Most layers of a trained highway network can be taken out at little cost"
        told = f"at {depth} layers {100 * share:.0f} % of them, one at a time"
        found.append(Claim(text, told, holds(share > HARMLESS_SHARE)))
    return found


CLAIMS: Mapping[str, Callable[[Metrics], list[Claim]]] = {
    "rhn_analysis": analysis_claims,
    "stacked_or_deep": stacked_claims,
    "highway_depth": feed_forward_claims,
}
"""Experiment → what is claimed of its subject, judged by its metrics."""

TITLES_OF_RUNS = (*results.TITLES, "run")
RULES: Mapping[str, str] = {
    "rhn_analysis": f"""\
Of gates and lesions a claim holds if the numbers of this one model are on its side, by however \
little. The discs' centres are held between 0 and 1 if at least {100 * CENTRED:g} % of them lie \
there, and fewer of the plain model's.
""",
    "stacked_or_deep": f"""\
One loss is better than another if it is lower by over {100 * TOLERANCE:g} %; otherwise it's \
undecided. A model that diverged is worse than one that didn't.
""",
    "highway_depth": f"""\
Networks are harder to train where the best training loss is over {HARDER:g} times as high, losses \
under {SOLVED:g} nats counting as {SOLVED:g}; nothing is said of networks that end above \
{LEARNED:g}. Rank tests are Mann and Whitney's, one-sided, at {SIGNIFICANT:g}, of at least \
{FEWEST} networks of each kind. A layer is taken out at little cost if the training error \
rises by less than one point; "most" are over {100 * HARMLESS_SHARE:g} %.
""",
}
"""Experiment → when its claims hold."""


def layer_table(metrics: Metrics) -> Table:
    """Tabulate the layers of a trained RHN."""
    columns = [_layers(metrics, measure) for measure in STEP_MEASURES]
    loss = metrics["rhn/valid/loss"]
    lines: list[tuple[Cell, ...]] = [
        (layer, *(f"{value:.4f}" for value in values), f"{loss + values[-1]:.4f}")
        for layer, values in enumerate(zip(*columns, strict=True), 1)
    ]
    measures = ("mean transform gate", "its std over time", "movement", "lesion costs, nats")
    titles = ("layer", *measures, "loss without it")
    return Table(titles, lines, frozenset(titles))


def spectrum_table(metrics: Metrics) -> Table:
    """Tabulate the mean spectra of the models, beside their losses."""
    measures = {
        "validation loss": "loss",
        "largest |eigenvalue|": "spectral_radius",
        "mean centre": "disc_centre",
        "centres in [0, 1]": "centres_in_unit",
        "mean radius": "disc_radius",
    }
    lines: list[tuple[Any, ...]] = [
        (name, *(f"{metrics[f'{name}/valid/{measure}']:.4f}" for measure in measures.values()))
        for name in ("rhn", PLAIN)
        if f"{name}/valid/disc_centre" in metrics
    ]
    titles = ("model", *measures)
    return Table(titles, lines, frozenset(titles[1:]))


def write_findings(context: Context, metrics: Metrics, *tables: Table) -> None:
    """Write claims, rules and tables into a run's directory; tell the claims' verdicts."""
    name = context.experiment.name
    claims = CLAIMS[name](metrics)
    parts = [results.table(claims).markdown(), RULES[name], *(one.markdown() for one in tables)]
    write_atomically(context.place.path / FINDINGS, "\n".join(parts))
    results.tell(claims, context.place.label)


def findings(records: Iterable[Record]) -> list[str]:
    """Return the main claim of each run, which is its first, and whether it holds."""
    return [
        claims[0].sentence
        for record in _done(records)
        if record.preset != "smoke" and (claims := CLAIMS[record.experiment](record.metrics))
    ]


def section(records: Iterable[Record], folder: Path) -> list[str]:
    """Write claims, tables and pictures of all finished runs in Markdown."""
    done = _done(records)
    lines = [
        (*claim, f"{record.experiment}, {record.preset}, seed {record.seed}")
        for record in done
        for claim in CLAIMS[record.experiment](record.metrics)
    ]
    if not lines:
        return []
    rules = [f"{name}: {RULES[name]}" for name in dict.fromkeys(one.experiment for one in done)]
    parts = ["### Depth: claims and findings\n", Table(TITLES_OF_RUNS, lines).markdown(), *rules]
    for record in done:
        label = f"{record.experiment}, {record.preset}, seed {record.seed}"
        place = Path(record.experiment, record.preset, f"seed{record.seed}")
        shown = [
            f"![{picture.stem}: {label}]({(place / picture.name).as_posix()})\n"
            for picture in sorted((folder / place).glob("*.png"))
        ]
        if record.experiment == "rhn_analysis":
            tables = layer_table(record.metrics), spectrum_table(record.metrics)
            shown = [*(one.markdown() for one in tables), *shown]
        parts += [f"#### {label}\n", *shown] if shown else []
    return parts


def _done(records: Iterable[Record]) -> list[Record]:
    """The finished runs of this family, by experiment."""
    order = list(CLAIMS)
    return sorted(
        (one for one in records if one.experiment in order and one.status == "done"),
        key=lambda one: (order.index(one.experiment), one.preset, one.seed),
    )


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
        return told, holds(ours < other)
    if abs(ours - other) <= TOLERANCE * other:
        return told, "undecided"
    return told, holds(ours < other)


def _words(loss: float) -> str:
    return f"{loss:.4f}" if math.isfinite(loss) else "(diverged)"
