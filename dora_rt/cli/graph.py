"""`dora-rt graph`: prints a dataflow as a picture, from its file or as it runs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.run_client import ask_status, connect
from dora_rt.cli.run_file import add_assignments, read_file
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dora_rt.graph.boxes_and_arrows import Graph, graph_of_descriptor, graph_of_status
from dora_rt.graph.mermaid_dot import render_dot, render_mermaid
from dora_rt.graph.svg import render_html, render_svg
from dora_rt.live.rates import measure
from dora_rt.units import read_path

_DESCRIPTION = """\
Print the graph of a dataflow: what a file says, or what a run does, with rates, latencies (median
and 99th percentile) and drops on its edges, measured for a second."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "well",
        EXIT_FAILED: "the run has ended meanwhile",
        EXIT_USAGE: "bad file or usage, or no such run",
    }
)

_EPILOG = f"""\
examples:
  dora-rt graph launch/dataflow.yml                as Mermaid, which GitHub and GitLab show
  dora-rt graph launch/dataflow.yml -o graph.svg   as a picture; also .html, .dot, .mmd
  dora-rt graph 9c08cf1f -o live.svg               a run, with live numbers
  dora-rt graph launch/dataflow.yml --format dot | dot -Tpdf > graph.pdf

{_EXIT_CODES}"""

_FORMATS: Mapping[str, Callable[[Graph], str]] = {
    "mermaid": render_mermaid,
    "dot": render_dot,
    "svg": render_svg,
    "html": render_html,
}
_SUFFIXES = {
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "svg",
    ".html": "html",
    ".htm": "html",
}
_MEASURED_S = 1.0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="FILE|RUN", help="a dataflow file, or the name of a run")
    add_assignments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=read_path,
        metavar="FILE",
        help="write there, and not to the terminal",
    )
    parser.add_argument(
        "--format", choices=_FORMATS, help="default: by the output's suffix, else mermaid"
    )


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    chosen = options.format
    if chosen is None and options.output is not None:
        suffix = options.output.suffix.lower()
        chosen = _SUFFIXES.get(suffix)
        if chosen is None:
            raise UsageError(
                f"-o {options.output}: no format has the suffix {suffix!r}; expected one of "
                f"{', '.join(_SUFFIXES)}, or say --format",
            )
    graph = _find_graph(options.what, options.arguments, environ)
    text = _FORMATS[chosen or "mermaid"](graph)
    if options.output is None:
        print(text, end="")
        return EXIT_OK
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"-o {options.output}: {error.strerror}") from error
    return EXIT_OK


def _find_graph(what: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Graph:
    # Also if that file is running: its run is named by its own name.
    if Path(what).is_file() or Path(what).suffix in (".yml", ".yaml"):
        return graph_of_descriptor(read_file(Path(what), environ, arguments=arguments))
    if arguments:
        raise UsageError(f"{arguments[0]}: a run has its arguments already")
    with connect(what, environ) as connection:
        before = ask_status(connection)
        # It waits for nothing: this is the interval of the measurement.
        time.sleep(_MEASURED_S)
        after = ask_status(connection)
    return graph_of_status(after, measure(before, after))


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
