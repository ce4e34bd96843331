"""Errors that the user can put right, each kind with its process exit code.

A message says what is wrong, where, and what to do, in one or two plain lines; the command line
prints it without a traceback. Any other exception is a bug and keeps its traceback.
"""

from typing import Any


class UserError(Exception):
    """Something the user can put right: the base of all errors below."""

    exit_code = 2

    def __reduce__(self) -> tuple[Any, ...]:
        # Of several processes one tells the others: whatever an error's own arguments are.
        return _made_again, (type(self), self.args), vars(self)


def _made_again(kind: type[UserError], arguments: tuple[Any, ...]) -> UserError:
    return kind.__new__(kind, *arguments)


class LostProcessError(UserError):
    """Another of the processes that train together has ended, or can't be reached."""

    exit_code = 5


class ConfigError(UserError):
    """An unknown name, a wrong value, a platform that isn't there, a run that is in the way."""

    exit_code = 2


class DataError(UserError):
    """A dataset or a file of a run is missing, truncated or damaged, or can't be written."""

    exit_code = 3


class DivergedError(UserError):
    """The loss or a gradient became infinite or not a number."""

    exit_code = 4


class InterruptedRun(UserError):
    """A run was asked to stop (SIGINT, SIGTERM) and has saved its state."""

    def __init__(self, message: str, signal_number: int):
        """Make the message; the exit code is 128 + `signal_number`, as in a shell."""
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
