"""A program for rclpy that lists and sets the parameters of /tuned, as `ros2 param` does."""

from __future__ import annotations

import time

import rclpy
from rcl_interfaces.msg import ParameterEvent
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient

PATIENCE_S = 40


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("cli")
    client = AsyncParameterClient(node, "tuned")
    events: list[ParameterEvent] = []

    def take(event: ParameterEvent) -> None:
        if event.node == "/tuned":
            events.append(event)

    node.create_subscription(ParameterEvent, "/parameter_events", take, 100)
    end = time.monotonic() + PATIENCE_S

    def spin_until(is_done) -> None:
        while not is_done() and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.1)

    def answer(future):
        spin_until(future.done)
        return future.result()

    spin_until(client.services_are_ready)
    # The other end knows of the subscription a moment later than this one of it.
    spin_until(lambda: node.count_publishers("/parameter_events") > 1)
    print("names", list(answer(client.list_parameters()).result.names), flush=True)
    wanted = [Parameter("threshold", value=0.75), Parameter("mode", value="exat")]
    results = answer(client.set_parameters(wanted)).results
    print(f"set {results[0].successful}, {results[1].successful}: {results[1].reason}", flush=True)
    (value,) = answer(client.get_parameters(["threshold"])).values
    print("threshold is", value.double_value, flush=True)
    spin_until(lambda: events)
    for event in events:
        for one in event.changed_parameters:
            print(f"event of {event.node}: {one.name} is {one.value.double_value}", flush=True)
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
