"""Calls between nodes: answers for the asker only, servers that end in the middle, circles."""

from __future__ import annotations

import pytest

from tests.harness.flow import Flow

pytestmark = pytest.mark.programs

DOUBLING = """
from dora_rt import Node
from dora_rt.event import Request

node = Node()
for event in node:
    if isinstance(event, Request):
        node.reply(event, bytes(event.value) * 2)
"""


def run(flow: Flow, text: str, **programs: str) -> str:
    flow.write("flow.yml", text)
    for name, program in programs.items():
        flow.write(f"{name}.py", program)
    done = flow.run(timeout_s=30)
    assert done.exit_code == 0, done.out + done.err
    return (flow.folder / "notes").read_text()


NOTING = """
import dora_rt.errors as errors
from dora_rt import Node
from dora_rt.event import *

node = Node()

def note(*words):
    with open("notes", "a") as file:
        print(*words, file=file)

def outcome(call):
    try:
        return bytes(call().value)
    except (errors.DoraRtError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
"""


def test_answer_goes_to_the_asker_and_other_events_keep_their_order(flow: Flow):
    asking = (
        NOTING
        + """
seen = []
for event in node:
    seen.append(bytes(event.value)[0])
    if event.value[0] % 10 == 5:
        note(node.id(), node.call("twice", node.id().encode(), timeout=10).value)
note(node.id(), seen == list(range(40)))
"""
    )
    feeding = """
from dora_rt import Node
node = Node()
for number in range(40):
    node.send_output("out", bytes([number]))
"""
    text = """
nodes:
  - {id: feed, path: feed.py, outputs: [out]}
  - {id: a, path: ask.py, calls: {twice: server/double}, inputs: {in: IN}}
  - {id: b, path: ask.py, calls: {twice: server/double}, inputs: {in: IN}}
  - {id: server, path: server.py, serves: [double]}
"""
    text = text.replace("IN", "{source: feed/out, queue_size: 100}")
    notes = run(flow, text, feed=feeding, ask=asking, server=DOUBLING).splitlines()

    for name in ("a", "b"):
        mine = [line for line in notes if line.startswith(name)]
        assert mine == [f"{name} b'{name}{name}'"] * 4 + [f"{name} True"]


def test_nodes_that_call_each_other_do_not_wait_for_ever(flow: Flow):
    first = (
        NOTING
        + """
import sys
if len(sys.argv) > 1:
    node.serve("back", lambda request: b"<" + bytes(request.value) + b">")
note(outcome(lambda: node.call("there", b"x", timeout=20)))
"""
    )
    second = (
        NOTING
        + """
for event in node:
    if isinstance(event, Request):
        node.reply(event, outcome(lambda: node.call("again", event.value)))
"""
    )
    second = second.replace("outcome(lambda", "str(outcome(lambda").replace(
        "event.value)))", "event.value))).encode())"
    )
    text = """
nodes:
  - {id: a, path: first.py, ARGS calls: {there: b/there}, serves: [back]}
  - {id: b, path: second.py, calls: {again: a/back}, serves: [there]}
"""
    served = run(flow, text.replace("ARGS", "args: [x],"), first=first, second=second)
    assert served == "b\"b'<x>'\"\n"
    (flow.folder / "notes").unlink()

    refused = run(flow, text.replace("ARGS", ""), first=first, second=second)

    assert "CallRefused" in refused
    assert "node.serve('back', function)" in refused


