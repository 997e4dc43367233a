"""The launcher's side of several machines: the start, the stop, and a machine that goes."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from dora_rt.graph.boxes_and_arrows import graph_of_status
from dora_rt.graph.mermaid_dot import render_dot, render_mermaid
from dora_rt.graph.svg import render_svg
from dora_rt.launcher.summary import render
from dora_rt.network.network_status import (
    MachineState,
    MachineStatus,
    NetworkStatus,
    StreamCounts,
)
from dora_rt.plan.machine_part import GATEWAY
from dora_rt.report import Report
from dora_rt.run_status import RunStatus
from tests.launcher.bed import Bed, FakeRequester, ask, endings, interrupt, kill
from tests.launcher.machine import JOB, Program

FLOW = """
    machines: {robot: {listen: "127.0.0.1:7447"}, laptop: {}, screen: {optional: true}}
    nodes:
      - {id: camera, machine: robot, path: a, outputs: [image]}
      - {id: motor, machine: robot, path: b, inputs: {speed: planner/speed}}
      - {id: planner, machine: laptop, path: c, inputs: {image: camera/image}, outputs: [speed]}
      - {id: view, machine: screen, path: d, inputs: {image: camera/image}}
"""
LAPTOP = MachineStatus("laptop", MachineState.AWAITED, 0.0, is_optional=False)
SCREEN = MachineStatus("screen", MachineState.AWAITED, 0.0, is_optional=True)


class Gateway:
    """The gateway of the robot, as its launcher hears it."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self.requester = FakeRequester(0)
        self.streams: tuple[StreamCounts, ...] = ()

    def connect(self, _: Bed) -> None:
        """Connect as the newest process of the gateway."""
        self.requester = FakeRequester(self._bed.process(GATEWAY).pid)
        self.tell()

    def tell(self, laptop: MachineStatus = LAPTOP, **fields: Any) -> None:
        """Send a line; the screen is not there."""
        status = NetworkStatus("robot", (laptop, SCREEN), self.streams)
        line = {"request": "network", "network": status.to_json(), "may_start": False, **fields}
        self._bed.ask(self.requester, line)

    def said(self, key: str) -> list[Any]:
        """Return what the launcher has told of one kind."""
        return [answer[key] for answer in self.requester.answers if key in answer]


def robot(programs: dict[str, Any] | None = None, **options: Any) -> tuple[Bed, Gateway]:
    """Give a bed of the robot, whose gateway connects 0.2 s after the start."""
    bed = Bed(FLOW, programs, machine="robot", **options)
    gateway = Gateway(bed)
    bed.at(0.2, gateway.connect)
    return bed, gateway


def in_state(state: MachineState, why: str | None = None) -> MachineStatus:
    return replace(LAPTOP, state=state, why=why)


def begin(bed: Bed, gateway: Gateway, at_s: float = 0.5) -> None:
    """Let all machines be ready."""
    ready = in_state(MachineState.READY)
    bed.at(at_s, lambda _: gateway.tell(ready, may_start=True))


def test_no_input_flows_before_the_other_machines_are_ready() -> None:
    bed, gateway = robot()
    begin(bed, gateway, 7.5)
    bed.at(9, interrupt)

    bed.run()

    assert bed.when("the flow starts") == [7.5]
    assert gateway.said("is_ready") == [True]


def test_machine_that_is_waited_for_is_named_soon_and_every_ten_seconds() -> None:
    bed, gateway = robot()
    bed.at(25, lambda _: gateway.tell(in_state(MachineState.CONNECTED)))
    begin(bed, gateway, 33)
    bed.at(34, interrupt)

    bed.run()

    waiting = [notice for notice in bed.console.notices if notice.startswith("waiting")]
    assert waiting == [
        "waiting for machine laptop (1 s)",
        "waiting for machine laptop (11 s)",
        "waiting for machine laptop (21 s)",
        "waiting for machine laptop, whose nodes are not ready (31 s)",
    ]


def test_stop_at_one_machine_is_told_to_the_others_with_its_reason() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    bed.at(2, interrupt)

    outcome = bed.run()

    assert gateway.said("is_stopping") == ["SIGINT"]
    assert outcome.interrupted_by is signal.SIGINT


def test_stop_of_another_machine_stops_this_one_in_order() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    ready = in_state(MachineState.READY)
    bed.at(2, lambda _: gateway.tell(ready, may_start=True, stop="laptop: SIGINT"))

    outcome = bed.run()

    assert "machine laptop: SIGINT: stopping" in bed.console.notices
    assert outcome.interrupted_by is None
    assert not outcome.report.failures
    assert bed.when("tell camera") == [2.0]
    # It goes on until the last of the others has ended.
    assert bed.when(f"{GATEWAY} ends 0") > bed.when("camera ends 0")


