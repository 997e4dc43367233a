"""From a dataflow file to a finished run and its exit code, for every command that runs one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.machine_choice import check_machine, find_membership
from dora_rt.descriptor import read_descriptor, read_parameter_file
from dora_rt.descriptor.tree.model import Descriptor
from dora_rt.errors import LaunchError
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK, interrupted_by
from dora_rt.launcher.launch import launch, show_summary
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.perfetto import check_target
from dora_rt.launcher.processes.environ import inherited_environ
from dora_rt.launcher.report_file import ReportFile
from dora_rt.launcher.trace_options import TraceOptions, decide_spans
from dora_rt.plan.given_parameters import GivenParameter, give_parameters, read_setting
from dora_rt.plan.plan import Plan
from dora_rt.plan.planner import make_plan
from dora_rt.units import read_assignment, read_duration_s

Change = Callable[[Descriptor, Console], Descriptor]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a command says of a run beside its file.

    Attributes:
        stop_after_s: stop it this many seconds after its start.
        has_strict_types: whether types that do not fit are errors.
        has_dora_compat: whether `import dora` in the nodes is what this package has.
        log_folder: where the log files of the nodes stay.
        report: the file for the report.
        trace: the file for the trace.
        wants_spans: whether the nodes make spans of OpenTelemetry.
        companions: commands of programs that look at the run and end with it.
        change: returns what runs in the place of what the file says; may raise DescriptorError.
        machine: which machine of the file this is; None: all of it runs here.
        robot: the name of the robot on the network; None: what the file says.
        parameters: a file with values of parameters.
        settings: values of parameters, as `NODE.NAME=VALUE`; they go before those of the file.
        arguments: of the dataflow file, as `name=value`.
    """

    stop_after_s: float | None = None
    has_strict_types: bool = False
    has_dora_compat: bool = True
    log_folder: Path | None = None
    report: Path | None = None
    trace: Path | None = None
    wants_spans: bool = False
    companions: Sequence[Sequence[str]] = ()
    change: Change | None = None
    machine: str | None = None
    robot: str | None = None
    parameters: Path | None = None
    settings: Sequence[str] = ()
    arguments: Sequence[str] = ()


def run_file(file: Path, environ: Mapping[str, str], options: RunOptions) -> int:
    """Run a dataflow file to its end; return the exit code.

    Raises:
        DescriptorError: the file has problems, or that with the parameters.
        ParameterRefusedError: a parameter that the options set does not fit.
        UsageError: the report or the trace cannot be written where the options say.
        ExtraMissingError: spans are wanted, and their packages are not installed.
        LaunchError, SharedMemoryError, SharedMemoryFullError: the environment does not allow it.
    """
    # An error leaves the console first: what it shows comes before the message.
    with open_console(environ) as console:
        environ = inherited_environ(environ)
        descriptor = read_file(
            file,
            environ,
            has_strict_types=options.has_strict_types,
            machine=options.machine,
            arguments=options.arguments,
        )
        agreed = descriptor
        if options.change is not None:
            descriptor = options.change(descriptor, console)
        for note in descriptor.notes:
            console.notice(f"note: {note}")
        plan = plan_file(
            file,
            descriptor,
            environ,
            machine=options.machine,
            robot=options.robot,
            is_started=True,
            agreed=agreed,
        )
        plan = _with_parameters(plan, descriptor, options)
        report = None if options.report is None else _prepare_report(options.report)
        tracing = _decide_tracing(options, environ)
        if tracing.note is not None:
            console.notice(f"note: {tracing.note}")
        if sys.stdout is not None and sys.stdout.isatty() and options.stop_after_s is None:
            console.notice("Ctrl-C stops it")
        try:
            outcome = launch(
                plan,
                console,
                environ=environ,
                has_dora_compat=options.has_dora_compat,
                stop_after_s=options.stop_after_s,
                log_folder=options.log_folder,
                companions=options.companions,
                tracing=tracing,
            )
        except PermissionError as error:
            raise LaunchError(str(error)) from error
        if report is not None:
            try:
                report.write(outcome.report.to_json())
            except OSError as error:
                console.alarm(f"--report {options.report}: {error.strerror}")
        show_summary(outcome, console)
    if outcome.interrupted_by is not None:
        return interrupted_by(outcome.interrupted_by)
    return EXIT_FAILED if outcome.report.failures else EXIT_OK


def open_console(environ: Mapping[str, str]) -> Console:
    """Return a console at the standard output, in colour on a terminal that may have it."""
    is_plain = "NO_COLOR" in environ or environ.get("TERM") == "dumb"
    return Console(sys.stdout, has_colour=sys.stdout.isatty() and not is_plain)


