"""The command `dora-launch`: the only module that prints, and decides exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dora_rt import __version__
from dora_rt.dashboard.installed import MISSING_EXTRA
from dora_rt.dashboard.installed import is_installed as has_dashboard
from dora_rt.descriptor import read_descriptor
from dora_rt.errors import (
    DescriptorError,
    ExtraMissingError,
    LaunchError,
    SharedMemoryError,
    SharedMemoryFullError,
)
from dora_rt.launcher.launch import launch, show_summary
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.perfetto import check_target
from dora_rt.launcher.processes.environ import inherited_environ
from dora_rt.launcher.report_file import ReportFile
from dora_rt.launcher.trace_options import Watching, decide_spans
from dora_rt.plan.plan import outline
from dora_rt.plan.planner import make_plan
from dora_rt.terminal import HarmlessStream
from dora_rt.units import duration_s, web_port

_DESCRIPTION = """\
Run a dataflow: start every node of FILE, connect them by shared memory, and stop
them all when the flow is over, when a node asks for it, or at Ctrl-C."""

_EPILOG = """\
examples:
  dora-launch launch/dataflow.yml                   run until the flow is over, or Ctrl-C
  dora-launch launch/dataflow.yml --stop-after 10s  run for ten seconds
  dora-launch launch/dataflow.yml --check           only check the file, start nothing
  dora-launch launch/dataflow.yml --dashboard       and see it on a page
  dora-launch launch/dataflow.yml --watch           restart each node whose file you save

exit codes: 0 all well, 1 a node failed, 2 bad file or usage, 3 the environment does not
allow it (shared memory, permissions), 128 + signal when interrupted (130: Ctrl-C)

