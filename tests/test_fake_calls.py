"""`FakeNode` for clients and servers of calls and goals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dora_rt import Feedback, GoalRequest, NodeLike, Request, Result
from dora_rt.errors import NodeClosedError, NotARequestError, ServerGone, UnknownServiceError
from dora_rt.testing import FakeNode, make_event, make_goal_request, make_request


def kept(node: FakeNode) -> list[tuple[str, Any, dict[str, Any]]]:
    return [(sent.output_id, sent.value, sent.metadata) for sent in node.sent]


def answer_all(node: NodeLike) -> None:
    for event in node:
        if isinstance(event, Request):
            node.reply(event, bytes(event.value) * 2)


def test_server_answers_its_clients():
    requests = [make_request("double", b"a"), make_request("double", b"b", client="other")]
    node = FakeNode(requests, output_ids=())

    answer_all(node)

    assert kept(node) == [
        ("double.response/client", b"aa", {}),
        ("double.response/other", b"bb", {}),
    ]
    with pytest.raises(NotARequestError):
        node.reply(requests[0])
    assert requests[0].request_id != requests[1].request_id


def test_function_serves_the_requests_and_the_loop_gets_the_rest():
    node = FakeNode([make_request("ask", b"1"), make_event("in"), make_request("ask", b"x")])
    node.serve("ask", lambda request: str(int(request.value) + 1).encode())

    assert [event.id for event in node] == ["in"]

    refused = {"call_error": "ValueError: invalid literal for int() with base 10: b'x'"}
    assert kept(node) == [("ask.response/client", b"2", {}), ("ask.response/client", b"", refused)]


def test_client_gets_prepared_answers_in_their_order_and_prepared_errors():
    node = FakeNode(answers={"ask": [b"yes", ServerGone("it ended"), b"no"]})

    assert node.call("ask", b"?").value == b"yes"
    with pytest.raises(ServerGone, match="it ended"):
        node.call("ask")
    assert asyncio.run(node.call_async("ask", timeout=1)).value == b"no"
    with pytest.raises(TimeoutError):
        node.call("ask")
    with pytest.raises(UnknownServiceError, match="'aks'; the test prepared: ask"):
        node.call("aks")
    assert kept(node)[0] == ("ask.request", b"?", {})


def test_goal_has_its_feedback_and_its_result():
    node = FakeNode([make_event("in")], goals={"go": [([b"1", b"2"], b"done", "succeeded")] * 2})

    goal = node.send_goal("go", b"there")
    told = [(type(event), event.value) for event in goal]
    second = node.send_goal("go")
    events = list(node)

    assert told == [(Feedback, b"1"), (Feedback, b"2"), (Result, b"done")]
    assert goal.status == second.status == "succeeded"
    assert [event.id for event in events] == ["go.feedback", "go.feedback", "go.result", "in"]


def test_server_works_on_goals():
    first, second = make_goal_request("go", b"a"), make_goal_request("go", b"b")
    second.wants_cancel = True
    node = FakeNode([first, second])

    for event in node:
        assert isinstance(event, GoalRequest)
        node.feedback(event, b"half")
        node.finish(event, status="canceled" if node.is_cancelled(event) else "succeeded")

    ends = [sent[2]["goal_status"] for sent in kept(node) if sent[0] == "go.result/client"]
    assert ends == ["succeeded", "canceled"]
    with pytest.raises(NotARequestError):
        node.finish(first)


def test_closed_node_neither_asks_nor_answers():
    node = FakeNode([make_request("ask")], answers={"ask": [b""]})
    request = node.next()
    assert request is not None
    node.close()

    for refused in (lambda: node.call("ask"), lambda: node.reply(request)):
        with pytest.raises(NodeClosedError):
            refused()


@pytest.mark.parametrize(
    ("prepared", "told"),
    [
        (
            ([], b"done", "sucess"),
            "the status is one of succeeded, aborted, canceled, got",
        ),
        ((b"done", "succeeded"), "expected the values of its feedback, of its result, and its"),
    ],
)
def test_goal_that_no_server_could_end_so_is_refused(prepared: object, told: str):
    with pytest.raises(ValueError, match=rf"^goals\['go'\]: {told}"):
        FakeNode(goals={"go": [prepared]})


def test_function_whose_answer_cannot_be_sent_refuses_the_request_as_at_a_node():
    node = FakeNode([make_request("ask"), make_event("in")])
    node.serve("ask", lambda request: {"no": "value"})

    assert [event.id for event in node] == ["in"]

    (sent,) = kept(node)
    assert sent[2]["call_error"].startswith("UnsupportedValueError: ")


def test_function_that_fails_behind_its_own_reply_breaks_nothing():
    node = FakeNode([make_request("ask"), make_event("in")])

    def answer(request: Request) -> None:
        node.reply(request, b"yes")
        raise ValueError("too late")

    node.serve("ask", answer)

    assert [event.id for event in node] == ["in"]
    assert [sent[1] for sent in kept(node)] == [b"yes"]
