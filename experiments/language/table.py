"""The first paper's tables of language models, as it arranges them."""

import re
from collections.abc import Iterable, Mapping, Sequence

from common.record import Record
from common.table import LEAST_FOR_INTERVAL, Summary, summarize
from experiments.language.catalogue import ENWIK8, PENN_TREEBANK_ROWS, TEXT8
from experiments.registry import Experiment, Report, find
from experiments.results.alike import as_preset, on_one_data, seeds_a, told_apart
from experiments.results.cells import spread
from experiments.results.paper_table import Asked, Line, PaperTable
from experiments.results.row import changed_settings, data_mark
from experiments.results.verdict import short
from highway.metric import metric

OTHERS_ON_PENN_TREEBANK = {
    "LSTM + dropout": ("66 M", "78.4"),
    "Variational LSTM": ("66 M", "75.0"),
    "Variational LSTM + WT": ("51 M", "73.2"),
    "Pointer Sentinel LSTM": ("21 M", "70.9"),
    "ensemble of 38 LSTMs": ("", "68.7"),
}
"""Model → parameters and test perplexity (docs/published.md, "Penn Treebank headline")."""
OTHERS_ON_ENWIK8 = {
    "Grid-LSTM": "1.47",
    "MI-LSTM": "1.44",
    "mLSTM": "1.42",
    "LN HyperNetworks": "1.34",
    "LN HM-LSTM": "1.32",
}
"""Model → test bits per character (docs/published.md, "enwik8 and text8")."""

VALID, TEST, MC = "valid/perplexity", "test_full/perplexity", "test_mc/perplexity"
LEAST_DEPTHS = 3
"""Of a preset's runs, for a word on how perplexity goes with depth."""
_ROW = re.compile(r"rhn_penn_treebank_depth(?P<depth>\d+)_(?P<weights>untied|tied)")


def tables() -> list[PaperTable]:
    """Return the depth study and the headline results."""
    return [_depth_study(), _headline(), _characters("enwik8", ENWIK8), _characters("text8", TEXT8)]


def findings(records: Iterable[Record]) -> list[str]:
    """Return how perplexity goes with depth where finished runs of a preset, with its settings as
    they are now and on the same data, have three depths or more."""
    asked = [one for one in records if _ROW.fullmatch(one.experiment)]
    runs: dict[tuple[str, str], list[Record]] = {}
    for one in as_preset((one for one in asked if TEST in one.metrics), TEST):
        if one.preset != "smoke":
            runs.setdefault((one.preset, _weights(one)), []).append(one)
    told = []
    for (preset, weights), made in sorted(runs.items()):
        depths: dict[int, list[Record]] = {}
        for one in sorted(on_one_data(made), key=_depth):
            depths.setdefault(_depth(one), []).append(one)
        if len(depths) >= LEAST_DEPTHS:
            told.append(_by_depth(preset, weights, depths) + _diverged(asked, depths))
    return told


def _diverged(asked: Iterable[Record], depths: Mapping[int, Sequence[Record]]) -> str:
    """Say how many seeds diverged at which depth, of runs like those that finished."""
    finished = [one for made in depths.values() for one in made]
    marks = {data_mark(one) for one in finished}
    lost: dict[int, set[int]] = {}
    for one in asked:
        if (
            one.status == "diverged"
            and (one.preset, _weights(one)) == (finished[0].preset, _weights(finished[0]))
            and not changed_settings(one, find(one.experiment), TEST)
            and data_mark(one) in marks
        ):
            lost.setdefault(_depth(one), set()).add(one.seed)
    told = []
    for depth, seeds in sorted(lost.items()):
        ended = {one.seed for one in depths.get(depth, ())}
        if away := len(seeds - ended):
            told.append(f"{away} of {len(seeds | ended)} at depth {depth}")
    return f" Seeds that diverged: {', '.join(told)}." if told else ""


def _depth(record: Record) -> int:
    return int(_row(record)["depth"])


def _weights(record: Record) -> str:
    return _row(record)["weights"]


def _row(record: Record) -> re.Match[str]:
    """Of the depth study, the row that a record's run is of."""
    row = _ROW.fullmatch(record.experiment)
    assert row is not None
    return row


def _by_depth(preset: str, weights: str, depths: Mapping[int, Sequence[Record]]) -> str:
    """Say at which depth the test perplexity is lowest, ours and the published."""
    values = {depth: [one.metrics[TEST] for one in made] for depth, made in depths.items()}
    found = {depth: summarize(each) for depth, each in values.items()}
    printed = {
        depth: [one.value for one in find(made[0].experiment).published if one.metric == TEST]
        for depth, made in depths.items()
    }
    published = {depth: min(each) for depth, each in printed.items() if each}
    counts = {one.parameters for made in depths.values() for one in made}
    sizes = sorted(count for count in counts if isinstance(count, int))
    each = "; ".join(f"{depth}: {spread(one, metric(TEST))}" for depth, one in found.items())
    lowest = _lowest({depth: one.mean for depth, one in found.items()})
    of_published = f" (of the published, at {_listed(_lowest(published))})" if published else ""
    return (
        f"Penn Treebank by recurrence depth, {weights}, preset {preset} "
        f"({' to '.join(dict.fromkeys((short(sizes[0]), short(sizes[-1]))))} parameters, "
        f"{seeds_a(map(len, depths.values()), 'depth')}): test perplexity at depth {each}. Lowest "
        f"at {_listed(lowest)}{of_published}; {_how_sure(found, lowest)}."
    )


