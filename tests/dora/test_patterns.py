"""Services, actions and parameters as programs for dora write them, on ordinary inputs and outputs.

The dataflows have the shape of dora's own examples: two clients, one server, and outputs of the
server that both clients read. Each program ran the same way in dora-rs 1.1.
"""

from __future__ import annotations

from tests.harness.flow import Flow

SERVICE = """
    nodes:
      - id: one
        path: client.py
        pattern: service-client
        inputs: {tick: dora/timer/millis/5, response: server/response}
        outputs: [request]
      - id: two
        path: client.py
        pattern: service-client
        inputs: {tick: dora/timer/millis/7, response: server/response}
        outputs: [request]
      - id: server
        path: server.py
        pattern: service-server
        inputs: {request-1: one/request, request-2: two/request}
        outputs: [response]
"""
ASKING = """
    import pyarrow as pa
    from dora import Node

    node = Node()
    expected, answered, asked, foreign = {}, 0, 0, False
    for event in node:
        if event["type"] != "INPUT":
            continue
        if event["id"] == "tick":
            key = node.send_service_request("request", pa.array([asked, asked + 1]))
            expected[key] = 2 * asked + 1
            asked += 1
        else:
            key = event["metadata"]["request_id"]
            if key not in expected:
                foreign = True  # it is for the other client, who reads the same output
            else:
                assert event["value"].to_pylist() == [expected.pop(key)]
                answered += 1
        if answered >= 10 and foreign:
            break
    print("all answered")
"""
SUMMING = """
    import pyarrow as pa
    from dora import Node

    node = Node()
    for event in node:
        if event["type"] == "INPUT" and event["id"].startswith("request"):
            total = pa.array([sum(event["value"].to_pylist())])
            node.send_service_response("response", total, event["metadata"])
"""
ACTION = """
    nodes:
      - id: one
        path: client.py
        pattern: action-client
        inputs:
          tick: dora/timer/millis/20
          feedback: {source: server/feedback, queue_size: 1000}
          result: server/result
        outputs: [goal, cancel]
      - id: two
        path: client.py
        pattern: action-client
        inputs:
          tick: dora/timer/millis/30
          feedback: {source: server/feedback, queue_size: 1000}
          result: server/result
        outputs: [goal, cancel]
      - id: server
        path: server.py
        pattern: action-server
        inputs:
          goal-1: one/goal
          cancel-1: one/cancel
          goal-2: two/goal
          cancel-2: two/cancel
          step: dora/timer/millis/10
        outputs: [feedback, result]
"""
GIVING = """
    import uuid

    import pyarrow as pa
    from dora import Node

    node = Node()
    told, ends = {}, []
    for event in node:
        if event["type"] != "INPUT":
            continue
        goal = event["metadata"].get("goal_id")
        if event["id"] == "tick":
            if len(told) < 4:
                goal = str(uuid.uuid4())
                # The second would never come to its end by itself.
                steps = 1_000_000 if len(told) == 1 else 3
                told[goal] = []
                node.send_output("goal", pa.array([steps]), {"goal_id": goal})
        elif goal not in told:
            continue  # of the other client
        elif event["id"] == "feedback":
            told[goal] += event["value"].to_pylist()
            if told[goal] == [999_999]:
                node.send_output("cancel", pa.array([True]), {"goal_id": goal})
        else:
            ends.append(event["metadata"]["goal_status"])
            if len(ends) == 4:
                break
    # A result may be read before the feedback that was sent before it: two inputs have no order.
    short = [steps == [2, 1][: len(steps)] for steps in told.values() if steps[:1] != [999_999]]
    print(sorted(ends), short)
"""
WORKING = """
    import pyarrow as pa
    from dora import Node

    node = Node()
    left, cancelled = {}, set()
    for event in node:
        if event["type"] != "INPUT":
            continue
        goal = event["metadata"].get("goal_id")
        if event["id"].startswith("goal"):
            left[goal] = event["value"].to_pylist()[0]
        elif event["id"].startswith("cancel"):
            cancelled.add(goal)
        for goal in [*left]:
            left[goal] -= 1
            end = "canceled" if goal in cancelled else "" if left[goal] else "succeeded"
            if end:
                del left[goal]
                keys = {"goal_id": goal, "goal_status": end}
                node.send_output("result", pa.array([0]), keys)
            else:
                node.send_output("feedback", pa.array([left[goal]]), {"goal_id": goal})
"""


def test_clients_of_one_service_know_their_answers_among_those_of_others(flow: Flow):
    flow.write("flow.yml", SERVICE)
    flow.write("client.py", ASKING)
    flow.write("server.py", SUMMING)

    done = flow.run(timeout_s=60)

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("one") == done.lines("two") == ["all answered"]


def test_goals_of_two_clients_have_feedback_and_an_end_and_can_be_cancelled(flow: Flow):
    flow.write("flow.yml", ACTION)
    flow.write("client.py", GIVING)
    flow.write("server.py", WORKING)

    done = flow.run(timeout_s=60)

    assert done.exit_code == 0, done.out + done.err
    expected = "['canceled', 'succeeded', 'succeeded', 'succeeded'] [True, True, True]"
    assert done.lines("one") == done.lines("two") == [expected]
