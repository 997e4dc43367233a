"""What the supervisor does when, in its real loop on a simulated machine."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from dora_rt.errors import LaunchError
from dora_rt.run_status import RunStatus
from tests.launcher.bed import (
    ALONE,
    CHAIN,
    Bed,
    FakeRequester,
    alone,
    ask,
    attach,
    endings,
    interrupt,
    leave,
    vanish,
)
from tests.launcher.machine import C_CALL, CRASH, DEAF, JOB, MISSING, PLAIN, Program

DYNAMIC = """
    nodes:
      - {id: source, path: a, outputs: [out]}
      - {id: visitor, path: dynamic, inputs: {in: source/out}}
"""
DAY_S = 86_400.0

PAIR_OF_NODES = """
    nodes:
      - {id: node, path: a, outputs: [out]}
      - {id: other, path: b, outputs: [out]}
"""


def test_flow_whose_programs_know_nothing_of_it_starts_at_once():
    bed = Bed("nodes: [{id: node, path: a}]", {"node": PLAIN}).at(3, interrupt)

    bed.run()

    assert bed.when("the flow starts") == [0.0]


def test_rungs_keep_their_deadlines():
    bed = Bed(alone(stop_grace=4), {"node": C_CALL}).at(1, interrupt)

    bed.run()

    assert bed.when("the stop begins") == [1.0]
    assert bed.when("SIGTERM to node") == [5.0]
    assert bed.when("SIGKILL to node") == [9.0]


@pytest.mark.parametrize(
    ("policy", "status", "expected"),
    [
        ("never", 0, 1),
        ("never", 1, 1),
        ("on-failure", 0, 1),
        ("on-failure", 1, 3),
        ("always", 0, 3),
    ],
)
def test_policy_decides_about_each_end(policy: str, status: int, expected: int):
    text = alone(restart=policy, max_restarts=2, restart_delay=0.05)
    bed = Bed(text, {"node": Program(ends_s=1, status=status)})

    outcome = bed.run()

    assert len(bed.when("start node")) == expected
    assert bool(outcome.report.failures) == bool(status)


def test_start_waits_for_a_node_that_is_only_slow_and_not_beyond_its_time_out():
    text = """
    nodes:
      - {id: source, path: a, outputs: [out]}
      - {id: slow, path: b, inputs: {in: source/out}, startup_timeout: 60}
      - {id: never, path: c, inputs: {in: source/out}, startup_timeout: 30, restart: always,
         max_restarts: 1}
    """
    programs = {"slow": Program(ready_s=20), "never": Program(ready_s=None)}
    bed = Bed(text, programs).at(100, interrupt)

    bed.run()

    # It has fallen once, so its next start is not waited for.
    assert bed.when("SIGKILL to never")[0] == 30.0
    assert bed.when("the flow starts") == [30.0]


def test_restarts_keep_their_back_off():
    text = alone(restart="always", restart_delay=1, max_restart_delay=4, max_restarts=4)
    bed = Bed(text, {"node": Program(ends_s=0.5, status=1)})

    outcome = bed.run()

    starts, ends = bed.when("start node"), bed.when("node ends 1")
    pauses = [start - end for start, end in zip(starts[1:], ends[:-1], strict=True)]
    for pause, least in zip(pauses, [1, 2, 4, 4], strict=True):
        assert least <= pause <= 1.2 * least + 0.001
    assert outcome.report.processes[0].restarts == 4
    assert "given up after 4 restarts (60 s window)" in bed.console.alarms[-1]


def test_restart_by_hand_uses_up_nothing_of_the_limit():
    bed = Bed(
        alone(restart="on-failure", max_restarts=1, restart_delay=1),
        {"node": (Program(ends_s=1, status=1), Program(), Program(ends_s=1, status=1), JOB)},
    ).at(5, ask, "restart", "node")

    outcome = bed.run()

    assert endings(outcome.report) == {"node": "finished"}
    assert outcome.report.processes[0].restarts == 3
    assert not outcome.report.failures


def test_restart_by_hand_shortens_a_back_off():
    bed = Bed(
        alone(restart="on-failure", restart_delay=60, max_restart_delay=60),
        {"node": (CRASH, JOB)},
    ).at(2, ask, "restart", "node")

    bed.run()

    assert bed.when("start node") == [0.0, 2.0]


def test_hung_node_is_killed_at_its_deadline():
    bed = Bed(alone(heartbeat_timeout=2), {"node": Program(beats_until_s=10)})

    bed.run()

    assert bed.when("SIGKILL to node") == [12.0]


def test_wait_of_a_month_does_not_overflow():
    timeouts = []
    bed = Bed(ALONE, stop_after_s=40 * DAY_S)
    select = bed.selector.select
    bed.selector.select = lambda timeout: timeouts.append(timeout) or select(timeout)

    bed.run()

    assert bed.when("the stop begins") == [40 * DAY_S + 0.1]
    # poll() counts milliseconds in 31 bits.
    assert max(timeouts) * 1000 < 2**31


def test_user_is_told_who_is_waited_for_every_now_and_then():
    bed = Bed(CHAIN, {"filter": Program(ready_s=27)}).at(40, interrupt)

    bed.run()

    told = [text for text in bed.console.notices if text.startswith("waiting for filter")]
    assert [text.split("(")[1].split(";")[0] for text in told] == ["5 s", "15 s", "25 s"]


def test_node_that_drains_while_the_dataflow_stops_is_not_taken_for_hung():
    text = """
    nodes:
      - {id: source, path: a, outputs: [out]}
      - {id: sink, path: b, inputs: {in: source/out}, heartbeat_timeout: 1}
    """
    # What it prints lets the loop turn when its heartbeat is overdue.
    sink = Program(beats_until_s=3, drains_s=2, prints=((4.5, b"draining\n"),))
    bed = Bed(text, {"sink": sink}).at(3.5, interrupt)

    outcome = bed.run()

    assert endings(outcome.report) == {"source": "stopped", "sink": "finished"}


def test_program_that_cannot_be_executed_ends_those_before_it_gently():
    bed = Bed(CHAIN, {"source": Program(stops_s=1.0), "sink": MISSING})

    with pytest.raises(LaunchError, match="'sink' cannot be started: c: No such file"):
        bed.supervisor.run()

    assert "SIGKILL to source" not in bed.events
    assert all(process.is_reaped for process in bed.starter.started)


def test_error_inside_the_loop_leaves_nobody():
    def fail(_: Bed) -> None:
        raise ZeroDivisionError

    bed = Bed(CHAIN, {"filter": C_CALL}).at(1, fail)

    with pytest.raises(ZeroDivisionError):
        bed.supervisor.run()

    assert all(process.is_reaped for process in bed.starter.started)


def test_hundred_nodes_that_stop_share_their_scans():
    nodes = ", ".join(f"{{id: n{number}, path: a, outputs: [out]}}" for number in range(100))
    bed = Bed(f"nodes: [{nodes}]").at(1, interrupt)

    bed.run()

    assert bed.machine.scans <= 3


def test_program_started_in_the_last_moment_of_a_node_ends_with_it():
    bed = Bed("nodes: [{id: node, path: a}, {id: other, path: b}]", {"node": PLAIN})

    def scan_start_and_end() -> None:
        node = bed.process("node")
        # Within one turn: as if another node was stopped by hand in between.
        bed.machine.members(node.pid)
        bed.machine.begin("late", Program(handlers=DEAF), node.pid, node.group)
        node.end(0)

    bed.at(1, lambda bed: bed.requests.calls.append(scan_start_and_end)).at(2, interrupt).run()

    (late,) = [one for one in bed.machine.processes.values() if one.name == "late"]
    assert late.received == [signal.SIGKILL]


def test_program_started_since_the_last_scan_is_asked_with_its_node():
    bed = Bed(
        "nodes: [{id: node, path: a}, {id: job, path: b}]",
        {"node": Program(ready_s=None, handlers={signal.SIGTERM: (0.0, 0)}), "job": JOB},
    )

    def start(bed: Bed) -> None:
        node = bed.process("node")
        bed.machine.begin(
            "late", Program(handlers={signal.SIGTERM: (0.1, 0)}), node.pid, node.group
        )

    bed.at(3, start).at(5, interrupt).run()

    (late,) = [one for one in bed.machine.processes.values() if one.name == "late"]
    assert late.received == [signal.SIGTERM]
    assert bed.now_s == pytest.approx(5.1, abs=0.03)


def test_program_of_another_user_is_told_of_once():
    text = "nodes: [{id: node, path: a, stop_grace: 2}]"
    shell = Program(
        ready_s=None,
        handlers={signal.SIGINT: (0.0, 0)},
        children=(Program(handlers=DEAF, becomes_root_s=0.5, ends_s=60),),
    )
    bed = Bed(text, {"node": shell}).at(1, interrupt)

    outcome = bed.run()

    where = "process 1001 belongs to root, and may not be signalled"
    assert bed.console.alarms.count(f"node node: {where}; waiting for it to end by itself") == 1
    assert endings(outcome.report) == {"node": f"stopped; {where}; it goes on"}


def test_lines_that_a_node_printed_last_are_not_lost():
    lines = b"".join(b"line %d\n" % number for number in range(30_000)) + b"the end"
    bed = Bed(ALONE, {"node": Program(ends_s=1, prints=((0.5, b"begin\n"), (0.999, lines)))})

    outcome = bed.run()

    assert bed.output.printed["node"][0] == "begin"
    assert bed.output.printed["node"][-1] == "the end"
    assert len(bed.output.printed["node"]) == 30_002
    assert outcome.report.processes[0].tail[-1] == "the end"


def test_visitor_is_attached_leaves_and_may_come_back():
    first, second = FakeRequester(1), FakeRequester(2)
    bed = Bed(DYNAMIC)
    bed.at(1, attach, first, "visitor").at(2, leave, first, "visitor")
    bed.at(3, attach, second, "visitor").at(4, vanish, second).at(5, interrupt)

    outcome = bed.run()

    assert "plan" in first.answers[0]
    assert "plan" in second.answers[0]
    assert [text for text in bed.console.notices if text.startswith("node visitor ")][1:] == [
        "node visitor is attached (process 1)",
        "node visitor left",
        "node visitor is attached (process 2)",
        "node visitor left without a goodbye",
    ]
    assert endings(outcome.report)["visitor"] == "left without a goodbye"


@pytest.mark.parametrize(
    ("policy", "goodbye", "fate"),
    [
        ("never", True, "gone"),
        ("never", False, "gone"),
        ("on-failure", True, "gone"),
        ("on-failure", False, "away"),
        ("always", True, "away"),
    ],
)
def test_policy_decides_whether_readers_wait_for_a_visitor(policy: str, goodbye: bool, fate: str):
    text = f"""
    nodes:
      - {{id: visitor, path: dynamic, outputs: [out], restart: {policy}}}
      - {{id: sink, path: a, inputs: {{in: visitor/out}}}}
    """
    visitor = FakeRequester(1)
    fates = []
    bed = Bed(text, {"sink": Program(drains_s=None)}).at(1, attach, visitor, "visitor")
    bed.at(2, *((leave, visitor, "visitor") if goodbye else (vanish, visitor)))
    bed.at(3, lambda bed: fates.append(bed.memory.fates[0])).at(4, interrupt)

    bed.run()

    assert fates == [fate]


def test_refusals_say_what_there_is():
    visitors = [FakeRequester(number) for number in range(6)]
    bed = Bed(DYNAMIC, {"source": Program(stops_s=2)})
    bed.at(1, attach, visitors[0], "nobody").at(1, attach, visitors[1], "source")
    bed.at(1, attach, visitors[2], "visitor", 0).at(1.5, attach, visitors[3], "visitor")
    bed.at(2, attach, visitors[4], "visitor").at(3, interrupt)
    bed.at(4, attach, visitors[5], "visitor")

    bed.run()

    answers = [visitor.answers[0].get("error", "") for visitor in visitors]
    assert answers[0] == "there is no such node; there are: source, visitor"
    assert "only nodes with `path: dynamic`" in answers[1]
    assert "speaks version 0" in answers[2]
    assert answers[3] == ""
    assert "attached to already, by process 3" in answers[4]
    assert answers[5] == "the dataflow is being stopped"


def test_visitor_comes_right_after_one_that_has_died():
    first, second = FakeRequester(1), FakeRequester(2)

    def die(_: Bed) -> None:
        first.has_died = True  # its connection ends, which the loop has not read yet

    bed = Bed(DYNAMIC).at(1, attach, first, "visitor").at(2, die)
    bed.at(2, attach, second, "visitor").at(3, interrupt)

    bed.run()

    assert "plan" in second.answers[0]
    assert first.is_gone


def test_visitor_without_room_is_refused_and_gets_in_later():
    first, second = FakeRequester(1), FakeRequester(2)
    bed = Bed(DYNAMIC)
    bed.at(1, lambda bed: setattr(bed.memory, "is_full", True)).at(1, attach, first, "visitor")
    bed.at(2, lambda bed: setattr(bed.memory, "is_full", False)).at(2, attach, second, "visitor")
    bed.at(3, interrupt)

    bed.run()

    assert first.answers == [{"error": "/dev/shm is full"}]
    assert "plan" in second.answers[0]


def test_goodbye_of_a_program_that_is_not_attached_is_an_error():
    stranger, visitor, thief = FakeRequester(1), FakeRequester(2), FakeRequester(3)
    bed = Bed(DYNAMIC).at(1, leave, stranger, "visitor").at(1, leave, FakeRequester(4), "nobody")
    bed.at(2, attach, visitor, "visitor").at(3, leave, thief, "visitor").at(4, interrupt)

    outcome = bed.run()

    error = {"error": "this connection is not attached to a node 'visitor'"}
    assert stranger.answers == [error]
    assert thief.answers == [error]
    assert endings(outcome.report)["visitor"] == "was still attached"


def test_visitor_that_stays_is_disconnected_and_never_signalled():
    visitor = FakeRequester(1)
    bed = Bed(DYNAMIC).at(1, attach, visitor, "visitor").at(2, interrupt)

    outcome = bed.run()

    assert visitor.is_gone
    assert endings(outcome.report) == {"source": "stopped", "visitor": "was still attached"}
    # It has its grace to drain, and never said that it looks for events.
    assert bed.now_s == 5.0


def test_flow_of_dynamic_nodes_only_goes_on_until_it_is_stopped():
    bed = Bed("nodes: [{id: visitor, path: dynamic, outputs: [out]}]").at(1000, interrupt)

    outcome = bed.run()

    assert bed.when("the stop begins") == [1000.0]
    assert bed.when("the flow starts") == [0.0]
    assert endings(outcome.report) == {"visitor": "was never attached"}


def test_flow_may_end_with_a_visitor():
    text = """
    nodes:
      - {id: source, path: a, outputs: [out]}
      - {id: visitor, path: dynamic, inputs: {in: source/out}, on_exit: stop_all}
    """
    visitor = FakeRequester(1)
    bed = Bed(text).at(1, attach, visitor, "visitor").at(2, leave, visitor, "visitor")

    bed.run()

    assert bed.when("the stop begins") == [2.0]


def test_requests_by_hand_are_refused_with_the_reason():
    answers: dict[str, list[Any]] = {name: [] for name in ("none", "over", "dynamic", "late")}
    text = """
    nodes:
      - {id: source, path: a, outputs: [out]}
      - {id: job, path: a}
      - {id: visitor, path: dynamic, inputs: {in: source/out}}
    """
    bed = Bed(text, {"source": Program(stops_s=2), "job": JOB})
    bed.at(2, ask, "stop", "nobody", answers["none"]).at(2, ask, "stop", "job", answers["over"])
    bed.at(2, ask, "restart", "visitor", answers["dynamic"])
    bed.at(3, interrupt).at(4, ask, "restart", "job", answers["late"])

    bed.run()

    errors = {name: answer[0]["error"] for name, answer in answers.items()}
    assert errors["none"] == "there is no node 'nobody'; there are: source, job, visitor"
    assert errors["over"] == "node 'job' does not run: it is ended"
    assert "is dynamic" in errors["dynamic"]
    assert errors["late"] == "the dataflow is being stopped"


def test_stop_and_restart_by_hand_at_once_start_the_node_once():
    bed = Bed(CHAIN, {"filter": Program(stops_s=1)})
    for what in ("stop", "restart", "restart"):
        bed.at(1, ask, what, "filter")
    bed.at(5, interrupt)

    bed.run()

    assert bed.when("start filter") == [0.0, 2.0]
    assert bed.process("filter").pid == 1003
    assert bed.run_.nodes[1].restarts.count == 1


@pytest.mark.parametrize(
    ("what", "comes_back", "mark"),
    [
        # Its readers wait in both cases; its writers keep its queue only until a restart.
        ("stop", True, (1, True, False)),
        ("restart", True, (1, True, True)),
    ],
)
def test_peers_of_a_node_wait_for_it_as_the_request_says(
    what: str, comes_back: bool, mark: tuple[int, bool, bool]
):
    bed = Bed(CHAIN).at(1, ask, what, "filter").at(5, interrupt)

    bed.run()

    assert bed.memory.told[0] == (1, comes_back)
    assert bed.memory.told[-1] == (0, False)
    assert bed.memory.marks[0] == mark
    assert bed.memory.marks[-1][1:] == (False, True)


def test_wrapper_is_asked_when_the_program_that_cleans_up_for_it_has_ended():
    cleaning = Program(handlers={signal.SIGTERM: (1.0, 0)})
    wrapper = Program(ready_s=None, handlers={signal.SIGTERM: (0.0, 0)}, children=(cleaning,))
    bed = Bed("nodes: [{id: node, path: a}]", {"node": wrapper}).at(1, interrupt)

    outcome = bed.run()

    (asked_s,) = bed.when("SIGTERM to node")
    assert 2.0 <= asked_s <= 2.03
    assert endings(outcome.report) == {"node": "stopped"}


def test_signal_to_what_a_node_left_behind_does_not_excuse_its_exit_status():
    left = Program(ready_s=None)
    node = Program(stops_s=None, ends_s=1.05, status=130, children=(left,))
    bed = Bed(ALONE, {"node": node}).at(1, interrupt)

    outcome = bed.run()

    (child,) = [one for one in bed.machine.processes.values() if one.parent != 1]
    assert child.received == [signal.SIGINT]
    assert endings(outcome.report) == {"node": "failed: exit status 130"}


def test_status_tells_the_states_of_the_run_and_of_its_nodes():
    text = """
    nodes:
      - {id: source, path: a, outputs: [out]}
      - {id: weak, path: b, inputs: {in: source/out}, restart: always, restart_delay: 5}
      - {id: visitor, path: dynamic, inputs: {in: source/out}}
    """
    asked: dict[float, list[Any]] = {at_s: [] for at_s in (0.05, 0.2, 2.0, 3.0, 4.1)}
    bed = Bed(text, {"source": Program(stops_s=1), "weak": Program(ends_s=1)})
    for at_s, answers in asked.items():
        bed.at(at_s, ask, "status", None, answers)
    bed.at(2.5, ask, "stop", "weak").at(4, interrupt)

    bed.run()

    told = {at_s: RunStatus.from_json(answers[0]) for at_s, answers in asked.items()}
    states = {at_s: [one.state.value for one in run.processes] for at_s, run in told.items()}
    assert states == {
        0.05: ["starting", "starting", "not attached"],
        0.2: ["running", "running", "not attached"],
        2.0: ["running", "waiting to be restarted", "not attached"],
        3.0: ["running", "stopped by hand", "not attached"],
        4.1: ["running", "stopped by hand", "not attached"],
    }
    assert [run.state.value for run in told.values()] == [
        *("starting", "running", "running", "running", "stopping")
    ]
    assert told[2.0].running_s == pytest.approx(1.9)
    assert told[3.0].processes[1].ending == "was waiting for its restart (finished)"


def mend(bed: Bed, node: str) -> None:
    """Let `dora-rt watch` see that a file of a node has changed."""
    ask(bed, "restart", node, mended=True)


def test_failure_of_a_program_that_was_mended_is_none_of_the_run():
    crash = Program(ends_s=1.0, status=1, prints=((0.5, b"wrong\n"),))
    mended = Program(ends_s=1.0, prints=((0.5, b"right\n"),))
    bed = Bed(PAIR_OF_NODES, {"node": [crash, mended], "other": Program(ends_s=9.0)})
    bed.at(3, mend, "node")

    outcome = bed.run()

    assert bed.console.alarms == ["node node failed: exit status 1"]
    assert outcome.report.failures == ()
    assert outcome.report.processes[0].ending.text == "finished"
    assert outcome.report.processes[0].tail == ("right",)


def test_failure_before_and_after_a_restart_by_hand_counts_and_was_not_given_up_by_a_policy():
    crash = Program(ends_s=1.0, status=1)
    bed = Bed(PAIR_OF_NODES, {"node": [crash, crash], "other": Program(ends_s=9.0)})
    bed.at(3, ask, "restart", "node")

    outcome = bed.run()

    assert bed.console.alarms == ["node node failed: exit status 1"] * 2
    assert [one.name for one in outcome.report.failures] == ["node", "node"]


def test_last_node_that_is_stopped_by_hand_ends_the_dataflow_and_says_so():
    bed = Bed(PAIR_OF_NODES, {"other": Program(ends_s=1.0)}).at(3, ask, "stop", "node")

    bed.run()

    assert bed.console.notices[-1] == "node node stopped; no other node runs, so the dataflow ends"


def test_duration_of_a_run_that_was_stopped_at_its_start_is_the_wait():
    bed = Bed(ALONE, {"node": Program(ready_s=None)}).at(17, interrupt)

    outcome = bed.run()

    assert outcome.report.duration_s == pytest.approx(17, abs=0.1)
