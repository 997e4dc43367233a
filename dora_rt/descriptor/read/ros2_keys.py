"""Read `ros2:`, dora's bridge to ROS 2: its keys become the options of the node `ros2`."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.descriptor.tree.document import (
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.keys import ROS2, ROS2_QOS, ROS2_TOPIC, ROS2_TRANSPORT, Vocabulary
from dora_rt.descriptor.tree.problems import Problems, quote

ROS2_MODULE = "dora_rt.nodes.ros2"
# dora waits so long for an answer.
_TIMEOUT = "timeout=30"
_MOST_DEPTH = 10_000
_KINDS = {"topic": "message_type", "service": "service_type", "action": "action_type"}


def read_ros2(
    value: YamlValue, label: str, ports: tuple[Sequence[str], Sequence[str]], problems: Problems
) -> tuple[str, ...]:
    """Return the arguments of the node `ros2` that do what the mapping says.

    Args:
        value: behind `ros2:`.
        label: the node's id in errors.
        ports: the names of the node's inputs, and of its outputs.
        problems: where what is wrong is reported.
    """
    fields = _fields(value, f"'ros2' of node {quote(label)}", ROS2, problems)
    if fields is None:
        return ()
    reader = _Reader(fields, ports, problems)
    arguments = reader.routes()
    namespace, name = fields.text("namespace"), fields.text("node_name")
    arguments += ["--namespace", namespace] if namespace else []
    arguments += ["--name", name] if name else []
    return (*arguments, *_transport(fields, problems))


class _Reader:
    """The routes in one `ros2:`."""

    def __init__(
        self, fields: Fields, ports: tuple[Sequence[str], Sequence[str]], problems: Problems
    ) -> None:
        self._fields = fields
        self._inputs, self._outputs = ports
        self._problems = problems
        self._qos = _qos(fields, problems)

    def routes(self) -> list[str]:
        """Return the options of all routes."""
        fields = self._fields
        kinds = [kind for kind in ("topic", "topics", "service", "action") if fields.has(kind)]
        if len(kinds) != 1:
            has = f"has {', '.join(kinds)}" if kinds else "has none of them"
            what = f"{fields.owner}: expected one of topic, topics, service and action; it {has}"
            self._problems.add(fields.place, what)
            return []
        match kinds[0]:
            case "topics":
                return self._topics()
            case "topic":
                return self._topic(fields, self._qos, is_only=True)
            case "service":
                return self._service()
            case _:
                return self._action()

    def _topics(self) -> list[str]:
        value = self._fields.get("topics")
        if not isinstance(value, YamlSequence):
            got = "nothing" if value is None else describe(value)
            what = f"'topics' of {self._fields.owner}: expected a list of topics, got {got}"
            self._problems.add(self._fields.place_of("topics"), what)
            return []
        found: dict[str, list[str]] = {}
        for item in value.items:
            owner = f"a topic of {self._fields.owner}"
            fields = _fields(item, owner, ROS2_TOPIC, self._problems)
            if fields is not None:
                qos = _qos(fields, self._problems) if fields.has("qos") else self._qos
                for option, route in _pairs(self._topic(fields, qos, is_only=False)):
                    found.setdefault(option, []).append(route)
        return [word for option, routes in found.items() for word in (option, " ".join(routes))]

    def _topic(self, fields: Fields, qos: str, *, is_only: bool) -> list[str]:
        name, kind = self._name_and_type(fields, "topic")
        is_published = self._word(fields, "direction", ("subscribe", "publish")) == "publish"
        port = fields.text("input" if is_published else "output")
        ports = self._inputs if is_published else self._outputs
        if port is None and is_only and ports:
            port = ports[0]
        if name is None or kind is None:
            return []
        port = port or name.strip("/").replace("/", "_")
        option = "--publish" if is_published else "--subscribe"
        return [option, f"{port}={name}:{kind}{qos},arrow"]

    def _service(self) -> list[str]:
        name, kind = self._name_and_type(self._fields, "service")
        role = self._word(self._fields, "role", ("client", "server"))
        if name is None or kind is None or role is None:
            return []
        if not self._inputs or not self._outputs:
            what = f"{self._fields.owner}: a service needs an input and an output"
            self._problems.add(self._fields.place, what, "as 'request' and 'response' of a client")
            return []
        option = "--call" if role == "client" else "--serve"
        ports = f"{self._inputs[0]}+{self._outputs[0]}"
        return [option, f"{ports}={name}:{kind},arrow,{_TIMEOUT}"]

    def _action(self) -> list[str]:
        name, kind = self._name_and_type(self._fields, "action")
        role = self._word(self._fields, "role", ("client", "server"))
        if name is None or kind is None or role is None:
            return []
        option = "--call-action" if role == "client" else "--serve-action"
        # The ports are called goal, feedback and so on.
        return [option, f".={name}:{kind},arrow"]

    def _name_and_type(self, fields: Fields, key: str) -> tuple[str | None, str | None]:
        for name in (key, _KINDS[key]):
            if not fields.has(name):
                self._problems.add(fields.place, f"{fields.owner} has no {quote(name)}")
        return fields.text(key), fields.text(_KINDS[key])

    def _word(self, fields: Fields, key: str, words: tuple[str, ...]) -> str | None:
        if not fields.has(key):
            if key == "direction":
                return words[0]
            what = f"{fields.owner} has no {quote(key)}"
            self._problems.add(fields.place, what, f"write '{key}: {words[0]}' or '{words[1]}'")
            return None
        text = fields.text(key)
        if text is not None and text not in words:
            what = f"'{key}' of {fields.owner} is {quote(text)}, expected {' or '.join(words)}"
            self._problems.add(fields.place_of(key), what)
        return text


def _fields(
    value: YamlValue, owner: str, vocabulary: Vocabulary, problems: Problems
) -> Fields | None:
    if not isinstance(value, YamlMapping):
        problems.add(value.place, f"{owner}: expected a mapping, got {describe(value)}")
        return None
    fields = Fields(value, owner, problems)
    fields.check_keys(vocabulary)
    return fields


def _qos(fields: Fields, problems: Problems) -> str:
    """Return the QoS as options of a route."""
    value = fields.get("qos")
    if value is None:
        return ",best_effort,depth=1"
    own = _fields(value, f"'qos' of {fields.owner}", ROS2_QOS, problems)
    if own is None:
        return ""
    words = ["reliable" if _is_true(own, "reliable", problems) else "best_effort"]
    durability = own.text("durability")
    if durability not in (None, "volatile", "transient_local"):
        what = f"'durability' of {own.owner} is {quote(durability)}"
        problems.add(own.place_of("durability"), what, "volatile or transient_local")
    words += ["latched"] if durability == "transient_local" else []
    depth = _MOST_DEPTH if _is_true(own, "keep_all", problems) else _depth(own, problems)
    return "".join(f",{word}" for word in (*words, f"depth={depth}"))


def _is_true(fields: Fields, key: str, problems: Problems) -> bool:
    value = fields.get(key)
    if value is None:
        return False
    if not isinstance(value, YamlScalar) or value.text not in ("true", "false"):
        what = f"'{key}' of {fields.owner}: expected true or false, got {describe(value)}"
        problems.add(value.place, what)
        return False
    return value.text == "true"


def _depth(fields: Fields, problems: Problems) -> int:
    value = fields.get("keep_last")
    if value is None:
        return 1
    text = value.text if isinstance(value, YamlScalar) and value.kind is not Kind.STRING else ""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_DEPTH):
        what = f"'keep_last' of {fields.owner}: expected a number from 1 to {_MOST_DEPTH}"
        problems.add(value.place, what)
        return 1
    return int(text)


def _transport(fields: Fields, problems: Problems) -> list[str]:
    """Return the options that choose the transport; dora's own choice is DDS."""
    value = fields.get("transport")
    if value is None:
        return ["--transport", "auto"]
    own = _fields(value, f"'transport' of {fields.owner}", ROS2_TRANSPORT, problems)
    if own is None:
        return []
    kind = own.text("kind")
    if kind not in ("zenoh", "dds"):
        what = f"'kind' of {own.owner} is {quote(kind or '')}, expected zenoh or dds"
        problems.add(own.place_of("kind"), what)
        return []
    arguments = ["--transport", "zenoh" if kind == "zenoh" else "auto"]
    arguments += ["--distro", "humble"] if own.text("compatibility") == "humble" else []
    config = own.text("config_uri")
    return [*arguments, *(["--zenoh-config", config] if config else [])]


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))
