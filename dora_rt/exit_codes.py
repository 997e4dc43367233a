"""The exit codes of `dora-launch` and `dora-rt`."""

import signal

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 128 + signal.SIGINT


def interrupted_by(signal_number: int) -> int:
    """Return the exit code of a command that a signal has ended, as shells write it."""
    return 128 + signal_number
