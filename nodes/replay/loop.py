"""The loop of the replay node: each sample at its time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dora_rt.errors import NodeClosedError
from dora_rt.event import CLOCK_KEY, decode_metadata

from ..flow_start import wait_for_start
from ..recorded import RecordingError
from .recording import Recorded, Recording

if TYPE_CHECKING:
    from dora_rt.interface import NodeLike

logger = logging.getLogger(__name__)

_LOOK_UP_S = 0.05  # how long the loop may take to notice a stop
_LOOP_PAUSE_NS = 40_000_000  # between the last sample and the first one of the next round

# At full speed a round takes longer than this, so that no capture gets into the future; it is the
# same in all replay nodes, and gives each picture its own time.
_FAST_ROUND_NS = 1_000

_CLOCK_STEP_NS = 10_000_000  # of the time of the recording
_LEAST_REAL_STEP_NS = 2_000_000
_CLOCK_LEAD_NS = 50_000_000  # the same in all replay nodes: the clock begins before the samples
_CLOCK_LOOK_UP_S = 0.001


@dataclass(frozen=True, slots=True)
class Pace:
    """What part is replayed, and how fast.

    Attributes:
        rate: factor; 0: as fast as the readers take it.
        start_s: begin so long after the beginning of the recording.
        end_s: end so long after the beginning of the recording; None: with it.
        loops: begin again at the end.
        is_clock: whether the time of the recording is the clock of the dataflow.
    """

    rate: float = 1.0
    start_s: float = 0.0
    end_s: float | None = None
    loops: bool = False
    is_clock: bool = False

    def begin_ns(self, recording: Recording) -> int:
        """Return the wall time of the first moment of this part."""
        return recording.begin_ns + int(self.start_s * 1e9)

    def end_ns(self, recording: Recording) -> int:
        """Return the wall time at which this part has ended.

        Of the whole recording and not of some outputs: several replay nodes must stay together.
        """
        end_ns = recording.end_ns + 1
        if self.end_s is not None:
            end_ns = min(end_ns, recording.begin_ns + int(self.end_s * 1e9))
        return end_ns


def run(
    node: NodeLike,
    recording: Recording,
    sources: Mapping[str, str],
    pace: Pace,
    clock: Callable[[], int] = time.monotonic_ns,
    *,
    latched: Collection[str] = (),
) -> None:
    """Send the samples of a recording until its end.

    Samples captured at the same moment have the same `origin_ns` again: boxes find their pictures.

    Args:
        node: the node; with inputs, the first of them starts it.
        recording: what to send.
        sources: by recorded output, the output of this node.
        pace: how.
        clock: nanoseconds of a monotonic clock.
        latched: recorded outputs of which the last sample before this part comes first.

    Raises:
        RecordingError: the recording has none of these outputs, or nothing in this part of it.
    """
    _check(recording, sources)
    begin_ns, end_ns = pace.begin_ns(recording), pace.end_ns(recording)
    sent = 0
    try:
        base_ns = _wait_for_start(node, next(iter(sources.values())), clock)
        if pace.is_clock:
            _wait_for_clock(node)
            base_ns += _CLOCK_LEAD_NS
        if not pace.rate:
            # All come at once: they were captured before, for no capture is in the future.
            base_ns -= end_ns - begin_ns
        earlier = _newest_before(recording, latched, begin_ns)
        for recorded in earlier:
            _send(node, sources[recorded.source], recorded, base_ns, begin_ns, pace)
        sent = len(earlier)
        while not node.is_stopped():
            before = sent
            for recorded in recording.read(sources, begin_ns, end_ns):
                due_ns = base_ns + _scaled(recorded.time_ns - begin_ns, pace.rate)
                if not _wait_until(node, due_ns if pace.rate else 0, clock):
                    break
                _send(node, sources[recorded.source], recorded, base_ns, begin_ns, pace)
                sent += 1
            if sent == before and earlier:
                break  # there is no more than that in any round
            if sent == before and not node.is_stopped():
                raise RecordingError(
                    f"{recording.path} has nothing of {', '.join(sources)} in this part of it: "
                    f"it is {(recording.end_ns - recording.begin_ns) / 1e9:.3f} s long"
                )
            if not pace.loops:
                break
            base_ns += _round_ns(begin_ns, end_ns, pace.rate) if pace.rate else _FAST_ROUND_NS
    except NodeClosedError:
        # The stop may come between the look at it and the sending; it is no error.
        logger.debug("told to stop while sending")
    logger.info("%d samples of %s sent", sent, recording.path)


def run_clock(
    node: NodeLike,
    recording: Recording,
    output_id: str,
    pace: Pace,
    clock: Callable[[], int] = time.monotonic_ns,
) -> None:
    """Send the time of a recording until its end, for the replay nodes beside this one.

    Args:
        node: the node; its input starts it, at the same moment as the others.
        recording: whose time to send.
        output_id: the output, which is the clock of the dataflow.
        pace: how; with a rate.
        clock: nanoseconds of a monotonic clock.
    """
    import numpy as np  # not for the commands, which only read recordings

    begin_ns, end_ns = pace.begin_ns(recording), pace.end_ns(recording)
    step_ns = max(_CLOCK_STEP_NS, round(_LEAST_REAL_STEP_NS * pace.rate))
    base_ns = _wait_for_start(node, output_id, clock)
    # The others wait for it, and have it from the first sample on.
    node.send_output(output_id, np.int64(begin_ns))
    base_ns += _CLOCK_LEAD_NS
    while not node.is_stopped():
        for time_ns in (*range(begin_ns, end_ns - 1, step_ns), end_ns - 1):
            if not _wait_until(node, base_ns + _scaled(time_ns - begin_ns, pace.rate), clock):
                return
            node.send_output(output_id, np.int64(time_ns))
        if not pace.loops:
            return
        base_ns += _round_ns(begin_ns, end_ns, pace.rate)


def _round_ns(begin_ns: int, end_ns: int, rate: float) -> int:
    return _scaled(end_ns - begin_ns + _LOOP_PAUSE_NS, rate)


def _wait_for_clock(node: NodeLike) -> None:
    while not node.now() and not node.is_stopped():
        time.sleep(_CLOCK_LOOK_UP_S)


def _newest_before(recording: Recording, sources: Collection[str], begin_ns: int) -> list[Recorded]:
    if not sources or begin_ns <= recording.begin_ns:
        return []
    newest = {one.source: one for one in recording.read(sources, end_ns=begin_ns)}
    return sorted(newest.values(), key=lambda one: one.time_ns)


def _check(recording: Recording, sources: Mapping[str, str]) -> None:
    missing = [source for source in sources if source not in recording.samples]
    if missing:
        raise RecordingError(
            f"{recording.path} has nothing of {', '.join(missing)}; it has: "
            f"{', '.join(recording.samples)}"
        )
    if not recording.is_whole:
        logger.warning("%s was not ended well, and may lack its last second", recording.path)


def _wait_for_start(node: NodeLike, output_id: str, clock: Callable[[], int]) -> int:
    if node.input_ids():
        event = node.next()
        if event is not None:
            # Of a timer: the same moment in all replay nodes of the flow.
            return event.sent_ns
    wait_for_start(node, output_id)
    return clock()


def _scaled(nanoseconds: int, rate: float) -> int:
    return round(nanoseconds / rate) if rate not in (0, 1) else nanoseconds


def _wait_until(node: NodeLike, due_ns: int, clock: Callable[[], int]) -> bool:
    """Sleep until it is time; return False if the node must stop."""
    while not node.is_stopped():
        left_s = (due_ns - clock()) / 1e9
        if left_s <= 0:
            return True
        time.sleep(min(left_s, _LOOK_UP_S))
    return False


def _send(
    node: NodeLike, output_id: str, recorded: Recorded, base_ns: int, begin_ns: int, pace: Pace
) -> None:
    sample = recorded.sample
    age_ns = sample.header["sent_ns"] - sample.header["origin_ns"]
    captured_ns = base_ns + _scaled(recorded.time_ns - age_ns - begin_ns, pace.rate)
    metadata = decode_metadata(sample.metadata_json) if sample.metadata_json else None
    if pace.is_clock:
        metadata = {**(metadata or {}), CLOCK_KEY: recorded.time_ns - age_ns}
    node.send_output(output_id, sample.value, metadata, captured_ns=max(captured_ns, 0))
