"""How perplexity goes with recurrence depth on Penn Treebank: which runs tell, and in words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from common.record import Record
from common.table import LEAST_FOR_INTERVAL, Summary, summarize
from experiments.language.catalogue import README
from experiments.registry import Published, find
from experiments.results.alike import as_preset, on_one_data, seeds_a, told_apart
from experiments.results.cells import number
from experiments.results.row import changed_settings, data_mark
from experiments.results.verdict import NEAR, TOLERANCE, short
from highway.metric import metric

TEST = "test_full/perplexity"
LEAST_DEPTHS = 3
"""Of a preset's runs, for a word on how perplexity goes with depth."""
_ROW = re.compile(r"rhn_penn_treebank_depth(?P<depth>\d+)_(?P<weights>untied|tied)")


class Study(NamedTuple):
    """Finished runs that differ in depth and seed alone."""

    preset: str
    weights: str
    """Of embedding and softmax: tied or untied."""
    depths: Mapping[int, Sequence[Record]]
    """Depth → a record a seed, the least depth first."""

    def perplexity(self) -> dict[int, Summary]:
        """Return of each depth the test perplexity over seeds."""
        return {
            depth: summarize([one.metrics[TEST] for one in made])
            for depth, made in self.depths.items()
        }

    def published(self) -> dict[int, Published]:
        """Return of each depth the test perplexity that the depth study published."""
        return {
            depth: one
            for depth, made in self.depths.items()
            for one in find(made[0].experiment).published
            if one.metric == TEST and one.source == README
        }

    def runs(self) -> int:
        """Return how many runs it has."""
        return sum(map(len, self.depths.values()))

    def size(self) -> str:
        """Say how many parameters the models have."""
        counts = {one.parameters for made in self.depths.values() for one in made}
        sizes = sorted(count for count in counts if isinstance(count, int))
        return f"{' to '.join(dict.fromkeys((short(sizes[0]), short(sizes[-1]))))} parameters"

    def epochs(self) -> int:
        """Return how long they trained."""
        (first, *_), *_ = self.depths.values()
        return int(first.config["train"]["epochs"])


def studies(records: Iterable[Record]) -> list[Study]:
    """Return the studies of each preset, with its settings as they are now and on the same data,
    where they have three depths or more."""
    runs: dict[tuple[str, str], list[Record]] = {}
    for one in as_preset((one for one in _asked(records) if TEST in one.metrics), TEST):
        if one.preset != "smoke":
            runs.setdefault((one.preset, _weights(one)), []).append(one)
    found = []
    for (preset, weights), made in sorted(runs.items()):
        depths: dict[int, list[Record]] = {}
        for one in sorted(on_one_data(made), key=_depth):
            depths.setdefault(_depth(one), []).append(one)
        if len(depths) >= LEAST_DEPTHS:
            found.append(Study(preset, weights, depths))
    return found


def findings(records: Iterable[Record]) -> list[str]:
    """Return a sentence on the study of each preset that has the most runs."""
    records = list(records)
    largest: dict[str, Study] = {}
    for study in studies(records):
        other = largest.get(study.preset)
        if other is None or study.runs() > other.runs():
            largest[study.preset] = study
    return [_by_depth(study) + _diverged(records, study) for study in largest.values()]


def _asked(records: Iterable[Record]) -> list[Record]:
    """Those of the depth study."""
    return [one for one in records if _ROW.fullmatch(one.experiment)]


def _diverged(records: Iterable[Record], study: Study) -> str:
    """Say how many seeds diverged at which depth, of runs like those that finished."""
    depths = study.depths
    finished = [one for made in depths.values() for one in made]
    marks = {data_mark(one) for one in finished}
    lost: dict[int, set[int]] = {}
    for one in _asked(records):
        if (
            one.status == "diverged"
            and (one.preset, _weights(one)) == (study.preset, study.weights)
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


def _by_depth(study: Study) -> str:
    """Say at which depth the test perplexity is lowest, ours and the published."""
    found, published = study.perplexity(), study.published()
    values = {depth: one.value for depth, one in published.items()}
    told = []
    for depth, one in found.items():
        paper = f" ({published[depth].printed})" if depth in published else ""
        told.append(f"{depth}: {number(one.mean, metric(TEST))}{paper}")
    lowest = _lowest({depth: one.mean for depth, one in found.items()})
    of_published = f" (of the published, at {_listed(_lowest(values))})" if published else ""
    beside = " (published, at full size)" if published else ""
    return (
        f"Penn Treebank by recurrence depth, {study.weights}, preset {study.preset} "
        f"({study.size()}, {study.epochs()} epochs, "
        f"{seeds_a(map(len, study.depths.values()), 'depth')}): test perplexity{beside} at depth "
        f"{'; '.join(told)}. Lowest at {_listed(lowest)}{of_published}{_beside(found, lowest)}."
    )


def _lowest(values: Mapping[int, float]) -> list[int]:
    """Return the depths of the lowest value."""
    return [depth for depth, value in values.items() if value == min(values.values())]


def _listed(depths: Sequence[int]) -> str:
    *first, last = map(str, depths)
    return f"{', '.join(first)} and {last}" if first else last


def _beside(found: Mapping[int, Summary], lowest: Sequence[int]) -> str:
    """Say which depths come near the lowest, and where seeds are too few to tell how near."""
    least = found[lowest[0]].mean
    near = [
        depth
        for depth, one in found.items()
        if depth not in lowest and one.mean <= least * (1 + TOLERANCE)
    ]
    told = f", {NEAR} of it at {_listed(near)}" if near else ""
    overlapping = [one for one in near if not told_apart(found[one], found[lowest[0]])]
    if near and all(found[one].low is not None for one in (lowest[0], *near)):
        which = f"those at {_listed(overlapping)}" if overlapping else "none of theirs"
        told += f" (its interval overlaps {which})"
    if few := [depth for depth, one in found.items() if one.low is None]:
        where = "a depth" if len(few) == len(found) else f"at depth {_listed(few)}"
        told += (
            f"; with fewer than {LEAST_FOR_INTERVAL} seeds {where} it isn't known how much of a "
            "difference is the seeds'"
        )
    return told
