"""`dora-rt record`: records the outputs of a dataflow into an MCAP file."""

from __future__ import annotations

import argparse
import fnmatch
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.run_client import connect
from dora_rt.cli.run_file import (
    RunOptions,
    add_assignments,
    add_machine_arguments,
    add_stop_after,
    run_file,
    whole_path,
)
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.descriptor.tree.model import (
    DEFAULT_MAX_HELD,
    Descriptor,
    Input,
    Node,
    OutputSource,
    Program,
    Supervision,
)
from dora_rt.errors import DescriptorError, RunNotFoundError
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dora_rt.launcher.node_output.console import Console
from dora_rt.node_config import QueuePolicy
from dora_rt.units import read_path

if TYPE_CHECKING:
    from dora_rt.live.attach import Watch

_DESCRIPTION = """\
Record the outputs of a dataflow into an MCAP file: with dora-rt replay they flow again, and
Foxglove shows the pictures and boxes in it.

For a FILE, it runs the dataflow with one more node, which has a long queue at every output. For a
RUN, it looks at a dataflow that runs already, unnoticed by its nodes. Neither slows the flow down:
samples that come faster than they can be written are lost, and counted at the end."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "well",
        EXIT_FAILED: "the recording failed",
        EXIT_USAGE: "no such run",
        EXIT_ENVIRONMENT: "mcap is not installed",
    }
)

_EPILOG = f"""\
examples:
  dora-rt record launch/dataflow.yml -o drive.mcap    run it and record everything
  dora-rt record 9c08 --only 'camera/*'               what runs as 9c08..., until Ctrl-C
  dora-rt record --stop-after 10s                     the only run there is, for ten seconds
  dora-rt record launch/dataflow.yml --ros2           as messages of ROS 2
  dora-rt record robot.yml --machine laptop           the laptop's part, and all that comes to it

For a FILE the exit codes are those of dora-launch, for a RUN:
{_EXIT_CODES}

