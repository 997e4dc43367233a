"""Live pictures of a run, with the boxes that were found in them, read as an observer."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dora_rt.dashboard.drawings import Drawing, drawings_on
from dora_rt.dashboard.picture_codec import (
    Encoded,
    Kind,
    as_numpy,
    boxes_on,
    encode,
    kind_of,
)
from dora_rt.detections import (
    Detections,
    NoBoxesError,
    finding_of,
    put_together,
    read_found,
)
from dora_rt.errors import CorruptSampleError, DoraRtError
from dora_rt.event import Event
from dora_rt.live.attach import LiveOutput
from dora_rt.live.far_watch import FarWatch
from dora_rt.node_config import OutputConfig
from dora_rt.picture import NoPictureError
from dora_rt.picture_matcher import Finding, PictureMatcher, View, received_picture
from dora_rt.run_status import EdgeStatus, OutputStatus, owner_of
from dora_rt.runs import base_folder
from dora_rt.transport.input.observer import Observer
from dora_rt.watchers import watching

logger = logging.getLogger(__name__)

_POLL_S = 0.012
_LEAST_GAP_NS = 60_000_000  # between two pictures: 16 a second are enough to see what goes on
_UNWATCHED_NS = 3_000_000_000
_MOST_AT_ONCE = 8
_MOST_LOOKS = 20
_JOIN_S = 2.0
_FAR_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page.

    Attributes:
        number: counts the pictures.
        picture: the picture.
        found: what was found on it, as `drawings_on` gives it; None if there is nothing here.
        lacks_boxes: whether it should have some: a node looks for objects on such pictures.
        latency_ms: from its capture until all that is shown was sent: the age at the edge.
    """

    number: int
    picture: Encoded
    found: Drawing | None
    lacks_boxes: bool
    latency_ms: float


class Tap:
    """Reads the newest samples of an output, over all generations of its writer."""

    def __init__(self, run: str, source: str, config: OutputConfig) -> None:
        self.config = config
        self.kind: Kind | None = None
        self._run = run
        self._source = source
        self._observer: tuple[OutputConfig, Observer] | None = None
        self._looks = 0

    def newest(self) -> Event | None:
        """Copy the newest sample, if there is a new one."""
        return self._look(is_newest=True)

    def following(self) -> Event | None:
        """Copy the oldest sample since the last look that can still be had, if there is one."""
        return self._look(is_newest=False)

    def close(self) -> None:
        """Look no more."""

    def again(self) -> Tap:
        """Return another one for the same output."""
        return Tap(self._run, self._source, self.config)

    def look_for_kind(self) -> None:
        """Find out which kind of values the output carries: the first may be odd."""
        if self.kind in (None, Kind.OTHER) and self._looks < _MOST_LOOKS:
            event = self.newest()
            if event is not None:
                self._looks += 1
                self.kind = kind_of(event)

    def _look(self, *, is_newest: bool) -> Event | None:
        config = self.config
        try:
            if self._observer is None or self._observer[0] != config:
                self._observer = config, Observer(self._run, config)
            observer = self._observer[1]
            look = observer.newest if is_newest else observer.following
            event = look(self._source)
        except DoraRtError as error:
            # The next answer to `status` has the new output of a writer that was started again; an
            # array of Arrow needs an extra that may be missing.
            logger.debug("%s: %s", self._source, error)
            return None
        if event is not None:
            event.value = as_numpy(event.value)
        return event


