"""What on this machine may slow down a dataflow on several machines, each with a way out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dora_rt.doctor.checks import Finding, Level
from dora_rt.units import size

_INSTALL = "pip install 'dora_rt[network]'"
_SETTINGS = Path("/proc/sys/net/ipv4")
_INTERFACES = Path("/sys/class/net")
# 1 Gbit/s over a round trip of 8 ms, or 100 Mbit/s over one of 80 ms.
_LEAST_BUFFER_NBYTES = 1024 * 1024
_GET_POWER_SAVE = 0x8B2D  # SIOCGIWPOWER of linux/wireless.h
_POWER_REQUEST = struct.Struct("16s i B B H")  # name, value, fixed, disabled, flags


@dataclass(frozen=True, slots=True)
class Wireless:
    """A Wi-Fi interface; `saves_power` is None if the kernel does not say."""

    name: str
    saves_power: bool | None


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What this machine has for links to others."""

    zenoh: str | None
    """The version of eclipse-zenoh; None: it is not installed."""
    congestion: str
    """The control that TCP uses; empty, if the kernel does not say."""
    congestion_allowed: frozenset[str]
    """Those that any user may choose for a connection."""
    has_bbr: bool
    """Whether the kernel has bbr, or a module with it."""
    send_buffer_nbytes: int | None
    receive_buffer_nbytes: int | None
    wireless: tuple[Wireless, ...]


def find_network_settings() -> NetworkSettings:
    """Return what this machine has for links to others."""
    zenoh = None
    with contextlib.suppress(metadata.PackageNotFoundError):
        zenoh = metadata.version("eclipse-zenoh")
    available = _read("tcp_available_congestion_control").split()
    return NetworkSettings(
        zenoh=zenoh,
        congestion=_read("tcp_congestion_control"),
        congestion_allowed=frozenset(_read("tcp_allowed_congestion_control").split()),
        has_bbr="bbr" in available or _has_module("tcp_bbr"),
        send_buffer_nbytes=_largest(_read("tcp_wmem")),
        receive_buffer_nbytes=_largest(_read("tcp_rmem")),
        wireless=tuple(_find_wireless()),
    )


def examine_network(settings: NetworkSettings, *, is_needed: bool) -> list[Finding]:
    """Return the findings about the links of this machine.

    Args:
        settings: what it has.
        is_needed: whether a dataflow on several machines shall run here.
    """
    if settings.zenoh is None:
        if is_needed:
            return [Finding(Level.PROBLEM, "zenoh", "is not installed", f"`{_INSTALL}`")]
        text = f"is not installed: dataflows run on this machine alone ({_INSTALL})"
        return [Finding(Level.OK, "zenoh", text)]
    return [
        Finding(Level.OK, "zenoh", settings.zenoh),
        *_judge_congestion(settings),
        *_judge_buffers(settings),
        *map(_judge_wireless, settings.wireless),
    ]


def _judge_congestion(settings: NetworkSettings) -> Iterator[Finding]:
    subject, present = "TCP control", settings.congestion
    if not present:
        return  # as in some containers: the host decides
    if present == "bbr":
        yield Finding(Level.OK, subject, "bbr")
    elif "bbr" in settings.congestion_allowed:
        yield Finding(Level.OK, subject, f"{present}, and bbr for the links of dataflows")
    elif settings.has_bbr:
        allowed = " ".join(sorted(settings.congestion_allowed | {"bbr"}))
        yield Finding(
            Level.WARNING,
            subject,
            f"{present}, and bbr is not allowed: on a link that loses packets, as Wi-Fi, {present} "
            "gets a tenth of the bandwidth",
            "`sudo modprobe tcp_bbr; sudo sysctl "
            f"net.ipv4.tcp_allowed_congestion_control='{allowed}'` (to keep it: tcp_bbr in "
            "/etc/modules-load.d/, the setting in /etc/sysctl.d/)",
        )
    else:
        text = f"{present}; this kernel has no bbr, which is faster on a link that loses packets"
        yield Finding(Level.OK, subject, text)


def _judge_buffers(settings: NetworkSettings) -> Iterator[Finding]:
    subject = "TCP buffers"
    sends, receives = settings.send_buffer_nbytes, settings.receive_buffer_nbytes
    if sends is None or receives is None:
        return
    text = f"up to {size(sends)} to send, {size(receives)} to receive"
    if min(sends, receives) >= _LEAST_BUFFER_NBYTES:
        yield Finding(Level.OK, subject, text)
        return
    settings_of = {"tcp_wmem": sends, "tcp_rmem": receives}
    small = [name for name, nbytes in settings_of.items() if nbytes < _LEAST_BUFFER_NBYTES]
    changes = " ".join(f"net.ipv4.{name}='4096 131072 4194304'" for name in small)
    yield Finding(
        Level.WARNING,
        subject,
        f"{text}: too little for pictures over a long or fast link",
        f"`sudo sysctl {changes}` (to keep it: in /etc/sysctl.d/)",
    )


def _judge_wireless(wireless: Wireless) -> Finding:
    subject = "Wi-Fi"
    if not wireless.saves_power:
        known = "does not save power" if wireless.saves_power is False else "is there"
        return Finding(Level.OK, subject, f"{wireless.name} {known}")
    return Finding(
        Level.WARNING,
        subject,
        f"{wireless.name} saves power: what others send waits up to 100 ms and more",
        f"`sudo iw dev {wireless.name} set power_save off` (to keep it, with NetworkManager: "
        "wifi.powersave=2)",
    )


def _read(setting: str) -> str:
    try:
        return (_SETTINGS / setting).read_text().strip()
    except OSError:
        return ""


def _largest(sizes: str) -> int | None:
    return int(sizes.split()[-1]) if sizes else None


def _has_module(name: str) -> bool:
    folder = Path("/lib/modules", os.uname().release)
    try:
        return f"/{name}.ko" in (folder / "modules.dep").read_text()
    except OSError:
        return False


def _find_wireless() -> Iterator[Wireless]:
    if not sys.platform.startswith("linux") or not _INTERFACES.is_dir():
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        for path in sorted(_INTERFACES.iterdir()):
            if not (path / "wireless").exists() and not (path / "phy80211").exists():
                continue
            saves_power = None
            request = _POWER_REQUEST.pack(path.name.encode(), 0, 0, 0, 0)
            # A driver without the old interface for tools does not say.
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(link, _GET_POWER_SAVE, request.ljust(32, b"\0"))
                saves_power = not _POWER_REQUEST.unpack(answer[: _POWER_REQUEST.size])[3]
            yield Wireless(path.name, saves_power)
