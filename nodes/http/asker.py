"""Ask the service about the newest sample, again and again, in a thread of its own."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from dora_rt.errors import NodeClosedError

from ..odd_samples import FewWarnings
from .answers import AnswerError, AnswerReader
from .request_forms import RequestError, RequestForm
from .web_client import Answer, ServiceError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0


@dataclass(frozen=True, slots=True)
class Question:
    """A sample, and what is asked about it."""

    input_id: str
    value: Any
    metadata: Mapping[str, Any]
    origin_ns: int
    prompt: str


@dataclass(frozen=True, slots=True)
class Patience:
    """How often the service is asked.

    Attributes:
        rate_hz: questions a second at most.
        retries: how often the same question is asked again if it fails and no newer one came.
    """

    rate_hz: float
    retries: int


class Client(Protocol):
    """Who asks; `WebClient` is the real one."""

    def ask(self, method: str, body: bytes, content_type: str) -> Answer:
        """Return an answer, or raise ServiceError."""

    def close(self) -> None:
        """Close the connection."""


Reply = Callable[[Question, "NDArray[Any] | bytes", dict[str, Any]], None]


class Asker:
    """Keep the newest question, and hand each answer to `reply`, which runs in the thread.

    Args:
        client: who asks; the thread closes it at its end.
        method: of HTTP.
        form: makes requests.
        reader: reads answers.
        patience: how often.
        reply: gets the question, the value of its answer, and metadata.
        clock: nanoseconds.

    Attributes:
        answered, failed, skipped: questions.
    """

    def __init__(
        self,
        client: Client,
        method: str,
        form: RequestForm,
        reader: AnswerReader,
        patience: Patience,
        reply: Reply,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._client = client
        self._method = method
        self._form = form
        self._reader = reader
        self._patience = patience
        self._reply = reply
        self._clock = clock
        self._news = threading.Condition()
        self._waiting: Question | None = None
        self._is_asking = self._is_finishing = self._is_closing = False
        self._failures = 0
        self._warnings = FewWarnings()
        self._failure: Exception | None = None
        self.answered = self.failed = self.skipped = 0
        # A daemon: a service that hangs must not keep the process.
        self._thread = threading.Thread(target=self._work, name="http", daemon=True)
        self._thread.start()

    def offer(self, question: Question) -> None:
        """Take a question in the place of one that still waits."""
        with self._news:
            self.skipped += self._waiting is not None
            self._waiting = question
            self._news.notify_all()

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def finish(self, timeout_s: float) -> None:
        """Wait until what was offered is answered, or has failed once; then end the thread."""
        with self._news:
            self._is_finishing = True
            self._news.notify_all()
            self._news.wait_for(
                lambda: (self._waiting is None and not self._is_asking) or self._has_ended(),
                timeout_s,
            )
            self._is_closing = True
            self._news.notify_all()

    def summary(self) -> str:
        """Return the counters in words."""
        parts = [f"{self.answered} answered"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.skipped:
            parts.append(f"{self.skipped} passed over for a newer one")
        return ", ".join(parts)

    def _has_ended(self) -> bool:
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            while (question := self._take()) is not None:
                began_ns = self._clock()
                self._ask_until_answered(question)
                with self._news:
                    self._is_asking = False
                    self._news.notify_all()
                self._pause(1 / self._patience.rate_hz - (self._clock() - began_ns) / 1e9)
        except NodeClosedError:
            logger.debug("told to stop while answering")
        except Exception as error:
            # For the main thread, which ends the node by it.
            self._failure = error
        finally:
            self._client.close()
            with self._news:
                self._is_asking = False
                self._news.notify_all()

    def _take(self) -> Question | None:
        with self._news:
            self._news.wait_for(lambda: self._waiting is not None or self._is_closing)
            question, self._waiting = self._waiting, None
            self._is_asking = not self._is_closing
            return None if self._is_closing else question

    def _ask_until_answered(self, question: Question) -> None:
        for attempt in range(1 + self._patience.retries):
            if attempt and self._is_finishing:
                # At a stop the service may be gone already, and the flow waits.
                break
            if attempt and self._has_newer():
                self.skipped += 1
                return
            try:
                self._ask(question)
            except (ServiceError, AnswerError) as error:
                may_pass = isinstance(error, ServiceError) or error.may_pass
                retry_after_s = None if isinstance(error, ServiceError) else error.retry_after_s
                self._failures += 1
                pause_s = self._pause_s(retry_after_s)
                self._warnings.warn(f"{error}; {_what_next(may_pass, self._is_finishing)}")
                # Also before the next question: a service that refuses all is not to be flooded.
                self._pause(pause_s)
                if not may_pass:
                    break
            except RequestError as error:
                self._warnings.warn(f"input '{question.input_id}': {error}")
                break
            else:
                return
        self.failed += 1

    def _ask(self, question: Question) -> None:
        request = self._form.make(
            question.input_id, question.value, question.metadata, question.prompt
        )
        began_ns = self._clock()
        answer = self._client.ask(self._method, request.body, request.content_type)
        value = self._reader.read(answer)
        if self._failures:
            logger.info("answers again, after %d failures", self._failures)
            self._failures = 0
            self._warnings.forget()
        self.answered += 1
        metadata = {
            "content_type": answer.content_type,
            "answer_s": round((self._clock() - began_ns) / 1e9, 4),
            **({"prompt": question.prompt} if question.prompt else {}),
        }
        self._reply(question, value, metadata)

    def _has_newer(self) -> bool:
        with self._news:
            return self._waiting is not None

    def _pause_s(self, retry_after_s: float | None) -> float:
        usual_s: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10))
        # Many that were refused at once must not come back at once.
        usual_s *= random.uniform(1, 1.25)
        if retry_after_s is None:
            return usual_s
        return max(usual_s, min(retry_after_s, LONGEST_RETRY_AFTER_S))

    def _pause(self, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._is_finishing, max(0.0, seconds))


def _what_next(may_pass: bool, is_last: bool) -> str:
    if is_last:
        return "it was the last one"
    return "trying again with the newest" if may_pass else "going on with the next one"
