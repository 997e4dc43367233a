"""The other machines of a dataflow as rows of a table."""

from __future__ import annotations

from dora_rt.network.network_status import MachineStatus, NetworkStatus
from dora_rt.units import duration, latency

MACHINE_TITLES = ("machine", "state", "for", "clock here +")


def machine_rows(status: NetworkStatus) -> list[tuple[str, str, str, str]]:
    """Return a row for this machine, and one for each of the others."""
    rows = [(status.machine, "this one", "", "")]
    for machine in status.machines:
        optional = " (optional)" if machine.is_optional else ""
        why = "" if machine.why is None else f": {machine.why}"
        state = f"{machine.state.value}{optional}{why}"
        rows.append((machine.name, state, duration(machine.since_s), clock_text(machine)))
    return rows


def clock_text(machine: MachineStatus) -> str:
    """Return how far the monotonic clock of a machine is ahead of the one here."""
    offset_ns, error_ns = machine.clock_offset_ns, machine.clock_error_ns
    if offset_ns is None:
        return ""
    sign = "-" if offset_ns < 0 else ""
    seconds = abs(offset_ns) / 1e9
    far = latency(abs(offset_ns)) if seconds < 1 else duration(seconds)
    return f"{sign}{far}" if error_ns is None else f"{sign}{far}, +-{latency(error_ns)}"
