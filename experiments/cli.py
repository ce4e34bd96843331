"""The command line, one door to everything: `python -m experiments`.

Nothing here imports JAX before a command needs it, so that `list` and `--help` answer at once.
"""

import argparse
import inspect
import json
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.alarm import tell_lost
from common.datasets import DATASETS
from common.error import ConfigError, DataError, DivergedError, LostProcessError, UserError
from common.process import is_lost, joined, this_process
from experiments.arguments import make_parser
from experiments.data_folder import require_reader
from experiments.devices import configure, devices_of, require_seen, started_with
from experiments.registry import (
    Experiment,
    benchmarks,
    composer,
    find,
    load,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the process's exit code."""
    options = make_parser(COMMANDS).parse_args(arguments)
    try:
        code = _command(options)
    except Exception:
        if joined() is None:
            raise
        traceback.print_exc()
        code = 1
    if (alarm := joined()) is not None:
        alarm.end(code)
    return code


def _command(options: argparse.Namespace) -> int:
    """Call the command; say what was wrong, and return the exit code."""
    try:
        options.command(options)
    except UserError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except OSError as error:
        if options.debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}.", file=sys.stderr)
        return DataError.exit_code
    except (MemoryError, RuntimeError, ValueError) as error:
        if options.debug:
            raise
        alarm = joined()
        if alarm is not None and not isinstance(error, MemoryError) and is_lost(error):
            tell_lost((str(error).splitlines() or ["no reason given"])[0])
            alarm.leave(LostProcessError.exit_code)
        if isinstance(error, ValueError) or not _out_of_memory(error):
            raise
        print(
            "error: out of memory. Lower the sizes and amounts of data among the settings (see "
            "`show`), or use another device.",
            file=sys.stderr,
        )
        return ConfigError.exit_code
    return 0


def _out_of_memory(error: MemoryError | RuntimeError) -> bool:
    words = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _run(options: argparse.Namespace) -> None:
    experiment = find(options.name)
    preset = experiment.preset_name(options.preset or experiment.default_preset)
    # Refuse before JAX starts.
    config = experiment.configure(preset, options.overrides)
    if options.data_dir is not None:
        if not options.data_dir.is_dir():
            raise DataError(f"--data-dir {options.data_dir}: there is no such folder.")
        require_reader(experiment, config, options.data_dir)
    devices = devices_of(experiment, options)
    from experiments.run import SAMPLE, Options, run

    leads = this_process().leads
    records = run(
        experiment,
        Options(
            preset=preset,
            overrides=tuple(options.overrides),
            seeds=tuple(dict.fromkeys(options.seeds)),
            platform=options.platform,
            out=options.out,
            data_dir=options.data_dir,
            fresh=options.fresh,
            kernel=options.kernel,
            precision=options.precision,
            preallocate=options.preallocate,
            devices=devices,
            tensorboard=options.tensorboard,
        ),
        report=lambda text: print(text, file=sys.stderr) if leads else None,
    )
    if leads:
        _show_results(experiment, options.out / experiment.name / preset, records, SAMPLE)
    if diverged := [str(record.seed) for record in records if record.status == "diverged"]:
        raise DivergedError(f"{experiment.name}: diverged with seed {', '.join(diverged)}.")


def _show_results(
    experiment: Experiment, folder: Path, records: Sequence[Any], sample_name: str
) -> None:
    """Print samples and the table of a preset's runs, and write the table into their folder."""
    from common.record import write_atomically
    from experiments.results.cells import as_markdown, as_text
    from experiments.results.row import named_rows

    for record in records:
        sample = folder / f"seed{record.seed}" / sample_name
        if sample.exists():
            print(f"\n{sample.read_text(encoding='utf-8').rstrip()}\n")
    rows = named_rows([experiment.name], records, with_not_run=False)
    if rows:
        write_atomically(folder / "table.md", as_markdown(rows))
    print(as_text(rows))
    print(f"\nThis table, records, curves and samples: {folder}")


def _table(options: argparse.Namespace) -> None:
    from experiments.results.cells import as_csv, as_json, as_text
    from experiments.results.commit import load_records
    from experiments.results.markdown import tables_as_text
    from experiments.results.row import named_rows

    names = [find(name).name for name in options.names]
    rows = named_rows(names, load_records(options.out), load_records(options.results))
    if options.csv:
        print(as_csv(rows), end="")
    elif options.json or options.full:
        print(as_json(rows) if options.json else as_text(rows, full=True))
    else:
        if tables := tables_as_text(rows):
            print(tables)
        print(as_text(rows))


