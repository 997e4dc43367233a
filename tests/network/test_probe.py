"""Why a machine that is dialled does not answer, and what is set at a socket that zenoh opened."""

from __future__ import annotations

import dataclasses
import socket
import threading

import pytest

from dora_rt.network.gateway_plan import Security
from dora_rt.network.probe import trouble_with
from dora_rt.network.socket_options import tune_socket
from tests.harness.ports import free_port
from tests.network.conftest import two_machines


def test_machine_that_is_not_there_refuses():
    assert trouble_with(f"127.0.0.1:{free_port()}", Security(), ()) == "Connection refused"


def test_plain_machine_that_is_there_is_found():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert trouble_with(f"127.0.0.1:{server.getsockname()[1]}", Security(), ()) is None


def test_name_that_is_no_address_is_told():
    assert trouble_with("nowhere.invalid:7447", Security(), ()) not in (None, "no answer")


def test_what_speaks_no_tls_is_told(authorities):
    ours, _ = authorities
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(10)
                connection.sendall(b"220 mail.example.org\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
        trouble = trouble_with(endpoint, ours.security("laptop"), ("robot",))
        thread.join()

    assert trouble is not None
    assert trouble.startswith("it does not speak TLS")


@pytest.mark.programs
def test_each_reason_of_a_machine_that_refuses_is_told(link_end, authorities):
    ours, other = authorities
    port = free_port()
    endpoint = f"127.0.0.1:{port}"
    link_end(two_machines(port, "robot", ours.security("robot"))).wait_for("OPEN")
    good = ours.security("laptop")
    mixed = dataclasses.replace(other.security("laptop"), authority=good.authority)

    assert trouble_with(endpoint, good, ("robot",)) is None
    assert trouble_with(endpoint, good, ("pump",)) == "robot is there, and not pump"
    assert "from another authority" in str(trouble_with(endpoint, other.security("x"), ("robot",)))
    assert "does not know the authority" in str(trouble_with(endpoint, mixed, ("robot",)))


def test_socket_of_a_link_is_found_by_its_ends_and_holds_little_unsent():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as link,
    ):
        ends = [f"tls/{host}:{port}" for host, port in (link.getsockname(), link.getpeername())]

        assert tune_socket(*ends)

        assert link.getsockopt(socket.IPPROTO_TCP, 25) == 16384


def test_socket_that_is_gone_is_no_error():
    assert not tune_socket("tcp/127.0.0.1:1", "tcp/127.0.0.1:2")
