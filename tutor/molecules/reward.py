"""The reward of a molecule, from its properties."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.error import ConfigError
from common.molecule import split_smiles
from tutor.molecules.chemistry import HARDEST, Value
from tutor.molecules.config import RewardConfig, ScoringConfig
from tutor.molecules.scorer import Scorer, Values

NAMES = ("qed", "sa", "logp", "ring_penalty", "atoms")
"""Properties that the terms are made of; those of the user's functions follow."""


TERM = "term/"
"""What stands before a term's name among other measures."""


class Reward:
    """Scores molecules by settings; remembers the properties of those it knows."""

    def __init__(self, config: RewardConfig, scoring: ScoringConfig, *, cores: int = 1):
        """Make a reward; no process is started yet.

        Args:
          config: which terms.
          scoring: by which processes.
          cores: how many processes there are by default.

        Raises:
          ConfigError: RDKit isn't installed.
        """
        self.config = config
        self.failure: ConfigError | None = None
        """What it raised last: JAX hides the kind of an error that comes out of a call to it."""
        self.scorer = Scorer(
            NAMES,
            [name for name, _ in config.functions],
            workers=scoring.workers or cores,
            timeout=scoring.timeout,
            remembered=scoring.remembered,
        )

    def __call__(self, molecules: Sequence[str]) -> np.ndarray:
        """Return the reward of each molecule, float32 [molecules].

        Raises:
          ConfigError: a function of the user's failed.
        """
        return self._rewards(molecules, self._values(molecules))

    def measure(self, molecules: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what is known of each molecule, float64 [molecules], by one call of the scorer.

        Returns:
          valid, 1 or 0; properties by the names of `NAMES` and the reward's weighted terms, as
          TERM + name, but those of weight 0: NaN where there is no molecule; the reward.

        Raises:
          ConfigError: a function of the user's failed.
        """
        measured = self._values(molecules)
        width = len(NAMES)
        table = np.full((len(molecules), width), np.nan)
        parts = {name: np.full(len(molecules), np.nan) for name in weights(self.config)}
        for row, (smiles, values) in enumerate(zip(molecules, measured, strict=True)):
            if values is not None:
                table[row] = values[:width]
                named = terms(self.config, smiles, values)
                for name, column in parts.items():
                    column[row] = named[name]
        return {
            "valid": np.array([values is not None for values in measured], np.float64),
            **dict(zip(NAMES, table.T, strict=True)),
            **{TERM + name: column for name, column in parts.items()},
            "reward": self._rewards(molecules, measured).astype(np.float64),
        }

    def _values(self, molecules: Sequence[str]) -> list[Values]:
        try:
            return self.scorer.measure(molecules)
        except ConfigError as error:
            self.failure = error
            raise

    def _rewards(self, molecules: Sequence[str], measured: Sequence[Values]) -> np.ndarray:
        least = self.config.invalid
        sums = [
            least
            if values is None
            else max(sum(terms(self.config, smiles, values).values()), least)
            for smiles, values in zip(molecules, measured, strict=True)
        ]
        return np.array(sums, np.float32)


def function_checksums(config: RewardConfig) -> dict[str, str]:
    """Return the SHA-256 of the file that each function of the user's is in, by its name.

    What that file imports isn't in it. One that isn't found, or is no file's, is left out.
    """
    found = {}
    for name, _ in config.functions:
        try:
            spec = importlib.util.find_spec(name.partition(":")[0])
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.has_location and spec.origin is not None:
            found[name] = hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    return found


def weights(config: RewardConfig) -> dict[str, float]:
    """Return the weights of a molecule's reward by term, but those of 0."""
    names = ("valid", "qed", "sa", "logp", "ring", "repeated_carbons", "trivial")
    found = {name: getattr(config, name) for name in names} | dict(config.functions)
    return {name: weight for name, weight in found.items() if weight}


def terms(config: RewardConfig, smiles: str, values: tuple[Value, ...]) -> Mapping[str, float]:
    """Return the weighted terms of a molecule's reward.

    Args:
      config: weights and limits.
      smiles: as generated.
      values: of `NAMES` and of the user's functions.

    Returns:
      Name → term.
    """
    named = dict(zip(NAMES, map(float, values), strict=False))
    found = {
        "valid": config.valid,
        "qed": config.qed * named["qed"],
        "sa": config.sa * (HARDEST - named["sa"]) / (HARDEST - 1),
        "logp": config.logp * named["logp"],
        "ring": -config.ring * named["ring_penalty"],
        "repeated_carbons": -config.repeated_carbons * max(longest_run(smiles) - config.carbons, 0),
        "trivial": -config.trivial * max(config.atoms - named["atoms"], 0),
    }
    own = zip(config.functions, values[len(NAMES) :], strict=True)
    return found | {name: weight * float(value) for (name, weight), value in own}


def longest_run(smiles: str) -> int:
    """Return the length of the longest run of carbons outside aromatic rings: the token C."""
    longest = run = 0
    for token in split_smiles(smiles):
        run = run + 1 if token == "C" else 0
        longest = max(longest, run)
    return longest
