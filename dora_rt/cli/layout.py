"""How numbers are shown."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Show a time in at most two units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def latency(latency_ns: float | None) -> str:
    """Show the time that a sample took; `-` if there was none."""
    if latency_ns is None:
        return "-"
    if latency_ns < 1e6:
        return f"{latency_ns / 1e3:.0f} us"
    return f"{latency_ns / 1e6:.1f} ms" if latency_ns < 1e9 else f"{latency_ns / 1e9:.1f} s"


def size(nbytes: float | None) -> str:
    """Show an amount of memory; `-` for nothing."""
    if not nbytes:
        return "-"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.1f} {unit}"
    return f"{nbytes:.0f} B"


def rate(hz: float | None) -> str:
    """Show how often something comes; `-` if that is not known."""
    return "-" if hz is None else f"{hz:.1f}"


def bandwidth(bytes_per_s: float | None) -> str:
    """Show bytes a second; `-` if that is not known."""
    if bytes_per_s is None:
        return "-"
    return f"{size(bytes_per_s)}/s" if bytes_per_s else "0 B/s"
