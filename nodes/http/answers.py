"""Turn the answer of a service into a sample."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError

from ..json_values import parse_json, sendable
from .web_client import Answer

_SHOWN = 120
_SEARCHED = 65536
# Worth another try: the service is busy, or down for now.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class AnswerError(DoraRtError):
    """The answer is of no use.

    Attributes:
        may_pass: whether the same request may have a better answer later.
        retry_after_s: for how long the service asks to be left alone.
    """

    def __init__(
        self, message: str, *, may_pass: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """What is taken of an answer.

    Attributes:
        path: of the value in an answer in JSON, such as `choices.0.message.content`; empty: all.
        secrets: texts that no message may have; a service may repeat what it was sent.
    """

    path: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def read(self, answer: Answer) -> NDArray[Any] | bytes:
        """Return the sample for an answer: an array for numbers, else bytes.

        Raises:
            AnswerError: the service reports an error, or the answer is not what was expected.
        """
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        if not self.path and "json" not in answer.content_type:
            return _plain(answer)
        found = parse_json(answer.body)
        if found is None:
            raise AnswerError(
                f"the answer is no JSON but {answer.content_type or 'nothing'} of "
                f"{len(answer.body)} bytes: {self._begin(answer.body)}"
            )
        for step in filter(None, self.path.split(".")):
            found = self._step(found, step)
        value = sendable(found, np.float32)
        if value is None:
            raise AnswerError(f"the answer has null at {self.path or 'its top'}")
        return value

    def _step(self, node: Any, step: str) -> Any:
        if isinstance(node, dict) and step in node:
            return node[step]
        if isinstance(node, list) and step.isascii() and step.isdigit() and int(step) < len(node):
            return node[int(step)]
        has = ", ".join(list(map(str, node))[:20]) if isinstance(node, dict) else ""
        what = f"the keys {has}" if has else f"a {type(node).__name__}"
        raise AnswerError(
            f"the answer has nothing at '{self.path}' (--answer): where '{step}' must be is {what}"
        )

    def _refusal(self, answer: Answer) -> AnswerError:
        hint = ""
        match answer.status:
            case 401 | 403:
                hint = "; is the token right (--token-env)?"
            case 404 | 405:
                hint = "; is the path of --url right, and --method?"
            case 413:
                hint = "; --longest-side makes pictures smaller"
            case 415 | 422:
                hint = "; is --form what it takes?"
            case status if 300 <= status < 400:
                hint = (
                    "; it points to another address, which is not followed: give that one as --url"
                )
        said = f": {self._begin(answer.body)}" if answer.body else ""
        return AnswerError(
            f"status {answer.status} {self._hidden(answer.reason)}{said}{hint}",
            may_pass=answer.status in _PASSING,
            retry_after_s=answer.retry_after_s,
        )

    def _begin(self, body: bytes) -> str:
        # Before it is cut: else half a secret might stay.
        text = " ".join(self._hidden(body[:_SEARCHED].decode(errors="replace")).split())
        return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")

    def _hidden(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _plain(answer: Answer) -> NDArray[Any] | bytes:
    if answer.body.startswith(b"\x93NUMPY"):
        try:
            array: NDArray[Any] = np.load(io.BytesIO(answer.body), allow_pickle=False)
        except Exception as error:
            # numpy reads the header as Python: beside ValueError and EOFError there come errors of
            # its tokenizer, OverflowError, and MemoryError for a shape that is a lie.
            raise AnswerError(f"the answer is a broken file of numpy: {error}") from error
        if array.dtype.kind not in "biufc":
            raise AnswerError(f"the answer is a file of numpy with {array.dtype}; expected numbers")
        return array
    return answer.body
