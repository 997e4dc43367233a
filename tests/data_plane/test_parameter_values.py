"""How a change of a parameter reaches the process, and what may come between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

import dora_rt.transport
from dora_rt.event import Event, ParameterChanged
from dora_rt.launcher.supervision.parameter_store import ParameterStore
from dora_rt.node_config import Descriptors, RunFacts, make_config
from dora_rt.node_parameters import NodeParameters, Parameter, ParameterKind
from dora_rt.transport.input.inbox import Inbox
from tests.harness.interruptions import Interrupted, interrupting
from tests.harness.ring import NO_STAMP, Reader, Wired, plan_of, wired

NUMBER = ParameterKind.NUMBER
DECLARED = NodeParameters("reader", (Parameter("x", NUMBER, 0.0), Parameter("y", NUMBER, 0.0)))
FOLDER = str(Path(dora_rt.transport.__file__).parent)


class Bed:
    """A reader's inbox with parameters, and what the launcher has of them."""

    def __init__(self, ring: Wired, folder: Path) -> None:
        plan = plan_of(Reader())
        _, reader = plan.processes
        path = str(folder / "dataflow.json")
        self.ring = ring
        self.processes = (plan.processes[0], replace(reader, parameters=(DECLARED,)))
        self.store = ParameterStore(self.processes, ring.memory, path)
        self.store.begin()
        facts = RunFacts(ring.run, path)
        self.config = make_config(reader.config, facts, Descriptors(-1, -1), restart_count=0)
        self.inbox = Inbox(self.config, ring.board)
        ring.memory.start()

    def set(self, name: str, value: float) -> None:
        self.store.set("reader", name, value)

    def come(self) -> list[str]:
        """Return all that comes without a wait."""
        found = []
        with suppress(TimeoutError):
            while True:
                event = self.inbox.wait(0)
                found.append("sample" if isinstance(event, Event) else repr(event))
        return found


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with opened(tmp_path) as bed:
        yield bed


@contextmanager
def opened(folder: Path) -> Iterator[Bed]:
    with wired(Reader()) as ring:
        bed = Bed(ring, folder)
        try:
            yield bed
        finally:
            bed.inbox.close()


def test_values_at_the_start_are_no_change(bed: Bed):
    assert bed.inbox.parameters.of("reader") == {"x": 0.0, "y": 0.0}
    assert bed.come() == []


def test_changes_of_one_parameter_that_follow_quickly_are_one(bed: Bed):
    for value in (1.0, 2.0, 3.0):
        bed.set("x", value)
    bed.set("y", 1.0)

    assert bed.come() == [
        "ParameterChanged('x', 3.0, previous=0.0)",
        "ParameterChanged('y', 1.0, previous=0.0)",
    ]


def test_value_that_is_set_and_taken_back_before_the_node_looks_is_no_change(bed: Bed):
    bed.set("x", 1.0)
    bed.store.delete("reader", "x")

    assert bed.come() == []


def test_change_comes_before_the_samples_that_wait_and_none_of_these_is_lost(bed: Bed):
    bed.ring.publisher.send(b"a", NO_STAMP)
    bed.ring.publisher.send(b"b", NO_STAMP)
    bed.set("x", 1.0)

    assert bed.come() == ["ParameterChanged('x', 1.0, previous=0.0)", "sample", "sample"]


def test_value_that_was_looked_at_meanwhile_is_told_all_the_same(bed: Bed):
    bed.set("x", 1.0)

    seen = bed.inbox.parameters.of("reader")["x"]

    assert seen == 1.0
    assert bed.come() == ["ParameterChanged('x', 1.0, previous=0.0)"]


def test_node_that_looks_for_the_stop_in_another_thread_takes_no_change_away(bed: Bed):
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(bed.inbox.wait(None)))
    thread.start()

    bed.set("x", 1.0)
    bed.inbox.hear_news()
    thread.join(30)

    assert [repr(one) for one in found] == ["ParameterChanged('x', 1.0, previous=0.0)"]


def test_all_values_are_told_where_the_node_asks_for_it(bed: Bed):
    bed.inbox.tell_all_parameters()

    assert bed.come() == [
        "ParameterChanged('x', 0.0, previous=None)",
        "ParameterChanged('y', 0.0, previous=None)",
    ]


def test_later_life_of_the_process_begins_with_the_newest_values(bed: Bed):
    bed.set("x", 1.0)

    inbox = Inbox(bed.config, bed.ring.board)

    assert inbox.parameters.of("reader") == {"x": 1.0, "y": 0.0}
    with pytest.raises(TimeoutError):
        inbox.wait(0)
    inbox.close()


def test_older_file_that_another_thread_has_read_does_not_replace_a_newer_one(bed: Bed):
    values = bed.inbox.parameters
    bed.set("x", 1.0)
    path = values._path
    older = path.read_text()
    bed.set("x", 2.0)
    assert values.of("reader")["x"] == 2.0

    # As a thread finds it that was slow between its look at the board and the file.
    path.write_text(older)
    bed.ring.memory.tell_parameters(1, 3)
    values.refresh()

    assert values.of("reader")["x"] == 2.0


def test_values_of_a_run_whose_directory_is_gone_stay_as_they_are(bed: Bed):
    bed.inbox.parameters._path.unlink()
    bed.ring.memory.tell_parameters(1, 9)

    assert bed.inbox.parameters.of("reader") == {"x": 0.0, "y": 0.0}
    assert bed.come() == []


class Untouchable:
    """In the place of the parameters: whoever looks at it has done too much."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the way of a sample led to the parameters: {name}")


def test_samples_and_waits_without_a_change_never_lead_to_the_parameters(bed: Bed):
    bed.come()  # what the start had to tell
    parameters, bed.inbox.parameters = bed.inbox.parameters, Untouchable()  # type: ignore[assignment]

    for _ in range(3):
        bed.ring.publisher.send(b"x", NO_STAMP)
        assert bed.come() == ["sample"]
    bed.set("x", 1.0)
    with pytest.raises(AssertionError, match="led to the parameters"):
        bed.inbox.wait(0)

    bed.inbox.parameters = parameters
    assert bed.come() == ["ParameterChanged('x', 1.0, previous=0.0)"]


def test_exception_at_any_moment_loses_at_most_the_change_that_was_on_its_way_out(
    tmp_path: Path,
):
    moment = 0
    while True:
        moment += 1
        (tmp_path / str(moment)).mkdir()
        with opened(tmp_path / str(moment)) as bed:
            bed.set("x", 1.0)
            bed.set("y", 1.0)
            first: list[object] = []
            with (
                interrupting([moment], lambda file: file.startswith(FOLDER)) as count,
                suppress(Interrupted),
            ):
                first.append(bed.inbox.wait(0))
            told = [repr(one) for one in first] + bed.come()

            # It is applied in any case, and told unless it was just being returned.
            assert bed.inbox.parameters.of("reader") == {"x": 1.0, "y": 1.0}
            assert told[-1] == "ParameterChanged('y', 1.0, previous=0.0)", moment
            assert len(told) == len(set(told))
            bed.set("x", 5.0)
            (change,) = bed.come()
            assert change.startswith("ParameterChanged('x', 5.0")
        if count[0] < moment:
            assert isinstance(first[0], ParameterChanged)
            assert moment > 10
            return
