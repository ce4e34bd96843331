"""Several seeds of tuning as a population."""

from typing import Any

from common.population import Population
from tutor.learner import Learner


class Together(Population):
    """A population of the learner, which by itself runs several seeds."""

    def __init__(self, learner: Learner, seeds: Any):
        self.learner, self.seeds = learner, tuple(seeds)  # type: ignore[assignment]

    def initial_state(self, make: Any) -> Any:
        """All seeds' states from a partial application of `learner.initial_state`."""
        return make(self.seeds)

    def advance(self, state: Any, stop: int) -> Any:
        """As the learner's."""
        return self.learner.advance(state, stop)  # type: ignore[attr-defined]

    def collect(self, state: Any) -> Any:
        """Metrics `seed<k>/<name>`."""
        state, each = self.learner.collect(state)  # type: ignore[attr-defined]
        return state, {
            f"seed{seed}/{name}": value
            for seed, values in zip(self.seeds, each, strict=True)
            for name, value in values.items()
        }