Needs the extra `record`: pip install 'dora_rt[record]'"""

_QUEUE_SIZE = 60
_LONGEST_QUEUE = 10_000
_STOP_GRACE_S = 15.0
_PAUSE_S = 0.001
_MOST_AT_ONCE = 16


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", metavar="RUN|FILE", help="a run, or a dataflow file to run"
    )
    add_assignments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=read_path,
        metavar="FILE.mcap",
        help="the recording [default: the time]",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NODE/OUTPUT",
        help="only outputs that match this, such as 'camera/*'; may be given more than once",
    )
    parser.add_argument(
        "--queue",
        type=_queue_size,
        default=_QUEUE_SIZE,
        metavar="N",
        help=f"for a FILE: samples that may wait for the disk, per output (default {_QUEUE_SIZE})",
    )
    add_machine_arguments(parser)
    add_stop_after(parser)
    # Written out here, and read by the node: its module would import what not every verb needs.
    for flag, words in {"--pictures": "jpeg raw none", "--compression": "none lz4 zstd"}.items():
        choices = words.split()
        text = {"--pictures": "how Foxglove gets pictures", "--compression": "of the file"}[flag]
        parser.add_argument(
            flag, choices=choices, default=choices[0], help=f"{text} (default {choices[0]})"
        )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--ros2",
        action="store_true",
        help="write a bag of ROS 2, which ros2 bag play and Foxglove read",
    )
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="NODE/OUTPUT=TOPIC:TYPE",
        help="with --ros2: which message an output is, where it cannot be guessed",
    )


def _queue_size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _LONGEST_QUEUE):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from 1 to {_LONGEST_QUEUE}"
        )
    return int(text)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from dora_rt.nodes.record import check_path, default_path

    path = options.output or default_path()
    check_path(path, overwrites=options.overwrite)
    if options.what is not None and Path(options.what).is_file():
        file = Path(options.what)

        def add_recorder(descriptor: Descriptor, console: Console) -> Descriptor:
            return with_recorder(descriptor, options, path)

        run_options = RunOptions(
            stop_after_s=options.stop_after,
            change=add_recorder,
            machine=options.machine,
            robot=options.robot,
            arguments=options.arguments,
        )
        return run_file(file, environ, run_options)
    if options.machine is not None or options.robot is not None:
        raise UsageError(
            "--machine and --name are for a FILE; a run is recorded on the machine that it runs on"
        )
    if options.arguments:
        raise UsageError(f"{options.arguments[0]}: a run has its arguments already")
    return _record_run(options, environ, path)


def with_recorder(descriptor: Descriptor, options: argparse.Namespace, path: Path) -> Descriptor:
    """Add a node that records all outputs, or those that were asked for.

    Raises:
        DescriptorError: there is no such output.
    """
    outputs = outputs_at(descriptor, options.machine)
    sources = [source for source in outputs if _is_wanted(str(source), options.only)]
    if not sources:
        known = ", ".join(map(str, outputs)) or "none"
        here = "" if options.machine is None else f" on machine {options.machine}"
        raise DescriptorError(
            f"{descriptor.file}: there is nothing to record{here}; its outputs are: {known}"
        )
    place = descriptor.nodes[0].place
    args = [f"--file={whole_path(path)}", f"--dataflow={whole_path(Path(descriptor.file))}"]
    args += [f"--pictures={options.pictures}", f"--compression={options.compression}"]
    args += ["--overwrite"] if options.overwrite else []
    args += ["--ros2"] if options.ros2 else []
    args += [f"--topic={topic}" for topic in options.topic]
    recorder = Node(
        id=_free_id("recorder", descriptor),
        name=None,
        description=None,
        env=(),
        program=Program(None, "dora_rt.nodes.record", tuple(args), place),
        inputs=tuple(
            Input(
                # The number keeps `a/b-c` and `a-b/c` apart.
                id=f"{str(source).replace('/', '-')}-{number}",
                source=source,
                queue_size=options.queue,
                queue_policy=QueuePolicy.DROP_OLDEST,
                max_held=DEFAULT_MAX_HELD,
                slot_nbytes=None,
                place=place,
            )
            for number, source in enumerate(sources, start=1)
        ),
        outputs=(),
        operators=(),
        runtime=None,
        place=place,
        supervision=Supervision(stop_grace_s=_STOP_GRACE_S),
        machine=options.machine,
    )
    return replace(descriptor, nodes=(*descriptor.nodes, recorder))


def outputs_at(descriptor: Descriptor, machine: str | None) -> list[OutputSource]:
    """List what is sent on a machine, and what comes there from others; None: all outputs."""
    outputs = all_outputs(descriptor)
    if machine is None:
        return outputs
    here = [node for node in descriptor.nodes if node.machine == machine]
    senders = {node.id for node in here}
    inputs = [entry for node in here for entry in node.inputs]
    inputs += [entry for node in here for one in node.operators for entry in one.inputs]
    come = {entry.source for entry in inputs}
    return [source for source in outputs if source.node in senders or source in come]


def _free_id(wanted: str, descriptor: Descriptor) -> str:
    """Return an id that no node of the dataflow has."""
    taken = {node.id for node in descriptor.nodes}
    candidates = (wanted, *(f"{wanted}_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in candidates if name not in taken)


def all_outputs(descriptor: Descriptor) -> list[OutputSource]:
    """List what the nodes and operators of a dataflow send."""
    found = []
    for node in descriptor.nodes:
        found += [OutputSource(node.id, output.id) for output in node.outputs]
        for operator in node.operators:
            found += [OutputSource(node.id, output.id, operator.id) for output in operator.outputs]
    return found


def _is_wanted(source: str, patterns: Sequence[str] | None) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(source, pattern) for pattern in patterns)


def _record_run(options: argparse.Namespace, environ: Mapping[str, str], path: Path) -> int:
    from dora_rt.live.attach import Watch, outputs_of
    from dora_rt.nodes.record import open_recorder

    try:
        connection = connect(options.what, environ)
    except RunNotFoundError as error:
        hint = "" if options.what is None else f"{options.what} is no file; "
        raise RunNotFoundError(f"{hint}{error}") from error
    with connection:
        outputs = outputs_of(connection.run)
    wanted = [output for output in outputs if _is_wanted(output.source, options.only)]
    if not wanted:
        known = ", ".join(output.source for output in outputs) or "none"
        raise RunNotFoundError(f"there is nothing to record; the outputs of the run are: {known}")
    options.file, options.dataflow = path, wanted[0].file
    stops: list[int] = []
    # SIGHUP: the terminal that it runs in was closed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: stops.append(received))
    deadline = None if options.stop_after is None else time.monotonic() + options.stop_after
    began_ns = time.monotonic_ns()
    with open_recorder(options, {}) as recorder:
        watches = [Watch(output) for output in wanted]
        names = ", ".join(output.source for output in wanted)
        print(f"recording {names} of run {wanted[0].run} into {recorder.path}", flush=True)
        while not stops and not all(watch.has_ended for watch in watches):
            if deadline is not None and time.monotonic() >= deadline:
                break
            if not sum([_take_all(watch, recorder, began_ns) for watch in watches]):
                recorder.flush_if_due()
                time.sleep(_PAUSE_S)
        for watch in watches:
            _take_all(watch, recorder, began_ns)
            recorder.count_lost(watch.output.source, watch.dropped)
    print(recorder.summary())
    return EXIT_OK


def _take_all(watch: Watch, recorder: Any, began_ns: int) -> int:
    # Bounded, so that the other outputs have their turn.
    for count in range(_MOST_AT_ONCE):
        event = watch.take()
        if event is None:
            return count
        # Else a map that was sent an hour ago would make the recording an hour longer.
        recorder.add(watch.output.source, event, least_ns=began_ns)
    return _MOST_AT_ONCE


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