class FarTap(Tap):
    """Looks at an output on another machine, a few times a second: its pictures cross for that."""

    def __init__(self, output: LiveOutput) -> None:
        super().__init__(output.run, output.source, output.config)
        self._output = output
        self._watch: FarWatch | None = None
        self._look_at = 0.0

    def close(self) -> None:
        """Ask no more."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def look_for_kind(self) -> None:
        """Find out which kind of values the output carries, and ask no more then."""
        super().look_for_kind()
        if self.kind not in (None, Kind.OTHER) or self._looks >= _MOST_LOOKS:
            self.close()

    def again(self) -> FarTap:
        """Return another one for the same output."""
        return FarTap(self._output)

    def _look(self, *, is_newest: bool) -> Event | None:
        try:
            if self._watch is None or self._watch.has_ended:
                if time.monotonic() < self._look_at:
                    return None
                self._look_at = time.monotonic() + _FAR_RETRY_S
                self._watch = FarWatch.open(self._output, self._output.machine or "")
            event = self._watch.newest()
        except DoraRtError as error:
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
        self._edges: Sequence[EdgeStatus] = ()

    def follow(self, outputs: Sequence[OutputStatus], edges: Sequence[EdgeStatus]) -> None:
        """Take the present outputs over, and look at those whose kind is not known yet."""
        self._edges = edges
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
            tap.look_for_kind()

    def follow_far(self, outputs: Iterable[LiveOutput]) -> None:
        """Look at outputs on other machines whose samples do not come here by themselves."""
        for output in outputs:
            tap = self._taps.get(output.source)
            if tap is None:
                tap = FarTap(output)
                with self._lock:
                    self._taps[output.source] = tap
            if isinstance(tap, FarTap):
                tap.look_for_kind()

    def sources(self, kind: Kind = Kind.PICTURE) -> list[str]:
        """Return the names of the outputs of a kind."""
        with self._lock:
            return [source for source, tap in self._taps.items() if tap.kind is kind]

    def feed(self, source: str) -> Feed | None:
        """Return the feed of an output, started if need be; None if it has no pictures."""
        pictures = self.sources()
        if source not in pictures:
            return None
        boxes = [
            name
            for name in (*self.sources(Kind.BOXES), *self.sources(Kind.FOUND))
            if source in pictures_of(name, pictures, self._edges)
        ]
        # Of another machine only some samples come: hardly a picture with its own boxes.
        if any(isinstance(self._taps[name], FarTap) for name in (source, *boxes)):
            boxes = []
        with self._lock:
            feed = self._feeds.get(source)
            if feed is None or not feed.is_alive or feed.box_sources != boxes:
                number = 0 if feed is None else feed.stop()
                taps = {name: self._taps[name].again() for name in (source, *boxes)}
                feed = self._feeds[source] = Feed(self._run, source, taps, number)
            return feed

    def close(self) -> None:
        """End all feeds."""
        with self._lock:
            for feed in self._feeds.values():
                feed.stop()
            for tap in self._taps.values():
                tap.close()


class Feed:
    """Pictures of one output, read by a thread of its own as long as a page asks for them."""

    def __init__(self, run: str, source: str, taps: Mapping[str, Tap], number: int) -> None:
        self.box_sources = [name for name in taps if name != source]
        self._taps = taps
        self._source = source
        self._shown: Shown | None = None
        self._number = number
        self._asked_ns = time.monotonic_ns()
        self._told: set[str] = set()
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
        try:
            with watching(base_folder(os.environ), self._run):
                self._read_on()
        finally:
            for tap in self._taps.values():
                tap.close()

    def _read_on(self) -> None:
        matcher: PictureMatcher[Event, Event] = PictureMatcher(self.box_sources)
        waiting: View[Event, Event] | None = None
        shown_ns = 0
        while not self._is_stopping.wait(_POLL_S):
            now_ns = time.monotonic_ns()
            if now_ns - self._asked_ns > _UNWATCHED_NS:
                return
            is_due = now_ns - shown_ns >= _LEAST_GAP_NS
            if self.box_sources:
                waiting = self._match(matcher, now_ns) or waiting
            elif is_due and (picture := self._taps[self._source].newest()) is not None:
                waiting = View(received_picture(picture))
            if waiting is not None and is_due:
                self._show(waiting)
                waiting, shown_ns = None, now_ns

    def _match(
        self, matcher: PictureMatcher[Event, Event], now_ns: int
    ) -> View[Event, Event] | None:
        """Take what came since the last look; return the newest picture that is to be shown."""
        view = None
        for name, tap in self._taps.items():
            for _ in range(_MOST_AT_ONCE):
                event = tap.following()
                if event is None:
                    break
                if name == self._source:
                    view = matcher.add_picture(received_picture(event), now_ns) or view
                else:
                    finding = Finding(event.origin_ns, event, event.sent_ns, _picture_seq(event))
                    view = matcher.add_finding(name, finding, now_ns) or view
        return view

    def _show(self, view: View[Event, Event]) -> None:
        picture = view.picture
        try:
            encoded = encode(picture.pixels)
        except (NoPictureError, CorruptSampleError) as error:
            self._tell_once(self._source, error)
            return
        # Masks and key points are coloured as the boxes of the same node.
        parts: dict[str, list[Detections]] = {}
        sent_ns = picture.sent_ns
        for name, event in view.findings.items():
            try:
                part = read_found(finding_of(name) or "bbox", event.value, event.metadata)
            except (NoBoxesError, CorruptSampleError) as error:
                self._tell_once(name, error)
                continue
            if boxes_on(encoded, part) is not None:
                parts.setdefault(owner_of(name), []).append(part)
                sent_ns = max(sent_ns, event.sent_ns)
        found: Drawing | None = None
        for of_one_node in parts.values():
            drawing = drawings_on(encoded, put_together(of_one_node)) or {}
            found = {**(found or {}), **drawing, **_both(found or {}, drawing)}
        self._number += 1
        self._shown = Shown(
            self._number,
            encoded,
            found,
            found is None and bool(self.box_sources),
            (sent_ns - picture.origin_ns) / 1e6,
        )

    def _tell_once(self, source: str, error: Exception) -> None:
        if source not in self._told:
            self._told.add(source)
            logger.warning("%s: %s; left out, and not said again", source, error)


def pictures_of(
    source: str, pictures: Collection[str], edges: Sequence[EdgeStatus]
) -> frozenset[str]:
    """Return the outputs with the pictures on which a node finds what it sends.

    Those are the next ones upstream of it, since those before them have another size, or show
    another part; if there are none, its own; and else any.

    Args:
        source: an output with boxes.
        pictures: all outputs with pictures.
        edges: of the run.
    """
    read_by: dict[str, list[str]] = {}
    for edge in edges:
        read_by.setdefault(owner_of(edge.target), []).append(edge.source)
    owners, seen, found = [owner_of(source)], set[str](), set[str]()
    while owners:
        owner = owners.pop()
        if owner in seen:
            continue
        seen.add(owner)
        for upstream in read_by.get(owner, ()):
            if upstream in pictures:
                found.add(upstream)
            else:
                owners.append(owner_of(upstream))
    own = {name for name in pictures if owner_of(name) == owner_of(source)}
    return frozenset(found or own or pictures)


def _both(first: Drawing, second: Drawing) -> Drawing:
    """Return what both have something of, one after the other."""
    return {name: [*first[name], *second[name]] for name in first.keys() & second.keys()}


def _picture_seq(event: Event) -> int | None:
    try:
        seq = event.metadata.get("seq")
    except CorruptSampleError:
        return None
    return seq if isinstance(seq, int) else None
