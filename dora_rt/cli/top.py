"""`dora-rt top`, `hz` and `bw`: show what flows in a running dataflow, from its counters."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from dora_rt.cli.command_errors import RunEndedError
from dora_rt.cli.run_client import (
    HOW_RUNS_ARE_CALLED,
    add_run_argument,
    ask_all_machines,
    connect,
)
from dora_rt.cli.top_screen import Screen, Table
from dora_rt.cli.verb import Verb
from dora_rt.errors import RunNotFoundError
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK
from dora_rt.live.rates import EdgeRate, OutputRate, Rates, measure
from dora_rt.network.network_status import MachineState, NetworkStatus
from dora_rt.run_status import NodeState
from dora_rt.runs import Connection
from dora_rt.units import bandwidth, clock_offset, duration, latency, lost_count, rate, size

_COUNTED = """\
The numbers come from counters that writers and readers keep anyway: no node is asked or slowed."""

_TOP = f"""\
Show the nodes and the edges of a running dataflow: state, CPU, memory; rate, bandwidth, queue,
drops and latency. {_COUNTED}"""

_TOP_EPILOG = f"""\
examples:
  dora-rt top                the only run, until it ends or `q`
  dora-rt top dataflow.yml   this one
  dora-rt top --once --json  measure for a second, for programs

p50 and p99 are the time from send to receipt, over the samples of the last interval. The age
counts from the origin instead: the capture of the picture that led to the sample. `queue` is how
many samples wait, and how many fit; `dropped` counts from the beginning. A narrow terminal has no
room for some columns: its last line names them. Where a dataflow runs on several machines,
`network` is what was lost between two of them, `?` as long as the other one has not told.

keys: q quit, up and down or Page keys scroll, Tab goes on to the other table, s sorts it

{HOW_RUNS_ARE_CALLED}"""

_HZ = f"""\
Show how often each output sends, and how often each input receives. {_COUNTED}"""

_HZ_EPILOG = """\
examples:
  dora-rt hz                    all outputs and edges
  dora-rt hz camera             those of a node
  dora-rt hz camera/image       an output and its edges; or an input, such as plot/image
  dora-rt hz camera --once -i 5 measure for five seconds, and end"""

_BW = f"""\
Show how many bytes each output sends, and each input receives. {_COUNTED}"""

_BW_EPILOG = """\
examples:
  dora-rt bw                    all outputs and edges
  dora-rt bw camera/image       an output and its edges
  dora-rt bw --once --json      for programs

