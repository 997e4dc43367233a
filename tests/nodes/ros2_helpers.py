"""What the tests of the ROS 2 node share: routers, ends of topics, and dora's own stack."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dora_rt.nodes.ros2.interfaces import Interfaces
from dora_rt.nodes.ros2.ros_entities import Identity, Role
from dora_rt.nodes.ros2.routes import parse_routes
from dora_rt.nodes.ros2.topic_exchange import Topic
from dora_rt.nodes.ros2.topics import Queue, TopicMaker
from dora_rt.nodes.ros2.zenoh_transport import ZenohTransport

ROOT = Path(__file__).parents[2]
INTERFACES = Interfaces()
LONG_QUEUE = Queue(True, 100)
HEADER = {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": "camera"}


def free_address() -> str:
    """Give an address of zenoh at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"tcp/127.0.0.1:{one.getsockname()[1]}"


def maker(name: str = "ours", *, has_hashes: bool = True) -> TopicMaker:
    return TopicMaker(Identity(name), INTERFACES, has_hashes=has_hashes)


def topic(text: str, role: Role, *, queue: Queue = LONG_QUEUE, has_hashes: bool = True) -> Topic:
    (route,) = parse_routes(text)
    return maker(has_hashes=has_hashes).make(route, role, queue)


def message(one: Topic, value: Any, metadata: dict[str, Any] | None = None) -> bytes:
    return bytes(one.codec.encode(one.converter.to_message(value, metadata or {}, HEADER)))


class Peer:
    """Another node of ROS 2, by our own transport."""

    def __init__(self, address: str, name: str = "robot") -> None:
        self.transport = ZenohTransport.open(address, Identity(name))

    def subscribe(self, text: str, **options: Any) -> list[Any]:
        """Give a list into which the values go that come."""
        one = topic(text, Role.SUBSCRIPTION, **options)
        found: list[Any] = []
        self.transport.subscribe(
            one.endpoint,
            lambda content: found.append(one.converter.to_native(one.codec.decode(content))),
        )
        return found


def python_with(*modules: str) -> str:
    """Give a Python that has modules which this one must not have, or skip the test.

    It is that of `.venv-bench`, which `make bench` makes, or what DORA_RT_OTHER_PYTHONS names.
    """
    named = os.environ.get("DORA_RT_OTHER_PYTHONS", "").split(os.pathsep)
    for path in (str(ROOT / ".venv-bench/bin/python"), *filter(None, named)):
        if not Path(path).exists():
            continue
        command = [path, "-c", "import " + ", ".join(modules)]
        if subprocess.run(command, capture_output=True, timeout=60).returncode == 0:
            return path
    pytest.skip(f"no other Python has {', '.join(modules)}: see DORA_RT_OTHER_PYTHONS")


def ros_prefix(*types: str) -> str:
    """Give a folder whose share/ has the texts and hashes of types, or skip the test."""
    named = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    others = os.environ.get("DORA_RT_OTHER_PYTHONS", "").split(os.pathsep)
    prefixes = [*named, *(str(Path(one).parents[1]) for one in filter(None, others))]
    for prefix in (*prefixes, str(ROOT / ".venv-bench"), sys.prefix):
        if prefix and all((Path(prefix) / "share" / f"{one}.json").is_file() for one in types):
            return prefix
    pytest.skip(f"no share/ of ROS 2 with {', '.join(types)}: see AMENT_PREFIX_PATH")


@contextmanager
def running(command: Sequence[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program that ends with its standard input, once it has said that it is ready."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **env},
    ) as process:
        try:
            assert process.stdout is not None
            told = []
            for line in process.stdout:
                told.append(line)
                if line.strip() == "ready":
                    break
            else:
                raise AssertionError("".join(told))
            yield process
        finally:
            process.kill()


def zenoh_config(folder: Path, address: str) -> Path:
    """Write a configuration of zenoh for a client of a router."""
    path = folder / "zenoh.json5"
    scouting = {"multicast": {"enabled": False}}
    config = {"mode": "client", "connect": {"endpoints": [address]}, "scouting": scouting}
    path.write_text(json.dumps(config))
    return path
