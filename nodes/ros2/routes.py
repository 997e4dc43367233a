"""What goes where, as the options of the node say it: `image=/camera/image:sensor_msgs/Image`."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace

from .native_values import Form
from .ros_entities import Qos

_ROUTE = re.compile(r"(?P<port>[^=:,\s]+)=(?P<name>[^=:,\s]+):(?P<type>[^=:,\s]+)(?P<rest>(,\S+)*)")
_NAME = re.compile(r"(~?/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
_MOST_DEPTH = 10_000
_LONGEST_TIMEOUT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Route:
    """A port of the node and the topic, service or action that it belongs to.

    Attributes:
        port: name of the input or output; of a service IN+OUT, if these have two names.
        name: of the topic, perhaps relative.
        type_name: as it was given.
        is_reliable: None: as the queues of the dataflow file say.
        is_latched: whether who comes later gets the last messages.
        depth: messages that may wait; None: as the queues say.
        form: which values messages become.
        frame_id: of the headers of what is published; None: what the metadata say.
        timeout_s: how long an answer is waited for.
    """

    port: str
    name: str
    type_name: str
    is_reliable: bool | None = None
    is_latched: bool = False
    depth: int | None = None
    form: Form = Form.NATIVE
    frame_id: str | None = None
    timeout_s: float = 10.0

    @property
    def ports(self) -> tuple[str, str]:
        """The names of the input and of the output of a service."""
        first, _, second = self.port.partition("+")
        return first, second or first

    def latched(self) -> Route:
        """Return the route of what is latched in the dataflow file: the newest message is kept."""
        return replace(self, is_latched=True, depth=self.depth or 1)

    def qos(self, is_blocking: bool, queue_size: int) -> Qos:
        """Return the QoS, given the queue of the port in the dataflow file."""
        is_reliable = is_blocking if self.is_reliable is None else self.is_reliable
        depth = self.depth or max(1, queue_size)
        # A latched message that is lost on its way would be missing for ever.
        return Qos(is_reliable or self.is_latched, self.is_latched, depth)


def parse_routes(text: str) -> list[Route]:
    """Parse routes with blanks between them.

    Raises:
        argparse.ArgumentTypeError: one is wrong.
    """
    return [_parse_route(part) for part in text.split()]


def _parse_route(text: str) -> Route:
    found = _ROUTE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not PORT=TOPIC:PACKAGE/TYPE, as image=/camera/image:sensor_msgs/Image"
        )
    if _NAME.fullmatch(found["name"]) is None:
        raise argparse.ArgumentTypeError(
            f"'{found['name']}' is no name in ROS 2: letters, digits, _ and /, as /camera/image"
        )
    route = Route(found["port"], found["name"], found["type"])
    for word in filter(None, found["rest"].split(",")):
        route = _with_option(route, word)
    return route


def _with_option(route: Route, word: str) -> Route:
    name, _, value = word.partition("=")
    match name:
        case "reliable" | "best_effort" if not value:
            return replace(route, is_reliable=name == "reliable")
        case "latched" if not value:
            return replace(route, is_latched=True)
        case "arrow" | "json" if not value:
            return replace(route, form=Form(name))
        case "timeout" if (seconds := _seconds(value)) is not None:
            return replace(route, timeout_s=seconds)
        case "frame_id" if value:
            return replace(route, frame_id=value)
        case "depth" if value.isascii() and value.isdigit() and 1 <= int(value) <= _MOST_DEPTH:
            return replace(route, depth=int(value))
    raise argparse.ArgumentTypeError(
        f"'{word}' is none of reliable, best_effort, latched, arrow, json, frame_id=NAME, "
        f"depth=N (1 to {_MOST_DEPTH}), timeout=SECONDS (up to {_LONGEST_TIMEOUT_S:g})"
    )


def _seconds(text: str) -> float | None:
    """Return a time-out; None if the text is none."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds <= _LONGEST_TIMEOUT_S else None
