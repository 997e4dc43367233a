"""Two wheels that stand for yours: a twist becomes the speed of each, and silence is a stop."""

from dora_rt import Node

WHEEL_DISTANCE_M = 0.3
SILENCE_S = 0.5


def main() -> None:
    node = Node()
    last = None
    while True:
        try:
            event = node.next(timeout=SILENCE_S)
        except TimeoutError:
            left = right = 0.0
        else:
            if event is None:
                break
            forward, _, _, _, _, turn = event.value
            left = forward - turn * WHEEL_DISTANCE_M / 2
            right = forward + turn * WHEEL_DISTANCE_M / 2
        if (left, right) != last:
            last = left, right
            print(f"left {left:+.2f} m/s, right {right:+.2f} m/s")
    print("wheels off")


if __name__ == "__main__":
    main()