def read_file(
    file: Path,
    environ: Mapping[str, str],
    *,
    has_strict_types: bool = False,
    is_built: bool = True,
    machine: str | None = None,
    arguments: Sequence[str] = (),
) -> Descriptor:
    """Read a dataflow file and check it, in the environment that its nodes will have.

    Args:
        file: the file.
        environ: the environment of this command.
        has_strict_types: whether types that do not fit are errors.
        is_built: False to let what has a `build:` name programs that do not exist yet.
        machine: which of the file's machines this is; None: all of it runs here.

    Raises:
        DescriptorError: it has problems, or an argument does not fit.
        UsageError: it has no such machine, or an argument is given twice.
    """
    descriptor = read_descriptor(
        file,
        inherited_environ(environ),
        has_strict_types=has_strict_types,
        is_built=is_built,
        machine=machine,
        arguments=read_given(arguments),
    )
    if machine is not None:
        check_machine(descriptor, machine)
    return descriptor


def read_given(arguments: Sequence[str]) -> dict[str, str]:
    """Return the values of arguments that are given as `name=value`.

    Raises:
        UsageError: one is given twice.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in found:
            raise UsageError(f"{argument}: the argument {name!r} is given twice")
        found[name] = value
    return found


def plan_file(
    file: Path,
    descriptor: Descriptor,
    environ: Mapping[str, str],
    *,
    machine: str | None = None,
    robot: str | None = None,
    is_started: bool = False,
    agreed: Descriptor | None = None,
) -> Plan:
    """Return the plan of a file that was read, with the Python of this command.

    Args:
        file: the file.
        descriptor: its content.
        environ: says where the certificates of this user are.
        machine: which of the file's machines this is; None: all of it runs here.
        robot: the name of the robot on the network; None: what the file says.
        is_started: whether it is going to run, and not only looked at.
        agreed: what the file says, where `descriptor` was changed for this machine.

    Raises:
        UsageError: the names of machine and robot do not suit the file.
        LaunchError: the certificates of this machine are missing.
    """
    membership = None
    if machine is not None:
        membership = find_membership(
            file, descriptor, environ, machine=machine, robot=robot, is_started=is_started
        )
    elif robot is not None:
        raise UsageError("--name is the name of a robot with several machines: say --machine, too")
    folder = file.resolve().parent
    return make_plan(
        descriptor,
        folder=folder,
        interpreter=sys.executable,
        membership=membership,
        agreed=agreed,
    )


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument FILE, and those of the file itself behind it."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the dataflow file (YAML)")
    add_assignments(parser)


def add_assignments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a dataflow file, behind its name."""
    parser.add_argument(
        "arguments",
        nargs="*",
        default=[],
        type=read_assignment,
        metavar="NAME=VALUE",
        help="arguments that the file declares",
    )


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options `--machine` and `--name`."""
    parser.add_argument(
        "--machine",
        metavar="NAME",
        help="which machine of the file this is (`machines:`); without it all nodes are here",
    )
    parser.add_argument(
        "--name",
        dest="robot",
        metavar="ROBOT",
        help="which robot this is, or is for, where several run the same file over one router",
    )


def add_stop_after(parser: argparse.ArgumentParser) -> None:
    """Add the option `--stop-after`."""
    parser.add_argument(
        "--stop-after",
        type=read_duration_s,
        metavar="TIME",
        help="stop this long after the start: 10s, 500ms, 5m, 1h30m",
    )


def whole_path(path: Path) -> str:
    """Return a path that means the same in the folder of the dataflow file, where nodes run."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute() keeps `..`


def _with_parameters(plan: Plan, descriptor: Descriptor, options: RunOptions) -> Plan:
    """Return a plan with the parameters of the options; those of nodes elsewhere are left to them.

    So one file, and one command, are right on all machines.
    """
    here = (None, options.machine)
    elsewhere = [] if options.machine is None else descriptor.nodes
    far = {node.id for node in elsewhere if node.machine not in here}
    given = []
    if options.parameters is not None:
        found = read_parameter_file(options.parameters)
        given += [GivenParameter(str(place), *one) for place, *one in found if one[0] not in far]
    settings = (read_setting(plan, setting, far) for setting in options.settings)
    given += [setting for setting in settings if setting is not None]
    return give_parameters(plan, given)


def _prepare_report(path: Path) -> ReportFile:
    try:
        return ReportFile.prepare(path)
    except OSError as error:
        raise UsageError(f"--report {path}: {error.strerror}") from error


def _decide_tracing(options: RunOptions, environ: Mapping[str, str]) -> TraceOptions:
    if options.trace is not None:
        try:
            check_target(options.trace)
        except OSError as error:
            raise UsageError(str(error)) from error
    has_spans, note = decide_spans(environ, are_wanted=options.wants_spans)
    return TraceOptions(options.trace, has_spans, note)
