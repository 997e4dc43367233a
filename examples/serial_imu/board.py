"""Plays a microcontroller with an IMU: a port with the lines that firmware/imu.ino sends."""

import contextlib
import json
import math
import os
import pty
import select
import time
import tty
from pathlib import Path

from dora_rt import Node

PORT = Path("out/board")
PERIOD_S = 0.01
GRAVITY = 9.81


def main() -> None:
    node = Node()
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    PORT.parent.mkdir(exist_ok=True)
    PORT.unlink(missing_ok=True)
    PORT.symlink_to(os.ttyname(theirs))
    began_s = time.monotonic()
    try:
        while not node.is_stopped():
            line = json.dumps(measure(time.monotonic() - began_s)) + "\r\n"
            # As with a real one, what nobody reads is lost.
            with contextlib.suppress(BlockingIOError):
                os.write(ours, line.encode())
            if select.select([ours], [], [], PERIOD_S)[0]:
                for command in os.read(ours, 4096).decode().splitlines():
                    print(f"told: {command}")
                time.sleep(PERIOD_S)
    finally:
        PORT.unlink(missing_ok=True)


def measure(now_s: float) -> dict[str, list[float]]:
    """Return what an IMU measures that rolls to and fro by 30 degrees, once in four seconds."""
    phase = now_s * math.pi / 2
    roll = math.radians(30) * math.sin(phase)
    rate = math.radians(30) * math.cos(phase) * math.pi / 2
    accel = [0.0, GRAVITY * math.sin(roll), GRAVITY * math.cos(roll)]
    return {"accel": [round(one, 4) for one in accel], "gyro": [round(rate, 4), 0.0, 0.0]}


if __name__ == "__main__":
    main()
