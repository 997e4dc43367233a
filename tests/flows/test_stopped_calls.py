"""Calls and goals in a dataflow that is being stopped, and functions that cannot answer."""

from __future__ import annotations

import pytest

from tests.flows.test_calls import NOTING, run
from tests.harness.flow import Flow

pytestmark = pytest.mark.programs

TEXT = """
nodes:
  - id: client
    path: ask.py
    calls: {ask: server/ask, go: server/go}
    outputs: [word]
  - {id: server, path: server.py, serves: {ask: call, go: goal}, stop_grace: 1}
"""
STOPPING = """
from dora_rt import Node

node = Node()
for event in node:
    node.stop_dataflow()
"""


@pytest.mark.parametrize(
    "wait",
    [
        "node.call('ask')",
        "node.send_goal('go').result()",
        "[*node.send_goal('go')]",
        "__import__('asyncio').run(node.call_async('ask'))",
    ],
    ids=["call", "result", "loop over a goal", "call_async"],
)
def test_program_that_waits_for_an_answer_when_all_stops_has_not_failed(flow: Flow, wait: str):
    flow.write("flow.yml", TEXT)
    flow.write("ask.py", f"from dora_rt import Node\nnode = Node()\n{wait}\nprint('not here')\n")
    flow.write("server.py", STOPPING)

    done = flow.run(timeout_s=30)

    assert done.exit_code == 0, done.out + done.err
    assert done.ending("client") == "stopped (it waited for an answer)"
    assert "not here" not in done.lines("client")
    assert any("ServerGone" in line for line in done.lines("client"))


def test_node_may_send_after_a_call_that_a_stop_has_broken_off_until_its_loop_ends(flow: Flow):
    flow.write("flow.yml", TEXT)
    flow.write(
        "ask.py",
        """
        from dora_rt import Node
        from dora_rt.errors import SentAfterStopError, ServerGone

        node = Node()
        try:
            node.call("ask")
        except ServerGone:
            node.send_output("word", b"the last one")
            print("sent")
        print([*node])
        try:
            node.send_output("word", b"too late")
        except SentAfterStopError:
            print("refused")
        """,
    )
    flow.write("server.py", STOPPING)

    done = flow.run(timeout_s=30)

    assert done.lines("client") == ["sent", "[]", "refused"]
    assert done.ending("client") == "stopped"


def test_server_that_is_stopped_at_work_on_a_goal_may_still_finish_it(flow: Flow):
    flow.write("flow.yml", TEXT)
    flow.write("ask.py", "from dora_rt import Node\nnode = Node()\nnode.send_goal('go').result()\n")
    flow.write(
        "server.py",
        """
        from dora_rt import Node

        node = Node()
        for event in node:
            node.stop_dataflow()
            while not node.is_cancelled(event):
                node.feedback(event, b"at work")
            node.finish(event, b"", "canceled")
            print("finished")
        print("over")
        """,
    )

    done = flow.run(timeout_s=30)

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("server") == ["finished", "over"]
    assert done.ending("server") == "stopped"


def test_client_that_waits_for_room_is_told_of_the_stop(flow: Flow):
    flow.write("flow.yml", TEXT)
    flow.write(
        "ask.py",
        NOTING
        + """
try:
    for number in range(1000):
        if number == 33:  # the server has taken one, and 32 wait
            open("full", "w").close()
        node.send_goal("go")
except errors.ServerGone as error:
    note(number, error)
""",
    )
    flow.write(
        "server.py",
        """
        import os, signal
        from dora_rt import Node

        node = Node()
        node.next()
        while not os.path.exists("full"):
            pass
        node.stop_dataflow()
        signal.pause()  # it hears of nothing more
        """,
    )

    flow.run(timeout_s=30)

    notes = (flow.folder / "notes").read_text()
    assert notes == "33 node 'client': 'go': the dataflow is being stopped\n"


def test_function_that_cannot_answer_refuses_and_its_node_goes_on(flow: Flow):
    serving = """
from dora_rt import Node

node = Node()

def answer(request):
    if request.value == b"odd":
        return object()
    if request.value == b"twice":
        node.reply(request, b"first")
        raise ValueError("second")
    if request.value == b"fails":
        raise ValueError("no such thing")
    return request.value

node.serve("ask", answer)
for event in node:
    pass
"""
    asking = (
        NOTING
        + """
for value in (b"odd", b"twice", b"fails", b"fine"):
    note(outcome(lambda: node.call("ask", value, timeout=20)))
"""
    )

    odd, twice, fails, fine = run(flow, TEXT, ask=asking, server=serving).splitlines()

    assert odd.startswith("CallRefused: node 'client': node 'server' refused 'ask': Unsupported")
    assert twice == "b'first'"
    assert fails.endswith("refused 'ask': ValueError: no such thing")
    assert fine == "b'fine'"


def test_calls_and_goals_that_are_taken_for_each_other_are_told(flow: Flow):
    asking = (
        NOTING
        + """
note(outcome(lambda: node.call("go")))
note(outcome(lambda: node.send_goal("ask")))
note(outcome(lambda: node.send_goal("go").result(0.01)))
"""
    )
    serving = """
from dora_rt import Node
from dora_rt.errors import UnknownServiceError

node = Node()
try:
    node.serve("go", print)
except UnknownServiceError as error:
    open("refused", "w").write(str(error))
for event in node:
    pass
"""

    called, given, waited = run(flow, TEXT, ask=asking, server=serving).splitlines()

    assert called == "UnknownServiceError: node 'client': 'go' is a goal: use node.send_goal"
    assert given == "UnknownServiceError: node 'client': 'ask' is a call: use node.call"
    expected = "TimeoutError: node 'client': nothing of goal 'go' came in time from node 'server'"
    assert waited == expected
    told = (flow.folder / "refused").read_text()
    assert told == "node 'server' serves no 'go'; in the dataflow file it has: ask"
