"""What a user types on one machine shows and steers the nodes of the other, too."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

import dora_rt
from dora_rt.errors import ParameterRefusedError
from dora_rt.live.run_parameters import LauncherSilentError, RunParameters
from dora_rt.runs import Connection, RefusedError, base_folder, find_runs
from tests.harness.remains import no_remains
from tests.harness.waiting import eventually
from tests.network.two_machines import MACHINES, TwoMachines

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(own_runs: Path) -> Iterator[None]:
    """See to it for the whole module, whose tests share runs that restart their nodes."""
    with no_remains(own_runs):
        yield


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, own_runs: Path) -> Iterator[TwoMachines]:
    machines = TwoMachines(tmp_path_factory.mktemp("machines"))
    machines.start_all()
    yield machines
    machines.close()


@pytest.mark.parametrize("machine", MACHINES)
def test_each_machine_lists_the_nodes_of_both(machines: TwoMachines, machine: str):
    (status,) = json.loads(machines.on(machine, "ps", "--json").out)
    shown = machines.on(machine, "ps").out

    where = {process["name"]: process["machine"] for process in status["processes"]}
    assert where["camera"] == "robot"
    assert where["sink"] == "laptop"
    assert [process["name"] for process in status["processes"]].count("dora.network") == 2
    assert f", machine {machine}\n" in shown
    assert {line.split()[0]: line.split()[1] for line in shown.splitlines()[2:4]}


@pytest.mark.parametrize("machine", MACHINES)
def test_rates_are_those_of_all_outputs_and_edges(machines: TwoMachines, machine: str):
    done = machines.on(machine, "hz", "--once", "--json")

    rates = json.loads(done.out)
    outputs = {output["source"]: output["rate_hz"] for output in rates["outputs"]}
    assert set(outputs) == {"camera/image", "camera/number", "camera/view", "sink/answer"}
    assert all(25 < rate < 75 for rate in outputs.values()), outputs
    (edge,) = rates["edges"]
    assert (edge["source"], edge["target"]) == ("camera/image", "sink/image")
    assert edge["machines"] == ["robot", "laptop"]
    assert edge["age_p50_ns"] is not None, "the reader has told how old its samples are"
    rows = [line.split()[:3] for line in machines.on(machine, "top", "--once").out.splitlines()]
    assert ["camera", "robot", "running"] in rows
    assert ["sink", "laptop", "running"] in rows


@pytest.mark.parametrize(
    ("machine", "output", "numbers"),
    [("laptop", "camera/number", 1), ("robot", "sink/answer", 2)],
)
def test_sample_that_no_edge_carries_here_is_printed_here(
    machines: TwoMachines, machine: str, output: str, numbers: int
):
    line = machines.on(machine, "echo", output, "--once")
    fields = json.loads(machines.on(machine, "echo", output, "--once", "--json").out)

    assert line.exit_code == 0
    assert line.out.startswith(f"{output} #")
    assert (fields["type"], fields["shape"]) == ("int64", [numbers])
    assert 0 <= fields["age_ms"] < 1000


def test_output_of_another_machine_is_watched_from_python(
    machines: TwoMachines, monkeypatch: pytest.MonkeyPatch
):
    for name, value in machines.environ("laptop").items():
        monkeypatch.setenv(name, value)

    with dora_rt.attach("camera/number") as watch:
        events = [watch.next(timeout=30) for _ in range(3)]

    seqs = [event.seq for event in events if event is not None]
    assert [int(event.value[0]) for event in events if event is not None] == seqs
    assert seqs == sorted(set(seqs))
    assert watch.dropped == seqs[-1] - seqs[0] - 2
    assert watch.has_ended


def test_picture_that_is_only_there_is_saved_here(machines: TwoMachines, tmp_path: Path):
    path = tmp_path / "now.png"

    done = machines.on("laptop", "view", "camera/view", "--save", str(path))

    assert done.exit_code == 0, done.err
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == (120, 160, 3)
    assert np.ptp(picture) < 4


def test_lines_of_both_machines_are_shown_and_followed(machines: TwoMachines):
    both = machines.on("robot", "logs")
    one = machines.on("robot", "logs", "sink", "-n", "1")

    assert "camera       | camera begins" in both.out
    assert "sink         | sink begins" in both.out
    assert one.out.split(" ", 2)[2] == "sink begins\n"
    follower = machines.begin("robot", "logs", "sink", "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline().endswith("sink begins\n")
    assert machines.on("robot", "restart", "sink").exit_code == 0
    assert follower.stdout.readline().endswith("sink begins\n"), "of its new process"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(30) == 0


def test_node_is_stopped_and_restarted_from_the_other_machine(machines: TwoMachines):
    stopped = machines.on("laptop", "stop", "camera")
    listed = machines.on("laptop", "ps").out
    again = machines.on("laptop", "restart", "camera")

    assert (stopped.exit_code, stopped.out) == (0, "node camera has stopped on robot\n")
    assert "stopped by hand" in listed
    assert again.exit_code == 0
    assert "node camera runs again on robot (process " in again.out
    assert "stopping node camera: asked by machine laptop\n" in machines.printed("robot")
    eventually(lambda: machines.is_flowing("robot"))


def ask(machines: TwoMachines, here: str, request: str, **fields: object) -> dict[str, object]:
    with mock.patch.dict(os.environ, machines.environ(here)):
        base = base_folder(os.environ)
    (run,) = find_runs(base)
    connection = Connection.open(base, run)
    assert connection is not None
    with connection:
        return connection.ask(request, **fields)[0]


def test_parameters_of_a_node_on_another_machine_are_set_listed_and_saved(
    machines: TwoMachines,
):
    done = machines.on("laptop", "param", "set", "camera", "gain", "5")
    own = machines.on("laptop", "param", "set", "sink", "word", "yes")

    assert (done.exit_code, done.out) == (0, "camera.gain = 5\n")
    assert own.exit_code == 0
    for machine in MACHINES:
        assert machines.on(machine, "param", "get", "camera", "gain").out == "5\n"
        listed = machines.on(machine, "param", "list").out.splitlines()
        assert sorted(line.split() for line in listed) == [
            ["camera.gain", "5"],
            ["sink.word", '"yes"'],
        ]
        assert "camera:\n  gain: 5\n" in machines.on(machine, "param", "save").out
    assert machines.on("laptop", "param", "delete", "camera", "gain").out == "camera.gain is gone\n"
    refused = machines.on("laptop", "param", "get", "camra", "gain")
    assert (refused.exit_code, "'camra'" in refused.err) == (2, True)


def test_node_asks_for_and_sets_parameters_of_nodes_on_both_machines(machines: TwoMachines):
    with mock.patch.dict(os.environ, machines.environ("laptop")):
        base = base_folder(os.environ)
    (run,) = find_runs(base)
    parameters = RunParameters(base, run)

    parameters.write("camera", {"gain": 6, "mode": "exact"})
    parameters.write("sink", {"word": "no"})
    far, own = parameters.read("camera"), parameters.read("sink")
    for node, name in (("camera", "gain"), ("camera", "mode"), ("sink", "word")):
        parameters.delete(node, name)

    assert {one["name"]: one["value"] for one in far} == {"gain": 6, "mode": "exact"}
    assert {one["name"]: one["value"] for one in own} == {"word": "no"}
    assert parameters.read("camera") == []
    assert parameters.has_other_machines()
    with pytest.raises(ParameterRefusedError, match="no node 'camra'"):
        parameters.read("camra")
    parameters.close()
    with pytest.raises(LauncherSilentError, match="it does not listen"):
        RunParameters(base, "00000000").read("camera")


@pytest.mark.parametrize(
    ("request_", "fields", "refusal"),
    [
        ("describe", {"machine": "laptop"}, "no request 'describe' for other machines"),
        ("attach", {"machine": "laptop", "node": "sink"}, "no request 'attach' for other machines"),
        ("status", {"machine": "laptp"}, "no other machine 'laptp'; the others: laptop"),
        ("stop", {"machine": "laptop", "node": "nobody"}, "there is no node 'nobody'"),
        ("logs", {"machine": "laptop", "lines": "all"}, "'lines' is 'all'"),
        ("sample", {"machine": "laptop", "source": "sink/nothing", "form": "text"}, "no output"),
        ("sample", {"source": "camera/image"}, "samples of this machine are in its shared memory"),
    ],
)
def test_request_that_another_machine_does_not_grant_is_refused_with_a_reason(
    machines: TwoMachines, request_: str, fields: dict[str, object], refusal: str
):
    with pytest.raises(RefusedError, match=refusal):
        ask(machines, "robot", request_, **fields)


def test_log_of_another_machine_is_no_way_to_its_files(machines: TwoMachines):
    answer = ask(machines, "robot", "logs", machine="laptop", nodes=["../../flow", "sink"])

    assert list(answer["lines"]) == ["sink"]  # type: ignore[call-overload]


def test_end_of_the_dataflow_is_asked_for_on_either_machine(tmp_path: Path):
    machines = TwoMachines(tmp_path)
    machines.start_all()
    try:
        done = machines.on("laptop", "stop")

        assert done.exit_code == 0
        assert [machines.launchers[name].wait(20) for name in MACHINES] == [0, 0]
        assert "machine laptop: `dora-rt stop`: stopping" in machines.printed("robot")
    finally:
        machines.close()