def _data(options: argparse.Namespace) -> None:
    from common import datasets

    if options.data_dir is not None and not options.data_dir.is_dir():
        raise DataError(f"--data-dir {options.data_dir}: there is no such folder.")
    rows, failed = [], []
    for name in options.names or DATASETS:
        found = datasets.status(name, data_dir=options.data_dir)
        by_hand = options.data_dir is not None and found.state == "ready"  # loading checks it
        unasked = DATASETS[name].any_folder and not options.names  # the folder may be for another
        if not unasked and (
            found.state in ("preparable", "ships")
            or by_hand
            or (found.state == "missing" and options.names)
        ):
            try:
                datasets.load(name, data_dir=options.data_dir)
            except DataError as error:
                failed.append(str(error))
            found = datasets.status(name, data_dir=options.data_dir)
        if found.state == "ready":
            failed += datasets.verify(name, data_dir=options.data_dir).damaged
        if found.state == "damaged":
            failed.append(found.advice)
        row = {"name": name, "state": found.state, "advice": found.advice}
        info = DATASETS[name]
        row |= {"title": info.title, "how_to_get": info.how_to_get}
        rows.append({**row, "source_files": list(info.source_files)})
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(f"{row['name']:18s} {row['state']:11s} {row['advice']}")
            if row["state"] == "missing":
                print("".join(f"    {line}\n" for line in row["how_to_get"].splitlines()), end="")
    if failed:
        raise DataError("\n".join(failed))


def _compose(options: argparse.Namespace) -> None:
    trains = find(composer().experiment) if options.trained is None else None
    configure(options.platform, 1 if trains is None else started_with(trains))
    from experiments.compose import compose
    from experiments.compose_text import is_text, print_texts

    if options.trained is not None and is_text(options.trained):
        print_texts(options)
        return
    for name in ("tokens", "data_dir"):
        if (value := getattr(options, name)) is not None:
            option = f"--{name.replace('_', '-')} {value}"
            raise ConfigError(f"{option}: for language models; here sequences are composed.")
    trained = options.trained or _train_composer(options.platform)
    folder = options.out or trained / "compositions"
    bars = options.bars
    if bars is None and options.trained is None:
        bars = composer().bars
    composed = compose(
        trained,
        folder,
        count=options.count,
        seed=options.seed,
        primer=options.primer,
        wav=options.wav,
        bars=bars,
        key=options.key,
        temperature=options.temperature,
    )
    print(composed.table.render())
    print(f"These, and {', '.join(path.name for path in composed.pictures)}: {folder}")


def _train_composer(platform: str) -> Path:
    """The run that composes where none is given, trained where it hasn't been."""
    from common.record import FILE_NAME
    from experiments.run import Options, run, seed_path

    name, preset, _ = composer()
    experiment, chosen = find(name), Options(preset, platform=platform)
    path = seed_path(experiment, chosen, 0)
    if not (path / FILE_NAME).exists():
        hours = experiment.preset(preset).hours
        if experiment.upstream:
            first = find(experiment.upstream)
            wanted = getattr(experiment.preset(preset).config, experiment.upstream)
            before = seed_path(first, Options(wanted.preset, platform=platform), wanted.seed)
            hours += 0 if (before / FILE_NAME).exists() else first.preset(wanted.preset).hours
        print(
            f"{path}: trains a model to compose with first, about {hours * 60:.0f} minutes.",
            file=sys.stderr,
        )
    (record,) = run(experiment, chosen, report=lambda text: None)
    if record.status == "diverged":
        raise DivergedError(f"{path}: its training diverged. Give another run.")
    return path


def _bench(options: argparse.Namespace) -> None:
    devices: int = options.mesh or 1
    configure(options.platform, devices)
    measure = load(benchmarks()[options.name])
    taken = inspect.signature(measure).parameters
    asked: dict[str, Any] = {}
    if options.peer is not None:
        if "peer" not in taken:
            raise ConfigError(f"--peer {options.peer}: bench {options.name} has no peer.")
        asked["peer"] = options.peer
    if devices > 1:
        if "devices" not in taken:
            raise ConfigError(f"--mesh data={devices}: bench {options.name} measures one device.")
        require_seen(devices)
        asked["devices"] = devices
    measured = measure(options.seconds, **asked)
    if options.json:
        print(json.dumps(measured, indent=1))
        return
    for name, value in measured.items():
        print(f"{name:36s} {value:,.4g}" if value < 100 else f"{name:36s} {value:,.0f}")


def _in(name: str) -> Callable[[argparse.Namespace], None]:
    """A command in a module of its own, `module:function`, imported when it is called."""
    return lambda options: load(name)(options)


def _on_cpu(name: str) -> Callable[[argparse.Namespace], None]:
    """The same for a command that copies arrays, for which no accelerator is taken."""

    def command(options: argparse.Namespace) -> None:
        configure("cpu")
        load(name)(options)

    return command


COMMANDS = {
    "list": _in("experiments.listing:list_experiments"),
    "show": _in("experiments.listing:show"),
    "run": _run,
    "sweep": _in("experiments.sweep.command:sweep"),
    "status": _in("experiments.sweep.command:status"),
    "table": _table,
    "report": _in("experiments.results.command:report"),
    "compare": _in("experiments.compare.command:compare"),
    "data": _data,
    "compose": _compose,
    "export": _on_cpu("experiments.export.command:export"),
    "load": _on_cpu("experiments.export.command:load"),
    "bench": _bench,
    "devices": _in("experiments.devices:devices"),
}
