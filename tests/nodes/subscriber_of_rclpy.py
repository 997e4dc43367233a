"""A program for rclpy as users write it: it counts pictures, sends speeds, and serves and calls.

subscriber_of_rclpy.py PICTURES: it ends when it has so many pictures of /camera/image.
"""

from __future__ import annotations

import sys
import time

import rclpy
from geometry_msgs.msg import Twist
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool


class Robot(Node):
    def __init__(self, wanted: int) -> None:
        super().__init__("robot")
        self.wanted = wanted
        self.count = 0
        self.ages_ms: list[float] = []
        self.shape = (0, 0, "")
        self.answer = ""
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(Image, "/camera/image", self.take, qos)
        # As rviz does it: reliable, also where nobody offers that.
        self.create_subscription(Image, "/camera/quick", self.take, qos)
        self.speed = self.create_publisher(Twist, "/cmd_vel", 10)
        self.create_service(SetBool, "/switch", self.switch)
        self.client = self.create_client(SetBool, "/asked")
        self.create_timer(0.1, self.tick)
        self.future = None

    def take(self, image: Image) -> None:
        stamp = image.header.stamp.sec + image.header.stamp.nanosec / 1e9
        self.ages_ms.append((time.time() - stamp) * 1000)
        self.count += 1
        self.shape = (image.height, image.width, image.encoding)
        assert len(image.data) == image.step * image.height

    def switch(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = request.data
        response.message = "rclpy says so"
        return response

    def tick(self) -> None:
        twist = Twist()
        twist.linear.x = 0.5
        self.speed.publish(twist)
        if self.future is None and self.client.service_is_ready():
            self.future = self.client.call_async(SetBool.Request(data=True))
        if self.future is not None and self.future.done():
            self.answer = self.future.result().message


def main() -> None:
    rclpy.init()
    robot = Robot(int(sys.argv[1]))
    executor = SingleThreadedExecutor()
    executor.add_node(robot)
    end = time.monotonic() + 40
    began = None
    while (robot.count < robot.wanted or not robot.answer) and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
        if began is None and robot.count:
            began = time.monotonic()
    took_s = time.monotonic() - (began or end)
    ages = sorted(robot.ages_ms) or [0.0]
    print("pictures", robot.count, *robot.shape, f"in {took_s:.1f} s")
    print(f"age p50 {ages[len(ages) // 2]:.1f} ms, p99 {ages[int(len(ages) * 0.99)]:.1f} ms")
    print("answer", robot.answer, flush=True)
    robot.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
