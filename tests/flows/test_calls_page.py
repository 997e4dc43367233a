"""The programs of docs/calls-and-goals.md run as they are printed."""

from __future__ import annotations

from typing import Any

import pytest

from dora_rt import NodeLike, Request
from tests.harness.flow import Flow
from tests.test_docs import ROOT, blocks

pytestmark = pytest.mark.programs

PAGE = ROOT / "docs" / "calls-and-goals.md"
CAMERA = """
  - {id: camera, path: camera.py, outputs: [image]}
"""
PREPARED = "from dora_rt import Node\n\nnode = Node()\n"


@pytest.fixture
def page(flow: Flow) -> list[str]:
    """Write the dataflow of the page, and give its programs."""
    (dataflow,) = blocks(PAGE, "yaml")
    flow.write("flow.yml", dataflow.rstrip() + CAMERA)
    flow.write("camera.py", PREPARED + "node.send_output('image', b'an image')\n")
    for name in ("planner", "map_server", "wheels"):
        flow.write(f"{name}.py", PREPARED + "for event in node:\n    pass\n")
    return blocks(PAGE, "python")


def test_client_gets_the_answer_of_the_server(flow: Flow, page: list[str]):
    flow.write("planner.py", page[0])
    flow.write("map_server.py", page[1])

    done = flow.run(timeout_s=30)

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("planner") == ["b'the plan'"]


def test_function_answers_in_place_of_the_loop(flow: Flow, page: list[str]):
    flow.write("planner.py", page[0])
    serving = PREPARED + "def make_plan(value):\n    return b'around ' + value\n\n" + page[2]
    flow.write("map_server.py", serving + "for event in node:\n    pass\n")

    done = flow.run(timeout_s=30)

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("planner") == ["b'around an image'"]


def test_goal_has_its_feedback_and_its_result(flow: Flow, page: list[str]):
    flow.write("planner.py", PREPARED + page[3])
    moving = """
way = [b"2 m", b"1 m"]

def there():
    return not way

def distance():
    return way.pop(0)

"""
    flow.write("wheels.py", moving + page[4])

    done = flow.run(timeout_s=30)

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("planner") == ["b'2 m'", "b'1 m'", "b''", "succeeded"]


def test_nodes_for_tests_are_made_as_the_page_says(page: list[str]):
    names: dict[str, Any] = {}

    exec(page[5], names)

    client: NodeLike = names["client"]
    assert client.call("plan").value == b"the plan"
    with pytest.raises(TimeoutError):
        client.call("plan")
    assert [event.value for event in client.send_goal("go")] == [b"feedback", b"result"]
    server = names["server"]
    for event in server:
        assert isinstance(event, Request)
        server.reply(event, b"here")
    assert [(one.output_id, one.value) for one in server.sent] == [
        ("plan.response/planner", b"here")
    ]