Only payloads are counted. No edge copies them: many readers of one output share its memory."""


def _add_top_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="RUN", help="which run, if there are several")
    _add_live_arguments(parser)


def _top(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    options.run = options.name or options.run
    return _show_rates(options, environ, _render_all)


def _render_all(rates: Rates) -> tuple[str, list[Table]]:
    title = f"run {rates.run}  {rates.file}  {rates.state.value} for {duration(rates.running_s)}"
    has_machines = rates.network is not None
    own = ("state", "pid", "restarts", "CPU", "memory", "threads")
    processes = Table(
        "nodes",
        ("node", *(["machine"] if has_machines else []), *own),
        [
            (
                process.name,
                *([process.machine or ""] if has_machines else []),
                process.state.value,
                str(process.pid or "-"),
                str(process.restarts),
                f"{process.cpu_percent:.0f} %",
                size(process.rss_nbytes or None),
                str(process.threads or "-"),
            )
            for process in rates.processes
        ],
        numbers=(3, 4, 5, 6, 7) if has_machines else (2, 3, 4, 5, 6),
        spare=(7, 3) if has_machines else (6, 2),
        orders={
            "CPU": [process.cpu_percent for process in rates.processes],
            "memory": [process.rss_nbytes for process in rates.processes],
        },
        alarms=frozenset(
            index
            for index, process in enumerate(rates.processes)
            if process.state is NodeState.FAILED
        ),
    )
    # Only where machines are several: the table is wide.
    network = ("network",) if has_machines else ()
    titles = ("edge", "Hz", "bandwidth", "queue", "dropped", "p50", "p99", "age p50", "age p99")
    edges = Table(
        "edges",
        (*titles, *network),
        [
            (
                _name(edge),
                rate(edge.rate_hz),
                bandwidth(edge.bytes_per_s),
                "-" if edge.waiting is None else f"{edge.waiting}/{edge.queue_size}",
                "-" if edge.dropped is None else str(edge.dropped),
                latency(edge.p50_ns),
                latency(edge.p99_ns),
                latency(edge.age_p50_ns),
                latency(edge.age_p99_ns),
                *(lost_count(edge.network, crosses=edge.machines is not None) for _ in network),
            )
            for edge in rates.edges
        ],
        numbers=range(1, len(titles) + len(network)),
        spare=(2, 5, 7, 3),
        orders={
            "Hz": [edge.rate_hz or 0 for edge in rates.edges],
            "dropped": [edge.dropped or 0 for edge in rates.edges],
            "p99": [edge.p99_ns or 0 for edge in rates.edges],
            "age p99": [edge.age_p99_ns or 0 for edge in rates.edges],
        },
    )
    machines = [] if rates.network is None else [_machines(rates.network)]
    return title, [processes, *([edges] if rates.edges else []), *machines]


def _machines(network: NetworkStatus) -> Table:
    rows = [
        (
            machine.name,
            machine.state.value if machine.why is None else f"{machine.state.value}: {machine.why}",
            duration(machine.since_s),
            "-"
            if machine.clock_offset_ns is None
            else clock_offset(machine.clock_offset_ns, machine.clock_error_ns),
        )
        for machine in network.machines
    ]
    return Table(
        "machines",
        ("machine", "state", "for", "clock"),
        rows,
        numbers=(2,),
        alarms=frozenset(
            index
            for index, machine in enumerate(network.machines)
            if machine.state in (MachineState.LOST, MachineState.REFUSED)
        ),
    )


def _name(edge: EdgeRate) -> str:
    name = f"{edge.source} -> {edge.target}"
    return name if edge.machines is None else f"{name} ({' > '.join(edge.machines)})"


def _add_port_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a node, an output or an input (default: all)"
    )
    _add_live_arguments(parser)


def _hz(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    return _show_ports(
        options,
        environ,
        ("", "Hz", "dropped/s"),
        lambda output: (rate(output.rate_hz), "-"),
        lambda edge: (rate(edge.rate_hz), rate(edge.drops_hz)),
    )


def _bw(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    return _show_ports(
        options,
        environ,
        ("", "bandwidth", "sample"),
        lambda output: (bandwidth(output.bytes_per_s), size(output.mean_nbytes or None)),
        lambda edge: (bandwidth(edge.bytes_per_s), ""),
    )


def _show_ports(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    titles: Sequence[str],
    output_cells: Callable[[OutputRate], tuple[str, ...]],
    edge_cells: Callable[[EdgeRate], tuple[str, ...]],
) -> int:
    def render(rates: Rates) -> tuple[str, list[Table]]:
        outputs, edges = _pick(rates, options.names)
        rows = [(output.source, *output_cells(output)) for output in outputs]
        rows += [(_name(edge), *edge_cells(edge)) for edge in edges]
        return "", [Table("rows", titles, rows, numbers=(1, 2))]

    def to_fields(rates: Rates) -> dict[str, Any]:
        outputs, edges = _pick(rates, options.names)
        return {
            "run": rates.run,
            "interval_s": rates.interval_s,
            "outputs": [dataclasses.asdict(output) for output in outputs],
            "edges": [dataclasses.asdict(edge) for edge in edges],
        }

    return _show_rates(options, environ, render, to_fields)


def _pick(rates: Rates, names: Sequence[str]) -> tuple[list[OutputRate], list[EdgeRate]]:
    """Return the outputs and edges of these names; all without names."""
    if not names:
        return list(rates.outputs), list(rates.edges)
    ports = [output.source for output in rates.outputs]
    ports += [port for edge in rates.edges for port in (edge.source, edge.target)]
    for name in names:
        if not any(_has_name(port, [name]) for port in ports):
            known = ", ".join(dict.fromkeys(ports))
            raise RunNotFoundError(f"run {rates.run} has no {name!r}; it has: {known}")
    outputs = [output for output in rates.outputs if _has_name(output.source, names)]
    edges = [
        edge
        for edge in rates.edges
        if _has_name(edge.source, names) or _has_name(edge.target, names)
    ]
    return outputs, edges


def _has_name(port: str, names: Sequence[str]) -> bool:
    return any(port == name or port.startswith(f"{name}/") for name in names)


def _add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the run, the interval and the form."""
    add_run_argument(parser)
    parser.add_argument(
        "-i",
        "--interval",
        type=_interval_s,
        default=1.0,
        metavar="SECONDS",
        help="how long each measurement takes (default: 1)",
    )
    parser.add_argument("--once", action="store_true", help="measure once, and end")
    parser.add_argument("--json", action="store_true", help="print a line of JSON each time")


def _show_rates(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    render: Callable[[Rates], tuple[str, list[Table]]],
    to_fields: Callable[[Rates], object] = Rates.to_fields,
) -> int:
    """Show the rates of a run until it ends, or Ctrl-C; return the exit code.

    Raises:
        RunNotFoundError: there is no such run, or `render` misses something in it.
    """
    is_screen = sys.stdout.isatty() and not options.json and not options.once
    try:
        with connect(options.run, environ) as connection, ExitStack() as stack:
            screen = stack.enter_context(Screen.open()) if is_screen else None
            for rates in _measurements(connection, options.interval, screen):
                if options.json:
                    print(json.dumps(to_fields(rates)), flush=True)
                elif screen is not None:
                    title, tables = render(rates)
                    screen.show(title or f"run {rates.run}  {rates.file}", tables)
                else:
                    print(
                        _as_text(*render(rates)), end="\n" if options.once else "\n\n", flush=True
                    )
                if options.once:
                    break
    except RunEndedError as error:
        print(f"run {error} has ended", file=sys.stderr)
        return EXIT_FAILED if options.once else EXIT_OK
    except KeyboardInterrupt:
        pass  # this is how one ends it
    return EXIT_OK


def _measurements(
    connection: Connection, interval_s: float, screen: Screen | None
) -> Iterator[Rates]:
    """Measure again and again, until a key on the screen says to quit."""
    earlier = ask_all_machines(connection)
    if screen is not None:
        screen.show("measuring ...", [])
    while True:
        if screen is None:
            time.sleep(interval_s)
        elif screen.wait(interval_s):
            return
        later = ask_all_machines(connection)
        yield measure(earlier, later)
        earlier = later


def _as_text(title: str, tables: Sequence[Table]) -> str:
    return "\n\n".join([*([title] if title else []), *(one.as_text() for one in tables)])


def _interval_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.05 to 3600")
    return seconds


TOP = Verb(_TOP, _TOP_EPILOG, _add_top_arguments, _top)
HZ = Verb(_HZ, _HZ_EPILOG, _add_port_arguments, _hz)
BW = Verb(_BW, _BW_EPILOG, _add_port_arguments, _bw)
