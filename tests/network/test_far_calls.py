"""Calls and goals between two machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.waiting import eventually
from tests.network.machines import free_port
from tests.network.two_machines import MACHINES, TwoMachines

pytestmark = pytest.mark.programs

YAML = """
    machines:
      robot: {{listen: "127.0.0.1:{port}"}}
      laptop: {{}}
    nodes:
      - id: client
        machine: laptop
        path: client.py
        calls: {{twice: server/double, go: server/go}}
      - id: server
        machine: robot
        path: server.py
        serves: {{double: call, go: goal}}
        restart: on-failure
"""
CLIENT = """
    from contextlib import suppress
    from pathlib import Path
    from dora_rt import Node
    from dora_rt.errors import DoraRtError
    node = Node()
    told = [bytes(node.call("twice", b"ab", timeout=20).value)]
    told += [bytes(event.value) for event in node.send_goal("go", b"x")]
    try:
        node.call("twice", b"die", timeout=20)
    except (DoraRtError, TimeoutError) as error:
        told.append(type(error).__name__)
    told.append(bytes(node.call("twice", b"cd", timeout=20).value))
    # All that was told before the answer came is here at once.
    with suppress(TimeoutError):
        while (event := node.next_event(timeout=0)) is not None:
            told += [type(event).__name__] if event.id == "twice.response" else []
    Path("told").write_text(repr(told))
"""
SERVER = """
    import os, signal
    from dora_rt import Node, Request
    node = Node()
    for event in node:
        if isinstance(event, Request):
            if event.value == b"die":
                os.kill(os.getpid(), signal.SIGKILL)
            node.reply(event, bytes(event.value) * 2)
        else:
            node.feedback(event, b"half")
            node.finish(event, b"whole")
"""


def test_calls_and_goals_cross_machines_and_a_server_there_that_dies_is_told(
    tmp_path: Path, own_runs: Path
):
    machines = TwoMachines(tmp_path)
    machines.flow.write("flow.yml", YAML.format(port=free_port()))
    machines.flow.write("client.py", CLIENT)
    machines.flow.write("server.py", SERVER)
    try:
        launchers = [machines.start(machine) for machine in MACHINES]
        told = tmp_path / "told"
        eventually(
            lambda: told.exists() and all(one.poll() is not None for one in launchers),
            within_s=45,
        )
    finally:
        machines.close()

    answers = told.read_text()
    assert answers == "[b'abab', b'half', b'whole', 'ServerRestarted', b'cdcd', 'SourceRestarted']"