def test_stop_before_the_gateway_is_there_is_told_as_soon_as_it_connects() -> None:
    bed = Bed(FLOW, {"camera": Program(stops_s=1)}, machine="robot")
    gateway = Gateway(bed)
    bed.at(0.5, interrupt).at(0.7, gateway.connect)

    bed.run()

    assert gateway.said("is_stopping") == ["SIGINT"]


def test_gateway_that_is_started_again_is_told_everything_anew() -> None:
    bed, gateway = robot()
    first = gateway.requester
    begin(bed, gateway)
    bed.at(2, kill, GATEWAY).at(3, gateway.connect).at(4, interrupt)

    bed.run()

    assert gateway.requester is not first
    assert gateway.said("is_ready") == [True]
    assert gateway.said("is_stopping") == ["SIGINT"]


def test_machine_that_is_silent_for_too_long_is_a_failure_and_the_others_go_on() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    lost = in_state(MachineState.LOST, "no sign of life")
    bed.at(2, lambda _: gateway.tell(lost, may_start=True))
    bed.at(4, lambda _: gateway.tell(lost, may_start=True, failed={"laptop": "lost for 2 s"}))
    bed.at(9, interrupt)

    outcome = bed.run()

    assert bed.console.alarms == [
        "machine laptop is lost: no sign of life",
        "machine laptop failed: lost for 2 s",
    ]
    assert [(one.name, one.is_machine) for one in outcome.report.failures] == [("laptop", True)]
    assert bed.when("the stop begins") == [9.0]


def test_failure_of_a_machine_whose_node_ends_the_dataflow_ends_it() -> None:
    text = FLOW.replace("{id: planner,", "{id: planner, on_exit: stop_all,")
    bed = Bed(text, machine="robot")
    gateway = Gateway(bed)
    bed.at(0.2, gateway.connect)
    begin(bed, gateway)
    lost = in_state(MachineState.LOST)
    bed.at(4, lambda _: gateway.tell(lost, may_start=True, failed={"laptop": "lost for 2 s"}))

    outcome = bed.run()

    assert bed.when("the stop begins") == [4.0]
    assert outcome.report.failures


def test_machine_that_comes_back_is_told() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    bed.at(2, lambda _: gateway.tell(in_state(MachineState.LOST), may_start=True))
    begin(bed, gateway, 3)
    bed.at(4, interrupt)

    bed.run()

    told = [notice for notice in bed.console.notices if notice.startswith("machine laptop")]
    assert told == ["machine laptop is ready", "machine laptop is back"]


def test_counts_come_once_a_second_and_finally_when_all_other_nodes_are_over() -> None:
    bed, gateway = robot({"camera": JOB, "motor": Program(ends_s=3.5)})
    begin(bed, gateway)

    bed.run()

    finals = gateway.said("is_final")
    assert finals == [False, False, False, False, True]
    assert gateway.said("counts")[-1] == {
        "leaving": {
            "1": {"sent": 5, "delivered": 3, "dropped": 1},
            "2": {"sent": 5, "delivered": 3, "dropped": 1},
        },
        "coming": {"0": {"motor/speed": {"sent": 5, "delivered": 3, "dropped": 1}}},
    }


def test_another_program_than_the_gateway_cannot_tell_of_machines() -> None:
    bed, gateway = robot()
    stranger = FakeRequester(4711)
    line = {"request": "network", "network": {}, "stop": "laptop: SIGINT"}
    begin(bed, gateway)
    bed.at(1, lambda bed: bed.ask(stranger, line)).at(2, interrupt)

    bed.run()

    assert stranger.answers == [
        {"error": "only the gateway of this run tells of other machines"},
    ]
    assert bed.when("the stop begins") == [2.0]


def test_edges_that_cross_are_reported_from_both_ends() -> None:
    bed, gateway = robot()
    gateway.streams = (
        StreamCounts(0, 90, 4, 84, 2, 0, None, None),
        StreamCounts(1, 5, 1, 3, 1, 0, {"planner/image": 2}, {"planner/image": 1}),
    )
    ready = in_state(MachineState.READY)
    bed.at(0.5, lambda _: gateway.tell(ready, may_start=True, has_settled=True)).at(3, interrupt)

    outcome = bed.run()

    edges = {edge.target: edge for edge in outcome.report.edges}
    leaving, coming, unknown = (
        edges[target] for target in ("planner/image", "motor/speed", "view/image")
    )
    assert (leaving.sent, leaving.delivered, leaving.dropped) == (5, 2, 2)
    assert (leaving.network, leaving.unread, leaving.machines) == (1, 0, "robot > laptop")
    assert (coming.sent, coming.delivered, coming.dropped) == (90, 3, 5)
    assert (coming.network, coming.unread, coming.machines) == (2, 80, "laptop > robot")
    assert (unknown.sent, unknown.delivered, unknown.network) == (5, None, None)


