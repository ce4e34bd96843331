"""The training loop: advance, report, evaluate, checkpoint; resumable at any update."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from common.checkpoint import Checkpoints, abstract
from common.error import DivergedError, InterruptedRun
from common.interrupt import Interrupt
from common.population import whole
from common.progress import Progress, duration
from common.run_directory import RunDirectory

CALL_SECONDS = 0.5
"""About how long a call to the device lasts: how soon progress moves and a signal is heard."""
CHECKPOINT_SECONDS = 300.0
"""Between two checkpoints where no evaluation falls."""

Tick = Callable[[], None]
"""Called where stopping loses nothing; raises InterruptedRun to stop."""


class Learner(Protocol):
    """What the loop asks of a training problem; its states have fields `step` and `diverged_at`."""

    def advance(self, state: Any, stop: int) -> Any:
        """Update until `stop` are done in all, or one isn't finite; consumes `state`."""

    def collect(self, state: Any) -> tuple[Any, dict[str, float]]:
        """Return metrics over the updates since the last call, and the state to go on with."""


@dataclass(frozen=True)
class Schedule:
    """When things happen, in updates."""

    total: int
    report_every: int
    evaluate_every: int
    items_per_update: int
    """Tokens or environment steps, for the speed shown."""
    item: str
    stage: str = "epoch"
    """What is counted where an evaluation is told."""
    epoch: int | None = None
    """Updates of an epoch or stage; None for one that ends with every evaluation."""
    multiple: int = 1
    """Updates in one indivisible step of the learner; `total` is a multiple of it. What is due
    inside such a step happens right after it."""

    def boundary_after(self, step: int) -> int:
        """Return the next update at which a row is due."""
        return min(
            self.total,
            (step // self.report_every + 1) * self.report_every,
            (step // self.evaluate_every + 1) * self.evaluate_every,
        )


class Training:
    """One training in one run directory.

    What comes out depends on the learner and the initial state only: not on how the training is cut
    into calls, sessions or reports.
    """

    def __init__(
        self,
        run: RunDirectory,
        learner: Learner,
        schedule: Schedule,
        *,
        evaluate: Callable[[Any, Tick], tuple[dict[str, float], float | None]],
        describe: Callable[[dict[str, float]], str],
        label: str,
        folder: str = "",
        sink: Callable[[dict[str, Any]], None] = lambda row: None,
        accept: Callable[[dict[str, float]], None] = lambda metrics: None,
    ):
        """A training whose files lie in the run's directory, or in a folder of it.

        Args:
          run: the directory; of several processes the one that leads it decides and writes.
          learner: what is trained.
          schedule: when things happen.
          evaluate: (state, tick) → metrics on held-out data, and the score by which the best
            checkpoint is chosen, lower being better. With None for a score the last state is the
            result, and no checkpoint is saved for an evaluation.
          describe: puts a row of metrics in a few words, for the progress line.
          label: what the progress line begins with.
          folder: within the run's directory.
          sink: gets every row of metrics too.
          accept: is given the metrics of an evaluation when their row is written; may raise
            DivergedError to end the training there.
        """
        self.run, self.learner, self.schedule = run, learner, schedule
        self.evaluate, self.describe, self.sink, self.accept = evaluate, describe, sink, accept
        self.metrics_file = str(Path(folder) / "metrics.jsonl")
        self.process = run.process
        self.progress = Progress(label, visible=self.process.leads)
        self.checkpoints = Checkpoints(run.path / folder / "checkpoints", self.process)
        self.state: Any = None
        self.notes: dict[str, Any] = {"seconds": 0.0, "rows": 0, "evaluated": 0, "best": None}
        self._stride = 1
        self._compiled = False
        self._shown = ""

    def fit(self, initial: Any, interrupt: Interrupt) -> tuple[Any, float]:
        """Train from `initial`, or from the newest checkpoint, to the end of the schedule.

        Returns:
          The state that scored best (the last one, without scores), and the seconds that training
          and evaluation took in all sessions.

        Raises:
          InterruptedRun: a signal came; the state is saved.
          DivergedError: cost, gradient or score stopped being finite; names the update.
        """
        structure = abstract(initial)
        self._restore_or(initial, structure)
        self._saved = time.monotonic()
        try:
            while True:
                step = int(self.state.step)
                if step and self._due(step):
                    self._evaluate(step, interrupt)
                if step >= self.schedule.total:
                    if self.notes["best"] is None:
                        self._save()
                        return whole(self.state), self.notes["seconds"]
                    best = self.checkpoints.restore_best(structure, self.notes["best"])
                    return best, self.notes["seconds"]
                self._advance(step, self.schedule.boundary_after(step), interrupt)
        except InterruptedRun as stop:
            if int(self.state.step):  # before the first update there is nothing to lose
                self._save()
            raise InterruptedRun(
                f"{stop} at update {int(self.state.step)} of {self.schedule.total}; saved in "
                f"{self.run.path}.\nThe same command continues it.",
                stop.signal_number,
            ) from None
        finally:
            self.progress.close()
            self.checkpoints.close()

    def _restore_or(self, initial: Any, structure: Any) -> None:
        restored = self.checkpoints.restore_latest(structure, self.progress.note)
        self.state = initial
        if restored is not None:
            self.state, self.notes = restored
            self.progress.note(f"continues at update {int(self.state.step)}")
        self.run.rewind_metrics(self.notes["rows"], self.metrics_file)

    def _due(self, step: int) -> bool:
        """Whether the score of the state after `step` updates is still to be measured."""
        evaluated, every = self.notes["evaluated"], self.schedule.evaluate_every
        last = step == self.schedule.total and evaluated < step
        return last or step // every > evaluated // every

    def _advance(self, step: int, boundary: int, interrupt: Interrupt) -> None:
        while step < boundary:
            interrupt.check()
            # Each process has a clock of its own: one decides for all.
            save, stop = self.process.decide(
                (
                    time.monotonic() - self._saved > CHECKPOINT_SECONDS,
                    min(boundary, step + self._stride * self.schedule.multiple),
                )
            )
            if save:
                self._save()
            if not self._compiled:
                self.progress.show(f"step {step}/{self.schedule.total}  compiling")
            begin = time.monotonic()
            self.state = self.learner.advance(self.state, stop)
            if (diverged := int(self.state.diverged_at)) >= 0:
                raise DivergedError(self._diverged(f"cost or gradient at update {diverged}"))
            seconds = time.monotonic() - begin
            self.notes["seconds"] += seconds
            if self._compiled:  # the first call's speed says nothing of the next
                self._show(stop, (stop - step) / max(seconds, 1e-9))
                done = (stop - step) // self.schedule.multiple
                self._stride = _adapt(self._stride, done, seconds)
            self._compiled = True
            step = stop
        self.state, metrics = self.learner.collect(self.state)
        self._write(metrics)
        self._shown = self.describe(metrics)

    def _evaluate(self, step: int, interrupt: Interrupt) -> None:
        begin = time.monotonic()
        metrics, score = self.process.decide(self.evaluate(self.state, interrupt.tick))
        self.notes["seconds"] += time.monotonic() - begin
        if score is not None and not math.isfinite(score):
            raise DivergedError(self._diverged(f"validation after update {step}"))
        self.notes["evaluated"] = step
        if score is not None:
            self.notes["best"] = min(
                score, math.inf if self.notes["best"] is None else self.notes["best"]
            )
        self._write(metrics)
        self.progress.note(
            f"{self.schedule.stage} {self._epoch(step):g}  {self.describe(metrics)}  "
            f"{duration(self.notes['seconds'])}"
        )
        self.accept(metrics)
        if score is not None:
            self._save(score)

    def _write(self, metrics: dict[str, float]) -> None:
        step = int(self.state.step)
        row = {"step": step, "epoch": self._epoch(step), **metrics}
        row["seconds"] = round(self.notes["seconds"], 3)
        self.run.append_metrics(row, self.metrics_file)
        self.notes["rows"] += 1
        if self.process.leads:
            self.sink(row)

    def _save(self, score: float | None = None) -> None:
        self.checkpoints.save(whole(self.state), self.process.decide(self.notes), score)
        self._saved = time.monotonic()

    def _show(self, step: int, updates_per_second: float) -> None:
        speed = updates_per_second * self.schedule.items_per_update
        left = (self.schedule.total - step) / updates_per_second
        self.progress.show(
            f"step {step}/{self.schedule.total}  {self._shown}  "
            f"{speed:,.0f} {self.schedule.item}/s  {duration(left)} left"
        )

    def _epoch(self, step: int) -> float:
        return round(step / (self.schedule.epoch or self.schedule.evaluate_every), 4)

    def _diverged(self, what: str) -> str:
        kept = "; the last good checkpoint is kept" if self.notes["evaluated"] else ""
        return (
            f"{self.run.path}: {what} is not finite (infinite or NaN){kept}.\n"
            "Lower the learning rate or the clip norm."
        )


def _adapt(stride: int, done: int, seconds: float) -> int:
    """How many updates fit CALL_SECONDS, grown gently."""
    fitting = int(done * CALL_SECONDS / max(seconds, 1e-9))
    return max(1, min(fitting, 4 * stride))
