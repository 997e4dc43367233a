"""The answers of a run, from their writer to their reader, without a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dora_rt.errors import VersionMismatchError
from dora_rt.live.rates import measure
from dora_rt.node_config import OutputConfig, QueuePolicy
from dora_rt.run_status import (
    EdgeCounts,
    EdgeStatus,
    NodeDescription,
    NodeState,
    OperatorProgram,
    OutputStatus,
    ProcessStatus,
    Program,
    RunDescription,
    RunState,
    RunStatus,
    TimerStatus,
    owner_of,
)

COUNTS = EdgeCounts(9, 7, 1, 0, 1, latencies={3: 5, 12: 2}, ages={})
PAIR = ProcessStatus(
    "pair", ("pair/one", "pair/two"), NodeState.BACKOFF, None, 2, False, 0.5, 0, 0, "failed"
)
STATUS = RunStatus(
    run="0123abcd",
    file="/flow.yml",
    pid=4,
    version="1.2.3",
    state=RunState.RUNNING,
    began=1.5,
    running_s=2.5,
    now_ns=10**9,
    log_folder="/logs",
    processes=(PAIR,),
    outputs=(OutputStatus("pair/one/out", OutputConfig("out", 0, 9, 0, 2, (), 3), 9, 90),),
    edges=(
        EdgeStatus("pair/one/out", "sink/in", 5, QueuePolicy.BLOCK, False, COUNTS),
        EdgeStatus("pair/one/out", "pair/two/in", 5, QueuePolicy.LATEST, True, None),
    ),
    inputs=(TimerStatus("pair/one/tick", 10),),
)
DESCRIPTION = RunDescription(
    "0123abcd",
    "/flow.yml",
    "1.2.3",
    (
        NodeDescription("visitor", NodeState.ABSENT, True, None),
        NodeDescription(
            "pair",
            NodeState.RUNNING,
            False,
            Program(("python", "-u"), "/", (OperatorProgram("a.py", None),)),
        ),
    ),
)


@pytest.mark.parametrize(
    ("answer", "read"),
    [(STATUS, RunStatus.from_json), (DESCRIPTION, RunDescription.from_json)],
    ids=["status", "describe"],
)
def test_answer_is_read_as_it_was_written(
    answer: RunStatus | RunDescription, read: Callable[[Any], object]
):
    assert read(json.loads(json.dumps(answer.to_json()))) == answer


@pytest.mark.parametrize("read", [RunStatus.from_json, RunDescription.from_json])
@pytest.mark.parametrize(
    ("fields", "writer"),
    [
        ({"format": 99, "version": "9.9.9", "new": 1}, "dora_rt 9.9.9 and answers in format 99"),
        ({"version": "0.0.1", "processes": []}, "dora_rt 0.0.1 and answers in format 0"),
        ({}, "another dora_rt"),
    ],
    ids=["newer", "older", "unknown"],
)
def test_answer_of_another_version_is_not_guessed_at(
    read: Callable[[Any], object], fields: dict[str, Any], writer: str
):
    with pytest.raises(VersionMismatchError, match=writer):
        read(fields)


@pytest.mark.parametrize("name", ["pair", "pair/two"])
def test_process_is_found_by_its_name_and_by_those_of_its_operators(name: str):
    assert STATUS.find_process(name) is PAIR
    assert STATUS.find_process("pair/three") is STATUS.find_process("pai") is None


def test_edge_whose_memory_somebody_has_removed_has_no_rates_and_hides_no_others():
    gone = replace(STATUS.edges[0], counts=None)
    later = replace(STATUS, edges=(gone, STATUS.edges[1]), now_ns=2 * 10**9)

    lost, local = measure(STATUS, later).edges

    assert (lost.rate_hz, lost.dropped, local.rate_hz) == (None, None, None)
    assert measure(STATUS, STATUS).edges[0].dropped == 1


@pytest.mark.parametrize(
    ("place", "owner"),
    [
        ("camera/image", "camera"),
        ("pair/first/half", "pair/first"),
        ("maps/plan.response/planner", "maps"),
        ("robot.maps/plan.request/robot.planner", "robot.maps"),
        ("robot.goal/out", "robot.goal"),
        ("pair/goal/out", "pair/goal"),
    ],
)
def test_owner_of_an_output_is_its_node_or_operator(place: str, owner: str):
    assert owner_of(place) == owner
