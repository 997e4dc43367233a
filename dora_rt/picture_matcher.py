"""Pictures and what was found on them: each finding goes on its own picture, or on none.

A detector that takes longer than a picture lasts answers for a picture of some time ago. Nobody
knows which picture it has taken before its answer comes. So the pictures that it may have taken
are held until then: all since the one of its last answer, as far as the memory for them goes, and
beyond that those that it has most likely taken. It takes the newest when it is done with the one
before, or one that is older by the length of its queue. When it was done is the time at which it
sent its last answer; how much older its pictures are is learned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dora_rt.detections import Detections, read_found
from dora_rt.event import Event

Pixels = TypeVar("Pixels")
Content = TypeVar("Content")

HELD_NBYTES = 64 * 1024 * 1024
"""Of pictures that are held: two seconds of 640 x 480 at 30 a second."""
LEAST_HELD = 8
"""So many are held whatever their size."""
MOST_HELD = 600
PATIENCE_NS = 500_000_000
"""How long no picture is shown while findings may come; longer for a detector that is slow."""
LONGEST_PATIENCE_NS = 30_000_000_000
_SHORT_WAY_BACK_NS = 1_000_000_000
_MOST_WAITING = 16
_NEWEST = 2


@dataclass(frozen=True, slots=True)
class Picture(Generic[Pixels]):
    """A received picture, not decoded.

    Attributes:
        origin_ns: when it was captured.
        pixels: the picture itself.
        sent_ns: when it was sent.
        seq: its number at its sender.
        nbytes: the memory that holding it takes.
    """

    origin_ns: int
    pixels: Pixels
    sent_ns: int = 0
    seq: int = 0
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Finding(Generic[Content]):
    """What was found on the picture that was captured at `origin_ns`, such as its boxes.

    Attributes:
        origin_ns: when the picture was captured.
        content: what was found.
        sent_ns: when it was sent.
        seq: the number of the picture at its sender, if it is known.
    """

    origin_ns: int
    content: Content
    sent_ns: int = 0
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class View(Generic[Pixels, Content]):
    """A picture to show, with what was found on this very picture.

    Attributes:
        picture: the picture.
        findings: by the name of the input that they came by.
        lacks_findings: whether findings are expected, and this picture has none (so far).
    """

    picture: Picture[Pixels]
    findings: Mapping[str, Content] = field(default_factory=dict)
    lacks_findings: bool = False


@dataclass(slots=True)
class _Held(Generic[Pixels, Content]):
    """A picture whose findings may come, and its place in the order of arrival."""

    picture: Picture[Pixels]
    number: int
    findings: dict[str, Content] = field(default_factory=dict)


def received_picture(event: Event) -> Picture[Event]:
    """Return a received picture, not decoded: `picture_of` decodes the value of its event."""
    value = event.value
    nbytes = len(value) if isinstance(value, bytes) else int(getattr(value, "nbytes", 0))
    return Picture(event.origin_ns, event, event.sent_ns, event.seq, nbytes)


def received_finding(event: Event) -> Finding[Detections]:
    """Return what was found: boxes, or what the input is named for.

    Raises:
        NoBoxesError: it holds something else.
        CorruptSampleError: its metadata were overwritten in shared memory.
    """
    found = read_found(event.id, event.value, event.metadata)
    return Finding(event.origin_ns, found, event.sent_ns, found.picture_seq)


class PictureMatcher(Generic[Pixels, Content]):
    """Pair pictures with findings by their origin, in bounded memory.

    A picture with findings is shown as soon as it has those of all inputs that send some. Without
    findings one is shown only if none have come for a while: for half a second, or twice as long as
    they mostly take. All times are nanoseconds of `time.monotonic_ns()`.

    Args:
        expected: the names of the inputs of findings; without any, each picture is shown at once.
        most_nbytes: of the pictures that are held; at least eight are.

    Attributes:
        matched: how many pictures had findings.
        unmatched: how many findings were for a picture that never came, or was let go.
    """

    def __init__(self, expected: Collection[str], *, most_nbytes: int = HELD_NBYTES) -> None:
        self.matched = 0
        self.unmatched = 0
        self._expected = tuple(expected)
        self._most_nbytes = most_nbytes
        self._held: list[_Held[Pixels, Content]] = []
        self._held_nbytes = 0
        self._waiting: list[tuple[str, Finding[Content]]] = []
        self._senders: set[str] = set()
        self._arrivals = 0
        self._shown: _Held[Pixels, Content] | None = None
        self._since_ns: int | None = None
        self._patience_ns = PATIENCE_NS
        self._free_ns: int | None = None
        self._lag_ns = 0
        # When the pictures were sent that were let go, by their origin: numbers only.
        self._gone: dict[int, int] = {}

    @property
    def held(self) -> int:
        """How many pictures are held at the moment."""
        return len(self._held)

    @property
    def held_nbytes(self) -> int:
        """The memory of the pictures that are held at the moment."""
        return self._held_nbytes

    def add_picture(self, picture: Picture[Pixels], now_ns: int) -> View[Pixels, Content] | None:
        """Take a picture; return the picture to show now, or None."""
        if not self._expected:
            return View(picture)
        if self._since_ns is None:
            # The first findings get as much patience as all others.
            self._since_ns = now_ns
            self._free_ns = picture.sent_ns
        held: _Held[Pixels, Content] = _Held(picture, self._arrivals)
        self._arrivals += 1
        self._held.append(held)
        self._held_nbytes += picture.nbytes
        view = self._take_waiting(now_ns)
        while self._is_full():
            unlikely = self._least_likely()
            self._let_go(unlikely)
            self._gone[unlikely.picture.origin_ns] = unlikely.picture.sent_ns
            if len(self._gone) > MOST_HELD:
                del self._gone[next(iter(self._gone))]
        if view is None and now_ns - self._since_ns > self._patience_ns:
            self._shown = held
            return View(picture, lacks_findings=True)
        return view

    def add_finding(
        self, name: str, finding: Finding[Content], now_ns: int
    ) -> View[Pixels, Content] | None:
        """Take a finding of an input; return the picture to show now, or None."""
        self._senders.add(name)
        held = self._picture_of(finding)
        if held is not None:
            return self._find(name, finding, held, now_ns)
        if self._held and self._held[-1].picture.origin_ns >= finding.origin_ns:
            self._miss(finding)
        else:
            self._waiting.append((name, finding))
            if len(self._waiting) > _MOST_WAITING:
                self._miss(self._waiting.pop(0)[1])
        return None

    def take_last(self) -> View[Pixels, Content] | None:
        """Return the newest picture if none was shown yet, for the end of a flow."""
        if self._shown is not None or not self._held:
            return None
        held = self._held[-1]
        self._forget_until(held)
        return View(held.picture, held.findings, lacks_findings=not held.findings)

    def _take_waiting(self, now_ns: int) -> View[Pixels, Content] | None:
        """Give findings that were here first to their pictures."""
        view = None
        newest_ns = self._held[-1].picture.origin_ns
        for entry in list(self._waiting):
            name, finding = entry
            held = self._picture_of(finding)
            if held is not None:
                self._waiting.remove(entry)
                view = self._find(name, finding, held, now_ns) or view
                if not self._held:
                    break
            elif finding.origin_ns < newest_ns:
                self._waiting.remove(entry)
                self._miss(finding)
        return view

    def _picture_of(self, finding: Finding[Content]) -> _Held[Pixels, Content] | None:
        """Return the picture of a finding; None if it is not here, or cannot be told from another.

        Several pictures have one origin if a node sends several in answer to one event.
        """
        same = [held for held in self._held if held.picture.origin_ns == finding.origin_ns]
        if len(same) > 1:
            same = [held for held in same if held.picture.seq == finding.seq]
        return same[0] if len(same) == 1 else None

    def _find(
        self, name: str, finding: Finding[Content], held: _Held[Pixels, Content], now_ns: int
    ) -> View[Pixels, Content] | None:
        earlier = [one for one in self._held if one.findings and one.number < held.number]
        held.findings[name] = finding.content
        if earlier:
            # What is missing there will not come: findings come in order.
            self._senders.intersection_update({*earlier[-1].findings, name})
        if self._senders <= held.findings.keys():
            return self._show(held, finding, now_ns)
        return self._show(earlier[-1], finding, now_ns) if earlier else None

    def _show(
        self, held: _Held[Pixels, Content], finding: Finding[Content], now_ns: int
    ) -> View[Pixels, Content] | None:
        picture = held.picture
        self._note_detector(finding, picture.sent_ns)
        self._note_latency(picture.origin_ns, now_ns)
        self.matched += 1
        shown = self._shown
        self._forget_until(held)
        if shown is not None and held.number < shown.number:
            way_back_ns = shown.picture.origin_ns - picture.origin_ns
            is_far_back = way_back_ns > _SHORT_WAY_BACK_NS
            if is_far_back and self._patience_ns < LONGEST_PATIENCE_NS:
                # It was slow to start, or is slow: from now on its pictures are waited for.
                return None
        self._shown = held
        return View(picture, held.findings)

    def _miss(self, finding: Finding[Content]) -> None:
        """Note a finding whose picture is not here; it says all the same when it was made."""
        self.unmatched += 1
        self._note_detector(finding, self._gone.get(finding.origin_ns))

    def _note_detector(self, finding: Finding[Content], picture_sent_ns: int | None) -> None:
        """Learn how old the pictures are that the detector takes, and when it takes the next."""
        if self._free_ns is not None and picture_sent_ns is not None:
            self._lag_ns = max(0, self._free_ns - picture_sent_ns)
        self._free_ns = finding.sent_ns

    def _note_latency(self, origin_ns: int, now_ns: int) -> None:
        self._since_ns = now_ns
        usual_ns = 2 * (now_ns - origin_ns)
        self._patience_ns = min(max(PATIENCE_NS, usual_ns), LONGEST_PATIENCE_NS)

    def _is_full(self) -> bool:
        is_too_much = self._held_nbytes > self._most_nbytes or len(self._held) > MOST_HELD
        return is_too_much and len(self._held) > LEAST_HELD

    def _least_likely(self) -> _Held[Pixels, Content]:
        """Return the picture that the detector has least likely taken, or will take."""
        free_ns = self._free_ns or 0
        from_ns = self._held[-1].picture.sent_ns - self._lag_ns

        def distance_ns(held: _Held[Pixels, Content]) -> int:
            sent_ns = held.picture.sent_ns
            taken_ns = abs(free_ns - self._lag_ns - sent_ns)
            return min(taken_ns, max(0, from_ns - sent_ns))

        candidates = [held for held in self._held[:-_NEWEST] if not held.findings]
        return max(candidates or self._held[:-_NEWEST], key=distance_ns)

    def _let_go(self, held: _Held[Pixels, Content]) -> None:
        self._held.remove(held)
        self._held_nbytes -= held.picture.nbytes

    def _forget_until(self, last: _Held[Pixels, Content]) -> None:
        """Let go of a picture and all before it: findings come in the order of their pictures."""
        for held in self._until(last):
            self._let_go(held)

    def _until(self, last: _Held[Pixels, Content]) -> Iterator[_Held[Pixels, Content]]:
        return iter([held for held in self._held if held.number <= last.number])
