"""The loop of the http node: what comes in becomes a question, and its answer an output."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dora_rt.event import TELEMETRY_KEY, Event

from ..used_ports import singles
from .asker import Asker, Question
from .request_forms import text_of

if TYPE_CHECKING:
    from dora_rt.interface import NodeLike

logger = logging.getLogger(__name__)

PROMPT_INPUT, ANSWER_OUTPUT = "prompt", "answer"
_LOOK_UP_S = 0.5


class Occasion(Enum):
    """When the service is asked."""

    SAMPLE = "sample"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked, and when.

    Attributes:
        prompt: what is asked until another prompt comes in.
        occasion: for each sample, or for each prompt about the newest sample.
        goodbye_s: how long the last answer is waited for.
    """

    prompt: str
    occasion: Occasion
    goodbye_s: float


def answer_into(node: NodeLike) -> Callable[[Question, NDArray[Any] | bytes, dict[str, Any]], None]:
    """Return what sends an answer; it has the origin of its question, as any answer has."""

    def reply(question: Question, value: NDArray[Any] | bytes, metadata: dict[str, Any]) -> None:
        context = question.metadata.get(TELEMETRY_KEY)
        if context:
            metadata = {**metadata, TELEMETRY_KEY: context}
        # The thread that asks has no event of its own from which the origin would come.
        origin_ns = question.origin_ns or None
        node.send_output(ANSWER_OUTPUT, value, metadata, captured_ns=origin_ns)

    return reply


def run(node: NodeLike, asker: Asker, plan: Plan) -> None:
    """Ask about what comes in until the inputs end, and wait for the last answer.

    Raises:
        DoraRtError: of the thread that asks, such as an output that the file does not declare.
    """
    prompt = plan.prompt
    newest: Event | None = None
    while True:
        asker.check()
        try:
            event = node.next(timeout=_LOOK_UP_S)
        except TimeoutError:
            continue
        if event is None:
            break
        for one in singles([event]):
            if one.id == PROMPT_INPUT:
                found = text_of(one.value)
                if found is None:
                    logger.warning("input '%s' carries no text in UTF-8", one.id)
                    continue
                prompt = found.strip()
                if plan.occasion is Occasion.PROMPT and newest is not None:
                    asker.offer(_question(newest, prompt))
            elif isinstance(one.value, bytes) and not one.value:
                continue  # the tick of a timer
            elif plan.occasion is Occasion.SAMPLE:
                asker.offer(_question(one, prompt))
            else:
                newest = one
    asker.finish(plan.goodbye_s)
    asker.check()
    logger.info("%s", asker.summary())


def _question(event: Event, prompt: str) -> Question:
    return Question(event.id, event.value, event.metadata, event.origin_ns, prompt)
