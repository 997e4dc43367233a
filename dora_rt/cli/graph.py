"""`dora-rt graph`: print a dataflow as a picture, from its file or as it runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from dora_rt.cli.verb import EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, Verb
from dora_rt.descriptor import read_descriptor
from dora_rt.errors import DescriptorError
from dora_rt.graph.mermaid_dot import render_dot, render_mermaid
from dora_rt.graph.picture import Graph, graph_of_descriptor, graph_of_status
from dora_rt.graph.svg import render_html, render_svg
from dora_rt.live.rates import measure
from dora_rt.runs import RefusedError, base_folder, open_run

_DESCRIPTION = """\
Print the graph of a dataflow: what a file says, or what a run does, with rates, latencies (median
and 99th percentile) and drops on its edges, measured for a second."""

_EPILOG = """\
examples:
  dora-rt graph launch/dataflow.yml                as Mermaid, which GitHub and GitLab show
  dora-rt graph launch/dataflow.yml -o graph.svg   as a picture; also .html, .dot, .mmd
  dora-rt graph 9c08cf1f -o live.svg               a run, with live numbers
  dora-rt graph launch/dataflow.yml --format dot | dot -Tpdf > graph.pdf

exit codes: 0 well, 1 the run has ended meanwhile, 2 bad file or usage, or no such run"""

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
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write there, and not to the terminal"
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
            return _fail(
                EXIT_USAGE,
                f"-o {options.output}: no format has the suffix {suffix!r}; expected one of "
                f"{', '.join(_SUFFIXES)}, or say --format",
            )
    try:
        graph = _find_graph(options.what, environ)
    except DescriptorError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except (OSError, RefusedError) as error:
        return _fail(EXIT_PROBLEM, f"run {options.what}: {error}")
    text = _FORMATS[chosen or "mermaid"](graph)
    if options.output is None:
        print(text, end="")
        return EXIT_OK
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        return _fail(EXIT_USAGE, f"-o {options.output}: {error.strerror}")
    return EXIT_OK


def _find_graph(what: str, environ: Mapping[str, str]) -> Graph:
    # Also of a file that runs right now: what it says is shown, and by its name how it runs.
    if Path(what).is_file() or Path(what).suffix in (".yml", ".yaml"):
        return graph_of_descriptor(read_descriptor(Path(what), environ))
    with open_run(base_folder(environ), what) as connection:
        before = connection.status()
        # Not to wait for something: it is for how long is measured.
        time.sleep(_MEASURED_S)
        after = connection.status()
    return graph_of_status(after, measure(before, after))


def _fail(code: int, why: str) -> int:
    print(f"dora-rt graph: {why}", file=sys.stderr)
    return code


VERB = Verb("print a dataflow or a run as a picture", _DESCRIPTION, _EPILOG, _add_arguments, _run)
