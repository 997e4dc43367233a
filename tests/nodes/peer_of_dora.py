"""A node of dora's own ROS 2 stack over zenoh, for a Python of its own.

peer_of_dora.py CONFIG [topics|services|actions|parameters]: CONFIG is a file of zenoh's.

topics: each message of /to_dora/NAME is sent back as /from_dora/NAME.
services: /dora_switch is served, and then /switch is called.
actions: /dora_fibonacci is served, and then /fibonacci is called.
parameters: the threshold of /robot1/detector is asked for, and then set.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings

import pyarrow as pa

warnings.filterwarnings("ignore")
from dora import Ros2Context, Ros2NodeOptions, Ros2QosPolicies, Ros2Transport  # noqa: E402

TOPICS = {
    "text": "std_msgs/String",
    "twist": "geometry_msgs/Twist",
    "image": "sensor_msgs/Image",
}


def send_back(subscription, publisher):
    while True:
        message = subscription.next()
        if message is not None:
            publisher.publish(message)


def exchange_topics(node, qos):
    for name, message_type in TOPICS.items():
        there = node.create_topic(f"/to_dora/{name}", message_type, qos)
        back = node.create_topic(f"/from_dora/{name}", message_type, qos)
        ends = (node.create_subscription(there), node.create_publisher(back))
        threading.Thread(target=send_back, args=ends, daemon=True).start()
    print("ready", flush=True)


def exchange_services(node, qos):
    server = node.create_service_server("/dora_switch", "std_srvs/SetBool", qos)
    print("ready", flush=True)
    request = None
    while request is None:
        request = server.take_request(timeout_s=0.1)
    request_id, value = request
    text = f"dora says {value[0].as_py()['data']}"
    server.send_response(request_id, pa.array([{"success": True, "message": text}]))
    client = node.create_service_client("/switch", "std_srvs/SetBool", qos)
    answer = client.call(pa.array([{"data": True}]))
    print("answered", answer[0].as_py(), flush=True)


def sequence(numbers):
    kind = pa.struct([("sequence", pa.list_(pa.int32()))])
    return pa.array([{"sequence": numbers}], kind)


def exchange_actions(node, qos):
    kind = "example_interfaces/Fibonacci"
    server = node.create_action_server("/dora_fibonacci", kind, qos)
    print("ready", flush=True)
    goal = None
    while goal is None:
        goal = server.take_goal(timeout_s=0.1)
    goal_id, value = goal
    order = value[0].as_py()["order"]
    server.send_feedback(goal_id, sequence([order]))
    server.send_result(goal_id, sequence([0, 1, order]), status="succeeded")
    client = node.create_action_client("/fibonacci", kind, qos)
    goal_id = client.send_goal(pa.array([{"order": 7}], pa.struct([("order", pa.int32())])))
    status, result = client.take_result(goal_id, timeout_s=10.0)
    print("finished", status, result[0].as_py(), flush=True)


def exchange_parameters(node, qos):
    print("ready", flush=True)

    def client(name, kind):
        service = f"/robot1/detector/{name}"
        return node.create_service_client(service, f"rcl_interfaces/{kind}", qos)

    answer = client("get_parameters", "GetParameters").call(pa.array([{"names": ["threshold"]}]))
    print("threshold is", answer[0].as_py()["values"][0]["double_value"], flush=True)
    kind = pa.struct([("type", pa.uint8()), ("double_value", pa.float64())])
    parameter = pa.struct([("name", pa.string()), ("value", kind)])
    request = pa.struct([("parameters", pa.list_(parameter))])
    wanted = {"name": "threshold", "value": {"type": 3, "double_value": 0.75}}
    asked = pa.array([{"parameters": [wanted]}], request)
    answer = client("set_parameters", "SetParameters").call(asked)
    print("set", answer[0].as_py()["results"][0]["successful"], flush=True)


def main() -> None:
    context = Ros2Context(transport=Ros2Transport.zenoh("rep2016", sys.argv[1]))
    node = context.new_node("dora_peer", "/", Ros2NodeOptions(rosout=False))
    qos = Ros2QosPolicies(reliable=True, keep_last=10)
    what = sys.argv[2] if len(sys.argv) > 2 else "topics"
    {
        "topics": exchange_topics,
        "services": exchange_services,
        "actions": exchange_actions,
        "parameters": exchange_parameters,
    }[what](node, qos)
    sys.stdin.read()
    # Threads wait in Rust, and would be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