def test_what_the_network_lost_is_not_known_of_a_gateway_that_was_killed_before_it_told() -> None:
    bed, gateway = robot()
    gateway.streams = (StreamCounts(1, 5, 1, 0, 0, 0, {"planner/image": 0}, {"planner/image": 0}),)
    begin(bed, gateway)
    bed.at(3, interrupt)

    outcome = bed.run()

    (image,) = [edge for edge in outcome.report.edges if edge.target == "planner/image"]
    assert (image.sent, image.network, image.unread) == (5, None, None)


def test_what_the_network_lost_is_not_known_where_the_other_end_is_gone() -> None:
    bed, gateway = robot()
    gateway.streams = (
        StreamCounts(0, 2, 4, 84, 2, 0, None, None),
        StreamCounts(1, 5, 1, 3, 1, 0, {"planner/image": 2}, {"planner/image": 1}),
    )
    begin(bed, gateway)
    bed.at(2, lambda _: gateway.tell(in_state(MachineState.LOST), may_start=True))
    bed.at(3, interrupt)

    outcome = bed.run()

    edges = {edge.target: edge for edge in outcome.report.edges}
    image, speed = edges["planner/image"], edges["motor/speed"]
    assert (image.sent, image.delivered, image.network, image.unread) == (5, 2, None, None)
    # It has got more than the other end had told of.
    assert (speed.sent, speed.delivered, speed.dropped, speed.network) == (8, 3, 5, None)


def test_last_accounts_count_also_if_the_gateway_has_ended_since() -> None:
    bed, gateway = robot()
    begin(bed, gateway)

    def send_last() -> None:
        gateway.streams = (StreamCounts(0, 7, 0, 7, 0, 0, None, None),)
        status = NetworkStatus("robot", (LAPTOP, SCREEN), gateway.streams)
        line = {"request": "network", "network": status.to_json(), "may_start": True}
        bed.requests.answers["network"](gateway.requester, line)  # type: ignore[arg-type]

    bed.at(2, lambda _: gateway.requester.unread.append(send_last)).at(3, interrupt)

    outcome = bed.run()

    (speed,) = [edge for edge in outcome.report.edges if edge.target == "motor/speed"]
    assert speed.sent == 7


def test_status_has_an_edge_for_each_input_behind_a_stream() -> None:
    bed, gateway = robot()
    gateway.streams = (
        StreamCounts(0, 90, 4, 84, 2, 0, None, None),
        StreamCounts(1, 5, 1, 3, 1, 0, {"planner/image": 2}, {"planner/image": 1}),
    )
    answers: list[Any] = []
    begin(bed, gateway)
    bed.at(2, ask, "status", None, answers).at(3, interrupt)

    bed.run()

    status = RunStatus.from_json(answers[0])
    edges = {edge.target: edge for edge in status.edges}
    assert {target: edge.machines for target, edge in edges.items()} == {
        "planner/image": ("robot", "laptop"),
        "view/image": ("robot", "screen"),
        "motor/speed": ("laptop", "robot"),
    }
    image, speed = edges["planner/image"].counts, edges["motor/speed"].counts
    assert image is not None
    assert (image.sent, image.delivered, image.dropped) == (5, 2, 2)
    assert speed is not None
    assert (speed.sent, speed.delivered, speed.dropped) == (90, 3, 5)
    assert (edges["planner/image"].network, edges["view/image"].network) == (1, None)
    # Tools name an output of the other machine as it is called there.
    assert [output.source for output in status.outputs] == ["camera/image", "planner/speed"]
    assert status.network is not None
    assert [machine.name for machine in status.network.machines] == ["laptop", "screen"]


def test_graph_of_a_run_has_the_nodes_of_other_machines() -> None:
    bed, gateway = robot()
    answers: list[Any] = []
    begin(bed, gateway)
    bed.at(2, ask, "status", None, answers).at(3, interrupt)

    bed.run()

    graph = graph_of_status(RunStatus.from_json(answers[0]))
    assert {box.id: box.machine for box in graph.boxes} == {
        "camera": "robot",
        "motor": "robot",
        "planner": "laptop",
        "view": "screen",
    }
    assert all("subgraph" in text for text in (render_mermaid(graph), render_dot(graph)))
    assert "on laptop" in render_svg(graph)


