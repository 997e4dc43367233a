"""Dashboards of real runs."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.harness.flow import Flow

FLOW = """
nodes:
  - {id: camera, path: camera.py, inputs: {tick: dora/timer/millis/20}, outputs: [image, speed]}
  - id: detector
    path: detector.py
    restart: on-failure
    restart_delay: 0.5
    inputs: {image: {source: camera/image, queue_policy: latest}}
    outputs: [bbox]
  - {id: sink, path: sink.py, inputs: {bbox: detector/bbox, speed: camera/speed}}
"""

CAMERA = """
import numpy as np
from dora_rt import Node
node = Node()
print("\\x1b[31mthe camera looks\\x1b[0m")
for event in node:
    node.send_output("image", np.full((48, 64, 3), 90, np.uint8))
    node.send_output("speed", np.zeros(3))
"""

DETECTOR = """
import numpy as np
from dora_rt import Node
node = Node()
for event in node:
    boxes = np.array([[4, 8, 30, 40, 0.9, 1]], np.float32)
    node.send_output("bbox", boxes, {"labels": ["dog", "cat"]})
"""

SINK = """
from dora_rt import Node
for event in Node():
    pass
"""


def write_flow(flow: Flow) -> None:
    flow.write("flow.yml", FLOW)
    for name, text in (("camera", CAMERA), ("detector", DETECTOR), ("sink", SINK)):
        flow.write(f"{name}.py", text)


@dataclass
class Answer:
    """What a dashboard answered."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> Any:
        return json.loads(self.body)


class Dashboard:
    """A dashboard, asked without a browser."""

    def __init__(self, url: str, process: subprocess.Popen[str] | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self.process = process
        self.port = parts.port
        self.token = parts.query.removeprefix("token=")
        self.host = f"127.0.0.1:{self.port}"

    @classmethod
    def start(cls, *arguments: str) -> Dashboard:
        """Start a `dora-rt dashboard`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "dora_rt.cli", "dashboard", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return cls(find_url(process.stdout.readline()), process)

    def ask(self, path: str, *, method: str = "GET", body: str = "", **headers: str) -> Answer:
        """Ask as a browser does that has opened the address, unless `Cookie` is another one."""
        sent = {"Host": self.host, "Cookie": f"dora_rt_{self.port}={self.token}", **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body.encode(), sent)
            response = connection.getresponse()
            return Answer(response.status, response.read(), dict(response.getheaders()))
        finally:
            connection.close()

    def act(self, path: str, **fields: Any) -> Answer:
        origin = f"http://{self.host}"
        return self.ask(path, method="POST", body=json.dumps(fields), Origin=origin)

    def close(self) -> int:
        """End it as a service manager does, and give its exit code."""
        assert self.process is not None, "it was started by this"
        self.process.send_signal(signal.SIGTERM)
        with self.process:
            return self.process.wait(30)


def find_url(line: str) -> str:
    found = re.search(r"dashboard: (http://\S+)", line)
    assert found is not None, line
    return found[1]


@pytest.fixture
def flow(flow: Flow) -> Flow:
    write_flow(flow)
    return flow
