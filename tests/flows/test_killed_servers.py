"""A server of calls or goals is killed at each step of its work, and no client waits for ever."""

from __future__ import annotations

import os

import pytest

from tests.harness.flow import Flow

pytestmark = [pytest.mark.programs, pytest.mark.slow, pytest.mark.timeout(300)]

LIVES = 40 if os.environ.get("SOAK") == "1" else 14
STEP = 1880 // LIVES
"""Lines of dora_rt between the deaths of two lives: the last one dies after some answers."""

SERVER = f"""
import os, signal, sys
from dora_rt import GoalRequest, Node, Request
from dora_rt.node.session import Session

node = Node()
life = Session.of(node).config.restart_count
left = 1 + life * {STEP}

def trace(frame, event, argument):
    global left
    if "dora_rt" not in frame.f_code.co_filename:
        return None
    left -= event == "line"
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return trace

def work():
    for event in node:
        if isinstance(event, Request):
            node.reply(event, str(life).encode())
        elif isinstance(event, GoalRequest):
            node.feedback(event, b"half")
            node.finish(event, str(life).encode())

if life < {LIVES}:
    sys.settrace(trace)
work()
"""
CALLING = f"""
from dora_rt import Node
from dora_rt.errors import ServerRestarted

node = Node()
answers = deaths = 0
while True:
    try:
        answer = node.call("ask", b"?", timeout=20)
    except ServerRestarted:
        deaths += 1
        continue
    answers += 1
    if int(answer.value) == {LIVES}:
        break
open("notes", "w").write(f"{{answers}} {{deaths}}")
"""
GIVING = f"""
from dora_rt import Node

node = Node()
answers = deaths = 0
while True:
    result = node.send_goal("ask", b"?", timeout=20).result(20)
    if result.status == "aborted":
        deaths += 1
        continue
    answers += 1
    if int(result.value) == {LIVES}:
        break
open("notes", "w").write(f"{{answers}} {{deaths}}")
"""


@pytest.mark.parametrize(("kind", "client"), [("call", CALLING), ("goal", GIVING)])
def test_client_of_a_server_that_dies_at_any_step_always_gets_an_end(
    flow: Flow, kind: str, client: str
):
    flow.write(
        "flow.yml",
        f"""
nodes:
  - {{id: client, path: client.py, calls: {{ask: server/ask}}}}
  - id: server
    path: server.py
    serves: {{ask: {kind}}}
    spin_us: 0
    restart: on-failure
    max_restarts: 0
    restart_delay: 0
    env: {{DORA_RT_PURE: 1}}
""",
    )
    flow.write("client.py", client)
    flow.write("server.py", SERVER)

    done = flow.run(timeout_s=250)

    assert (flow.folder / "notes").exists(), done.out + done.err
    answers, deaths = map(int, (flow.folder / "notes").read_text().split())
    # Some die before they have a request, and some after an answer; most in between.
    assert deaths > LIVES / 3
    assert answers > 1
    assert done.exit_code == 0, done.out + done.err
