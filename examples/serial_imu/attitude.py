"""Roll and pitch by a complementary filter: the gyro is fast, gravity does not drift."""

import math

import numpy as np

from dora_rt import Node

TIME_CONSTANT_S = 0.5
STEEP = math.radians(20)


def main() -> None:
    node = Node()
    roll = pitch = 0.0
    accel, last_ns, was_steep = None, None, None
    for event in node:
        if event.id == "accel":
            accel = event.value
            continue
        if accel is None or last_ns is None:
            last_ns = event.origin_ns
            continue
        elapsed_s = (event.origin_ns - last_ns) / 1e9
        last_ns = event.origin_ns
        keep = TIME_CONSTANT_S / (TIME_CONSTANT_S + elapsed_s)
        x, y, z = accel
        roll = keep * (roll + event.value[0] * elapsed_s) + (1 - keep) * math.atan2(y, z)
        pitch = keep * (pitch + event.value[1] * elapsed_s) + (1 - keep) * math.atan2(
            -x, math.hypot(y, z)
        )
        node.send_output("attitude", np.array([roll, pitch]))
        if (is_steep := abs(roll) > STEEP) != was_steep:
            was_steep = is_steep
            print(f"roll {math.degrees(roll):.0f} degrees, pitch {math.degrees(pitch):.0f}")
            node.send_output("led", np.array([int(is_steep)]))


if __name__ == "__main__":
    main()
