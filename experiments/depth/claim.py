"""What the papers claim of depth beside what runs found, and whether they agree.

Verdicts follow from a record's metrics alone.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from experiments.depth.catalogue import (
    HARMLESS,
    HIGHWAY,
    LEARNED,
    PLAIN,
    SOLVED,
    UNIGRAM,
    layer_metric,
)
from experiments.depth.config import AnalysisConfig, FeedForwardDepthConfig, StackConfig
from experiments.results import paired
from experiments.results.claim import Claim, Judgement, holds
from experiments.results.paired import TOLERANCE

HARDER = 2.0
"""Ratio of best training losses from which on the deeper networks are harder to train."""
HARMLESS_SHARE = 0.5
"""Share of layers that "most" begins with."""
CENTRED = 0.95
"""Share of the discs that "the discs" stands for."""
ACTIVE = 0.5
"""Mean of the transform gates from which on they are nearly always active."""
COMPARABLE = 1.2
"""Ratio of validation losses up to which a plain model has learned what is learned beside it."""

Metrics = Mapping[str, float]


def analysis_claims(metrics: Metrics) -> list[Claim]:
    """Judge what is claimed of a trained RHN's layers and spectrum (Zilly et al. 2017)."""
    costs, activity, spread = (
        layers(metrics, one) for one in ("lesion_cost", "transform_activity", "transform_std")
    )
    most = activity[0] >= max(activity)
    active: Judgement = holds(most)
    if most and activity[0] < ACTIVE:
        active = "holds in part"
    switching = [one > spread[0] for one in spread[1:]]
    found = [
        Claim(
            "The first layer matters most: its lesion costs more than any other's (section 6)",
            lesions_in_brief([metrics]),
            holds(costs[0] >= max(costs)),
        ),
        Claim(
            "No layer can be removed without loss (section 6)",
            f"the least costly lesion is of layer {costs.index(min(costs)) + 1}: "
            f"{min(costs):+.4f} nats",
            holds(min(costs) > 0),
        ),
        Claim(
            "The first layer's transform gates are the most active, nearly always so (section 6)",
            f"mean activity {activity[0]:.3f} in layer 1, {_range(activity[1:])} in the others",
            active,
        ),
        Claim(
            "The other layers' transform gates switch, more than the first's (section 6)",
            f"standard deviation over time {spread[0]:.3f} in layer 1, {_range(spread[1:])} in the "
            "others",
            _all_or_some(switching) if switching else "undecided",
        ),
    ]
    return [*found, *_discs(metrics)]


def lesions_in_brief(each: Sequence[Metrics]) -> str:
    """Say what taking out layers costs, by the metrics of one seed or of several."""
    costs = [layers(metrics, "lesion_cost") for metrics in each]
    first = _range([one[0] for one in costs])
    others = _range([cost for one in costs for cost in one[1:]])
    return f"lesion of layer 1 costs {first} nats, of the others {others}"


def _discs(metrics: Metrics) -> list[Claim]:
    """Judge the discs of each layer's Jacobian, where they were measured; beside those of a plain
    model, where there is one."""
    shares = layers(metrics, "centres_in_unit")
    if not shares:
        return []
    held = Claim(
        "Gates move the centres of each layer's discs into [0, 1] (section 4)",
        f"{100 * min(shares):.0f} to {100 * max(shares):.0f} % of a layer's centres lie there",
        holds(min(shares) >= CENTRED),
    )
    text = "More of them lie there than of a plain model's (our question)"
    if metrics.get(f"{PLAIN}/train/diverged"):
        return [held, Claim(text, "the plain model diverged", "undecided")]
    own, plain = (metrics.get(f"{name}/valid/layer_centres_in_unit") for name in ("rhn", PLAIN))
    if own is None or plain is None:
        return [held]
    ours, theirs = (metrics[f"{name}/valid/loss"] for name in ("rhn", PLAIN))
    told = f"of all layers' {100 * own:.0f} %, of the plain model's {100 * plain:.0f} %"
    if theirs > COMPARABLE * ours:
        told += f", which learned less: validation loss {theirs:.3f}, RHN {ours:.3f}"
        return [held, Claim(text, told, "undecided")]
    return [held, Claim(text, told, holds(own > plain))]


