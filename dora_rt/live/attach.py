"""`attach`: the live samples of an output, in a notebook, a script or a debugger.

A watch has no place in any queue: no node waits for it, and none notices that it is there, or that
it was killed.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

from dora_rt.errors import RunNotFoundError, SharedMemoryError, VersionMismatchError
from dora_rt.event import Event
from dora_rt.live.whole_status import ask_far_statuses
from dora_rt.node_config import OutputConfig
from dora_rt.run_status import RunStatus
from dora_rt.runs import Connection, RefusedError, base_folder, find_runs, names_run
from dora_rt.spelling import closest
from dora_rt.transport.input.observer import Observer
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.doorbell import deadline_after
from dora_rt.transport.primitives.shm import segment_exists
from dora_rt.watchers import watch

_PAUSE_S = 0.002  # between two looks at an output that sends nothing: a thousandth of a core
_ATTEMPTS, _ATTEMPT_S = 50, 0.02
_LOOK_NS = 50_000_000  # between two looks whether its node was started again, or the run has ended


@dataclass(frozen=True, slots=True)
class LiveOutput:
    """An output of a run, as the run describes it: in the present generation of its node."""

    run: str
    file: str
    source: str
    config: OutputConfig
    machine: str | None = None
    """The other machine of the dataflow that sends it; None: it is in shared memory here."""

    def is_called(self, name: str) -> bool:
        """Return whether `name` is NODE/OUTPUT, or that behind the run's name or file."""
        if name == self.source:
            return True
        called, slash, source = name.partition(f"/{self.source}")
        return bool(slash) and not source and names_run(called, self.run, self.file)

    def __str__(self) -> str:
        return f"{self.run}/{self.source}"


def attach(output: str) -> Watch:
    """Watch an output of a running dataflow, in any process of its user.

    Args:
        output: `camera/image`, or `run/camera/image` if several runs have one; the run is its
            name, or a beginning of its name, or its dataflow file.

    Returns:
        The watch, a context manager.

    Raises:
        RunNotFoundError: there is no such output, several runs have it, or its run has just ended.
        LaunchError: the folder of this user's runs cannot be used.
    """
    found = find_output(output)
    if found.machine is None:
        return Watch(found)
    # Here: most dataflows have one machine.
    from dora_rt.live.far_watch import FarWatch

    return FarWatch.open(found, found.machine)


