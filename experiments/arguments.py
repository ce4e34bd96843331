"""The options of the command line. Imports no JAX: `--help` must answer at once."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from common.compute import KERNELS, PRECISIONS
from common.device import PLATFORMS
from common.error import ConfigError
from experiments import argument_types
from experiments.registry import benchmarks, experiments

EXIT_CODES = """exit codes: 0 done · 1 a run of a sweep failed · 2 usage or configuration error ·
3 data missing, corrupt or not writable · 4 diverged · 5 another of several processes was lost ·
129, 130, 143 interrupted (SIGHUP, SIGINT, SIGTERM) after saving"""
RESULTS = Path("results")
SCRIPT = "highway-tutor"
"""The command that installing the package brings, beside `python -m experiments`."""


class _Version(argparse.Action):
    """Prints the installed package's version; looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version(SCRIPT)
        except PackageNotFoundError:
            found = "isn't installed: its version is in pyproject.toml"
        print(f"{SCRIPT} {found}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in a line, and where to read on."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}. See {self.prog} --help", file=sys.stderr)
        sys.exit(ConfigError.exit_code)


def make_parser(
    functions: Mapping[str, Callable[[argparse.Namespace], None]],
) -> argparse.ArgumentParser:
    """Return the parser of the command line; its result's `command` is the chosen function."""
    installed = Path(sys.argv[0]).stem == SCRIPT
    parser = _Parser(
        prog=SCRIPT if installed else "python -m experiments",
        description="Recurrent Highway Networks and Sequence Tutor: run experiments, read results.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, text: str, does: str = "") -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
        command.set_defaults(command=functions[does or name])
        # Accepted behind the command too, without overriding what stood before it.
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
        )
        return command

    for name, one in experiments().items():
        if one.is_command:
            short = add(name, f"the same as `run {name}`: {one.title}", does="run")
            short.set_defaults(name=name)
            _add_run_options(short)

    listing = add("list", "list all experiments")
    listing.add_argument("--long", action="store_true", help="several lines an experiment")
    listing.add_argument("--json", action="store_true", help="machine-readable")

    show = add("show", "show an experiment's docstring and resolved configuration")
    show.add_argument("name", metavar="NAME")
    _add_preset(show)
    _add_overrides(show)

    run = add("run", "run an experiment; the same command continues a run that was stopped")
    run.add_argument("name", metavar="NAME", help="see `list`")
    _add_run_options(run)

    sweep = add("sweep", "run whole tables; the same command continues what was stopped")
    _add_sweep_options(sweep)

    status = add("status", "say how far runs are, from their directories alone")
    status.add_argument(
        "runs",
        type=argument_types.path,
        nargs="*",
        default=[Path("runs")],
        metavar="RUN",
        help="run directories, or folders with runs somewhere below them (runs)",
    )
    status.add_argument("--json", action="store_true", help="machine-readable")

    _add_results(add)
    _add_compare_options(add("compare", "show in what runs differ: settings, results, curves"))
    compose = add("compose", "compose sequences, or draw texts, with a finished run's model")
    _add_compose_options(compose)

    export = add("export", "write a finished run's model into a file, with a model card beside it")
    export.add_argument(
        "run", type=argument_types.path, metavar="RUN", help="directory of a finished run"
    )
    export.add_argument(
        "file", type=argument_types.path, metavar="FILE", help="what to write: *.safetensors"
    )
    export.add_argument(
        "--data-dir", type=argument_types.path, help="folder with files brought by hand"
    )
    loading = add("load", "make a run directory of a file that `export` wrote")
    loading.add_argument(
        "file", type=argument_types.path, metavar="FILE", help="what `export` wrote"
    )
    loading.add_argument(
        "--out", type=argument_types.path, default=Path("runs"), help="where runs lie (%(default)s)"
    )

    bench = add("bench", "measure speed and memory on this machine")
    bench.add_argument(
        "name", metavar="NAME", choices=tuple(benchmarks()), help=", ".join(benchmarks())
    )
    bench.add_argument(
        "--seconds",
        type=argument_types.seconds,
        default=2.0,
        help="length of a measurement (%(default)s)",
    )
    bench.add_argument(
        "--peer", choices=("torch",), help="measure another library's way in turns with ours"
    )
    _add_platform(bench)
    bench.add_argument(
        "--mesh",
        type=argument_types.mesh,
        metavar="data=N",
        help="divide the trainings among N devices (one); of note_rnn only",
    )
    bench.add_argument("--json", action="store_true", help="machine-readable")

    devices = add("devices", "say which devices JAX sees, or whether an experiment can use others")
    _add_platform(devices)
    devices.add_argument(
        "--check",
        metavar="NAME",
        help="lower what an experiment computes for CUDA and TPU, which needn't be here",
    )
    _add_preset(devices)
    _add_overrides(devices)
    _add_precision(devices)
    _add_mesh(devices)
    devices.add_argument("--json", action="store_true", help="machine-readable")
    return parser


