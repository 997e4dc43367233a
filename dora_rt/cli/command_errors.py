"""Which error ends a command with which exit code, and what it prints then."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from dora_rt.errors import (
    DescriptorError,
    DoraRtError,
    ExtraMissingError,
    LaunchError,
    ParameterRefusedError,
    RunNotFoundError,
    SharedMemoryError,
    SharedMemoryFullError,
)
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE


class UsageError(Exception):
    """An option asks for what cannot be done; the message says why."""


class RunEndedError(Exception):
    """The run has ended while it was asked; the message is its name."""


# The first class that fits counts.
_EXIT_CODES = (
    (DescriptorError, EXIT_USAGE),
    (RunNotFoundError, EXIT_USAGE),
    (UsageError, EXIT_USAGE),
    (ParameterRefusedError, EXIT_USAGE),
    (LaunchError, EXIT_ENVIRONMENT),
    (ExtraMissingError, EXIT_ENVIRONMENT),
    (SharedMemoryError, EXIT_ENVIRONMENT),
    (SharedMemoryFullError, EXIT_ENVIRONMENT),
    (DoraRtError, EXIT_FAILED),
)


@contextmanager
def exit_at_error(command: str) -> Iterator[None]:
    """End the process with a message and an exit code if the block raises an error of ours."""
    try:
        yield
    except DescriptorError as error:
        _fail(str(error), error)  # it begins with the file
    except RunEndedError as error:
        print(f"{command}: run {error} has ended meanwhile", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except (DoraRtError, UsageError) as error:
        _fail(f"{command}: {error}", error)
    except (ImportError, AttributeError) as error:
        # Of a verb that shows pictures. Anything else is a fault of ours, with its traceback.
        import traceback

        from dora_rt.opencv import explain

        lines = "".join(traceback.format_exception(error)).splitlines()
        hint = explain(lines)
        if hint is None:
            raise
        print(f"{command}: {hint} ({error})", file=sys.stderr)
        sys.exit(EXIT_ENVIRONMENT)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # As in `dora-rt logs | head`: nobody reads on. What is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_INTERRUPTED)


def _fail(message: str, error: Exception) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(next(code for kind, code in _EXIT_CODES if isinstance(error, kind)))