def test_summary_shows_machines_clocks_and_what_the_network_lost() -> None:
    bed, gateway = robot()
    gateway.streams = (
        StreamCounts(0, 90, 4, 84, 2, 0, None, None),
        StreamCounts(1, 5, 1, 3, 1, 0, {"planner/image": 2}, {"planner/image": 1}),
    )
    ready = replace(
        in_state(MachineState.READY),
        clock_offset_ns=-(3600 * 10**9 + 12 * 10**6),
        clock_error_ns=400_000,
    )
    bed.at(0.5, lambda _: gateway.tell(ready, may_start=True, has_settled=True)).at(3, interrupt)

    text = render(bed.run().report)

    lines = text.splitlines()
    assert lines[0].startswith("flow.yml on machine robot: ")
    rows = {line.split("  ")[0]: line.split() for line in lines if " -> " in line}
    assert rows["camera/image -> planner/image (robot > laptop)"][6:11] == list("52201")
    assert rows["camera/image -> view/image (robot > screen)"][6:11] == ["5", "-", "1", "-", "?"]
    assert "machine laptop: there to the end; its clock: -1 h 12 ms, ±0.4 ms" in lines
    assert "machine screen: not there yet" in lines


def test_machine_that_has_failed_is_named_in_the_summary() -> None:
    bed, gateway = robot()
    begin(bed, gateway)
    lost = in_state(MachineState.LOST)
    bed.at(4, lambda _: gateway.tell(lost, may_start=True, failed={"laptop": "lost for 2 s"}))
    bed.at(9, interrupt)

    report = bed.run().report

    assert "machine laptop failed: lost for 2 s" in render(report).splitlines()
    assert Report.from_json(report.to_json()) == report


ONE_WAY = """
    machines: {robot: {listen: "127.0.0.1:7447"}, laptop: {}, hub: {}, screen: {optional: true}}
    nodes:
      - {id: camera, machine: robot, path: a, outputs: [image]}
      - {id: view, machine: laptop, path: b, inputs: {image: camera/image}}
"""


def test_source_that_only_an_ended_machine_has_read_ends_the_flow() -> None:
    bed = Bed(ONE_WAY, machine="robot")
    gateway = Gateway(bed)
    bed.at(0.2, gateway.connect)
    begin(bed, gateway)
    bed.at(2, lambda _: gateway.tell(in_state(MachineState.ENDED), may_start=True))

    outcome = bed.run()

    assert bed.when("the stop begins") == [5.0]
    assert outcome.report.notes == (
        "the dataflow was ended: no node reads camera any more, since machine laptop has ended "
        "(`without_readers: go_on` at camera lets it go on)",
    )


@pytest.mark.parametrize(
    "text", [ONE_WAY.replace("laptop: {}", "laptop: {optional: true}"), FLOW], ids=["viewer", "arm"]
)
def test_source_goes_on_for_a_viewer_that_may_come_back_and_beside_other_nodes(text: str) -> None:
    bed = Bed(text, machine="robot")
    gateway = Gateway(bed)
    bed.at(0.2, gateway.connect)
    begin(bed, gateway)
    is_optional = text is not FLOW
    ended = replace(in_state(MachineState.ENDED), is_optional=is_optional)
    bed.at(2, lambda _: gateway.tell(ended, may_start=True)).at(9, interrupt)

    bed.run()

    assert bed.when("the stop begins") == [9.0]


def test_machine_without_nodes_ends_when_all_others_have() -> None:
    bed = Bed(ONE_WAY, machine="hub")
    gateway = Gateway(bed)
    bed.at(0.2, gateway.connect)
    begin(bed, gateway)

    def end_all(_: Bed) -> None:
        machines = (in_state(MachineState.ENDED), replace(SCREEN, state=MachineState.ENDED))
        status = NetworkStatus("hub", machines, ())
        line = {"request": "network", "network": status.to_json(), "may_start": True}
        bed.ask(gateway.requester, line)

    bed.at(4, end_all)

    bed.run()

    assert bed.when("the stop begins") == [4.0]
    assert gateway.said("is_final")[-1] is True


def test_flow_of_one_machine_has_no_request_network() -> None:
    bed = Bed("nodes: [{id: node, path: a, outputs: [out]}]", {"node": JOB})

    outcome = bed.run()

    assert "network" not in bed.requests.answers
    assert endings(outcome.report) == {"node": "finished"}