def stacked_claims(metrics: Metrics) -> list[Claim]:
    """Judge deep transitions against as many stacked layers (Zilly et al. 2017)."""
    found = []
    words = {"rhn": "highway", "rnn": "plain"}
    for kind in words:
        depths = _stacked_depths(metrics, kind)
        if math.isinf(_loss(metrics, f"{kind}1", "test")) or not depths:
            continue
        deep = f"{kind}_deep{max(depths)}", f"at depth {max(depths)}"
        shallow = f"{kind}1", "at depth 1"
        told, verdict = _compared(metrics, deep, shallow, "test")
        if kind == "rhn":
            text = "Highway transitions gain from depth at the same size (section 5.2)"
            found.append(Claim(text, told, verdict))
            continue
        text = "Plain transitions don't gain from depth at the same size (section 5.1)"
        found.append(Claim(text, told, OPPOSITE.get(verdict, verdict)))
        if f"{kind}1/train/loss" in metrics:
            text = "Plain transitions get harder to optimise with depth (section 5.1)"
            found.append(Claim(text, *_compared(metrics, shallow, deep, "train")))
    for kind, word in words.items():
        for depth in _stacked_depths(metrics, kind):
            deep = f"{kind}_deep{depth}", "in the transition"
            stacked = f"{kind}_stacked{depth}", "stacked"
            text = f"{depth} {word} layers do better in the transition than stacked (our question)"
            found.append(Claim(text, *_compared(metrics, deep, stacked, "test")))
    return found


OPPOSITE: Mapping[Judgement, Judgement] = {"holds": "does not hold", "does not hold": "holds"}
"""Verdict → that on the opposite; what is undecided stays so."""


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
    if len(depths) > 1:
        found += [_by_depth(metrics, kind, depths, text) for kind, text in texts.items()]
    for depth in depths:
        cell = f"{HIGHWAY}{depth}"
        if f"{cell}/train/n_below_plain" not in metrics:
            continue
        by_rank, lower = paired.judged(metrics, f"{cell}/train", "below_plain")
        names = [f"{kind}{depth}" for kind in (PLAIN, HIGHWAY)]
        medians = " against ".join(_median(metrics, name) for name in names)
        counts = " and ".join(f"{metrics[f'{name}/train/learned']:.0f}" for name in names)
        told = (
            f"median, plain against highway: {medians}; {counts} of "
            f"{metrics['search/members']:.0f} learned; {by_rank}"
        )
        text = f"At {depth} layers, highways end lower than plain networks of the same setting"
        found.append(Claim(text, told, "undecided" if lower is None else holds(lower)))
    shares = {
        depth: metrics[name]
        for depth in depths
        if (name := f"{HIGHWAY}{depth}/train/harmless_layers") in metrics
        and metrics[f"{HIGHWAY}{depth}/train/best_loss"] < LEARNED
    }
    if shares:
        text = "Most layers of a trained highway network can be taken out, one at a time"
        told = ", ".join(f"{100 * share:.0f} % at {depth}" for depth, share in shares.items())
        told += f" layers cost under {100 * HARMLESS:g} % of the training images each"
        found.append(Claim(text, told, _all_or_some([v > HARMLESS_SHARE for v in shares.values()])))
    return found


def _by_depth(metrics: Metrics, kind: str, depths: list[int], text: str) -> Claim:
    """Whether networks of a kind get harder to train with depth, by the best and by rank."""
    cells = [f"{kind}{depth}" for depth in depths]
    losses = [metrics.get(f"{cell}/train/best_loss", math.inf) for cell in cells]
    told = "best training loss by layers: " + ", ".join(
        f"{loss:.2g} at {depth}" if math.isfinite(loss) else f"all diverged at {depth}"
        for depth, loss in zip(depths, losses, strict=True)
    )
    if all(f"{cell}/train/learned" in metrics for cell in cells):
        counts = ", ".join(f"{metrics[f'{cell}/train/learned']:.0f}" for cell in cells)
        told += f"; {counts} of {metrics['search/members']:.0f} learned"
    by_rank, higher = paired.judged(metrics, f"{kind}/train", "harder")
    told += f"; {depths[-1]} layers end higher than {depths[0]} at the same settings: {by_rank}"
    harder = losses[-1] > HARDER * max(losses[0], SOLVED)
    if losses[0] >= LEARNED or harder != higher:
        return Claim(text, told, "undecided")
    return Claim(text, told, holds(harder == (kind == PLAIN)))


def _median(metrics: Metrics, cell: str) -> str:
    median = metrics.get(f"{cell}/train/median_loss")
    if median is None:
        return "over half diverged"
    return f"{median:.2g}" if median < LEARNED else "over half learned nothing"


def _all_or_some(each: Sequence[bool]) -> Judgement:
    return "holds in part" if any(each) and not all(each) else holds(all(each))


class Subject(NamedTuple):
    """What experiments of one kind ask."""

    claims: Callable[[Metrics], list[Claim]]
    """Judges by a run's metrics what is claimed; the main claim comes first."""
    rules: str
    """When the claims hold."""
    recalled: str
    """What of them and of settings was not checked against the paper."""
    brief: Callable[[Sequence[Metrics]], str] = lambda each: ""
    """Tells, by the metrics of each seed, what was found of the main claim, in a few numbers."""


