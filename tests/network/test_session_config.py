"""The configuration of zenoh: who dials whom, what is open to others, what must be protected."""

from __future__ import annotations

import dataclasses

import pytest

from dora_rt.network.gateway_plan import MachinePlan, Security
from dora_rt.network.key_space import KeySpace, name_in, segment
from dora_rt.network.session_config import UnsafeLinkError, is_loopback, session_config
from tests.network.conftest import stream, two_machines

TLS = Security(authority="/a.pem", certificate="/m.pem", private_key="/m.key")


def with_listeners(machine, **listened):
    machines = tuple(MachinePlan(name, listen=at) for name, at in listened.items())
    return dataclasses.replace(two_machines(7447, machine), machines=machines)


def endpoints(plan):
    config = session_config(plan)
    return config["mode"], config["listen/endpoints"], config["connect/endpoints"]


def test_machine_with_an_address_listens_and_the_other_dials_it():
    assert endpoints(two_machines(7447, "robot")) == ("router", ["tcp/127.0.0.1:7447"], [])
    assert endpoints(two_machines(7447, "laptop")) == ("client", [], ["tcp/127.0.0.1:7447"])


def test_of_two_that_listen_the_later_dials_the_earlier():
    listened = {"a": ("127.0.0.1:1",), "b": ("127.0.0.1:2",), "c": ()}

    assert endpoints(with_listeners("a", **listened)) == ("router", ["tcp/127.0.0.1:1"], [])
    assert endpoints(with_listeners("b", **listened)) == (
        "router",
        ["tcp/127.0.0.1:2"],
        ["tcp/127.0.0.1:1"],
    )
    assert endpoints(with_listeners("c", **listened)) == (
        "client",
        [],
        ["tcp/127.0.0.1:1", "tcp/127.0.0.1:2"],
    )


def test_nobody_listens_where_all_dial_a_router():
    plan = dataclasses.replace(two_machines(7447, "robot", TLS), via=("relay.example.org:7447",))

    assert endpoints(plan) == ("client", [], ["tls/relay.example.org:7447"])


@pytest.mark.parametrize("machine", ["robot", "laptop"])
def test_address_that_others_reach_needs_certificates(machine):
    plan = with_listeners(machine, robot=("192.168.1.20:7447",), laptop=())

    with pytest.raises(
        UnsafeLinkError, match=r"192\.168\.1\.20:7447 can be reached .*dora-rt pair"
    ):
        session_config(plan)


def test_address_that_others_reach_may_be_plain_where_the_file_says_so():
    plan = with_listeners("robot", robot=("192.168.1.20:7447",), laptop=())

    assert endpoints(dataclasses.replace(plan, security=Security(is_insecure=True))) == (
        "router",
        ["tcp/192.168.1.20:7447"],
        [],
    )


def test_with_certificates_only_tls_is_spoken_and_all_is_denied_but_what_the_file_says():
    config = session_config(two_machines(7447, "robot", TLS))

    assert config["listen/endpoints"] == ["tls/127.0.0.1:7447"]
    assert config["transport/link/protocols"] == ["tls"]
    assert config["transport/link/tls/enable_mtls"] is True
    rules = config["access_control"]
    assert rules["default_permission"] == "deny"
    assert rules["subjects"] == [{"id": "0", "cert_common_names": ["laptop.r7", "laptop"]}]


def test_largest_message_is_that_of_the_largest_sample():
    plan = two_machines(7447, "robot")
    large = dataclasses.replace(plan.streams[0], max_nbytes=100 << 20)

    config = session_config(dataclasses.replace(plan, streams=(large,)))

    assert config["transport/link/rx/max_message_size"] == 101 << 20


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "127.8.0.9:1", "localhost:1", "[::1]:1"])
def test_loopback_is_seen(endpoint):
    assert is_loopback(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "robot.local:1", "localhost.evil.org:1"]
)
def test_all_else_can_be_reached(endpoint):
    assert not is_loopback(endpoint)


@pytest.mark.parametrize("name", ["plain", "a/b", "a*b$?#", "größe", "=2F", "a=b", "a b"])
def test_any_name_is_one_part_of_a_key_and_comes_back(name):
    assert not set(segment(name)) & set("/*$?#")
    assert name_in(segment(name)) == name


def test_the_writer_comes_first_in_every_key():
    keys = KeySpace.of(two_machines(7447, "robot"))
    way = stream(3, "camera/image", "robot", "laptop")

    assert keys.sample(way) == "dora_rt/acme/r7/flow/robot/sample/laptop/3/camera/image"
    assert keys.acknowledgement(way) == "dora_rt/acme/r7/flow/laptop/ack/robot/3"
    assert (
        keys.message("laptop", "robot", "clock") == "dora_rt/acme/r7/flow/laptop/tell/robot/clock"
    )
    assert keys.question("robot", "status") == "dora_rt/acme/r7/flow/robot/ask/status"
    assert keys.alive("robot", "1a") == "dora_rt/acme/r7/flow/robot/alive/1a"
