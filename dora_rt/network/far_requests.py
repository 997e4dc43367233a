"""Requests of tools for runs on other machines, on their way through two gateways.

A launcher asks its gateway, which asks the gateway of that machine, which asks its launcher. Each
of the three counts its own questions, so that an answer finds its way back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

TellPeer = Callable[[str, dict[str, Any]], None]
TellLauncher = Callable[..., None]
Answer = Callable[[Mapping[str, Any], Callable[[dict[str, Any]], None]], None]


class FarRequests:
    """The questions of this machine to others, and of others to this one. For one thread."""

    def __init__(
        self, tell_peer: TellPeer, tell_launcher: TellLauncher, answer_sample: Answer
    ) -> None:
        """Begin without a question.

        Args:
            tell_peer: sends a message to the gateway of a machine.
            tell_launcher: sends fields to the launcher here.
            answer_sample: answers a question for a sample, which no launcher touches; its reply
                may come in another thread.
        """
        self._tell_peer = tell_peer
        self._tell_launcher = tell_launcher
        self._answer_sample = answer_sample
        self._numbers = itertools.count(1)
        self._from_peers: dict[int, tuple[str, Any]] = {}
        self._to_peers: dict[int, tuple[str, Any]] = {}

    def ask(self, told: Mapping[str, Any], obstacle: str | None) -> None:
        """Take a question of the launcher here.

        Args:
            told: the machine, the fields and the number of the question.
            obstacle: why that machine cannot be asked; None: it can.
        """
        machine, asked = str(told["machine"]), told["ask"]
        if obstacle is not None:
            self._answer_launcher(asked, {"error": obstacle})
            return
        number = next(self._numbers)
        self._to_peers[number] = machine, asked
        self._tell_peer(machine, {"ask": number, "fields": told["fields"]})

    def take_ask(self, machine: str, told: Mapping[str, Any]) -> None:
        """Take a question of another machine."""
        asked, fields = told["ask"], told["fields"]
        if fields.get("request") == "sample":

            def reply(answer: dict[str, Any]) -> None:
                self._tell_peer(machine, {"reply": asked, "fields": answer})

            self._answer_sample(fields, reply)
            return
        number = next(self._numbers)
        self._from_peers[number] = machine, asked
        self._tell_launcher(ask=number, machine=machine, fields=fields)

    def take_answer(self, told: Mapping[str, Any]) -> None:
        """Take an answer of the launcher here to a question of another machine."""
        machine, asked = self._from_peers.pop(int(told["answer"]), (None, None))
        if machine is not None:
            self._tell_peer(machine, {"reply": asked, "fields": told["fields"]})

    def take_reply(self, machine: str, told: Mapping[str, Any]) -> None:
        """Take an answer of another machine to a question of the launcher here."""
        number = int(told["reply"])
        if self._to_peers.get(number, (None,))[0] == machine:
            _, asked = self._to_peers.pop(number)
            self._answer_launcher(asked, told["fields"])

    def lose(self, machine: str, why: str) -> None:
        """Note that a machine is gone: it will not answer any more."""
        for number, (asked_of, asked) in list(self._to_peers.items()):
            if asked_of == machine:
                del self._to_peers[number]
                self._answer_launcher(asked, {"error": why})
        for number, (asker, _) in list(self._from_peers.items()):
            if asker == machine:
                del self._from_peers[number]

    def _answer_launcher(self, asked: Any, fields: Mapping[str, Any]) -> None:
        self._tell_launcher(answer=asked, fields=dict(fields), is_over=True)