def _lowest(values: Mapping[int, float]) -> list[int]:
    """Return the depths of the lowest value."""
    return [depth for depth, value in values.items() if value == min(values.values())]


def _listed(depths: Sequence[int]) -> str:
    return " and ".join(map(str, depths))


def _how_sure(found: Mapping[int, Summary], lowest: Sequence[int]) -> str:
    """Say which depths can't be told from the lowest, as far as seeds tell."""
    if few := [depth for depth, one in found.items() if one.low is None]:
        where = "a depth" if len(few) == len(found) else f"at depth {_listed(few)}"
        return (
            f"with fewer than {LEAST_FOR_INTERVAL} seeds {where} it isn't known how much of a "
            "difference is the seeds'"
        )
    near = [
        str(depth)
        for depth, one in found.items()
        if depth not in lowest and not told_apart(one, found[lowest[0]])
    ]
    return f"intervals overlap with those at {', '.join(near)}" if near else "no interval overlaps"


def _depth_study() -> PaperTable:
    def entry(depth: int, weights: str) -> tuple[Asked, ...]:
        name = f"rhn_penn_treebank_depth{depth}_{weights}"
        published = {one.metric for one in find(name).published}
        return tuple(Asked(name, one) for one in (VALID, TEST, MC) if one in published)

    def sizes(depth: int) -> str:
        both = (f"rhn_penn_treebank_depth{depth}_{weights}" for weights in ("untied", "tied"))
        counts = [count for name in both if (count := find(name).paper_parameters) is not None]
        return " / ".join(map(short, counts))

    return PaperTable(
        title="Penn Treebank by recurrence depth",
        caption="Validation / test perplexity of words, at about one size (parameters: untied / "
        "tied); *tied*: one matrix for embedding and softmax. A third number is the test's with "
        "Monte-Carlo dropout. The paper's: the authors' README, and for the third number their "
        "headline results; at depth 10, tied, also the paper itself.",
        labels=("depth", "units", "parameters"),
        groups=("untied", "tied"),
        lines=tuple(
            Line(
                (str(depth), f"{units:,}", sizes(depth)),
                (entry(depth, "untied"), entry(depth, "tied")),
            )
            for depth, (units, *_) in PENN_TREEBANK_ROWS.items()
        ),
    )


def _headline() -> PaperTable:
    names = {
        "Variational RHN, depth 8": ("32 M", "rhn_penn_treebank_depth8_untied", "test_full"),
        "Variational RHN + WT, depth 10": ("23 M", "rhn_penn_treebank_depth10_tied", "test_full"),
        "Variational RHN + WT, depth 5, MC": ("22 M", "rhn_penn_treebank_depth5_tied", "test_mc"),
    }
    others = [
        Line((model, size), ((value,),)) for model, (size, value) in OTHERS_ON_PENN_TREEBANK.items()
    ]
    rhns = [
        Line((model, size), ((Asked(name, f"{split}/perplexity"),),))
        for model, (size, name, split) in names.items()
    ]
    passes = find("rhn_penn_treebank_depth5_tied").preset("paper").config.evaluation.mc_passes
    return PaperTable(
        title="Penn Treebank beside other models",
        caption=f"Test perplexity of words; *MC*: Monte-Carlo dropout at test, {passes:,} passes. "
        "Of two numbers the first is the authors' README's, the second the paper's.",
        labels=("model", "parameters"),
        groups=("test",),
        lines=(*others, *rhns),
    )


def _characters(corpus: str, experiments: Iterable[Experiment]) -> PaperTable:
    others = OTHERS_ON_ENWIK8 if corpus == "enwik8" else {}
    lines = [Line((model, "", ""), ((value,),)) for model, value in others.items()]
    for one in experiments:
        model = one.preset("paper").config.model
        size = one.title.rpartition(", ")[2].removesuffix(" parameters")
        labels = (f"RHN, depth {model.depth}", f"{model.units:,}", size)
        lines.append(Line(labels, ((Asked(one.name, "test_full/bits_per_character"),),)))
    return PaperTable(
        title=f"Wikipedia characters: {corpus}",
        caption="Test bits per character.",
        labels=("model", "units", "parameters"),
        groups=("test",),
        lines=tuple(lines),
    )


REPORT = Report(tables=tables, findings=findings)