def _add_results(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """The commands about results and data."""
    table = add(
        "table", "print the results table of the runs here, and of the committed ones apart"
    )
    table.add_argument("names", nargs="*", metavar="NAME", help="experiments; all if none is named")
    table.add_argument("--full", action="store_true", help="every column")
    forms = table.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="machine-readable")
    forms.add_argument("--csv", action="store_true", help="every column, comma-separated")
    table.add_argument(
        "--out", type=argument_types.path, default=Path("runs"), help="where runs lie (%(default)s)"
    )
    table.add_argument(
        "--results",
        type=argument_types.path,
        default=RESULTS,
        help="committed records (%(default)s)",
    )

    report = add("report", "write the results as pages, from the committed records or any runs")
    report.add_argument(
        "--results",
        type=argument_types.path,
        default=RESULTS,
        help="the records' folder (%(default)s)",
    )
    report.add_argument(
        "--add",
        type=argument_types.path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="finished run directories to copy record and pictures from, first",
    )
    report.add_argument(
        "--runs",
        type=argument_types.path,
        metavar="FOLDER",
        help="report on the finished runs at or below this folder, with --out",
    )
    report.add_argument(
        "--out",
        type=argument_types.path,
        metavar="FOLDER",
        help="write RESULTS.md and report.html here instead, with what the runs left to be shown",
    )

    data = add("data", "prepare and verify datasets, or say what is missing and how to get it")
    data.add_argument("names", nargs="*", metavar="NAME", help="datasets; all if none is named")
    data.add_argument(
        "--data-dir", type=argument_types.path, help="folder with files brought by hand"
    )
    data.add_argument("--json", action="store_true", help="machine-readable")


def _add_run_options(run: argparse.ArgumentParser) -> None:
    _add_shared_options(run)
    again = run.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="continue what is there, or start (the default)"
    )
    again.add_argument(
        "--fresh",
        action="store_true",
        help="start over; what is there is deleted once something new is saved",
    )
    run.add_argument("--tensorboard", action="store_true", help="write TensorBoard files as well")
    _add_mesh(run)
    _add_cluster(run)


def _add_sweep_options(sweep: argparse.ArgumentParser) -> None:
    sweep.add_argument(
        "names", nargs="+", metavar="NAME", help="experiments, or patterns as in 'rhn_*_tied'"
    )
    _add_shared_options(sweep)
    sweep.add_argument(
        "--grid",
        type=argument_types.axis,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=V,V",
        help="settings to vary, as in model.depth=1,2,3; each point has a folder below --out",
    )
    sweep.add_argument(
        "--jobs",
        type=argument_types.jobs,
        metavar="N",
        help="runs at a time (as many as cores, or GPUs)",
    )
    sweep.add_argument(
        "--launcher",
        choices=("local", "slurm"),
        default="local",
        help="where runs run: on this machine, or by Slurm's job arrays (%(default)s)",
    )
    sweep.add_argument(
        "--slurm",
        type=argument_types.assignment,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options of sbatch, as in partition=gpu time=8:00:00 gpus_per_node=1",
    )
    what = sweep.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="say what would be run, run nothing")
    what.add_argument("--status", action="store_true", help="say how far these runs are")
    what.add_argument("--cancel", action="store_true", help="take these runs back from Slurm")