A dataflow file names the programs that it runs: run only files that you trust."""

EXIT_OK, EXIT_NODE_FAILED, EXIT_USAGE, EXIT_ENVIRONMENT = 0, 1, 2, 3
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and exit with its code."""
    _open_standard_streams()
    # What the console writes, it makes harmless itself.
    sys.stderr = HarmlessStream.around(sys.stderr)
    options = _parser().parse_args(arguments)
    is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    try:
        with Console(sys.stdout, has_colour=sys.stdout.isatty() and not is_plain) as console:
            code = _run(options, console)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except LaunchError as error:
        print(f"dora-launch: {error}", file=sys.stderr)
        sys.exit(EXIT_ENVIRONMENT)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Put /dev/null where the standard streams were closed (`>&-`, some service managers)."""
    # The first pipe would take such a number, and lose it in a child to the child's own stream.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dora-launch",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the dataflow file (YAML)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the file and print what would run; start nothing",
    )
    parser.add_argument(
        "--stop-after",
        type=duration_s,
        metavar="TIME",
        help="stop this long after the start: 10s, 500ms, 5m, 1h",
    )
    parser.add_argument(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="write the nodes' log files to DIR, and leave them there "
        "(without it they are kept only if a node fails)",
    )
    parser.add_argument(
        "--strict-types",
        action="store_true",
        help="treat types that do not fit as errors, like `strict_types: true` in the file",
    )
    parser.add_argument(
        "--no-dora-compat",
        dest="dora_compat",
        action="store_false",
        help="let `import dora` in the nodes be what is installed, not what dora_rt has for it",
    )
    parser.add_argument(
        "--dashboard",
        action="store_true",
        help="show the run on a page, at the address that is printed; it ends with the run "
        "(needs the extra: pip install 'dora_rt[web]')",
    )
    parser.add_argument(
        "--dashboard-host",
        metavar="HOST",
        help="where to serve that page; 0.0.0.0: for other machines too",
    )
    parser.add_argument(
        "--dashboard-port",
        type=web_port,
        metavar="PORT",
        help="its port, or the next free one; 0: any",
    )
    parser.add_argument(
        "--dashboard-no-token",
        action="store_true",
        help="let every user of this machine use that page, without the token in its address",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="restart a node, and only that, when one of its files has changed",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="PATH",
        help="also write what is summed up at the end to PATH, as JSON; until then an older "
        "file stays as it is",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="write what each node did and when to FILE, for https://ui.perfetto.dev",
    )
    parser.add_argument(
        "--otel",
        action="store_true",
        help="make OpenTelemetry spans of the work of the nodes, and send them to where "
        "OTEL_EXPORTER_OTLP_ENDPOINT says (which suffices alone), else to localhost:4318",
    )
    parser.add_argument("--version", action="version", version=f"dora_rt {__version__}")
    return parser


def _run(options: argparse.Namespace, console: Console) -> int:
    environ = inherited_environ(os.environ)
    try:
        descriptor = read_descriptor(options.file, environ, has_strict_types=options.strict_types)
    except DescriptorError as error:
        _complain(console, str(error))
        return EXIT_USAGE
    for note in descriptor.notes:
        console.notice(f"note: {note}")
    plan = make_plan(descriptor, folder=options.file.resolve().parent, interpreter=sys.executable)
    if options.check:
        console.notice(outline(plan))
        return EXIT_OK
    companions = _companions(options)
    if _wants_dashboard(options) and not has_dashboard():
        _complain(console, f"dora-launch: {MISSING_EXTRA}")
        return EXIT_ENVIRONMENT
    report = None
    if options.report is not None:
        try:
            report = ReportFile.prepare(options.report)
        except OSError as error:
            _complain(console, f"dora-launch: --report {options.report}: {error.strerror}")
            return EXIT_USAGE
    try:
        watching = _watching(options, environ)
    except (OSError, ExtraMissingError) as error:
        _complain(console, f"dora-launch: {error}")
        return EXIT_USAGE
    if watching.note is not None:
        console.notice(f"note: {watching.note}")
    try:
        outcome = launch(
            plan,
            console,
            environ=environ,
            has_dora_compat=options.dora_compat,
            stop_after_s=options.stop_after,
            log_folder=options.log_dir,
            companions=companions,
            watching=watching,
        )
    except (LaunchError, SharedMemoryError, SharedMemoryFullError, PermissionError) as error:
        _complain(console, f"dora-launch: {error}")
        return EXIT_ENVIRONMENT
    if report is not None:
        try:
            report.write(outcome.report.to_json())
        except OSError as error:
            console.alarm(f"--report {options.report}: {error.strerror}")
    show_summary(outcome, console)
    if outcome.interrupted_by is not None:
        return 128 + outcome.interrupted_by
    return EXIT_NODE_FAILED if outcome.report.failures else EXIT_OK


def _complain(console: Console, text: str) -> None:
    console.drain()
    print(text, file=sys.stderr)


def _wants_dashboard(options: argparse.Namespace) -> bool:
    places = (options.dashboard_host, options.dashboard_port)
    is_placed = any(place is not None for place in places)
    return options.dashboard or options.dashboard_no_token or is_placed


def _companions(options: argparse.Namespace) -> list[list[str]]:
    """Give the commands of what runs beside the nodes, and looks at them."""
    command = [sys.executable, "-m", "dora_rt.cli"]
    companions = []
    if _wants_dashboard(options):
        chosen = {"--host": options.dashboard_host, "--port": options.dashboard_port}
        places = [
            word
            for flag, value in chosen.items()
            if value not in (None, "")
            for word in (flag, str(value))
        ]
        places += ["--no-token"] if options.dashboard_no_token else []
        companions.append([*command, "dashboard", *places])
    if options.watch:
        companions.append([*command, "watch"])
    return companions


def _watching(options: argparse.Namespace, environ: dict[str, str]) -> Watching:
    trace: Path | None = options.trace
    if trace is not None:
        check_target(trace)
    has_spans, note = decide_spans(environ, are_wanted=options.otel)
    return Watching(trace, has_spans, note)
