"""Live pictures of a run, with the boxes that were found in them, read as an observer."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dora_rt.dashboard.picture_codec import Encoded, Kind, as_numpy, encode, kind_of, read_boxes
from dora_rt.errors import DoraRtError
from dora_rt.event import Event
from dora_rt.node_config import OutputConfig
from dora_rt.run_status import OutputStatus
from dora_rt.runs import base_folder
from dora_rt.transport.input.observer import Observer
from dora_rt.watchers import watching

logger = logging.getLogger(__name__)

_POLL_S = 0.012
_LEAST_GAP_NS = 60_000_000  # between two pictures: 16 a second are enough to see what goes on
_PATIENCE_NS = 700_000_000
_UNWATCHED_NS = 3_000_000_000
_KEPT = 6
_JOIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page; `boxes` is None if no node looked for objects in it."""

    number: int
    picture: Encoded
    boxes: list[dict[str, Any]] | None
    origin_ns: int


class Tap:
    """Reads the newest samples of an output, over all generations of its writer."""

    def __init__(self, run: str, source: str, config: OutputConfig) -> None:
        self.config = config
        self.kind: Kind | None = None
        self._run = run
        self._source = source
        self._observer: tuple[OutputConfig, Observer] | None = None

    def newest(self) -> Event | None:
        """Copy the newest sample, if there is a new one."""
        config = self.config
        try:
            if self._observer is None or self._observer[0] != config:
                self._observer = config, Observer(self._run, config)
            event = self._observer[1].newest(self._source)
        except DoraRtError as error:
            # The next answer to `status` has the new output of a writer that was started again; an
            # array of Arrow needs an extra that may be missing.
            logger.debug("%s: %s", self._source, error)
            return None
        if event is not None:
            event.value = as_numpy(event.value)
        return event


class Pictures:
    """The outputs of a run that carry pictures or boxes, and a feed for each that is watched."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._taps: dict[str, Tap] = {}
        self._feeds: dict[str, Feed] = {}

    def follow(self, outputs: Sequence[OutputStatus]) -> None:
        """Take the present outputs over, and look at those whose kind is not known yet."""
        for output in outputs:
            source, config = output.source, output.config
            tap = self._taps.get(source)
            if tap is None:
                tap = Tap(self._run, source, config)
                with self._lock:
                    self._taps[source] = tap
            if tap.config != config:
                tap.config = config
                with self._lock:
                    feeds = list(self._feeds.values())
                for feed in feeds:
                    feed.follow(source, config)
            if tap.kind is None and (event := tap.newest()) is not None:
                tap.kind = kind_of(event)

    def sources(self, kind: Kind = Kind.PICTURE) -> list[str]:
        """Return the names of the outputs of a kind."""
        with self._lock:
            return [source for source, tap in self._taps.items() if tap.kind is kind]

    def feed(self, source: str) -> Feed | None:
        """Return the feed of an output, started if need be; None if it has no pictures."""
        boxes = self.sources(Kind.BOXES)
        if source not in self.sources():
            return None
        with self._lock:
            feed = self._feeds.get(source)
            if feed is None or not feed.is_alive or feed.box_sources != boxes:
                number = 0 if feed is None else feed.stop()
                configs = {name: self._taps[name].config for name in (source, *boxes)}
                feed = self._feeds[source] = Feed(self._run, source, configs, number)
            return feed

    def close(self) -> None:
        """End all feeds."""
        with self._lock:
            for feed in self._feeds.values():
                feed.stop()


class Feed:
    """Pictures of one output, read by a thread of its own as long as a page asks for them."""

    def __init__(
        self, run: str, source: str, configs: Mapping[str, OutputConfig], number: int
    ) -> None:
        self.box_sources = [name for name in configs if name != source]
        self._taps = {name: Tap(run, name, config) for name, config in configs.items()}
        self._source = source
        self._shown: Shown | None = None
        self._number = number
        self._asked_ns = time.monotonic_ns()
        self._is_stopping = threading.Event()
        self._run = run
        self._thread = threading.Thread(target=self._read, name=f"feed {source}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread still reads."""
        return self._thread.is_alive()

    def follow(self, source: str, config: OutputConfig) -> None:
        """Take over the new output of a writer that was started again."""
        if source in self._taps:
            self._taps[source].config = config

    def take(self, after: int) -> Shown | None:
        """Return the newest picture, if its number differs from `after`."""
        self._asked_ns = time.monotonic_ns()
        shown = self._shown
        return None if shown is None or shown.number == after else shown

    def stop(self) -> int:
        """End the thread, and return the number of the last picture."""
        self._is_stopping.set()
        self._thread.join(_JOIN_S)
        return self._number

    def _read(self) -> None:
        # While a page shows it, the run does not end for want of readers.
        with watching(base_folder(os.environ), self._run):
            self._read_on()

    def _read_on(self) -> None:
        kept: dict[int, Event] = {}
        boxes: dict[int, Event] = {}
        shown_ns = matched_ns = time.monotonic_ns()
        while not self._is_stopping.wait(_POLL_S):
            now_ns = time.monotonic_ns()
            if now_ns - self._asked_ns > _UNWATCHED_NS:
                return
            picture = self._taps[self._source].newest()
            if picture is not None:
                _keep(kept, picture)
            for name in self.box_sources:
                if (found := self._taps[name].newest()) is not None:
                    _keep(boxes, found)
            if not kept or now_ns - shown_ns < _LEAST_GAP_NS:
                continue
            both = kept.keys() & boxes.keys()
            if both:
                origin_ns, matched_ns = max(both), now_ns
                self._show(kept[origin_ns], boxes[origin_ns])
            elif not self.box_sources or now_ns - matched_ns > _PATIENCE_NS:
                origin_ns = max(kept)
                self._show(kept[origin_ns], None)
            else:
                continue
            shown_ns = now_ns
            for events in (kept, boxes):
                for passed_ns in [each_ns for each_ns in events if each_ns <= origin_ns]:
                    del events[passed_ns]

    def _show(self, picture: Event, found: Event | None) -> None:
        encoded = encode(picture)
        if encoded is None:
            return
        self._number += 1
        boxes = None if found is None else read_boxes(found)
        self._shown = Shown(self._number, encoded, boxes, picture.origin_ns)


def _keep(events: dict[int, Event], event: Event) -> None:
    events[event.origin_ns] = event
    while len(events) > _KEPT:
        del events[min(events)]