@pytest.mark.parametrize(
    ("restart", "expected"),
    [("never", "ServerGone"), ("on-failure", "ServerRestarted")],
)
def test_server_that_is_killed_in_the_middle_of_a_call_ends_the_wait(
    flow: Flow, restart: str, expected: str
):
    dying = """
import os, signal
from dora_rt import Node

node = Node()
for event in node:
    if bytes(event.value) == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    node.reply(event, b"alive")
"""
    asking = (
        NOTING
        + """
note(outcome(lambda: node.call("ask", b"hello")))
note(outcome(lambda: node.call("ask", b"die")))
note(outcome(lambda: node.call("ask", b"again")))
"""
    )
    text = f"""
nodes:
  - {{id: client, path: ask.py, calls: {{ask: server/ask}}}}
  - {{id: server, path: server.py, serves: [ask], restart: {restart}, restart_delay: 0.1}}
"""
    flow.write("flow.yml", text)
    flow.write("ask.py", asking)
    flow.write("server.py", dying)

    flow.run(timeout_s=30)

    first, second, third = (flow.folder / "notes").read_text().splitlines()
    assert first == "b'alive'"
    assert second.startswith(expected)
    assert third.startswith("ServerGone" if restart == "never" else "b'alive'")


def test_call_without_an_answer_in_time_is_a_timeout_and_its_answer_is_dropped(flow: Flow):
    asking = (
        NOTING
        + """
note(outcome(lambda: node.call("ask", b"first", timeout=0.2)))
note(outcome(lambda: node.call("ask", b"second", timeout=10)))
note(outcome(lambda: node.call("aks", b"")))
"""
    )
    late = """
from dora_rt import Node
from dora_rt.errors import NotARequestError

node = Node()
requests = []
for event in node:
    requests.append(event)
    if len(requests) == 2:
        for request in requests:
            node.reply(request, request.value)
        try:
            node.reply(event, b"")
        except NotARequestError:
            print("refused", flush=True)
"""
    text = """
nodes:
  - {id: client, path: ask.py, calls: {ask: server/ask}}
  - {id: server, path: server.py, serves: [ask]}
"""
    first, second, third = run(flow, text, ask=asking, server=late).splitlines()

    assert first == "TimeoutError: node 'client': node 'server' did not answer 'ask' in 0.2 s"
    assert second == "b'second'"
    assert third == (
        "UnknownServiceError: node 'client' calls no 'aks'; in the dataflow file it has: ask"
    )


def test_coroutines_call_at_the_same_time(flow: Flow):
    asking = (
        NOTING
        + """
import asyncio

async def main():
    calls = [node.call_async("twice", str(number).encode(), timeout=20) for number in range(50)]
    note([bytes(answer.value) for answer in await asyncio.gather(*calls)])

asyncio.run(main())
"""
    )
    text = """
nodes:
  - {id: client, path: ask.py, calls: {twice: server/double}}
  - {id: server, path: server.py, serves: [double]}
"""
    notes = run(flow, text, ask=asking, server=DOUBLING)

    assert notes == f"{[str(number).encode() * 2 for number in range(50)]}\n"


def test_nodes_of_dora_ask_and_answer_by_request_id(flow: Flow):
    asking = """
from dora import Node
node = Node()
request_id = node.send_service_request("twice.request", b"ab")
for event in node:
    if event["type"] == "INPUT" and event["id"] == "twice.response":
        assert event["metadata"]["request_id"] == request_id
        open("notes", "w").write(bytes(event["value"].to_numpy()).decode())
        break
"""
    answering = """
from dora import Node
node = Node()
for event in node:
    if event["type"] == "INPUT":
        name = event["id"].replace("request", "response")
        node.send_service_response(name, event["value"], event["metadata"])
"""
    native = (
        NOTING
        + """
note(outcome(lambda: node.call("ask", b"to dora", timeout=20)))
"""
    )
    text = """
nodes:
  - {id: client, path: ask.py, calls: {twice: server/double}}
  - {id: server, path: server.py, serves: [double]}
"""
    assert run(flow, text, ask=asking, server=DOUBLING) == "abab"
    (flow.folder / "notes").unlink()
    notes = run(flow, text.replace("twice", "ask"), ask=native, server=answering)
    assert notes == "b'to dora'\n"


