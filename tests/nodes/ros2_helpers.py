"""What the tests of the ROS 2 node share: routers, ends of topics, and dora's own stack."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dora_rt.nodes.ros2 import interfaces
from dora_rt.nodes.ros2.interface_text import Message
from dora_rt.nodes.ros2.interfaces import Interfaces
from dora_rt.nodes.ros2.ros_entities import Identity, Role
from dora_rt.nodes.ros2.routes import parse_routes
from dora_rt.nodes.ros2.topic_exchange import Topic
from dora_rt.nodes.ros2.topics import Queue, TopicMaker
from dora_rt.nodes.ros2.zenoh_transport import ZenohTransport

from tests.harness.ports import free_port

ROOT = Path(__file__).parents[2]
INTERFACES = Interfaces()
LONG_QUEUE = Queue(True, 100)
HEADER = {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": "camera"}


def free_address() -> str:
    """Give an address of zenoh at which nobody listens."""
    return f"tcp/127.0.0.1:{free_port()}"


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


def ros_prefix(folder: Path) -> str:
    """Write the texts and hashes of what we offer as an installation of ROS 2 has them."""
    from dora_rt.nodes.ros2.type_hash import type_hash

    packages = Path(interfaces.__file__).with_name("interfaces")
    for file in packages.glob("*.txt"):
        sections = file.read_text().split("\n==== ")[1:]
        needs: set[str] = set()
        for section in sections:
            title, _, text = section.partition("\n")
            kind, name = title.split("/")
            full = f"{file.stem}/{title}"
            where = folder / "share" / file.stem / kind
            where.mkdir(parents=True, exist_ok=True)
            (where / f"{name}.{kind}").write_text(text)
            whole = {
                "msg": INTERFACES.message,
                "srv": lambda one: INTERFACES.service(one).whole,
                "action": lambda one: INTERFACES.action(one).whole,
            }[kind](full)
            messages = [whole, *INTERFACES.needed_by(whole)]
            needs.update(one.name.split("/")[0] for one in messages)
            hashes = [
                {"type_name": one.name, "hash_string": type_hash(one, INTERFACES)}
                for one in messages
            ]
            described = {"type_description_msg": description(whole), "type_hashes": hashes}
            (where / f"{name}.json").write_text(json.dumps(described))
        depends = "".join(f"<depend>{one}</depend>" for one in sorted(needs - {file.stem}))
        manifest = f"<package><name>{file.stem}</name>{depends}</package>"
        (folder / "share" / file.stem / "package.xml").write_text(manifest)
    return str(folder)


def description(message: Message) -> dict[str, Any]:
    from dora_rt.nodes.ros2.type_hash import describe

    return {
        "type_description": describe(message),
        "referenced_type_descriptions": [
            describe(one) for one in sorted(INTERFACES.needed_by(message), key=lambda one: one.name)
        ],
    }


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
