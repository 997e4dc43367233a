"""Options of a node: from its command line, its `env:` in the dataflow file, or its own variables.

A variable of the user's shell such as HOST, MODEL or OUTPUT means another program. So `SOURCE` sets
`--source` only if the dataflow file has it in `env:`, which the launcher tells. From outside comes
`DORA_RT_WEBCAM_SOURCE`, and nothing that opens a port to the network.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

from dora_rt.redaction import message_without_secrets

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

# The names of the variables that the dataflow file sets for this node; see launcher/processes.
FILE_VARIABLES = "DORA_RT_NODE_ENV"
_FLAG_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class NodeParser(argparse.ArgumentParser):
    """The parser of a ready node; its messages do not show the passwords of URLs that they quote.

    Args:
        name: of the node, as in `python -m dora_rt.nodes.NAME`.
        description: what it does.
        epilog: what is shown below the options, as it is.
    """

    def __init__(self, name: str, description: str | None, epilog: str) -> None:
        super().__init__(
            prog=f"python -m dora_rt.nodes.{name}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """End the program with a message."""
        super().error(message_without_secrets(message))


def add_option(
    parser: argparse.ArgumentParser,
    environ: Mapping[str, str],
    flag: str,
    parse: Callable[[str], Value],
    default: Value | None,
    text: str,
    *,
    from_outside: bool = True,
) -> None:
    """Add `--some-flag`, which a variable sets where the command line does not.

    A wrong value of either ends the program with a message that names where it stands.

    Args:
        parser: its `prog` ends in the name of the node, as `python -m dora_rt.nodes.NAME`.
        environ: the environment.
        flag: with its dashes.
        parse: reads a value.
        default: the value if nobody gives one.
        text: the line of help.
        from_outside: whether the variable with the node's prefix counts: not where the option
            shows something to the network.
    """
    shown = "" if default is None else f", default {default}"
    default_value = default
    variable, found = _find(parser, environ, flag, from_outside=from_outside)
    if found:
        try:
            default_value = parse(found)
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"environment variable {variable}={found}: {error}")
    parser.add_argument(
        flag,
        type=parse,
        default=default_value,
        metavar=_name(flag).rpartition("_")[2],
        help=f"{text} [{_source(parser, flag, from_outside)}{shown}]".replace("%", "%%"),
    )


def add_switch(
    parser: argparse.ArgumentParser,
    environ: Mapping[str, str],
    flag: str,
    text: str,
    *,
    from_outside: bool = True,
) -> None:
    """Add `--flag`, off unless it is given or its variable says 1, true or yes."""
    variable, value = _find(parser, environ, flag, from_outside=from_outside)
    found = value.lower()
    if found and found not in _FLAG_WORDS:
        parser.error(f"environment variable {variable}={found}: expected true or false")
    parser.add_argument(
        flag,
        action=argparse.BooleanOptionalAction,
        default=_FLAG_WORDS.get(found, False),
        help=f"{text} [{_source(parser, flag, from_outside)}]",
    )


def warn_unused(options: argparse.Namespace, defaults: Mapping[str, object], why: str) -> None:
    """Log a warning of each of these options that was given, though nothing uses it, and why."""
    for name, default in defaults.items():
        if getattr(options, name) != default:
            logger.warning("--%s is not used: %s", name.replace("_", "-"), why)


def file_path(text: str) -> Path:
    """Parse a path; `~` is the home folder, since no shell has read it."""
    return Path(with_home(text))


def with_home(text: str) -> str:
    """Parse what may be a path, such as a source or a model: `~` at its beginning is expanded."""
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' begins in the home folder of nobody that this machine knows: {error}"
        ) from None


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser for whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {low} to {high}")
        return int(text)

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a parser for numbers from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low:g} to {high:g}")
        return value

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser for one of a few words."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise argparse.ArgumentTypeError(f"'{text}' is not one of {', '.join(words)}")
        return text.lower()

    return parse


def _find(
    parser: argparse.ArgumentParser, environ: Mapping[str, str], flag: str, *, from_outside: bool
) -> tuple[str, str]:
    """Return the variable that sets an option, and its value; "" if there is none."""
    name = _name(flag)
    if name in environ.get(FILE_VARIABLES, "").split():
        # The file decides, also by an empty value: it may be ${MODEL:-}.
        return name, environ.get(name, "").strip()
    outside = _outside_name(parser, flag)
    return outside, environ.get(outside, "").strip() if from_outside else ""


def _source(parser: argparse.ArgumentParser, flag: str, from_outside: bool) -> str:
    outside = f"; {_outside_name(parser, flag)}" if from_outside else ""
    return f"env: {_name(flag)}{outside}"


def _outside_name(parser: argparse.ArgumentParser, flag: str) -> str:
    node = parser.prog.rpartition(".")[2].upper()
    return f"DORA_RT_{node}_{_name(flag)}"


def _name(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_").upper()