def _add_shared_options(run: argparse.ArgumentParser) -> None:
    """What `run` and `sweep` have in common."""
    _add_preset(run)
    run.add_argument(
        "--seeds",
        type=argument_types.seed,
        nargs="+",
        default=[0],
        metavar="N",
        help="one run each (0)",
    )
    _add_platform(run)
    _add_overrides(run)
    run.add_argument(
        "--kernel",
        choices=("auto", *reversed(KERNELS)),
        default="auto",
        help="how a recurrence is computed: by JAX's own differentiation, with a backward pass by "
        "hand, or in C++ (the fastest here)",
    )
    _add_precision(run)
    run.add_argument(
        "--preallocate",
        type=argument_types.share,
        metavar="SHARE",
        help="of a GPU's memory, taken at the start; 0 to take it as needed (JAX's own)",
    )
    run.add_argument(
        "--out", type=argument_types.path, default=Path("runs"), help="where runs lie (%(default)s)"
    )
    run.add_argument(
        "--data-dir", type=argument_types.path, help="folder with files brought by hand"
    )


def _add_compare_options(compare: argparse.ArgumentParser) -> None:
    compare.add_argument(
        "runs",
        type=argument_types.path,
        nargs="+",
        metavar="RUN",
        help="run directories, finished or not, or folders of a preset with all of its seeds",
    )
    compare.add_argument("--full", action="store_true", help="every metric that they share")
    compare.add_argument(
        "--out",
        type=argument_types.path,
        default=Path("runs/compare"),
        metavar="FOLDER",
        help="where to draw learning curves (%(default)s)",
    )


def _add_compose_options(compose: argparse.ArgumentParser) -> None:
    compose.add_argument(
        "trained",
        type=argument_types.path,
        nargs="?",
        metavar="RUN",
        help="run directory with a model of sequences or a language model; without it one of "
        "melodies is trained in runs/, once, which takes a few minutes",
    )
    compose.add_argument(
        "-n", type=argument_types.count, default=8, dest="count", help="how many (%(default)s)"
    )
    compose.add_argument(
        "--primer", type=argument_types.path, metavar="FILE", help="what to go on from"
    )
    compose.add_argument(
        "--tokens",
        type=argument_types.tokens,
        metavar="N",
        help="length of a language model's texts (that of its run's sample)",
    )
    compose.add_argument(
        "--bars",
        type=int,
        metavar="N",
        help="length in bars (that of its training; without RUN that of a tune)",
    )
    compose.add_argument(
        "--key", metavar="K", help="move what is composed in C into a major key, as Eb or F#"
    )
    compose.add_argument(
        "--temperature",
        type=argument_types.temperature,
        default=1.0,
        metavar="X",
        help="below 1 safer, above 1 bolder (%(default)s)",
    )
    compose.add_argument("--wav", action="store_true", help="write sound as well")
    compose.add_argument(
        "--seed", type=argument_types.seed, default=0, metavar="N", help="(%(default)s)"
    )
    compose.add_argument(
        "--out",
        type=argument_types.path,
        metavar="FOLDER",
        help="where to write (RUN/compositions)",
    )
    compose.add_argument(
        "--data-dir",
        type=argument_types.path,
        help="folder with a language model's text, where its run has no vocabulary.json",
    )
    _add_platform(compose)


def _add_preset(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--preset", help="size of the experiment: smoke, cpu, paper; see show for others"
    )


def _add_platform(command: argparse.ArgumentParser) -> None:
    command.add_argument("--platform", choices=PLATFORMS, default="auto", help="(%(default)s)")


def _add_precision(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--precision",
        choices=(*PRECISIONS, "tf32"),
        default="float32",
        help="of what matrix products read (%(default)s): bfloat16 those of a recurrence and of a "
        "language model's output layer, tf32 all of a GPU's; sums and parameters are float32",
    )


def _add_mesh(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mesh",
        type=argument_types.mesh,
        metavar="data=N",
        help="divide a training among N devices; a CPU is as many as are asked for (what is "
        "fastest here)",
    )


def _add_cluster(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "several processes", "of which each runs the same command on its own devices"
    )
    group.add_argument(
        "--distributed",
        action="store_true",
        help="join the processes that the environment names: Cloud TPU, Slurm, Open MPI",
    )
    group.add_argument(
        "--coordinator",
        type=argument_types.coordinator,
        metavar="HOST:PORT",
        help="join others: where process 0 can be reached",
    )
    group.add_argument(
        "--processes", type=argument_types.processes, metavar="N", help="how many there are"
    )
    group.add_argument(
        "--process", type=argument_types.process, metavar="K", help="which this is, from 0"
    )


def _add_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        type=argument_types.assignment,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="settings to change, as in model.depth=3",
    )
