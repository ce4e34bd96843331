"""Molecules as a domain: tokens of SMILES, chemistry as reward, CSV files and pictures."""

import csv
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common import device
from common.config import from_dict
from common.error import ConfigError, DataError
from common.molecule import BEGIN, MOSES
from common.plot import LARGEST_BYTES, with_few_colours
from common.progress import Progress
from common.table import Cell, Table
from experiments.domain import FIRST, Composed, Domain, Notes
from tutor.evaluation import Compositions
from tutor.molecules import chemistry, statistics
from tutor.molecules.config import RewardConfig, ScoringConfig
from tutor.molecules.environment import make_environment
from tutor.molecules.reward import NAMES, TERM, Reward
from tutor.molecules.scorer import Scorer

LENGTH = 60
"""Tokens of a molecule at most, its end included."""
REWARD = "reward"
"""In a model's notes: the settings of the reward that its molecules are scored by."""
SHOWN = 24
"""Molecules of a picture."""
_COLUMNS, _SIDE = 6, (170, 150)
_OURS = re.compile(r"molecules\.csv|molecules\d*\.png")


def smiles_of(made: Compositions, primer: np.ndarray | None = None) -> list[str]:
    """Return the SMILES of sequences [N, T], those of a primer before each."""
    lead = [] if primer is None else [int(number) for number in primer if number != BEGIN]
    return [
        MOSES.decode([*lead, *row[:length]])
        for row, length in zip(np.asarray(made.events), made.lengths, strict=True)
    ]


@functools.cache
def benchmark_scorer() -> Scorer:
    """Return what measures molecules for the benchmark."""
    return Scorer(statistics.NAMES, workers=device.cores())


def of_each(made: Compositions, reward: Reward) -> dict[str, np.ndarray]:
    """Measure each molecule of [N, T]: arrays [N], NaN where it has no such measure.

    Returns:
      What `Reward.measure` does; of all: length in tokens, and kl_policy_prior and log_prior as
      sums over the tokens, in nats.
    """
    molecules = smiles_of(made)

    def total(values: np.ndarray) -> np.ndarray:
        return np.where(made.counted, values, 0.0).astype(np.float64).sum(axis=1)

    return {
        **reward.measure(molecules),
        "kl_policy_prior": total(made.kl),
        "log_prior": total(made.log_prior),
        "length": made.lengths.astype(np.float64),
    }


def optima(each: Mapping[str, np.ndarray], several: Iterable[float]) -> dict[str, float]:
    """Estimate the best policy for each of several c from molecules of the prior, see `of_each`.

    Returns:
      `optimum/c…/NAME`, see `statistics.optimum`.
    """
    return {
        f"optimum/c{c:g}/{name}": value
        for c in several
        for name, value in statistics.optimum(each["reward"], c, {"valid": each["valid"]}).items()
    }


def judge(made: Compositions) -> dict[str, float]:
    """Measure molecules [N, T] as metrics of a record: those of the benchmark but novelty."""
    return statistics.benchmark(smiles_of(made), benchmark_scorer(), "composed")


def write(made: Compositions, folder: Path, notes: Notes) -> None:
    """Write the first molecules in composition1.txt, and molecules.png.

    A picture that would be too large is left out, and a note says so: the run has been trained.
    """
    chosen = smiles_of(made)[:SHOWN]
    (folder / f"{FIRST}.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    try:
        draw(chosen, folder / "molecules.png")
    except DataError as error:
        Progress(folder.name).note(f"left out: {error}")


def read_primer(path: Path, folder: Path, notes: Notes) -> np.ndarray:
    """Read the beginning of a molecule from a text file: SMILES that may be unfinished.

    Raises:
      DataError: it can't be read, or has tokens that the model doesn't know.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    numbers = MOSES.encode(text)[:-1]
    if len(text.split()) > 1 or not 1 <= len(numbers) <= LENGTH:
        raise DataError(f"{path}: a primer is one beginning of a molecule, at most {LENGTH} long.")
    return numbers


def render(
    made: Compositions,
    folder: Path,
    notes: Notes,
    primer: np.ndarray | None,
    title: str,
    *,
    wav: bool = False,
) -> Composed:
    """Write molecules with properties and terms of the reward as molecules.csv, and pictures.

    Raises:
      ConfigError: they are to sound, or RDKit isn't installed.
    """
    if wav:
        raise ConfigError("--wav: molecules make no sound.")
    reward = Reward(from_dict(RewardConfig, notes[REWARD]), ScoringConfig(), cores=device.cores())
    molecules = smiles_of(made, primer)
    try:
        scores = reward.measure(molecules)
    finally:
        reward.scorer.close()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            path.unlink()
    file = folder / "molecules.csv"
    titles = ("number", "smiles", "valid", "reward", *NAMES)
    parts = [name for name in scores if name.startswith(TERM)]
    measured = (*NAMES, *parts)
    rows: list[tuple[Cell, ...]] = [
        (
            k + 1,
            smiles,
            int(scores["valid"][k]),
            f"{scores['reward'][k]:.4f}",
            *(_number(scores[name][k]) for name in measured),
        )
        for k, smiles in enumerate(molecules)
    ]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow((*titles, *(f"reward_{name.removeprefix(TERM)}" for name in parts)))
        writer.writerows(rows)
    pictures = []
    for start in range(0, len(molecules), SHOWN):
        name = f"molecules{start // SHOWN + 1 if start else ''}.png"
        pictures.append(draw(molecules[start : start + SHOWN], folder / name, scores, start))
    shown = [row[: len(titles)] for row in rows]  # the terms would make it too wide for a terminal
    table = Table(titles, shown, frozenset(titles) - {"smiles"})
    return Composed(np.asarray(made.events), scores, [file], pictures, table)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def draw(
    molecules: Sequence[str],
    path: Path,
    scores: dict[str, np.ndarray] | None = None,
    start: int = 0,
) -> Path:
    """Draw molecules in a grid; what is none leaves its place empty.

    Args:
      molecules: SMILES.
      path: of the PNG file.
      scores: from which the captions are taken, where there are any.
      start: place in the scores of the first molecule.

    Raises:
      DataError: the picture would be too large to be committed.
    """
    from rdkit.Chem import Draw

    chemistry.silence()
    captions = []
    for k in range(len(molecules)):
        text = f"{start + k + 1}"
        if scores is not None and scores["valid"][start + k]:
            values = {name: float(scores[name][start + k]) for name in ("qed", "sa", "logp")}
            text += "".join(f"  {name} {value:.2f}" for name, value in values.items())
        captions.append(text)
    parsed = [chemistry.parse(one) for one in molecules]
    picture = Draw.MolsToGridImage(
        parsed, molsPerRow=_COLUMNS, subImgSize=_SIDE, legends=captions, returnPNG=True
    )
    content = with_few_colours(bytes(picture))
    if len(content) > LARGEST_BYTES:
        raise DataError(f"{path}: {len(content)} bytes, over {LARGEST_BYTES}.")
    path.write_bytes(content)
    return path


MOLECULES = Domain(
    name="molecules",
    num_events=len(MOSES),
    environment=make_environment(MOSES, LENGTH, None),
    length=LENGTH,
    judge=judge,
    write=write,
    read_primer=read_primer,
    render=render,
)
