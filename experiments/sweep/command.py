"""`python -m experiments sweep`: what its options mean. Imports no JAX."""

import argparse

from experiments.sweep.plan import Request, expand
from experiments.sweep.state import read_state
from experiments.sweep.view import plan_text


def sweep(options: argparse.Namespace) -> None:
    """Expand, and say, launch or follow what that makes.

    Raises:
      ConfigError: something that was asked for doesn't exist, before anything starts.
    """
    jobs = expand(request(options))
    states = [read_state(job.paths[0]) for job in jobs]
    if options.dry_run or options.status:
        print(plan_text(jobs, states, options.jobs or 1))


def request(options: argparse.Namespace) -> Request:
    """Return what was asked for."""
    passed: list[str] = []
    for name, usual in (("platform", "auto"), ("kernel", "auto"), ("precision", "float32")):
        if (value := getattr(options, name)) != usual:
            passed += [f"--{name}", value]
    if options.data_dir is not None:
        passed += ["--data-dir", str(options.data_dir)]
    return Request(
        names=tuple(options.names),
        preset=options.preset,
        seeds=tuple(dict.fromkeys(options.seeds)),
        overrides=tuple(options.overrides),
        grid=tuple(options.grid),
        out=options.out,
        passed=tuple(passed),
    )
