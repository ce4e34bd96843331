"""The reward of a molecule, from its properties."""

from collections.abc import Mapping, Sequence

import numpy as np

from common.error import ConfigError
from common.molecule import split_smiles
from tutor.molecules.chemistry import HARDEST, Value
from tutor.molecules.config import RewardConfig, ScoringConfig
from tutor.molecules.scorer import Scorer

NAMES = ("qed", "sa", "logp", "ring_penalty", "atoms")
"""Properties that the terms are made of; those of the user's functions follow."""


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
        try:
            measured = self.scorer.measure(molecules)
        except ConfigError as error:
            self.failure = error
            raise
        least = self.config.invalid
        sums = [
            least
            if values is None
            else max(sum(terms(self.config, smiles, values).values()), least)
            for smiles, values in zip(molecules, measured, strict=True)
        ]
        return np.array(sums, np.float32)

    def terms(self, molecules: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the weighted terms by name, float64 [molecules]: NaN where there is no molecule.

        Those of weight 0 are left out.
        """
        measured = self.scorer.measure(molecules)
        found = [
            None if values is None else terms(self.config, smiles, values)
            for smiles, values in zip(molecules, measured, strict=True)
        ]
        return {
            name: np.array([np.nan if one is None else one[name] for one in found])
            for name, weight in weights(self.config).items()
            if weight
        }

    def properties(self, molecules: Sequence[str]) -> dict[str, np.ndarray]:
        """Return properties by name, float64 [molecules]: NaN where there is no molecule.

        They are those of `NAMES`, and "valid", 1 or 0.
        """
        measured = self.scorer.measure(molecules)
        nothing = (np.nan,) * len(NAMES)
        table = np.array([values[: len(NAMES)] if values else nothing for values in measured])
        columns = table.reshape(len(molecules), len(NAMES)).T.astype(np.float64)
        valid = np.array([values is not None for values in measured], np.float64)
        return {"valid": valid, **dict(zip(NAMES, columns, strict=True))}


def weights(config: RewardConfig) -> dict[str, float]:
    """Return the weight of each term of a molecule's reward, in the order of `terms`."""
    names = ("valid", "qed", "sa", "logp", "ring", "repeated_carbons", "trivial")
    return {name: getattr(config, name) for name in names} | dict(config.functions)


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
