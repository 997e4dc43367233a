"""The statuses of one dataflow on several machines, put together."""

from __future__ import annotations

from dataclasses import replace

from dora_rt.live.rates import measure
from dora_rt.live.whole_status import merge
from dora_rt.network.network_status import NetworkStatus
from dora_rt.node_config import OutputConfig, QueuePolicy
from dora_rt.run_status import EdgeStatus, NodeState, OutputStatus, ProcessStatus, RunStatus
from tests.test_run_status import COUNTS, STATUS

CONFIG = OutputConfig("out", 0, 9, 0, 2, (), 3)


def process(name: str, machine: str) -> ProcessStatus:
    return ProcessStatus(
        name, (name,), NodeState.RUNNING, 7, 0, False, 1.0, 0, 1, None, machine=machine
    )


def status(machine: str, *names: str, edge: EdgeStatus, sent: dict[str, int]) -> RunStatus:
    return replace(
        STATUS,
        processes=tuple(process(name, machine) for name in (*names, "dora.network")),
        outputs=tuple(OutputStatus(source, CONFIG, n, 10 * n) for source, n in sent.items()),
        edges=(edge,),
        inputs=(),
        network=NetworkStatus(machine, (), ()),
    )


CROSSING = EdgeStatus(
    "camera/image",
    "plot/image",
    1,
    QueuePolicy.LATEST,
    is_local=False,
    counts=replace(COUNTS, latencies={}),
    machines=("robot", "laptop"),
)
ROBOT = status("robot", "camera", edge=CROSSING, sent={"camera/image": 100})
# What has come from the robot is an output of the gateway here, under its name there.
LAPTOP = status("laptop", "plot", edge=replace(CROSSING, counts=COUNTS), sent={"camera/image": 60})


def test_each_node_output_and_edge_is_there_once_on_either_machine() -> None:
    for whole in (merge(ROBOT, {"laptop": LAPTOP}), merge(LAPTOP, {"robot": ROBOT})):
        where = {(one.name, one.machine) for one in whole.processes}
        assert where == {
            ("camera", "robot"),
            ("dora.network", "robot"),
            ("plot", "laptop"),
            ("dora.network", "laptop"),
        }
        assert [(one.source, one.sent) for one in whole.outputs] == [("camera/image", 100)]
        assert whole.edges == (LAPTOP.edges[0],), "its reader knows how old the samples are"


def test_run_whose_other_machines_do_not_answer_is_what_it_is() -> None:
    assert merge(ROBOT, {}) is ROBOT


def test_machine_that_comes_and_goes_between_two_looks_is_measured_without_flow() -> None:
    alone, both = ROBOT, merge(ROBOT, {"laptop": replace(LAPTOP, now_ns=2 * 10**9)})

    come, gone = measure(alone, both), measure(both, alone)

    assert [one.name for one in come.processes].count("dora.network") == 2
    assert come.processes[2].cpu_percent == 0
    assert len(gone.processes) == 2


def test_counters_of_a_run_that_was_started_again_are_no_negative_rates() -> None:
    again = replace(
        ROBOT,
        now_ns=ROBOT.now_ns + 10**9,
        outputs=(replace(ROBOT.outputs[0], sent=5, nbytes=50),),
        edges=(replace(CROSSING, counts=replace(COUNTS, delivered=0, dropped=0)),),
    )

    rates = measure(ROBOT, again)

    assert rates.outputs[0].rate_hz == 0
    assert rates.edges[0].rate_hz == 0
