"""The loop of the record node, and what it says at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from dora_rt.interface import NodeLike

from .recorder import FLUSH_S, Recorder

logger = logging.getLogger(__name__)


def run(node: NodeLike, sources: Mapping[str, str], open_recorder: Callable[[], Recorder]) -> None:
    """Record each sample of the inputs in `sources` until they end.

    Args:
        node: the node.
        sources: by input, the output that it reads.
        open_recorder: makes the file.

    Raises:
        RecordingError: the file cannot be written.
    """
    with open_recorder() as recorder:
        logger.info("recording %s into %s", ", ".join(sources.values()), recorder.path)
        while True:
            try:
                event = node.next(timeout=FLUSH_S)
            except TimeoutError:
                recorder.flush()
                continue
            if event is None:
                break
            if event.id in sources:
                recorder.add(sources[event.id], event)
    logger.info("%s", recorder.summary())
