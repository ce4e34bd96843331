"""The first paper's tables of language models, as it arranges them."""

from collections.abc import Iterable
from pathlib import Path

from common.record import Record
from experiments.language.catalogue import ENWIK8, PENN_TREEBANK_ROWS, TEXT8
from experiments.language.depth_study import TEST, findings, studies
from experiments.language.picture import draw
from experiments.registry import Experiment, Report, find
from experiments.results.paper_table import Asked, Line, PaperTable
from experiments.results.verdict import short

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

PICTURE = "rhn_penn_treebank_depth.png"

VALID, MC = "valid/perplexity", "test_mc/perplexity"


def tables() -> list[PaperTable]:
    """Return the depth study and the headline results."""
    return [_depth_study(), _headline(), _characters("enwik8", ENWIK8), _characters("text8", TEXT8)]


def draw_figures(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw how perplexity goes with depth, where runs tell; return the file."""
    found = studies(records)
    return [draw(found, folder / PICTURE)] if found else []


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
        "Monte-Carlo dropout. The paper's: the depth study of the authors' README; the third "
        "number, and at depth 10, tied, the lower ones (also the paper's), from its comparison.",
        labels=("depth", "units", "parameters"),
        groups=("untied", "tied"),
        lines=tuple(
            Line(
                (str(depth), f"{units:,}", sizes(depth)),
                (entry(depth, "untied"), entry(depth, "tied")),
            )
            for depth, (units, *_) in PENN_TREEBANK_ROWS.items()
        ),
        picture=PICTURE,
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
        "Of two numbers the first is from the depth study of the authors' README, the second "
        "from its comparison and the paper.",
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


REPORT = Report(tables=tables, findings=findings, draw_figures=draw_figures)
