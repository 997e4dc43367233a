"""Two wheels that stand for yours: they turn as long as somebody tells them how fast."""

from dora_rt import Event, InputClosed, Node


def main() -> None:
    print("wheels stand still until somebody tells a speed")
    node = Node()
    shown = ""
    # Not `for event in node`, which has samples only: this tells of silence, too.
    while (event := node.next_event()) is not None:
        match event:
            case Event(id="speed"):
                left, right = event.value
                speeds = f"left {left:+.2f} m/s, right {right:+.2f} m/s"
                if speeds != shown:
                    shown = speeds
                    print(speeds)
            case InputClosed(id="speed"):
                # The laptop is gone, the Wi-Fi is, or its program hangs: `input_timeout`.
                shown = ""
                print("wheels stand still: nobody tells a speed any more")
    print("wheels off")


if __name__ == "__main__":
    main()
