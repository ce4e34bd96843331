"""What a random search came to: the runs of one architecture at one depth. Imports no JAX."""

import math
import statistics
from dataclasses import dataclass

from experiments.optimisation.catalogue import CORES
from experiments.results.paired import capped

CellMetrics = dict[str, float]


@dataclass(frozen=True)
class Run:
    """One setting, and what came of it; losses are in nats a time step."""

    learning_rate: float
    std: float
    transform_bias: float
    """Of plain cores it is drawn, and never read."""
    best_train: float | None
    """Lowest training loss of a whole epoch; None where it diverged in the first."""
    best_valid: float | None
    test: float | None
    """At the epoch of `best_valid`."""
    best_epoch: int
    epochs: int
    """That were finished."""
    diverged_at: int
    """The update that wasn't finite, or −1."""


@dataclass(frozen=True)
class Cell:
    """All runs of one architecture at one depth."""

    name: str
    core: str
    depth: int
    units: int
    runs: list[Run]

    @property
    def losses(self) -> list[float]:
        """Each run's best training loss, until it diverged if it did; infinite for none."""
        return [math.inf if run.best_train is None else run.best_train for run in self.runs]

    @property
    def best(self) -> Run | None:
        """The run that was best on validation, None if there is none."""
        found = [run for run in self.runs if run.best_valid is not None]
        return min(found, key=lambda run: run.best_valid or 0.0, default=None)

    def metrics(self, frequency_nll: float) -> CellMetrics:
        """Return the cell's metrics; what isn't finite is left out.

        Args:
          frequency_nll: the loss of predicting each key by its frequency, below which a run learned
            something; in the median none counts as worse than that.
        """
        found = {
            "train/best_nll": min(self.losses),
            "train/median_nll": statistics.median(capped(self.losses, frequency_nll)),
            "search/learned": float(sum(loss < frequency_nll for loss in self.losses)),
            "search/diverged": float(sum(run.diverged_at >= 0 for run in self.runs)),
            "search/epochs": statistics.fmean(run.epochs for run in self.runs),
        }
        if (best := self.best) is not None:
            found |= {
                "valid/nll": math.inf if best.best_valid is None else best.best_valid,
                "test/nll": math.inf if best.test is None else best.test,
                "search/best_epoch": float(best.best_epoch),
                "search/still_falling": float(best.best_epoch == best.epochs),
                "search/best_learning_rate": best.learning_rate,
                "search/best_std": best.std,
            }
            if self.core == next(iter(CORES)):
                found["search/best_transform_bias"] = best.transform_bias
        return {name: value for name, value in found.items() if math.isfinite(value)}