def test_traced_nodes_call_as_well(flow: Flow):
    asking = NOTING + 'note(outcome(lambda: node.call("twice", b"x", timeout=20)))\n'
    flow.write(
        "flow.yml",
        """
nodes:
  - {id: client, path: ask.py, calls: {twice: server/double}}
  - {id: server, path: server.py, serves: [double]}
""",
    )
    flow.write("ask.py", asking)
    flow.write("server.py", DOUBLING)

    done = flow.run("--trace", str(flow.folder / "trace.json"), timeout_s=30)

    assert done.exit_code == 0, done.out + done.err
    assert (flow.folder / "notes").read_text() == "b'xx'\n"


def test_dataflow_that_is_stopped_ends_the_wait_for_an_answer(flow: Flow):
    asking = NOTING + 'note(outcome(lambda: node.call("ask")))\n'
    silent = """
from dora_rt import Node

node = Node()
for event in node:
    node.stop_dataflow()
"""
    text = """
nodes:
  - {id: client, path: ask.py, calls: {ask: server/ask}}
  - {id: server, path: server.py, serves: [ask]}
"""
    notes = run(flow, text, ask=asking, server=silent)

    assert notes == "ServerGone: node 'client': 'ask': the dataflow is being stopped\n"


def test_threads_call_while_another_one_is_in_the_loop(flow: Flow):
    asking = (
        NOTING
        + """
import threading

answers = []

def ask(number):
    answers.append(node.call("twice", str(number).encode(), timeout=20).value)

threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
ticks = 0
while any(thread.is_alive() for thread in threads) or not ticks:
    ticks += node.next().id == "tick"
note(sorted(answers) == [str(number).encode() * 2 for number in range(8)])
"""
    )
    text = """
nodes:
  - id: client
    path: ask.py
    calls: {twice: server/double}
    inputs: {tick: dora/timer/millis/10}
  - {id: server, path: server.py, serves: [double]}
"""
    assert run(flow, text, ask=asking, server=DOUBLING) == "True\n"


def test_more_calls_than_fit_into_a_queue_wait_for_no_end(flow: Flow):
    asking = (
        NOTING
        + """
import asyncio

async def main():
    calls = [node.call_async("ask", b"1", timeout=30) for _ in range(200)]
    answers = await asyncio.gather(*calls)
    note(len(answers))

node.serve("back", lambda request: request.value)
asyncio.run(main())
"""
    )
    # It answers late, and asks back for each: both directions are full at once.
    slow = """
from dora_rt import Node, Request

node = Node()
requests = []
for event in node:
    requests.append(event)
    if len(requests) % 32 == 0 or len(requests) > 192:
        for request in requests[-32:]:
            if not request.is_answered:
                node.reply(request, node.call("again", request.value, timeout=30).value)
"""
    text = """
nodes:
  - {id: client, path: ask.py, calls: {ask: server/ask}, serves: [back]}
  - {id: server, path: server.py, serves: [ask], calls: {again: client/back}}
"""
    assert run(flow, text, ask=asking, server=slow) == "200\n"


def test_result_does_not_wait_for_ever_for_feedback_that_a_link_has_lost(flow: Flow):
    # What reaches a client whose link broke between the last feedback and the result.
    server = """
from dora_rt import Node
node = Node()
for event in node:
    metadata = {"goal_id": event.goal_id, "goal_status": "succeeded", "goal_progress": [9, 3]}
    node.send_output("go.result/client", b"done", metadata)
"""
    client = (
        NOTING
        + """
note(outcome(lambda: node.send_goal("go").result(timeout=20)))
goal = node.send_goal("go")
note(type(node.next(timeout=20)).__name__, goal.status)
"""
    )
    text = """
nodes:
  - {id: client, path: client.py, calls: {go: server/go}}
  - {id: server, path: server.py, serves: {go: goal}}
"""
    notes = run(flow, text, client=client, server=server).splitlines()

    assert notes == ["b'done'", "Result succeeded"]
