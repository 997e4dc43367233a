"""The tree of all frames of a robot, and look-ups in it at any time that is kept."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dora_rt.errors import TransformError
from dora_rt.spelling import closest
from dora_rt.transforms.frame_transforms import FrameTransform, decode
from dora_rt.transforms.rigid_transform import Transform

if TYPE_CHECKING:
    from dora_rt.event import Event

_DEFAULT_KEEP_S = 10.0


class _Frame:
    """What is known of one frame: where it is in which parent, by the time."""

    __slots__ = ("parents", "static", "times_ns", "transforms")

    def __init__(self) -> None:
        self.static: tuple[str, Transform] | None = None
        self.times_ns: list[int] = []
        self.parents: list[str] = []
        self.transforms: list[Transform] = []

    def parent_at(self, time_ns: int | None) -> str | None:
        """Return the parent at a time; None as the time: the newest; None: there is none."""
        if self.static is not None:
            return self.static[0]
        if not self.times_ns:
            return None
        if time_ns is None:
            return self.parents[-1]
        return self.parents[max(bisect_right(self.times_ns, time_ns) - 1, 0)]

    def insert(self, time_ns: int, parent: str, transform: Transform, keep_ns: int) -> bool:
        times = self.times_ns
        if times and time_ns < times[-1] - keep_ns:
            return False
        at = bisect_left(times, time_ns)
        if at < len(times) and times[at] == time_ns:
            return False
        times.insert(at, time_ns)
        self.parents.insert(at, parent)
        self.transforms.insert(at, transform)
        outdated = bisect_left(times, times[-1] - keep_ns)
        if outdated:
            for kept in (times, self.parents, self.transforms):
                del kept[:outdated]
        return True


class TransformTree:
    """All frames of a robot; threads may use it at the same time."""

    def __init__(self, keep_s: float = _DEFAULT_KEEP_S) -> None:
        """Begin without frames.

        Args:
            keep_s: for how long places of the past are kept, counted back from the newest of each
                frame.
        """
        self._keep_ns = int(keep_s * 1e9)
        self._frames: dict[str, _Frame] = {}
        self._roots: set[str] = set()
        self._lock = threading.RLock()

    def add(self, parent: str, child: str, transform: Transform, time_ns: int | None) -> bool:
        """Note where a frame is in its parent.

        Args:
            parent: name of the frame around it; a frame may get another one in time.
            child: name of the frame.
            transform: takes points of `child` to `parent`.
            time_ns: when; None: always, as for a camera that is screwed on.

        Returns:
            False if it is older than what is kept, or something is known of that time already.

        Raises:
            TransformError: a name is none, the frame would stand in itself, or it is static and
                moves at the same time.
        """
        _check_names(parent, child)
        with self._lock:
            self._check_circle(parent, child)
            frame = self._frames.get(child) or _Frame()
            if time_ns is None:
                if frame.times_ns:
                    raise TransformError(f"frame {child!r} moves: it cannot be static as well")
                frame.static = (parent, transform)
                is_new = True
            elif frame.static is not None:
                raise TransformError(
                    f"frame {child!r} is static in {frame.static[0]!r}: it cannot move as well"
                )
            else:
                is_new = frame.insert(time_ns, parent, transform, self._keep_ns)
            self._frames[child] = frame
            self._roots.add(parent)
        return is_new

    def feed(self, event: Event) -> None:
        """Note all transforms of an input whose sender used `encode`.

        Raises:
            TransformError: it is no such sample; see `add`.
        """
        self.extend(decode(event.value, event.metadata))

    def extend(self, transforms: Iterable[FrameTransform]) -> None:
        """Note several transforms; raises what `add` raises."""
        for one in transforms:
            self.add(one.parent, one.child, one.transform, one.time_ns)

    def frames(self) -> tuple[str, ...]:
        """Return the names of all frames."""
        with self._lock:
            return tuple(sorted({*self._frames, *self._roots}))

    def lookup(self, target: str, source: str, time_ns: int | None = None) -> Transform:
        """Return the transform that takes points of the frame `source` to the frame `target`.

        Args:
            target: name of a frame.
            source: name of a frame.
            time_ns: when; between two known places it is interpolated. None: the newest time at
                which all between the two is known.

        Raises:
            TransformError: a frame is not known, the two hang together nowhere, or the time is
                outside of what is known; the message names the gap.
        """
        with self._lock:
            for name in (target, source):
                self._check_known(name)
            if time_ns is None:
                time_ns = self._newest_common_ns(target, source)
            up_source, up_target = self._chain(source, time_ns), self._chain(target, time_ns)
            meeting = next((name for name in up_source if name in set(up_target)), None)
            if meeting is None:
                raise self._unconnected(target, source, up_target[-1], up_source[-1])
            from_source = self._climb(up_source, meeting, time_ns)
            from_target = self._climb(up_target, meeting, time_ns)
        return from_target.inverse() @ from_source

    def lookup_between(
        self, target: str, target_ns: int, source: str, source_ns: int, fixed: str
    ) -> Transform:
        """Return where what `source` had at one time is for `target` at another one.

        Args:
            target: name of a frame.
            target_ns: its time.
            source: name of a frame.
            source_ns: its time.
            fixed: a frame that does not move meanwhile, such as `map` or `odom`.

        Raises:
            TransformError: as `lookup`.
        """
        return self.lookup(target, fixed, target_ns) @ self.lookup(fixed, source, source_ns)

    def newest_ns(self, target: str, source: str) -> int | None:
        """Return the newest time at which all between two frames is known; None: all is static.

        Raises:
            TransformError: as `lookup`.
        """
        with self._lock:
            for name in (target, source):
                self._check_known(name)
            return self._newest_common_ns(target, source)

    def _chain(self, name: str, time_ns: int | None) -> list[str]:
        """Return a frame, its parent, and so on to the root, as they are at a time."""
        chain = [name]
        while (frame := self._frames.get(chain[-1])) is not None:
            parent = frame.parent_at(time_ns)
            if parent is None or parent in chain:
                # Parents that changed in time may make a circle at a time that nobody meant.
                break
            chain.append(parent)
        return chain

    def _climb(self, chain: list[str], end: str, time_ns: int | None) -> Transform:
        found = Transform()
        for name in chain[: chain.index(end)]:
            found = self._place(name, time_ns) @ found
        return found

    def _place(self, name: str, time_ns: int | None) -> Transform:
        frame = self._frames[name]
        if frame.static is not None:
            return frame.static[1]
        times = frame.times_ns
        assert time_ns is not None, "a moving frame is in the chain, so there is a newest time"
        if not times[0] <= time_ns <= times[-1]:
            raise self._outside(name, time_ns)
        after = bisect_left(times, time_ns)
        if times[after] == time_ns:
            return frame.transforms[after]
        before = after - 1
        if frame.parents[before] != frame.parents[after]:
            # Between two parents there is no way: it stays where it was until it is elsewhere.
            return frame.transforms[before]
        fraction = (time_ns - times[before]) / (times[after] - times[before])
        return frame.transforms[before].interpolated(frame.transforms[after], fraction)

    def _newest_common_ns(self, target: str, source: str) -> int | None:
        up_source, up_target = self._chain(source, None), self._chain(target, None)
        meeting = next((name for name in up_source if name in set(up_target)), None)
        if meeting is None:
            raise self._unconnected(target, source, up_target[-1], up_source[-1])
        between = [
            *up_source[: up_source.index(meeting)],
            *up_target[: up_target.index(meeting)],
        ]
        newest = [
            self._frames[name].times_ns[-1] for name in between if self._frames[name].static is None
        ]
        return min(newest, default=None)

    def _check_circle(self, parent: str, child: str) -> None:
        chain = self._chain(parent, None)
        if child in chain:
            way = " in ".join(map(repr, chain[: chain.index(child) + 1]))
            raise TransformError(
                f"frame {child!r} cannot be in {parent!r}: {way} is there already, so it would "
                "stand in itself"
            )

    def _check_known(self, name: str) -> None:
        if name in self._frames or name in self._roots:
            return
        known = self.frames()
        match = closest(name, known)
        hint = f"did you mean {match!r}?" if match else f"known: {', '.join(known) or 'none yet'}"
        raise TransformError(f"there is no frame {name!r}; {hint}")

    def _unconnected(
        self, target: str, source: str, target_root: str, source_root: str
    ) -> TransformError:
        return TransformError(
            f"nothing leads from frame {source!r} to {target!r}: {source!r} is in the tree of "
            f"{source_root!r}, {target!r} in that of {target_root!r}; a transform between these "
            f"two trees is missing, such as from {source_root!r} to {target_root!r}"
        )

    def _outside(self, name: str, time_ns: int) -> TransformError:
        frame = self._frames[name]
        first, last = frame.times_ns[0], frame.times_ns[-1]
        parent = frame.parent_at(time_ns)
        late = time_ns > last
        distance_s = (time_ns - last if late else first - time_ns) / 1e9
        way_out = (
            "wait for it, or ask for the newest time (without a time)"
            if late
            else f"places are kept for {self._keep_ns / 1e9:g} s"
        )
        return TransformError(
            f"where {name!r} is in {parent!r} is known from {first / 1e9:.6f} to {last / 1e9:.6f} "
            f"s, and asked for at {time_ns / 1e9:.6f} s, {distance_s:.6f} s "
            f"{'after the newest' if late else 'before the oldest'}; {way_out}"
        )


def _check_names(parent: str, child: str) -> None:
    for name in (parent, child):
        if not isinstance(name, str) or not name or name.startswith("/"):
            hint = "; names have no slash at the beginning" if str(name).startswith("/") else ""
            raise TransformError(f"{name!r} is no name of a frame{hint}")
    if parent == child:
        raise TransformError(f"frame {child!r} cannot be in itself")
