"""Answers tools on other machines that want to look at the samples of outputs here."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dora_rt.errors import DoraRtError
from dora_rt.event import Event
from dora_rt.live.attach import Watch, outputs_of
from dora_rt.live.far_sample import encode_text, encode_value

logger = logging.getLogger(__name__)

Reply = Callable[[dict[str, Any]], None]

_LOOK_S = 0.005
_LONGEST_WAIT_S = 1.0
_UNWATCHED_S = 5.0
_MOST_QUESTIONS = 64
_FORMS = ("value", "text", "full")


@dataclass(slots=True)
class _Source:
    """An output that somebody looks at, and its newest sample."""

    watch: Watch
    asked_at: float
    newest: Event | None = None
    at: tuple[int, int] | None = None
    """Generation of the writer, and number of that sample."""


@dataclass(frozen=True, slots=True)
class _Question:
    source: str
    after: tuple[int, int] | None
    form: str
    until: float
    reply: Reply


class FarSamples:
    """The outputs of one run that tools on other machines look at, in a thread of its own.

    No node waits for it or notices it. The thread sleeps as long as nobody asks.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._condition = threading.Condition()
        self._questions: list[_Question] = []
        self._sources: dict[str, _Source] = {}
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def submit(self, fields: Mapping[str, Any], reply: Reply) -> None:
        """Answer a question later, by one call of `reply` in the thread of this object.

        Args:
            fields: `source`, the output; `after`, what `at` was in the last answer, or None;
                `form`: value, text or full; `wait_s`, how long to wait for a sample. Nothing in
                them is trusted.
            reply: gets `at`, `dropped` and `sample`, which is None if nothing new has come; or
                `error`.
        """
        wait_s = fields.get("wait_s")
        if not isinstance(wait_s, (int, float)) or not math.isfinite(wait_s):
            wait_s = 0.0
        form = fields.get("form")
        if form not in _FORMS:
            reply({"error": f"there is no form {form!r}; there are: {', '.join(_FORMS)}"})
            return
        question = _Question(
            str(fields.get("source")),
            _read_place(fields.get("after")),
            form,
            time.monotonic() + min(max(wait_s, 0.0), _LONGEST_WAIT_S),
            reply,
        )
        with self._condition:
            if self._is_closed or len(self._questions) >= _MOST_QUESTIONS:
                reply({"error": "too many programs look at samples of this machine"})
                return
            self._questions.append(question)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="far samples", daemon=True)
                self._thread.start()
            self._condition.notify()

    def close(self) -> None:
        """Answer no more, and end the thread."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        while True:
            with self._condition:
                if not self._questions and not self._is_closed:
                    self._condition.wait(_UNWATCHED_S if self._sources else None)
                questions, self._questions = self._questions, []
                if self._is_closed:
                    break
            waiting = [one for one in questions if not self._answer(one)]
            self._forget()
            if waiting:
                with self._condition:
                    self._questions = waiting + self._questions
                time.sleep(_LOOK_S)
        for source in self._sources.values():
            source.watch.close()

    def _answer(self, question: _Question) -> bool:
        """Answer a question if there is something to say; return whether that is done."""
        try:
            source = self._find(question.source)
            self._look(source)
            if source.at is None or source.at == question.after:
                if time.monotonic() < question.until and not source.watch.has_ended:
                    return False
                question.reply({"at": source.at, "dropped": 0, "sample": None})
                return True
            question.reply(_answer_of(source, question))
        except DoraRtError as error:
            question.reply({"error": str(error)})
        return True

    def _find(self, name: str) -> _Source:
        found = self._sources.get(name)
        if found is None or found.watch.has_ended:
            outputs = {output.source: output for output in outputs_of(self._run)}
            if name not in outputs:
                known = ", ".join(outputs)
                raise DoraRtError(f"there is no output {name!r}; there are: {known}")
            found = self._sources[name] = _Source(Watch(outputs[name]), time.monotonic())
        found.asked_at = time.monotonic()
        return found

    def _look(self, source: _Source) -> None:
        event = source.watch.newest()
        if event is not None:
            source.newest = event
            source.at = (source.watch.output.config.generation, event.seq)

    def _forget(self) -> None:
        now = time.monotonic()
        for name, source in list(self._sources.items()):
            if now > source.asked_at + _UNWATCHED_S:
                source.watch.close()
                del self._sources[name]


def _answer_of(source: _Source, question: _Question) -> dict[str, Any]:
    event, at, after = source.newest, source.at, question.after
    assert event is not None, "it has a place"
    assert at is not None, "it has a place"
    # Of those that an earlier start of the node has sent since, nobody knows the number here.
    is_same_start = after is not None and after[0] == at[0]
    event.dropped = max(at[1] - after[1] - 1, 0) if after is not None and is_same_start else 0
    if question.form == "value":
        sample = encode_value(event)
    else:
        sample = encode_text(event, has_all=question.form == "full")
    return {"at": at, "dropped": event.dropped, "sample": sample}


def _read_place(told: object) -> tuple[int, int] | None:
    match told:
        case [int(generation), int(seq)]:
            return generation, seq
    return None
