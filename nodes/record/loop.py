"""The loop of the record node, and its last words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dora_rt.errors import CorruptSampleError

from ..used_ports import singles
from .recorder import FLUSH_S, Recorder

if TYPE_CHECKING:
    from dora_rt.event import Event
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
            for sample in singles([event]):
                if sample.id in sources:
                    _add(recorder, sources[sample.id], sample)
    logger.info("%s", recorder.summary())


def _add(recorder: Recorder, source: str, sample: Event) -> None:
    try:
        _ = sample.metadata  # what cannot be read cannot be replayed either
        recorder.add(source, sample)
    except CorruptSampleError as error:
        logger.warning("input '%s', sample %d: %s; lost", sample.id, sample.seq, error)
        recorder.lost[source] += 1 + sample.dropped