ANALYSIS = Subject(
    analysis_claims,
    f"""\
Of gates and lesions a claim holds if the numbers of a seed's model are on its side, by however \
little. The first layer alone reads the input, which its lesion takes away: that it costs most is \
to be expected. Gates are nearly always active if they are {ACTIVE:g} on average. *Movement* is by \
how much a layer moves the state, ‖s_l − s_l−1‖. The discs' centres are in [0, 1] if in each \
layer, at the steps looked at, at least {100 * CENTRED:g} % of them lie there. Against a plain \
model the shares of all layers count, and nothing is decided if its validation loss is over \
{COMPARABLE:g} times the RHN's. Discs of a whole step, a product of layers of which nothing is \
claimed, are shown as well.
""",
    "the claims (sections 4 and 6) and how the paper measured what they are about",
    lambda each: f"{lesions_in_brief(each)}, but it alone reads the input",
)
STACKED = Subject(
    stacked_claims,
    f"""\
One loss is better than another if it is lower by over {100 * TOLERANCE:g} %; otherwise it's \
undecided. A model learned nothing if it doesn't come over {100 * TOLERANCE:g} % below predicting \
each token by how often it comes in training, and nothing is decided by it. A model that diverged \
is worse than one that learned. Training losses are measured while the weights change. Figure 1 of \
the paper counts the layers between states and claims nothing of losses: whether transitions do \
better than stacks is asked here.
""",
    "the claims of sections 5.1 and 5.2",
)
FEED_FORWARD = Subject(
    feed_forward_claims,
    f"""\
Networks are harder to train where the best training loss is over {HARDER:g} times as high, losses \
under {SOLVED:g} nats counting as {SOLVED:g}, and losses at the same settings are higher, too; \
they aren't where neither is so; where the two disagree it is undecided. A network has learned if \
it ends under {LEARNED:g} nats. {paired.RULE} A layer is taken out at little cost if the training \
error rises by less than {100 * HARMLESS:g} % of the images; "most" are over \
{100 * HARMLESS_SHARE:g} %, and the claim holds in part if so at some depths.
""",
    "claims and settings (Srivastava et al. 2015)",
)
SUBJECTS: Mapping[type, Subject] = {
    AnalysisConfig: ANALYSIS,
    StackConfig: STACKED,
    FeedForwardDepthConfig: FEED_FORWARD,
}
"""The class of an experiment's settings → what such experiments ask."""


def layers(metrics: Metrics, measure: str) -> list[float]:
    """Return a measure of all layers of a recurrence, in order."""
    found: list[float] = []
    while (value := metrics.get(layer_metric(len(found) + 1, measure))) is not None:
        found.append(value)
    return found


def _range(values: list[float]) -> str:
    if not values:
        return "nothing, there are none"
    return " to ".join(dict.fromkeys(f"{value:.3f}" for value in (min(values), max(values))))


def _stacked_depths(metrics: Metrics, kind: str) -> list[int]:
    """The depths at which a kind was trained in either way."""
    pattern = re.compile(rf"{kind}_(?:deep|stacked)(\d+)/")
    return sorted({int(match[1]) for name in metrics if (match := pattern.match(name))})


def _loss(metrics: Metrics, model: str, split: str) -> float:
    """A loss of a model; of the test split by the published protocol where it was measured so.

    Infinite for one that has none: it diverged.
    """
    return metrics.get(f"{model}/{split}_full/loss", metrics.get(f"{model}/{split}/loss", math.inf))


def _compared(
    metrics: Metrics, ours: tuple[str, str], other: tuple[str, str], split: str
) -> tuple[str, Judgement]:
    """Losses of two models in words, and whether the first is the better.

    Args:
      metrics: of the run.
      ours: name of a model, and which way it is built, in words.
      other: likewise.
      split: of the loss.
    """
    unigram = metrics.get(f"{UNIGRAM}/{split}/loss")
    losses = [_loss(metrics, model, split) for model, _ in (ours, other)]
    words = (
        f"{f'{loss:.4f}' if math.isfinite(loss) else '(diverged)'} {way}"
        for loss, (_, way) in zip(losses, (ours, other), strict=True)
    )
    told = f"{split} loss {', '.join(words)}"
    if unigram is None:
        return f"{told}; what it is by the tokens' frequency wasn't measured", "undecided"
    for loss, (_, way) in zip(losses, (ours, other), strict=True):
        if math.isfinite(loss) and loss >= unigram * (1 - TOLERANCE):
            return f"{told}; {way} it learned nothing ({unigram:.4f} by frequency)", "undecided"
    if all(map(math.isfinite, losses)) and abs(losses[0] - losses[1]) <= TOLERANCE * losses[1]:
        return told, "undecided"
    return told, "undecided" if losses[0] == losses[1] else holds(losses[0] < losses[1])
