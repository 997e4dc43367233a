"""What was refused at the links of this machine, in sentences: zenoh tells it to its log only."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dora_rt.network.key_space import name_in

LOG_FILTER = (
    "off,zenoh_link_tls::unicast=warn,zenoh_transport::unicast::establishment::accept=debug,"
    "zenoh_transport::unicast::manager=debug,zenoh::net::routing::interceptor=trace"
)
"""What zenoh has to log. The last costs 4 us for each message, and nothing less names the key."""

_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ is missing in Pythons built on old systems
_PIPE_NBYTES = 1 << 20
_QUIET_S = 60.0
_LOOKED_S = 3.0
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(
    r"\S+Z\s+(?:TRACE|DEBUG|INFO|WARN|ERROR)\s+(?:\S+\s+)?ThreadId\((?P<thread>\d+)\)"
    r"\s+(?P<target>[a-z_0-9:]+): (?P<text>.*)"
)
_DENIAL = re.compile(
    r"(?:Using cached result: )?(?P<zid>[0-9a-f]+) (?:on .* )?is unauthorized to "
    r"(?P<what>[A-Za-z/ ]+) \(ingress\) on (?P<key>.+)"
)
_ADDRESS = re.compile(r"=> (?:tcp|tls)/(?P<host>\[?[0-9A-Fa-f.:]+?\]?):\d+")
# In words of rustls; the first that fits counts.
_TLS_REASONS = (
    ("peer sent no certificates", "it showed no certificate (`dora-rt pair` makes them)"),
    ("UnknownIssuer", "its certificate is from another authority than ours"),
    ("BadSignature", "its certificate is from another authority than ours"),
    ("Expired", "its certificate is no longer valid"),
    ("NotValidYet", "its certificate is not valid yet; is the clock of this machine right?"),
    ("invalid peer certificate", "its certificate is not good"),
    ("received corrupt message", "what it sent is not TLS"),
    ("Timeout", "it did not come to the point within 10 s"),
)
_ACTS = {
    "Put": "send",
    "Delete": "delete",
    "Declare Subscriber": "read",
    "Query": "ask",
    "Declare Queryable": "answer for",
    "Reply": "answer for",
    "Liveliness Token": "be there as",
    "Declare Liveliness Token": "be there as",
    "Liveliness Query": "see",
    "Declare Liveliness Subscriber": "see",
}


@dataclass
class Refusals:
    """Turns lines of zenoh's log into sentences, each told once a minute at most."""

    tell: Callable[[str], None]
    ports: tuple[int, ...] = ()
    """Where this machine listens: connections there that come to nothing have an address."""
    names: Iterable[str] = ()
    """What certificates of this dataflow may be called."""
    clock: Callable[[], float] = time.monotonic
    _names: dict[str, str] = field(default_factory=dict)
    _links: set[tuple[str, int]] = field(default_factory=set)
    _denials: dict[str, re.Match[str]] = field(default_factory=dict)
    _told: dict[str, tuple[float, int]] = field(default_factory=dict)
    _seen: set[tuple[str, int]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def link_opened(self, zid: str, name: str | None, remote: str) -> None:
        """Note a link, with the name in the certificate at its far end and its address there."""
        host, port = _host_port(remote)
        with self._lock:
            self._links.add((host, port))
            if name is not None:
                self._names[zid] = name
        if name is not None and name not in set(self.names):
            self.tell_once(
                f"refused {name!r} at {host}: its certificate is good, but no machine of this "
                "dataflow has this name, so nothing from it is taken and nothing goes there"
            )

    def link_closed(self, remote: str) -> None:
        """Note the end of a link."""
        with self._lock:
            self._links.discard(_host_port(remote))

    def take_line(self, line: str) -> bool:
        """Take a line of the output of this process; return whether zenoh has written it."""
        if not self._denials and " is authorized to " in line:
            return True  # nearly all lines
        found = _LINE.fullmatch(_ANSI.sub("", line).strip())
        if found is None:
            return False
        target, text = found["target"], found["text"]
        if target == "zenoh_link_tls::unicast":
            self._tls(text.removesuffix(". Hint: increase the system open file limit."))
        elif target.startswith("zenoh::net::routing::interceptor"):
            self._access(found["thread"], text)
        elif target.startswith("zenoh_transport::unicast"):
            self._transport(text)
        return True

    def tell_once(self, sentence: str) -> None:
        """Tell a sentence, unless it was told within the last minute."""
        now = self.clock()
        with self._lock:
            last, more = self._told.get(sentence, (None, 0))
            if last is not None and now - last < _QUIET_S:
                self._told[sentence] = (last, more + 1)
                return
            self._told = {
                said: (at, count)
                for said, (at, count) in self._told.items()
                if now - at < 10 * _QUIET_S
            }
            self._told[sentence] = (now, 0)
        self.tell(sentence + (f" ({more} more times since)" if more else ""))

    def _tls(self, text: str) -> None:
        if "received fatal alert" in text:
            self.tell_once(
                f"{self._origin('somebody')} refused the certificate of this machine: the two are "
                "from different authorities (make both with one `dora-rt pair`)"
            )
            return
        if "handshake eof" in text:
            return  # it said nothing at all
        reason = next((said for sign, said in _TLS_REASONS if sign in text), text)
        self.tell_once(f"refused a connection{self._origin('', ' from ')}: {reason}")

    def _transport(self, text: str) -> None:
        if "tls/" in text:
            return  # it has shown its certificate, and was only looking
        if not text.startswith(("Failed to accept link", "Decode error", "Read error")):
            return
        found = _ADDRESS.search(text)
        origin = found["host"].strip("[]") if found else self._origin("")
        sentence = "refused a connection: what it sent is not the protocol of zenoh"
        if text.startswith("Read error") and origin:
            # One of ours that looks whether somebody is there has a link in a moment.
            timer = threading.Timer(_LOOKED_S, self._tell_of_stranger, (origin, sentence))
            timer.daemon = True
            timer.start()
        else:
            self._tell_from(origin, sentence)

    def _tell_of_stranger(self, host: str, sentence: str) -> None:
        with self._lock:
            has_link = host in {known for known, _ in self._links}
        if not has_link:
            self._tell_from(host, sentence)

    def _tell_from(self, host: str, sentence: str) -> None:
        self.tell_once(
            sentence.replace("connection", f"connection from {host}") if host else sentence
        )

    def _access(self, thread: str, text: str) -> None:
        # The same is said of what might come, while permissions are put into a cache; only what
        # did come is followed at once by the second line, of the same thread.
        before = self._denials.pop(thread, None)
        if (denial := _DENIAL.fullmatch(text)) is not None:
            self._denials[thread] = denial
        elif text == "Msg intercepted!" and before is not None:
            self._deny(before["zid"], before["what"], before["key"])

    def _deny(self, zid: str, what: str, key: str) -> None:
        name = self._names.get(zid)
        if name is not None and name not in set(self.names):
            return  # told when it came
        act = _ACTS.get(what, what.lower())
        self.tell_once(f"refused {name or zid}, which may not {act} {words_of(key)}")

    def _origin(self, unknown: str, before: str = "") -> str:
        """Return the address of the connection that just came to nothing, where there is one."""
        with self._lock:
            rows = _connections(self.ports) - self._links
            fresh = rows - self._seen
            self._seen = rows
        hosts = {host for host, _ in fresh or rows}
        return before + hosts.pop() if len(hosts) == 1 else unknown


def words_of(key: str) -> str:
    """Return what is sent under a key, in words of the dataflow file."""
    parts = [name_in(part) for part in key.split("/")]
    match parts:
        case [_, _, _, _, writer, "sample", receiver, _, *source]:
            return f"{'/'.join(source)} from {writer} to {receiver}"
        case [_, _, _, _, writer, kind, *_]:
            return f"{key} ({kind} of {writer})"
        case _:
            return key


def capture_output(take_line: Callable[[str], bool]) -> None:
    """Read from now on what this process writes to file descriptor 1, where zenoh's log goes.

    `sys.stdout` goes where it went. Lines that `take_line` does not take go there too.
    """
    sys.stdout.flush()
    original = os.dup(1)
    os.set_inheritable(original, False)
    sys.stdout = os.fdopen(original, "w", buffering=1, encoding="utf-8", errors="replace")
    reading, writing = os.pipe()
    fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE_NBYTES)
    # A thread of zenoh must never wait for a reader that waits for the interpreter.
    os.set_blocking(writing, False)
    os.dup2(writing, 1)
    os.close(writing)
    threading.Thread(
        target=_read, args=(reading, take_line), name="log of zenoh", daemon=True
    ).start()


def _read(descriptor: int, take_line: Callable[[str], bool]) -> None:
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not take_line(line):
                sys.stdout.write(line)


def _host_port(locator: str) -> tuple[str, int]:
    host, _, port = locator.rpartition("/")[2].partition("?")[0].rpartition(":")
    return host.strip("[]"), int(port)


def _connections(ports: Iterable[int]) -> set[tuple[str, int]]:
    """Return who is or just was connected to ports of this machine."""
    wanted, found = set(ports), set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for row in rows:
            _, local, remote, state, *_ = row.split()
            if int(local.rpartition(":")[2], 16) in wanted and state != "0A":
                host, _, port = remote.partition(":")
                found.add((_address(host), int(port, 16)))
    return found


def _address(text: str) -> str:
    """Return the address that /proc writes as words of the byte order of this machine."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    octets = b"".join(words)
    if len(octets) == 4 or octets.startswith(b"\0" * 10 + b"\xff\xff"):
        return ".".join(map(str, octets[-4:]))
    import ipaddress

    return str(ipaddress.IPv6Address(octets))
