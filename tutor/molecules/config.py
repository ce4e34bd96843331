"""What a good molecule is, and how molecules are scored."""

from dataclasses import dataclass
from typing import Annotated

from common.config import IMMATERIAL, FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveFloat
from common.error import ConfigError


@dataclass(frozen=True)
class RewardConfig:
    """The reward at the end of a molecule, a sum of weighted terms; a weight of 0 turns one off.

    All terms but `valid` are those of a valid molecule; what is none gets 0.
    """

    valid: FiniteFloat = 1.0
    """For being a molecule."""
    qed: FiniteFloat = 2.0
    """Times drug-likeness, 0..1."""
    sa: FiniteFloat = 1.0
    """Times ease of synthesis: (10 − SA) / 9, 0..1."""
    logp: FiniteFloat = 0.0
    """Times the partition coefficient logP."""
    ring: FiniteFloat = 1.0
    """Times minus the number of atoms by which the largest ring exceeds six."""
    functions: tuple[tuple[str, FiniteFloat], ...] = ()
    """The user's own terms with their weights, as in `[["my_module:my_function", 0.5]]`; each is a
    function of RDKit's molecule that returns a number."""
    repeated_carbons: NonNegativeFloat = 0.2
    """Against long carbon chains, which raise logP: times minus the carbons beyond `carbons` in the
    longest run of the token C."""
    carbons: NonNegativeInt = 5
    """How long a run of carbons may be."""
    trivial: NonNegativeFloat = 0.2
    """Against molecules of a few atoms, which are easily valid and easily made: times minus the
    atoms that are missing to `atoms`."""
    atoms: NonNegativeInt = 12
    """How many atoms other than hydrogen a molecule must have."""

    def __post_init__(self):
        """Raise ConfigError where a function's name can't be one."""
        for name, _ in self.functions:
            module, _, attribute = name.partition(":")
            if not (module and attribute.isidentifier()):
                raise ConfigError(f"reward.functions: '{name}': write MODULE:FUNCTION.")


@dataclass(frozen=True)
class ScoringConfig:
    """The processes that score molecules."""

    workers: Annotated[NonNegativeInt, IMMATERIAL] = 0
    """How many; 0 for one a CPU core."""
    timeout: PositiveFloat = 10.0
    """Seconds after which a process that is still at a molecule is replaced; a molecule over which
    that happens twice counts as invalid."""
    remembered: Annotated[NonNegativeInt, IMMATERIAL] = 200_000
    """Molecules whose properties are kept, so that they needn't be computed again."""
