"""`dora-rt machines`: who of a fleet is on a router."""

from __future__ import annotations

import json

import pytest

from tests.harness.flow import Flow
from tests.harness.ports import free_port
from tests.harness.verbs import verb
from tests.harness.waiting import eventually
from tests.network.conftest import Start

FLOW = """
    machines: {{via: "127.0.0.1:{port}", fleet: acme, name: r7, robot: {{}}, laptop: {{}}}}
    nodes:
      - {{id: camera, machine: robot, path: node.py, outputs: [image]}}
      - {{id: view, machine: laptop, path: node.py, inputs: {{image: camera/image}}}}
"""


@pytest.mark.programs
def test_machine_is_listed_as_long_as_it_is_on_the_router(flow: Flow, start: Start):
    port = free_port()
    router = start("dora_rt.cli", "router", "--listen", f"127.0.0.1:{port}", "--fleet", "acme")
    router.wait_for("router listens on")
    flow.write("flow.yml", FLOW.format(port=port))
    flow.write("node.py", "from dora_rt import Node\nfor event in Node(): pass")

    def listed(fleet: str = "acme") -> list[dict[str, str]]:
        done = verb("machines", f"127.0.0.1:{port}", "--fleet", fleet, "--json")
        assert done.exit_code == 0, done.err
        found: list[dict[str, str]] = json.loads(done.out)
        return found

    before = listed()
    launcher = flow.start("--machine", "robot")
    eventually(lambda: listed() != [])

    assert before == []
    assert listed() == [{"robot": "r7", "flow": "flow", "machine": "robot"}]
    assert listed("other") == []
    launcher.terminate()
    launcher.wait(30)
    eventually(lambda: listed() == [])


def test_router_that_is_not_there_is_named():
    port = free_port()

    done = verb("machines", f"127.0.0.1:{port}")

    assert done.exit_code == 3
    assert done.err == (f"dora-rt: router 127.0.0.1:{port} cannot be asked: Connection refused\n")


@pytest.mark.parametrize("router", ["relay", "relay:", ":7447", "relay:99999"])
def test_address_that_is_none_is_refused(router: str):
    done = verb("machines", router)

    assert done.exit_code == 2
    assert "expected HOST:PORT" in done.err
