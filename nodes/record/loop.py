"""The loop of the record node, and its last words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dora_rt.errors import CorruptSampleError

from .recorder import FLUSH_S, Recorder

if TYPE_CHECKING:
    from dora_rt.interface import NodeLike

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
                try:
                    _ = event.metadata  # what cannot be read cannot be replayed either
                    recorder.add(sources[event.id], event)
                except CorruptSampleError as error:
                    logger.warning("input '%s', sample %d: %s; lost", event.id, event.seq, error)
                    recorder.lost[sources[event.id]] += 1 + event.dropped
    logger.info("%s", recorder.summary())