def find_output(name: str) -> LiveOutput:
    """Find the one output that is called so.

    Raises:
        RunNotFoundError: there is none, or several runs have it.
    """
    outputs, refusals = _find_outputs()
    found = [output for output in outputs if output.is_called(name)]
    if not found:
        # Only then: the other machines may be far.
        far = _find_far_outputs()
        outputs += far
        found = [output for output in far if output.is_called(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise RunNotFoundError(
            f"{len(found)} runs have an output {name!r}; say which: "
            + ", ".join(f"{output} ({output.file})" for output in found)
        )
    if refusals:
        raise RunNotFoundError(f"no run has an output {name!r}, but {'; '.join(refusals)}")
    if not outputs:
        raise RunNotFoundError(
            f"there is no output {name!r}, because no dataflow of this user is running (looked in "
            f"{base_folder(os.environ)}): start one with dora-launch"
        )
    sources = list(dict.fromkeys(output.source for output in outputs))
    near = closest(name.split("/", name.count("/") - 1)[-1], sources)
    hint = f"did you mean {near!r}? " if near else ""
    raise RunNotFoundError(
        f"no run has an output {name!r}; {hint}there are: {', '.join(map(str, outputs))}"
    )


def _find_outputs() -> tuple[list[LiveOutput], list[str]]:
    """List the outputs of all runs of this user, and which runs do not tell theirs."""
    outputs, refusals = [], []
    for run in find_runs(base_folder(os.environ)):
        try:
            outputs += outputs_of(run)
        except (RefusedError, VersionMismatchError) as error:
            refusals.append(f"run {run} cannot be asked: {error}")
    return outputs, refusals


def _find_far_outputs() -> list[LiveOutput]:
    """List the outputs that the runs here have on other machines only."""
    outputs = []
    for run in find_runs(base_folder(os.environ)):
        connection = Connection.open(base_folder(os.environ), run)
        if connection is None:
            continue
        with connection:
            try:
                status = connection.status()
                own = {output.source for output in status.outputs}
                outputs += [
                    LiveOutput(run, status.file, output.source, output.config, machine)
                    for machine, far in ask_far_statuses(connection, status).items()
                    for output in far.outputs
                    if output.source not in own
                ]
            except (OSError, RefusedError):
                continue  # said of it already, or it has just ended
    return outputs


def outputs_of(run: str) -> list[LiveOutput]:
    """List the outputs of a run; none if it has ended.

    Raises:
        RefusedError: the run does not answer so many at once.
        VersionMismatchError: the run is of another version of dora_rt.
    """
    refusal = RefusedError()
    for _ in range(_ATTEMPTS):
        connection = Connection.open(base_folder(os.environ), run)
        if connection is None:
            return []
        try:
            with connection:
                answer, _ = connection.ask("status")
        except (OSError, ValueError):
            return []  # it ends at this moment
        except RefusedError as error:
            # Too many ask at the same time: a run answers only so many at once.
            refusal = error
            time.sleep(_ATTEMPT_S)
            continue
        status = RunStatus.from_json(answer)
        return [LiveOutput(run, status.file, one.source, one.config) for one in status.outputs]
    raise refusal


class Watch:
    """The live samples of one output; `attach` makes it.

    A context manager, for one thread. A loop over it gives the events until the run ends. It begins
    with the newest sample and goes on when the node is started again (`event.seq` begins at 0
    again). Each `event.value` is a private copy. A sample that cannot be read counts as missed.

    Attributes:
        output: the output; `str(watch.output)` is `run/node/output`.
        dropped: samples missed since the first event; `event.dropped` has those since the previous.
    """

    def __init__(self, output: LiveOutput) -> None:
        """Attach to an output that `find_output` has found.

        Raises:
            RunNotFoundError: the run has ended meanwhile.
        """
        self.output = output
        self.dropped = 0
        self._missed = 0  # at the end of earlier generations, and not told yet
        self._look_at_ns = 0
        self._observer: Observer | None = self._observe(output.config, is_first=True)
        if self._observer is None:
            raise RunNotFoundError(f"{output} cannot be watched: the run has ended meanwhile")
        # While somebody watches, the run does not end for want of readers.
        descriptor = watch(base_folder(os.environ), output.run)
        self._leave = None if descriptor is None else weakref.finalize(self, os.close, descriptor)

    @property
    def has_ended(self) -> bool:
        """Return whether the run has ended, or the watch was closed."""
        return self._observer is None

    def newest(self) -> Event | None:
        """Return the newest sample, without waiting.

        Returns:
            The event, or None if nothing was sent since the last look, and at the end of the run.
        """
        return self._take(wants_newest=True)

    def take(self) -> Event | None:
        """Return the next sample that can still be had, without waiting.

        Returns:
            The event, or None if there is none; `has_ended` tells whether the run is over.
        """
        return self._take(wants_newest=False)

    def next(self, timeout: float | None = None) -> Event | None:
        """Wait for the next sample that can still be had; looks every 2 ms.

        Args:
            timeout: seconds to wait at most, 0 or more; None waits as long as it takes.

        Returns:
            The event, or None when the run has ended, or the watch was closed.

        Raises:
            TimeoutError: nothing came in time.
            ValueError: the time-out is negative or not a number.
        """
        deadline_ns = deadline_after(timeout)
        while not self.has_ended:
            event = self.take()
            if event is not None:
                return event
            if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                raise TimeoutError(f"no sample of {self.output} within {timeout:g} s")
            time.sleep(_PAUSE_S)
        return None

    def close(self) -> None:
        """Watch no more; a second time it does nothing."""
        self._observer = None
        if self._leave is not None:
            self._leave()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Watch of {self.output}{', ended' if self.has_ended else ''}>"

    def _take(self, *, wants_newest: bool) -> Event | None:
        event = self._copy(wants_newest)
        now_ns = time.monotonic_ns()
        if event is None and self._observer is not None and now_ns >= self._look_at_ns:
            self._look_at_ns = now_ns + _LOOK_NS
            if self._is_outdated():
                # What came between the last look at it and its end.
                event = self._copy(wants_newest)
                if event is None:
                    self._move_on()
        return event

    def _copy(self, wants_newest: bool) -> Event | None:
        observer = self._observer
        if observer is None:
            return None
        look = observer.newest if wants_newest else observer.following
        event = look(self.output.source)
        if event is None:
            return None
        event.dropped += self._missed
        self._missed = 0
        self.dropped += event.dropped
        return event

    def _is_outdated(self) -> bool:
        run, config = self.output.run, self.output.config
        present = object_names.output(run, config.number, config.generation)
        following = object_names.output(run, config.number, config.generation + 1)
        return segment_exists(following) or not segment_exists(present)

    def _move_on(self) -> None:
        """Go on with the node's next start, or end."""
        assert self._observer is not None
        try:
            outputs = outputs_of(self.output.run)
        except RefusedError:
            outputs = []  # the next look asks again
        present = [one for one in outputs if one.source == self.output.source]
        if not present:
            if not segment_exists(object_names.board(self.output.run)):
                self._missed += self._observer.behind
                self.dropped += self._missed
                self.close()
            return
        if present[0].config.generation == self.output.config.generation:
            return
        observer = self._observe(present[0].config, is_first=False)
        if observer is not None:
            self._missed += self._observer.behind
            self.output, self._observer = present[0], observer

    def _observe(self, config: OutputConfig, *, is_first: bool) -> Observer | None:
        try:
            return Observer(self.output.run, config, from_start=not is_first)
        except SharedMemoryError:
            return None  # it was started again at this moment, or the run has ended
