"""The run of another experiment whose model a run starts from: found, run first, compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from common import device
from common.checkpoint import digest
from common.config import from_dict, material_differences, to_dict
from common.error import ConfigError, DivergedError
from common.process import this_process
from common.progress import Progress
from common.record import FILE_NAME, DataUsed, Record, read_record
from common.run_directory import RunDirectory, RunInUse
from experiments import registry, trained
from experiments.domain import Domain
from experiments.run import Options, run, seed_path
from experiments.sweep.point import is_point
from experiments.trained import Trained


class Wanted(Protocol):
    """Which run: settings of whoever starts from it."""

    @property
    def preset(self) -> str:
        """Preset that is run first where it hasn't been."""

    @property
    def seed(self) -> int:
        """Seed of that run."""

    @property
    def run(self) -> str:
        """Directory of a finished run to take instead; empty for none."""


@dataclass(frozen=True)
class Upstream:
    """An experiment whose models others start from."""

    experiment: str
    domain: Domain
    """What its models are of."""

    @property
    def title(self) -> str:
        """What its model is called."""
        return registry.find(self.experiment).model

    def find(
        self, wanted: Wanted, options: Options, check: Callable[[str, Any], None] = lambda *_: None
    ) -> Path:
        """Return the directory of the wanted run, run first where it hasn't been.

        Args:
          wanted: which run.
          options: of the run that starts from it.
          check: (preset, its configuration) → nothing; may refuse the preset before it is run.

        Raises:
          ConfigError: another run lies where the preset's would.
          DivergedError: the run diverged.
        """
        return Path(wanted.run) if wanted.run else self._run_first(wanted, options, check)

    def load(self, path: Path) -> Trained:
        """Load the model of a run.

        Raises:
          ConfigError: it is one of another domain.
          DataError: there is none, or it is damaged.
        """
        found = trained.load(path)
        if found.domain.name != self.domain.name:
            raise ConfigError(
                f"{path}: a model of {found.domain.name} is there, not one of {self.domain.name}.\n"
                f"Give a run of {self.experiment} with --set {self.experiment}.run=DIR."
            )
        return found

    def path(self, wanted: Wanted, options: Options) -> Path:
        """Return where the run lies or would lie."""
        if wanted.run:
            return Path(wanted.run)
        experiment = registry.find(self.experiment)
        return seed_path(experiment, self._options(wanted, options), wanted.seed)

    def _options(self, wanted: Wanted, options: Options) -> Options:
        """How the run is run; points of a grid share it, unless one has its own already."""
        experiment = registry.find(self.experiment)
        if this_process().count > 1:  # they can do nothing but together
            devices = options.devices
        else:  # its own default, where JAX was started with as many
            devices = max(1, min(experiment.cpu_devices, device.seen("cpu")))
        own = replace(
            options,
            preset=experiment.preset_name(wanted.preset),
            overrides=(),
            seeds=(wanted.seed,),
            fresh=False,
            devices=devices,
        )
        if seed_path(experiment, own, wanted.seed).exists() or not is_point(options.out):
            return own
        return replace(own, out=options.out.parent)

    def data(self, found: Trained) -> DataUsed:
        """Return what is learned from with the model: the model, and what that learned from."""
        return replace(found.data, checksums={**found.data.checksums, **self.checksum(found)})

    def checksum(self, found: Trained) -> dict[str, str]:
        """Return the checksum of a model under its name."""
        return {self.title: digest(found.policy.prior)}

    def inputs(self, wanted: Wanted, options: Options) -> dict[str, str]:
        """Return the checksum of the model that a run would start from now; none where it isn't."""
        path = self.path(wanted, options)
        finished = (path / FILE_NAME).exists() and (path / trained.FOLDER).is_dir()
        return self.checksum(self.load(path)) if finished else {}

    def model(self, wanted: Wanted) -> Any:
        """Return the settings of the network, of a preset that may not have been run."""
        if wanted.run:
            return self.load(Path(wanted.run)).model
        return registry.find(self.experiment).preset(wanted.preset).config.model

    def _run_first(
        self, wanted: Wanted, options: Options, check: Callable[[str, Any], None]
    ) -> Path:
        experiment = registry.find(self.experiment)
        name = experiment.preset_name(wanted.preset)
        preset = experiment.presets[name].config
        check(name, preset)
        options = self._options(wanted, options)
        path = seed_path(experiment, options, wanted.seed)
        made = self._finished(path, partial(run, experiment, options, report=lambda text: None))
        found = to_dict(from_dict(type(preset), made.config))
        setting = f"{self.experiment}.run"
        if changed := material_differences(type(preset), to_dict(preset), found):
            raise ConfigError(
                f"{path}: this {self.title} isn't that of preset {name} "
                f"({'; '.join(changed[:3])}).\n"
                f"To tune it all the same: --set {setting}={path}; otherwise choose another --out."
            )
        if made.status == "diverged":
            raise DivergedError(
                f"{path}: the {self.title} diverged, there is nothing to tune.\n"
                f"Train another, and give it with --set {setting}=DIR."
            )
        return path

    def _finished(self, path: Path, run_it: Callable[[], Sequence[Record]]) -> Record:
        """The record of a run; where another process runs it, this one waits for that."""
        progress = Progress(self.experiment, visible=this_process().leads)
        waits = f"{path}: another process trains this {self.title}; waits for it."
        while not this_process().lead((path / FILE_NAME).exists):
            try:
                return run_it()[0]
            except RunInUse:
                with RunDirectory.when_free(path, partial(progress.note, waits)):
                    pass  # what the other has left is seen in the next round
        return read_record(path / FILE_NAME)
