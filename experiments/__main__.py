"""`python -m experiments`: see experiments.cli."""

import sys

from experiments.startup import finish, prepare

prepare()  # before the imports below: they take long enough to be interrupted

from experiments.cli import main  # noqa: E402


def run() -> int:
    """Run the command that this process was started for; return its exit code."""
    return finish(main())


if __name__ == "__main__":
    sys.exit(run())
