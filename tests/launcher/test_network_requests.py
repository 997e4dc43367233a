"""Requests that cross to other machines, and come from them, at the launcher."""

from __future__ import annotations

from typing import Any

import pytest

from dora_rt.network.network_status import MachineState
from dora_rt.plan.machine_part import GATEWAY
from tests.launcher.bed import Bed, FakeRequester, interrupt, kill
from tests.launcher.test_far_machines import Gateway, begin, in_state, robot


def asking(bed: Bed, at_s: float, **request: Any) -> FakeRequester:
    """Let a tool on this machine ask at a moment; return it with the answers to come."""
    tool = FakeRequester(4711)
    bed.at(at_s, lambda _: bed.ask(tool, request))
    return tool


def told(bed: Bed, gateway: Gateway, at_s: float, **line: Any) -> None:
    """Let the gateway say something at a moment."""
    bed.at(at_s, lambda _: bed.ask(gateway.requester, {"request": "network", **line}))


def test_request_for_another_machine_goes_to_the_gateway_and_its_answer_to_the_tool() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    tool = asking(bed, 1, request="stop", node="planner", machine="laptop")
    told(bed, gateway, 2, answer=1, fields={"ok": True})
    bed.at(3, interrupt)

    bed.run()

    (number,) = gateway.said("ask")
    asked = next(one for one in gateway.requester.answers if "ask" in one)
    assert asked["machine"] == "laptop"
    assert asked["fields"] == {"request": "stop", "node": "planner"}
    assert number == 1
    assert tool.answers == [{"ok": True}]


def test_answers_reach_those_who_have_asked_in_any_order() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    first = asking(bed, 1, request="status", machine="laptop")
    second = asking(bed, 1.1, request="status", machine="screen")
    told(bed, gateway, 2, answer=2, fields={"of": "screen"})
    told(bed, gateway, 3, answer=1, fields={"of": "laptop"})
    told(bed, gateway, 3.1, answer=1, fields={"of": "nobody"})
    bed.at(4, interrupt)

    bed.run()

    assert (first.answers, second.answers) == ([{"of": "laptop"}], [{"of": "screen"}])


def test_request_that_names_this_machine_is_answered_here() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    tool = asking(bed, 1, request="status", machine="robot")
    bed.at(2, interrupt)

    bed.run()

    assert tool.answers[0]["processes"][0]["machine"] == "robot"
    assert gateway.said("ask") == []


@pytest.mark.parametrize(
    ("at_s", "machine", "refusal"),
    [
        (0.1, "laptop", "machine laptop cannot be asked: the gateway here is starting"),
        (1, "lap", "this dataflow has no other machine 'lap'; the others: laptop, screen"),
        (1, 7, "this dataflow has no other machine 7; the others: laptop, screen"),
    ],
)
def test_machine_that_cannot_be_asked_is_refused_by_name(
    at_s: float, machine: object, refusal: str
) -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    tool = asking(bed, at_s, request="status", machine=machine)
    bed.at(2, interrupt)

    bed.run()

    assert tool.answers == [{"error": refusal}]


def test_dataflow_of_one_machine_has_no_other() -> None:
    bed = Bed("nodes: [{id: a, path: a}]")
    tool = asking(bed, 1, request="status", machine="laptop")
    bed.at(2, interrupt)

    bed.run()

    assert tool.answers == [
        {"error": "this dataflow has no other machine 'laptop'; the others: none"}
    ]


def test_what_a_gateway_has_not_answered_is_refused_when_it_is_gone() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    tool = asking(bed, 1, request="status", machine="laptop")
    bed.at(2, kill, GATEWAY).at(2, lambda _: gateway.requester.close())
    bed.at(4, gateway.connect)
    told(bed, gateway, 4.5, answer=1, fields={"late": True})
    bed.at(5, interrupt)

    bed.run()

    assert tool.answers == [{"error": "machine laptop cannot be asked: the gateway here has ended"}]


def test_other_machine_stops_a_node_here_and_the_console_says_who_it_was() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    fields = {"request": "stop", "node": "motor"}
    told(bed, gateway, 1, ask=5, machine="laptop", fields=fields)
    bed.at(3, interrupt)

    bed.run()

    answer = next(one for one in gateway.requester.answers if "answer" in one)
    assert answer == {"answer": 5, "fields": {"ok": True}, "is_over": True}
    assert "stopping node motor: asked by machine laptop" in bed.console.notices
    assert bed.when("motor ends 0") != []


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"request": "attach", "node": "motor"}, "there is no request 'attach' for other machines"),
        ({"request": "describe"}, "there is no request 'describe' for other machines"),
        ({"request": "network"}, "there is no request 'network' for other machines"),
        ({}, "there is no request None for other machines"),
        ("stop", "expected a request such as"),
        ({"request": "stop", "node": "nobody"}, "there is no node 'nobody'"),
        ({"request": "logs", "lines": -1}, "'lines' is -1"),
    ],
)
def test_other_machine_gets_nothing_but_what_is_meant_for_it(fields: Any, refusal: str) -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    told(bed, gateway, 1, ask=5, machine="laptop", fields=fields)
    bed.at(2, interrupt)

    bed.run()

    answer = next(one for one in gateway.requester.answers if "answer" in one)
    assert answer["answer"] == 5
    assert refusal in answer["fields"]["error"]


def test_program_that_is_no_gateway_asks_nothing_in_the_name_of_another_machine() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    stranger = asking(
        bed, 1, request="network", ask=1, machine="laptop", fields={"request": "stop"}
    )
    bed.at(2, lambda _: gateway.tell(in_state(MachineState.READY), may_start=True))
    bed.at(3, interrupt)

    bed.run()

    assert stranger.answers == [{"error": "only the gateway of this run tells of other machines"}]
    assert not any("asked by" in notice for notice in bed.console.notices)
