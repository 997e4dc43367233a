"""`dora-rt replay`: runs a dataflow on a recording."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.run_file import (
    RunOptions,
    add_assignments,
    add_machine_arguments,
    add_stop_after,
    run_file,
    whole_path,
)
from dora_rt.cli.verb import Verb
from dora_rt.descriptor.tree.model import (
    Descriptor,
    Input,
    Node,
    Output,
    OutputSource,
    Place,
    Program,
    RestartPolicy,
    Supervision,
    TimerSource,
)
from dora_rt.errors import DescriptorError
from dora_rt.exit_codes import EXIT_FAILED
from dora_rt.launcher.node_output.console import Console
from dora_rt.node_config import QueuePolicy
from dora_rt.units import read_path

_DESCRIPTION = """\
Run a dataflow in which a recording replaces the sources (the nodes that read no other node): same
values, same metadata, same pace. All other nodes run as usual. The recording may be a bag of ROS 2,
in MCAP."""

_EPILOG = f"""\
examples:
  dora-rt replay drive.mcap                           the dataflow file that was recorded
  dora-rt replay drive.mcap launch/other.yml          another one, with a node of the same id
  dora-rt replay drive.mcap --rate 0.5 --start 12 --end 20
  dora-rt replay drive.mcap --nodes camera,detector   also what the detector had found
  dora-rt replay drive.mcap --clock --rate 5          five times as fast, and so are all timers
  dora-rt replay drive.mcap robot.yml --machine robot     on the robot; others as usual
  dora-rt replay bag.mcap flow.yml --topic camera/image=/front/image_raw

The exit codes are those of dora-launch; {EXIT_FAILED} also if the recording cannot be read.

