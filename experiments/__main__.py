"""`python -m experiments`: see experiments.cli."""

import signal
import sys

# Python's own way, an exception in the midst of an import, would end in a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from experiments.startup import finish, prepare  # noqa: E402

prepare()  # before the imports below: they take long enough to be interrupted

from experiments.cli import main  # noqa: E402


def run() -> int:
    """Run the command that this process was started for; return its exit code."""
    try:
        code = main()
    except SystemExit as stop:  # argparse's, after help or an error
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return finish(code)


if __name__ == "__main__":
    sys.exit(run())
