"""`dora-rt param`: shows and sets parameters of nodes that run."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.run_client import (
    HOW_RUNS_ARE_CALLED,
    add_run_argument,
    ask,
    ask_status,
    connect,
    machine_of,
)
from dora_rt.cli.verb import HelpFormatter, Verb, exit_codes_help
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dora_rt.live.whole_status import ask_far_parameters
from dora_rt.node_parameters import show
from dora_rt.runs import Connection

_DESCRIPTION = """\
Show and set the parameters of nodes that run. A node gets a new value at once, and keeps it when
it is restarted; the next run begins with the values of the file."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "done",
        EXIT_FAILED: "there is no such parameter, or the value does not fit",
        EXIT_USAGE: "there is no such run, or the usage is wrong",
    }
)

_EPILOG = f"""\
examples:
  dora-rt param list                        all parameters, with their limits
  dora-rt param get detector threshold
  dora-rt param set detector threshold 0.5
  dora-rt param set detector classes '["dog"]'
  dora-rt param delete detector threshold   the value of the file holds again
  dora-rt param save tuned.yml              for: dora-launch FILE --parameters tuned.yml

{HOW_RUNS_ARE_CALLED}

A value is JSON, or a word: 0.5, true, fast, '["a", "b"]'. Which values fit is written at
`parameters:` of the node; a node without that key takes any.

{_EXIT_CODES}"""

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORDS = ("y", "yes", "n", "no", "on", "off", "true", "false", "null")
_ACTIONS = {
    "list": ("list parameters", ("node?",)),
    "get": ("print one value", ("node", "name")),
    "set": ("set one value", ("node", "name", "value")),
    "delete": ("take back what was set", ("node", "name")),
    "save": ("write all values to a file, or print them", ("file?",)),
}
_HELP = {
    "node": "the node's id",
    "name": "the parameter",
    "value": "JSON, or a word",
    "file": "the file; without it, they are printed",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, (text, words) in _ACTIONS.items():
        own = actions.add_parser(
            action, help=text, description=f"{text.capitalize()}.", formatter_class=HelpFormatter
        )
        for word in words:
            name = word.rstrip("?")
            own.add_argument(
                name,
                nargs="?" if word.endswith("?") else None,
                type=Path if name == "file" else str,
                metavar=name.upper(),
                help=_HELP[name],
            )
        if action in ("list", "get"):
            own.add_argument("--json", action="store_true", help="print JSON, for programs")
        add_run_argument(own)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    with connect(options.run, environ) as connection:
        if options.action == "save":
            _save(write_parameters(_ask_all(connection)), options.file)
            return EXIT_OK
        machine = None if options.node is None else _find_machine(connection, options.node)
        request = partial(ask, connection, machine=machine, node=options.node)
        match options.action:
            case "list":
                found = (
                    _ask_all(connection)
                    if options.node is None
                    else request("parameters")["parameters"]
                )
                _print_list(found, options.node, is_json=options.json)
            case "get":
                return _print_value(request("parameters")["parameters"], options)
            case "set":
                value = request("set_parameter", name=options.name, text=options.value)["value"]
                print(f"{options.node}.{options.name} = {show(value)}")
            case _:
                answer = request("delete_parameter", name=options.name)
                now = "is gone"
                if answer["has_value"]:
                    now = f"= {show(answer['value'])}, as in the file"
                print(f"{options.node}.{options.name} {now}")
    return EXIT_OK


def _find_machine(connection: Connection, node: str) -> str | None:
    # Of one machine the launcher says what is wrong with a name.
    if ask_status(connection).network is None:
        return None
    return machine_of(connection, node)


def _ask_all(connection: Connection) -> list[dict[str, Any]]:
    """Return the parameters of all nodes, on whatever machine."""
    own: list[dict[str, Any]] = ask(connection, "parameters")["parameters"]
    return [*own, *ask_far_parameters(connection, ask_status(connection))]


def _print_list(found: list[dict[str, Any]], node: str | None, *, is_json: bool) -> None:
    if is_json:
        print(json.dumps(found, indent=1))
        return
    if not found:
        print(f"node {node} has no parameters" if node else "no node has parameters")
        return
    rows = [
        (
            f"{one['node']}.{one['name']}",
            show(one["value"]) if one["has_value"] else "-",
            _describe(one),
        )
        for one in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, value, text in rows:
        print(f"{name:{widths[0]}}  {value:{widths[1]}}  {text}".rstrip())


def _describe(one: dict[str, Any]) -> str:
    if not one["is_declared"]:
        return ""
    parts = [one["kind"]]
    if one["min"] is not None or one["max"] is not None:
        low, high = (("" if one[key] is None else f"{one[key]:g}") for key in ("min", "max"))
        parts.append(f"{low}..{high}")
    if one["choices"] is not None:
        parts = [" | ".join(map(show, one["choices"]))]
    if one["help"]:
        parts.append(one["help"])
    return ", ".join(parts)


def _print_value(found: list[dict[str, Any]], options: argparse.Namespace) -> int:
    for one in found:
        if one["name"] == options.name and one["has_value"]:
            value = one["value"]
            is_plain = isinstance(value, str) and not options.json
            print(value if is_plain else json.dumps(value, ensure_ascii=False))
            return EXIT_OK
    names = ", ".join(one["name"] for one in found if one["has_value"]) or "none"
    print(
        f"dora-rt: node {options.node!r} has no parameter {options.name!r} with a value; "
        f"it has: {names}",
        file=sys.stderr,
    )
    return EXIT_FAILED


def write_parameters(found: list[dict[str, Any]]) -> str:
    """Return the values of parameters as YAML, as `dora-launch --parameters` reads them."""
    lines: list[str] = []
    node = None
    for one in found:
        if not one["has_value"]:
            continue
        if one["node"] != node:
            node = one["node"]
            lines.append(f"{_key(node)}:")
        lines.append(f"  {_key(one['name'])}: {_yaml(one['value'])}")
    return "".join(f"{line}\n" for line in lines)


def _key(name: str) -> str:
    """Return a name as a key: bare, unless YAML takes it for something else (no, 1e5, null)."""
    return name if _BARE.fullmatch(name) and name.lower() not in _WORDS else _yaml(name)


def _yaml(value: Any) -> str:
    """Return a value as YAML 1.1 reads it: JSON, but for numbers such as 1e-05."""
    match value:
        case float():
            mantissa, exponent, power = repr(value).partition("e")
            is_bare = bool(exponent) and "." not in mantissa
            power = power if not exponent or power[0] in "+-" else f"+{power}"
            return f"{mantissa}{'.0' if is_bare else ''}{exponent}{power}"
        case list():
            return f"[{', '.join(map(_yaml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_yaml(key)}: {_yaml(item)}' for key, item in value.items())}}}"
        case _:
            text = json.dumps(value, ensure_ascii=False)
            # YAML refuses these, and reads JSON's two escapes of one emoji as two characters.
            return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def _save(text: str, file: Path | None) -> None:
    if file is None:
        print(text, end="")
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    print(f"saved to {file}; use it with: dora-launch FILE --parameters {file}")


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
