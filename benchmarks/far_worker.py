"""A program at one end of a link: far_worker.py CONTENDER write|read TRAFFIC..., in its folder."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.payload import Bytes
from benchmarks.timing import percentile

Send = Callable[[Bytes], None]
Take = Callable[[Any], None]

_SILENT_S = 3.0
_PORT = 7500
_LENGTH = struct.Struct("<I")
_TIME = struct.Struct("<q")


def main() -> None:
    """Write or read until all is over, and write what was found."""
    contender, role, *ids = sys.argv[1:]
    # A daemon of dora-rs starts it elsewhere.
    os.chdir(os.environ.get("FAR_FOLDER", "."))
    told = json.loads(Path("traffic.json").read_text())
    traffic = [one for one in told["traffic"] if one["id"] in ids]
    ends = {"dora_rt": _dora_rt, "dora_rs": _dora_rs, "zenoh": _zenoh, "tcp": _tcp}
    ends[contender](role, traffic, told)


def produce(one: dict[str, Any], seconds: int, send: Send) -> None:
    """Send stamped values at their rate; what is late by more than a period is skipped."""
    value = np.random.default_rng(1).integers(0, 256, one["nbytes"], dtype=np.uint8)
    period_ns = 1_000_000_000 // one["hz"]
    began = time.monotonic_ns()
    sent = 0
    for number in range(seconds * one["hz"]):
        due = began + number * period_ns
        late = time.monotonic_ns() - due
        if late > period_ns and not one["is_lossless"]:
            continue
        time.sleep(max(0, -late) / 1e9)
        value[: _TIME.size] = np.frombuffer(_TIME.pack(time.monotonic_ns()), np.uint8)
        send(value)
        sent += 1
    Path(f"sent {one['id']}.json").write_text(json.dumps({"sent": sent}))


class Ages:
    """The ages of what has come of one kind of traffic."""

    def __init__(self, one: dict[str, Any]) -> None:
        self._file = Path(f"received {one['id']}.json")
        self._ages: list[int] = []
        self.last = time.monotonic() + 20

    def take(self, stamp: bytes) -> None:
        """Note a value, whose first bytes are the time at which it was sent."""
        now_ns = time.monotonic_ns()
        self._ages.append(now_ns - _TIME.unpack(stamp)[0])
        self.last = time.monotonic()

    def wait_for_the_end(self) -> None:
        """Wait until nothing comes any more, and write what was found."""
        while time.monotonic() < self.last + _SILENT_S:
            time.sleep(0.1)
        self.write()

    def write(self) -> None:
        """Write what was found."""
        ordered = sorted(self._ages)
        found: dict[str, Any] = {"received": len(ordered)}
        if ordered:
            found["p50_ms"] = percentile(ordered, 0.5) / 1e6
            found["p99_ms"] = percentile(ordered, 0.99) / 1e6
        self._file.write_text(json.dumps(found))


def _dora_rt(role: str, traffic: list[dict[str, Any]], told: dict[str, Any]) -> None:
    from dora_rt import Event, Node

    node = Node()
    (one,) = traffic
    if role == "write":
        produce(one, told["seconds"], lambda value: node.send_output("values", value))
        return
    ages = Ages(one)
    for event in node:
        if isinstance(event, Event):
            ages.take(bytes(event.value[: _TIME.size]))
    ages.write()


def _dora_rs(role: str, traffic: list[dict[str, Any]], told: dict[str, Any]) -> None:
    import pyarrow
    from dora import Node

    node = Node()
    (one,) = traffic
    if role == "write":

        def send(value: Bytes) -> None:
            node.send_output("values", pyarrow.array(value))

        time.sleep(1)  # its nodes on another machine may still be connecting
        produce(one, told["seconds"], send)
        time.sleep(_SILENT_S)  # what is under way is lost when its writer ends
        return
    ages = Ages(one)
    for event in node:
        if event["type"] == "INPUT":
            head = event["value"][: _TIME.size].to_numpy()
            ages.take(head.tobytes())
    ages.write()


def _zenoh(role: str, traffic: list[dict[str, Any]], told: dict[str, Any]) -> None:
    import zenoh

    config = zenoh.Config()
    is_writer = role == "write"
    endpoint = json.dumps([f"tcp/{told['robot']}:7447"])
    settings = {
        "mode": '"peer"',
        "scouting/multicast/enabled": "false",
        "listen/endpoints": endpoint if is_writer else "[]",
        "connect/endpoints": "[]" if is_writer else endpoint,
        # It would go around the link.
        "transport/shared_memory/enabled": "false",
    }
    for path, value in settings.items():
        config.insert_json5(path, value)
    with zenoh.open(config) as session:
        if not is_writer:
            ages = [Ages(one) for one in traffic]
            kept = [
                session.declare_subscriber(f"far/{number}", _taker(one))
                for number, one in enumerate(ages)
            ]
            for one in ages:
                one.wait_for_the_end()
            del kept
            return
        publishers = [_zenoh_publisher(zenoh, session, *entry) for entry in enumerate(traffic)]
        while not all(publisher.matching_status.matching for publisher in publishers):
            time.sleep(0.01)
        _side_by_side(list(zip(traffic, map(_putter, publishers), strict=True)), told["seconds"])
        time.sleep(_SILENT_S)


def _putter(publisher: Any) -> Send:
    def send(value: Bytes) -> None:
        publisher.put(value.tobytes())

    return send


def _taker(ages: Ages) -> Take:
    return lambda sample: ages.take(sample.payload.to_bytes()[: _TIME.size])


def _zenoh_publisher(zenoh: Any, session: Any, number: int, one: dict[str, Any]) -> Any:
    control, priority = zenoh.CongestionControl, zenoh.Priority
    return session.declare_publisher(
        f"far/{number}",
        congestion_control=control.BLOCK if one["is_lossless"] else control.DROP,
        priority=priority.REAL_TIME if one["is_lossless"] else priority.DATA,
        express=one["is_lossless"],
    )


def _tcp(role: str, traffic: list[dict[str, Any]], told: dict[str, Any]) -> None:
    if role == "write":
        servers = [
            socket.create_server((told["robot"], _PORT + number)) for number in range(len(traffic))
        ]
        connections = [server.accept()[0] for server in servers]
        for connection in connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def sender(connection: socket.socket) -> Send:
            def send(value: Bytes) -> None:
                connection.sendall(_LENGTH.pack(len(value)) + value.tobytes())

            return send

        _side_by_side(
            [(one, sender(link)) for one, link in zip(traffic, connections, strict=True)],
            told["seconds"],
        )
        for end in (*connections, *servers):
            end.close()
        return
    threads = [
        threading.Thread(target=_read_tcp, args=(one, told["robot"], _PORT + number))
        for number, one in enumerate(traffic)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _read_tcp(one: dict[str, Any], host: str, port: int) -> None:
    ages = Ages(one)
    while True:
        try:
            connection = socket.create_connection((host, port))
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    with connection, connection.makefile("rb", buffering=1 << 16) as stream:
        while head := stream.read(_LENGTH.size):
            value = stream.read(_LENGTH.unpack(head)[0])
            ages.take(value[: _TIME.size])
    ages.write()


def _side_by_side(traffic: list[tuple[dict[str, Any], Send]], seconds: int) -> None:
    threads = [threading.Thread(target=produce, args=(one, seconds, send)) for one, send in traffic]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
