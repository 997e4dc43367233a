"""What is told of a port that cannot be had, and how a gateway waits for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dora_rt.errors import LaunchError
from dora_rt.network import link
from dora_rt.network.listening import ListenObstacle, check_listening, find_listen_obstacle
from dora_rt.node_config import QueuePolicy
from tests.harness.waiting import eventually
from tests.network.machines import crossing, free_port

_FIRST_OPEN_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_NOBODY = 65534
_ASK = """
import sys
from dora_rt.errors import LaunchError
from dora_rt.network.listening import check_listening
try:
    check_listening(["127.0.0.1:1"], waits=True)
except LaunchError as error:
    print(error)
"""


def test_free_port_has_no_obstacle() -> None:
    assert find_listen_obstacle(f"127.0.0.1:{free_port()}") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_port_in_use_is_told_with_the_program_that_has_it(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        obstacle = find_listen_obstacle(f"{host}:{server.getsockname()[1]}")

    assert obstacle is not None
    assert obstacle.can_go
    assert f"in use by process {os.getpid()}, '" in obstacle.why


def test_address_of_another_machine_is_waited_for() -> None:
    # Of the range for documentation: no machine has it.
    check_listening(["192.0.2.1:7447"], waits=True)

    with pytest.raises(LaunchError, match="this machine does not have that address"):
        check_listening(["192.0.2.1:7447"], waits=False)


@pytest.mark.programs
@pytest.mark.skipif(
    int(_FIRST_OPEN_PORT.read_text()) <= 1, reason="every user may listen at every port here"
)
def test_port_that_this_user_may_never_have_fails_the_launch() -> None:
    user = _NOBODY if os.geteuid() == 0 else None
    told = subprocess.run(
        [sys.executable, "-c", _ASK], user=user, stdout=subprocess.PIPE, text=True, check=True
    ).stdout

    assert told.startswith("cannot listen at 127.0.0.1:1: this user may not listen at port 1; ")


def test_gateway_waits_for_its_port_and_tells_so_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(endpoint: str) -> ListenObstacle | None:
        looks.append(endpoint)
        return find_listen_obstacle(endpoint)

    monkeypatch.setattr(link, "find_listen_obstacle", look)
    monkeypatch.setattr(link, "_LISTEN_AGAIN_S", 0.01)

    with crossing(QueuePolicy.BLOCK, started=()) as one:
        with socket.create_server(("127.0.0.1", one.port)):
            robot = one.start("robot")
            one.start("laptop")
            one.send(b"kept")
            eventually(lambda: len(looks) > 3)
        value = one.take().value

    assert value == b"kept"
    assert not robot.failures
    told = capsys.readouterr().err
    assert told.count("cannot listen at") == 1
    assert f"dora_rt: listens at 127.0.0.1:{one.port} now" in told
