"""The report of a run: how each process ended, and what each edge carried, as plain data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from dora_rt.latency import percentile_ns


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended, in words."""

    is_failure: bool
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used: CPU seconds (user and system), and its largest resident size."""

    cpu_s: float
    peak_nbytes: int


NO_USAGE = Usage(0.0, 0)


@dataclass(frozen=True, slots=True)
class TraceReport:
    """The trace file, its number of events, and how many events were left out for lack of room."""

    path: str
    events: int
    left_out: int

    def __str__(self) -> str:
        text = f"trace: {self.path} ({self.events:,} events); open it at https://ui.perfetto.dev"
        if self.left_out:
            text += (
                f"\ntrace: {self.left_out:,} events were left out: the files of their nodes were "
                "full, so the end of the run is missing there"
            )
        return text


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process: how it ended, what it used, and the last lines it printed."""

    name: str
    ending: Ending
    restarts: int
    usage: Usage | None
    tail: tuple[str, ...]
    is_machine: bool = False
    """Whether it is another machine of the dataflow, and no process of this one."""


@dataclass(frozen=True, slots=True)
class EdgeReport:
    """One edge; the counters are None if the process that kept them left none.

    `sent` is always `delivered + dropped + unread`, and `network` where the edge crosses to another
    machine and both ends have told their part. A sample is unread if its reader was not there
    yet, or no more, or was killed while it held it.
    """

    source: str
    target: str
    sent: int | None
    delivered: int | None
    dropped: int | None
    unread: int | None
    latencies: tuple[int, ...]
    ages: tuple[int, ...]
    """Histograms of `dora_rt.latency`: from the send, and from the origin, to the receipt."""
    network: int | None = None
    """Samples lost between two machines; None: not known, or the edge stays on one."""
    machines: str | None = None
    """The two machines of an edge that crosses, as `robot > laptop`."""

    def latency_ns(self, fraction: float) -> float | None:
        """Return the time from send to receipt that `fraction` of the samples did not exceed.

        Args:
            fraction: 0.5 is the median, 0.99 the 99th percentile.

        Returns:
            Nanoseconds, within 7 %; None if nothing was delivered, or it is unknown.
        """
        return percentile_ns(self.latencies, fraction)

    def age_ns(self, fraction: float) -> float | None:
        """Return the time from capture to receipt that `fraction` of the samples did not exceed.

        Args:
            fraction: 0.5 is the median, 0.99 the 99th percentile.

        Returns:
            Nanoseconds, within 7 %; None if nothing was delivered, or it is unknown.
        """
        return percentile_ns(self.ages, fraction)


@dataclass(frozen=True, slots=True)
class MachineReport:
    """Another machine of the dataflow, as it was known last.

    Attributes:
        name: the machine.
        text: where it was.
        clock_offset_ns: its monotonic clock minus the one here.
        clock_error_ns: how far off that may be.
    """

    name: str
    text: str
    clock_offset_ns: int | None
    clock_error_ns: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run; `failures` in the order in which they happened.

    `log_folder` is where the log files of the nodes are now, if they are still there. `notes` say
    why the run ended, or went on, where that is not plain.
    """

    file: str
    duration_s: float
    processes: tuple[ProcessReport, ...]
    edges: tuple[EdgeReport, ...]
    failures: tuple[ProcessReport, ...]
    log_folder: str | None = None
    trace: TraceReport | None = None
    notes: tuple[str, ...] = ()
    machine: str | None = None
    """The machine of the dataflow that this run is; None: the dataflow has one only."""
    machines: tuple[MachineReport, ...] = ()
    """All others."""

    def to_json(self) -> str:
        """Return the report as JSON, as `dora-launch --report` writes it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report that `to_json` wrote."""
        fields = json.loads(text)
        trace = fields["trace"]
        return cls(
            file=fields["file"],
            duration_s=fields["duration_s"],
            processes=tuple(map(_process, fields["processes"])),
            edges=tuple(map(_edge, fields["edges"])),
            failures=tuple(map(_process, fields["failures"])),
            log_folder=fields["log_folder"],
            trace=None if trace is None else TraceReport(**trace),
            notes=tuple(fields["notes"]),
            machine=fields["machine"],
            machines=tuple(MachineReport(**machine) for machine in fields["machines"]),
        )


def _process(fields: dict[str, Any]) -> ProcessReport:
    usage = fields["usage"]
    return ProcessReport(
        name=fields["name"],
        ending=Ending(**fields["ending"]),
        restarts=fields["restarts"],
        usage=None if usage is None else Usage(**usage),
        tail=tuple(fields["tail"]),
        is_machine=fields["is_machine"],
    )


def _edge(fields: dict[str, Any]) -> EdgeReport:
    return EdgeReport(
        **{**fields, "latencies": tuple(fields["latencies"]), "ages": tuple(fields["ages"])}
    )