Needs the extra `record`: pip install 'dora_rt[record]'"""

_MODULE = "dora_rt.nodes.replay"
# A reserved word: no node of a file is called like this.
_CLOCK = "dora.clock"
_CLOCK_OUTPUT = "time"
_START_PERIOD_NS = 3600 * 10**9  # only its first tick is waited for


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", type=read_path, metavar="FILE.mcap", help="the recording")
    parser.add_argument(
        "file",
        nargs="?",
        type=read_path,
        metavar="FLOW.yml",
        help="the dataflow file [default: the one that was recorded]",
    )
    add_assignments(parser)
    parser.add_argument(
        "--nodes", metavar="ID,ID", help="the nodes to replace [default: all recorded sources]"
    )
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="NODE/OUTPUT=TOPIC",
        help="of a bag of ROS 2: the topic that an output was, if it has another name",
    )
    parser.add_argument(
        "--rate",
        default="1",
        metavar="FACTOR",
        help="2 is twice as fast as it was; 0 as fast as readers with queue_policy block take it",
    )
    parser.add_argument(
        "--clock",
        action="store_true",
        help="let node.now() and the timers of all nodes follow the time of the recording",
    )
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    parser.add_argument(
        "--start", default="0", metavar="SECONDS", help="begin this far into the recording"
    )
    parser.add_argument("--end", metavar="SECONDS", help="end this far into the recording")
    add_machine_arguments(parser)
    add_stop_after(parser)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from dora_rt.nodes.replay import Recording, parse_options

    # The node would refuse them too, but only after all nodes have been started.
    arguments = _arguments(options)
    if options.clock:
        arguments = (*arguments, "--has-clock")
    topics = dict(parse_options(arguments, prog="dora-rt replay").topic)
    recording = Recording.open(options.recording, topics)
    file = options.file or Path(recording.about.get("dataflow", ""))
    if not file.is_file():
        where = f"{file}, which was recorded, is gone" if file.name else "it does not say which"
        raise UsageError(f"say which dataflow file to run: {where}")
    nodes = None if options.nodes is None else options.nodes.split(",")

    def replace_sources(descriptor: Descriptor, console: Console) -> Descriptor:
        if options.clock:
            descriptor = replace(descriptor, clock=None)
        changed = with_replay(
            descriptor, recording.samples, arguments, nodes, machine=options.machine
        )
        for old, new in zip(descriptor.nodes, changed.nodes, strict=True):
            if old is not new:
                console.notice(f"{old.id} is replayed from {options.recording}")
        if options.clock:
            console.notice("node.now() and timers follow the time of the recording")
            return _with_clock(changed, _arguments(options))
        return changed

    run_options = RunOptions(
        stop_after_s=options.stop_after,
        change=replace_sources,
        machine=options.machine,
        robot=options.robot,
        arguments=options.arguments,
    )
    return run_file(file, environ, run_options)


def _arguments(options: argparse.Namespace) -> tuple[str, ...]:
    arguments = [whole_path(options.recording), f"--rate={options.rate}"]
    arguments += [f"--start={options.start}"]
    arguments += [f"--topic={topic}" for topic in options.topic]
    arguments += [] if options.end is None else [f"--end={options.end}"]
    return (*arguments, *(["--loop"] if options.loop else []))


def with_replay(
    descriptor: Descriptor,
    recorded: Collection[str],
    arguments: tuple[str, ...],
    wanted: Collection[str] | None,
    *,
    machine: str | None = None,
) -> Descriptor:
    """Return the dataflow with replay nodes in the place of recorded sources or of wanted nodes.

    Args:
        descriptor: the dataflow.
        recorded: names of the recorded outputs.
        arguments: of the replay nodes.
        wanted: ids of the nodes to replace; None: all recorded sources.
        machine: whose nodes may be replaced; None: all.

    Raises:
        DescriptorError: there is no node to replace.
    """
    chosen = [
        node
        for node in descriptor.nodes
        if machine in (None, node.machine)
        and (node.id in wanted if wanted is not None else _is_source(node))
        and any(f"{node.id}/{output.id}" in recorded for output in node.outputs)
    ]
    ids = {node.id for node in chosen}
    missing = [one for one in wanted or () if one not in ids]
    if not chosen or missing:
        which = f"node {', '.join(missing)}" if missing else "a source"
        here = "" if machine is None else f" on machine {machine}"
        raise DescriptorError(
            f"{descriptor.file}: nothing of {which}{here} was recorded; the recording has: "
            f"{', '.join(recorded)}"
        )
    clock = descriptor.clock
    if clock is not None and clock.node in ids and str(clock) not in recorded:
        raise DescriptorError(
            f"{descriptor.file}: 'clock' is '{clock}', which was not recorded; --clock takes the "
            "time of the recording instead"
        )
    nodes = tuple(
        _replay(node, recorded, arguments) if node.id in ids else node for node in descriptor.nodes
    )
    return replace(descriptor, nodes=nodes)


def _with_clock(descriptor: Descriptor, arguments: tuple[str, ...]) -> Descriptor:
    """Return the dataflow with a node that sends the time of the recording, as its clock.

    Raises:
        DescriptorError: it has several machines.
    """
    if descriptor.machines is not None:
        raise DescriptorError(
            f"{descriptor.file}: --clock is for a dataflow on one machine; without it each sample "
            "still comes at its time"
        )
    place = descriptor.nodes[0].place
    node = Node(
        id=_CLOCK,
        name=None,
        description=None,
        env=(),
        program=Program(None, _MODULE, (*arguments, f"--clock={_CLOCK_OUTPUT}"), place),
        inputs=(_start(place),),
        outputs=(Output(_CLOCK_OUTPUT, place),),
        operators=(),
        runtime=None,
        place=place,
    )
    clock = OutputSource(_CLOCK, _CLOCK_OUTPUT)
    return replace(descriptor, nodes=(*descriptor.nodes, node), clock=clock)


def _is_source(node: Node) -> bool:
    return all(isinstance(entry.source, TimerSource) for entry in node.inputs)


def _replay(node: Node, recorded: Collection[str], arguments: tuple[str, ...]) -> Node:
    silent = [output.id for output in node.outputs if f"{node.id}/{output.id}" not in recorded]
    return replace(
        node,
        program=Program(
            None,
            _MODULE,
            (*arguments, *(f"--silent={output}" for output in silent)),
            node.place,
        ),
        inputs=(_start(node.place),),
        sync=None,
        # Else `restart: always` would begin again at the end, which is what --loop is for.
        supervision=Supervision(restart=RestartPolicy.NEVER, stops_all=node.supervision.stops_all),
    )


def _start(place: Place) -> Input:
    return Input(
        id="start",
        # The same moment in all replay nodes, whatever the clock of the dataflow.
        source=TimerSource(_START_PERIOD_NS, is_real=True),
        queue_size=1,
        queue_policy=QueuePolicy.LATEST,
        max_held=1,
        slot_nbytes=None,
        place=place,
    )


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
