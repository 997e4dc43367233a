"""A node of dora's own ROS 2 stack over zenoh, for a Python of its own: it answers what it gets.

peer_of_dora.py CONFIG: CONFIG is a file of zenoh's. Each message of /to_dora/NAME is sent back as
/from_dora/NAME. The service /add and the action /fibonacci are served; what it calls itself, it
prints.
"""

from __future__ import annotations

import sys
import threading
import warnings

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


def main() -> None:
    context = Ros2Context(transport=Ros2Transport.zenoh("rep2016", sys.argv[1]))
    node = context.new_node("dora_peer", "/", Ros2NodeOptions(rosout=False))
    qos = Ros2QosPolicies(reliable=True, keep_last=10)
    for name, message_type in TOPICS.items():
        there = node.create_topic(f"/to_dora/{name}", message_type, qos)
        back = node.create_topic(f"/from_dora/{name}", message_type, qos)
        ends = (node.create_subscription(there), node.create_publisher(back))
        threading.Thread(target=send_back, args=ends, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    # Threads wait in Rust, and would be waited for.
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
