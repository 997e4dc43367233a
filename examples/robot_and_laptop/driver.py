"""Steers towards the largest thing that the detector has found."""

import numpy as np

from dora_rt import Event, Node

FORWARD_M_S = 0.3
TURN_M_S = 0.2


def main() -> None:
    node = Node()
    for event in node:
        match event:
            case Event(id="bbox"):
                speeds = wheel_speeds(event.value, event.metadata["width"])
                node.send_output("speed", np.array(speeds, np.float32))


def wheel_speeds(boxes: np.ndarray, width: int) -> tuple[float, float]:
    """Return the speeds of the left and the right wheel, in m/s.

    Args:
        boxes: N x 6, each x1, y1, x2, y2, confidence, class.
        width: of the picture, in pixels.
    """
    if len(boxes) == 0:
        return 0.0, 0.0
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    largest = boxes[areas.argmax()]
    turn = TURN_M_S * ((largest[0] + largest[2]) / width - 1)
    return FORWARD_M_S + turn, FORWARD_M_S - turn


if __name__ == "__main__":
    main()
