"""Goals between nodes: feedback and results in order, cancelled, and servers that end."""

from __future__ import annotations

import pytest

from tests.flows.test_calls import NOTING, run
from tests.harness.flow import Flow

pytestmark = pytest.mark.programs

COUNTING = """
import os, signal
from dora_rt import Node
from dora_rt.event import GoalRequest

node = Node()
for event in node:
    if not isinstance(event, GoalRequest):
        continue
    count = int(event.value)
    for number in range(count):
        node.feedback(event, str(number).encode())
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    while count == 2 and not node.is_cancelled(event):
        pass
    node.finish(event, b"done", "canceled" if node.is_cancelled(event) else "succeeded")
"""
TEXT = """
nodes:
  - {id: client, path: ask.py, calls: {go: server/drive}}
  - {id: server, path: server.py, serves: {drive: goal}, restart: on-failure, restart_delay: 0.1}
"""
TOLD = """
def told(goal):
    return [(type(one).__name__, bytes(one.value), getattr(one, "status", "")) for one in goal]
"""


def test_feedback_of_a_goal_comes_in_order_and_before_its_result(flow: Flow):
    asking = NOTING + TOLD + 'note(told(node.send_goal("go", b"20")))\n'

    notes = run(flow, TEXT, ask=asking, server=COUNTING)

    feedback = [("Feedback", str(number).encode(), "") for number in range(20)]
    assert notes == f"{[*feedback, ('Result', b'done', 'succeeded')]}\n"


def test_cancelled_goal_says_so_in_its_result(flow: Flow):
    asking = (
        NOTING
        + """
goal = node.send_goal("go", b"2")
note(goal.next(20).value, goal.status)
goal.cancel()
note(goal.result(20).status, goal.status, goal.next(0))
"""
    )
    assert run(flow, TEXT, ask=asking, server=COUNTING) == "b'0' None\ncanceled canceled None\n"


def test_server_that_is_killed_ends_its_goals_as_aborted(flow: Flow):
    asking = (
        NOTING
        + TOLD
        + """
note(told(node.send_goal("go", b"3"))[-1])
note(told(node.send_goal("go", b"1")))
"""
    )
    flow.write("flow.yml", TEXT)
    flow.write("ask.py", asking)
    flow.write("server.py", COUNTING)

    flow.run(timeout_s=30)

    first, second = (flow.folder / "notes").read_text().splitlines()
    assert first == "('Result', b'', 'aborted')"
    assert second == "[('Feedback', b'0', ''), ('Result', b'done', 'succeeded')]"


def test_events_of_goals_come_from_the_loop_of_the_node_as_well(flow: Flow):
    asking = (
        NOTING
        + """
first, second = node.send_goal("go", b"1"), node.send_goal("go", b"0")
for event in node:
    note(type(event).__name__, event.goal is first, event.goal.status)
    if isinstance(event, Result) and event.goal is second:
        break
"""
    )
    notes = run(flow, TEXT, ask=asking, server=COUNTING)

    assert notes.splitlines() == [
        "Feedback True None",
        "Result True succeeded",
        "Result False succeeded",
    ]


def test_nodes_of_dora_work_on_goals_and_give_them(flow: Flow):
    working = """
from dora import Node

node = Node()
for event in node:
    if event["type"] != "INPUT":
        continue
    goal = {"goal_id": event["metadata"]["goal_id"]}
    node.send_output("drive.feedback/client", b"half", goal)
    node.send_output("drive.result/client", b"done", {**goal, "goal_status": "succeeded"})
"""
    giving = """
from dora import Node

node = Node()
node.send_output("go.goal", b"1", {"goal_id": "mine"})
told = []
for event in node:
    if event["type"] == "INPUT" and event["metadata"]["goal_id"] == "mine":
        told.append((event["id"], event["metadata"].get("goal_status")))
        if len(told) == 2:
            break
open("notes", "w").write(str(sorted(told)))
"""
    asking = NOTING + 'note(node.send_goal("go", b"x").result(20).status)\n'

    assert run(flow, TEXT, ask=asking, server=working) == "succeeded\n"
    notes = run(flow, TEXT, ask=giving, server=COUNTING)
    assert notes == "[('go.feedback', None), ('go.result', 'succeeded')]"
