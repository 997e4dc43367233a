"""The command `dora-launch`: its options, and what they mean for a run.

Only what parsing needs is imported before the options are known: a fork server can import beside
the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from dora_rt import __version__
from dora_rt.cli.command_errors import exit_at_error
from dora_rt.cli.verb import HelpFormatter, exit_codes_help
from dora_rt.compiled import describe_code
from dora_rt.dashboard.installed import MISSING_EXTRA
from dora_rt.dashboard.installed import is_installed as has_dashboard
from dora_rt.errors import ExtraMissingError
from dora_rt.exit_codes import (
    EXIT_ENVIRONMENT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
)
from dora_rt.interrupt import ended_by_ctrl_c
from dora_rt.terminal import HarmlessStream
from dora_rt.units import read_assignment, read_duration_s, read_path, read_port

_DESCRIPTION = """\
Run a dataflow: start every node of FILE, connect them by shared memory, and stop
them all when the flow is over, when a node asks for it, or at Ctrl-C."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "all well",
        EXIT_FAILED: "a node failed",
        EXIT_USAGE: "bad file or usage",
        EXIT_ENVIRONMENT: "this machine does not allow it (shared memory, permissions, packages)",
        "128 + signal": f"interrupted ({EXIT_INTERRUPTED}: Ctrl-C)",
    }
)

_EPILOG = f"""\
examples:
  dora-launch launch/dataflow.yml                   run until the flow is over, or Ctrl-C
  dora-launch launch/dataflow.yml --stop-after 10s  run for ten seconds
  dora-launch launch/dataflow.yml --check           only check the file, start nothing
  dora-launch robot.yml camera=2                    with an argument that the file declares
  dora-launch robot.yml --help                      and which these are
  dora-launch launch/dataflow.yml --dashboard       and see it on a page
  dora-launch launch/dataflow.yml --watch           restart each node whose file you save
  dora-launch robot.yml --machine laptop            run the part of one of several machines

{_EXIT_CODES}

A dataflow file names the programs that it runs: run only files that you trust."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and exit with its code."""
    _open_standard_streams()
    # The standard output is made harmless by the console.
    sys.stderr = HarmlessStream.around(sys.stderr)
    words = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(words):
        with exit_at_error("dora-launch"):
            _show_help(words)
            sys.exit(EXIT_OK)
    # Arguments of the file may stand before and behind the options.
    options = _parser().parse_intermixed_args(words)
    with exit_at_error("dora-launch"):
        sys.exit(_check(options) if options.check else _run(options))


def _show_help(words: Sequence[str]) -> None:
    """Print the help of the command, and that of the file, if the words name one."""
    sys.stdout = HarmlessStream.around(sys.stdout)
    _parser().print_help()
    files = [word for word in words if word.endswith((".yml", ".yaml"))]
    if files:
        with ended_by_ctrl_c():
            from dora_rt.cli.argument_help import show_arguments
        print()
        show_arguments(read_path(files[0]), os.environ)


def _check(options: argparse.Namespace) -> int:
    with ended_by_ctrl_c():
        from dora_rt.cli.check import show_outline

    sys.stdout = HarmlessStream.around(sys.stdout)
    show_outline(
        options.file,
        os.environ,
        options.arguments,
        has_strict_types=options.strict_types,
        machine=options.machine,
        robot=options.robot,
    )
    return EXIT_OK


def _run(options: argparse.Namespace) -> int:
    if _wants_dashboard(options) and not has_dashboard():
        raise ExtraMissingError(MISSING_EXTRA)
    with ended_by_ctrl_c():
        from dora_rt.launcher.processes import early_start
    try:
        with ended_by_ctrl_c():
            if early_start.is_worth_it(options.file):
                early_start.begin(os.environ, has_dora_compat=options.dora_compat)
            # Not before: it imports for as long as the fork server.
            from dora_rt.cli.run_file import RunOptions, run_file
        return run_file(
            options.file,
            os.environ,
            RunOptions(
                stop_after_s=options.stop_after,
                has_strict_types=options.strict_types,
                has_dora_compat=options.dora_compat,
                log_folder=options.log_dir,
                report=options.report,
                trace=options.trace,
                wants_spans=options.otel,
                companions=_companions(options),
                parameters=options.parameters,
                settings=options.settings,
                arguments=options.arguments,
                machine=options.machine,
                robot=options.robot,
            ),
        )
    finally:
        early_start.dismiss()


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
        formatter_class=HelpFormatter,
    )
    parser.add_argument("file", type=read_path, metavar="FILE", help="the dataflow file (YAML)")
    parser.add_argument(
        "arguments",
        nargs="*",
        default=[],
        type=read_assignment,
        metavar="NAME=VALUE",
        help="arguments that the file declares; `dora-launch FILE --help` lists them",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the file and print what would run; start nothing",
    )
    parser.add_argument(
        "--machine",
        metavar="NAME",
        help="run the part of this machine (`machines:` of the file); without it all nodes run "
        "here",
    )
    parser.add_argument(
        "--name",
        dest="robot",
        metavar="ROBOT",
        help="which robot this is, or is for, where several run the same file over one router",
    )
    parser.add_argument(
        "--stop-after",
        type=read_duration_s,
        metavar="TIME",
        help="stop this long after the start: 10s, 500ms, 5m, 1h",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NODE.NAME=VALUE",
        help="start with this value of a parameter; may be given several times",
    )
    parser.add_argument(
        "--parameters",
        type=read_path,
        metavar="FILE",
        help="start with the values of parameters in FILE, which `dora-rt param save` wrote",
    )
    parser.add_argument(
        "--log-dir",
        type=read_path,
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
        help="let `import dora` in the nodes find the installed package, not that of dora_rt",
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
        type=read_port,
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
        type=read_path,
        metavar="PATH",
        help="also write the report of the run to PATH at its end, as JSON; until then an older "
        "file stays as it is",
    )
    parser.add_argument(
        "--trace",
        type=read_path,
        metavar="FILE",
        help="write what each node did and when to FILE, for https://ui.perfetto.dev",
    )
    parser.add_argument(
        "--otel",
        action="store_true",
        help="make OpenTelemetry spans of the work of the nodes, and send them to "
        "OTEL_EXPORTER_OTLP_ENDPOINT (which alone does the same), else to localhost:4318",
    )
    parser.add_argument(
        "--version", action="version", version=f"dora_rt {__version__} ({describe_code()})"
    )
    return parser


def _wants_dashboard(options: argparse.Namespace) -> bool:
    places = (options.dashboard_host, options.dashboard_port)
    is_placed = any(place is not None for place in places)
    return options.dashboard or options.dashboard_no_token or is_placed


def _companions(options: argparse.Namespace) -> list[list[str]]:
    """Return the commands of the programs that run beside the nodes and look at the run."""
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
        companions.append([*command, "dashboard", "--ends-with-run", *places])
    if options.watch:
        companions.append([*command, "watch"])
    return companions
