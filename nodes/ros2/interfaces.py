"""Find the interfaces of ROS 2 by their names: those that come along, and those of the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from .interface_text import (
    Field,
    InterfaceError,
    Message,
    Shape,
    nested_names,
    read_message,
    split_parts,
)

_SECTION = "==== "
_KINDS = ("msg", "srv", "action")
_UUID = Field("goal_id", "unique_identifier_msgs/msg/UUID")


@dataclass(frozen=True, slots=True)
class Service:
    """A service: `whole` is what its type hash is of."""

    name: str
    request: Message
    response: Message
    whole: Message


@dataclass(frozen=True, slots=True)
class Action:
    """An action, which is three services and two topics on the wire."""

    name: str
    goal: Message
    result: Message
    feedback: Message
    send_goal: Service
    get_result: Service
    feedback_message: Message
    whole: Message


class Interfaces:
    """The interfaces that are known, read when they are first asked for.

    Args:
        folders: of the user, in the layout of ROS: FOLDER/PACKAGE/msg/NAME.msg. The first that has
            an interface gives it; what none has comes from dora_rt.
        texts: by full names; they go before all others.
    """

    def __init__(
        self, folders: Sequence[Path] = (), texts: Mapping[str, str] | None = None
    ) -> None:
        self._folders = tuple(folders)
        self._texts = texts or {}
        self._packages: dict[str, dict[str, str]] = {}
        self._messages: dict[str, Message] = {}
        self._services: dict[str, Service] = {}
        self._actions: dict[str, Action] = {}

    def message(self, name: str) -> Message:
        """Return a message.

        Args:
            name: `sensor_msgs/Image` or `sensor_msgs/msg/Image`; or the full name of a part of a
                service or action that was asked for before.

        Raises:
            InterfaceError: it is not known, or its text is wrong.
        """
        full = full_name(name, "msg")
        if full not in self._messages:
            self._messages[full] = read_message(full, self._text(full))
        return self._messages[full]

    def service(self, name: str) -> Service:
        """Return a service, by its name as for messages.

        Raises:
            InterfaceError: it is not known, or its text is wrong.
        """
        full = full_name(name, "srv")
        if full not in self._services:
            request, response = (
                read_message(f"{full}_{part}", text)
                for part, text in zip(
                    ("Request", "Response"), split_parts(full, self._text(full), 2), strict=True
                )
            )
            self._services[full] = self._make_service(full, request, response)
        return self._services[full]

    def action(self, name: str) -> Action:
        """Return an action, by its name as for messages.

        Raises:
            InterfaceError: it is not known, or its text is wrong.
        """
        full = full_name(name, "action")
        if full not in self._actions:
            self._actions[full] = self._make_action(full)
        return self._actions[full]

    def needed_by(self, message: Message) -> list[Message]:
        """Return the messages in a message and in those, each once, in the order of the texts.

        Raises:
            InterfaceError: one of them is not known.
        """
        found: dict[str, Message] = {}
        waiting = list(nested_names(message))
        while waiting:
            name = waiting.pop(0)
            if name not in found and name != message.name:
                found[name] = self.message(name)
                waiting += nested_names(found[name])
        return list(found.values())

    def known(self, kind: str = "msg") -> list[str]:
        """List the full names of the interfaces of a kind that come along with dora_rt."""
        packages = resources.files(__package__) / "interfaces"
        names = sorted(
            entry.name.removesuffix(".txt")
            for entry in packages.iterdir()
            if entry.name.endswith(".txt")
        )
        return [
            f"{package}/{section}"
            for package in names
            for section in self._package(package)
            if section.startswith(f"{kind}/")
        ]

    def _make_service(self, full: str, request: Message, response: Message) -> Service:
        event = Message(
            f"{full}_Event",
            (
                Field("info", "service_msgs/msg/ServiceEventInfo"),
                Field("request", request.name, Shape.BOUNDED, 1),
                Field("response", response.name, Shape.BOUNDED, 1),
            ),
        )
        whole = Message(
            full,
            (
                Field("request_message", request.name),
                Field("response_message", response.name),
                Field("event_message", event.name),
            ),
        )
        self._messages.update({one.name: one for one in (request, response, event)})
        return Service(full, request, response, whole)

    def _make_action(self, full: str) -> Action:
        goal, result, feedback = (
            read_message(f"{full}_{part}", text)
            for part, text in zip(
                ("Goal", "Result", "Feedback"), split_parts(full, self._text(full), 3), strict=True
            )
        )
        send_goal = self._make_service(
            f"{full}_SendGoal",
            Message(f"{full}_SendGoal_Request", (_UUID, Field("goal", goal.name))),
            Message(
                f"{full}_SendGoal_Response",
                (Field("accepted", "bool"), Field("stamp", "builtin_interfaces/msg/Time")),
            ),
        )
        get_result = self._make_service(
            f"{full}_GetResult",
            Message(f"{full}_GetResult_Request", (_UUID,)),
            Message(
                f"{full}_GetResult_Response",
                (Field("status", "int8"), Field("result", result.name)),
            ),
        )
        told = Message(f"{full}_FeedbackMessage", (_UUID, Field("feedback", feedback.name)))
        whole = Message(
            full,
            (
                Field("goal", goal.name),
                Field("result", result.name),
                Field("feedback", feedback.name),
                Field("send_goal_service", send_goal.name),
                Field("get_result_service", get_result.name),
                Field("feedback_message", told.name),
            ),
        )
        parts = (goal, result, feedback, told, send_goal.whole, get_result.whole)
        self._messages.update({one.name: one for one in parts})
        return Action(full, goal, result, feedback, send_goal, get_result, told, whole)

    def _text(self, full: str) -> str:
        package, kind, name = full.split("/")
        if full in self._texts:
            return self._texts[full]
        for folder in self._folders:
            path = folder / package / kind / f"{name}.{kind}"
            if path.is_file():
                return _read(path)
        sections = self._package(package)
        if f"{kind}/{name}" not in sections:
            raise InterfaceError(f"{full} is not known{self._hint(full)}")
        return sections[f"{kind}/{name}"]

    def _package(self, package: str) -> dict[str, str]:
        """Return the texts of a package that come along, by KIND/NAME; none if it does not."""
        if package not in self._packages:
            file = resources.files(__package__) / "interfaces" / f"{package}.txt"
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
            sections = {}
            for section in text.split(f"\n{_SECTION}")[1:]:
                title, _, body = section.partition("\n")
                sections[title] = body if body.endswith("\n") or not body else f"{body}\n"
            self._packages[package] = sections
        return self._packages[package]

    def _hint(self, full: str) -> str:
        kind = full.split("/")[1]
        near = difflib.get_close_matches(full, self._all(kind), 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return (
            f"{meant}; a text of your own is found with --interfaces FOLDER, as "
            f"FOLDER/{full}.{kind}, and those of a sourced ROS (AMENT_PREFIX_PATH)"
        )

    def _all(self, kind: str) -> Iterator[str]:
        yield from self.known(kind)
        for folder in self._folders:
            for path in folder.glob(f"*/{kind}/*.{kind}"):
                yield f"{path.parent.parent.name}/{kind}/{path.stem}"


def full_name(name: str, kind: str) -> str:
    """Return `std_msgs/msg/String` for `std_msgs/String`, and what is in full already.

    Raises:
        InterfaceError: it is neither.
    """
    match name.split("/"):
        case [package, last] if package and last:
            return f"{package}/{kind}/{last}"
        case [package, middle, last] if package and last and middle in _KINDS:
            return name
    raise InterfaceError(f"{name!r} is no interface; expected PACKAGE/NAME as std_msgs/String")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InterfaceError(f"{path} cannot be read: {error}") from error
