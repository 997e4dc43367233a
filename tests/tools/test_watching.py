"""The verbs that look at a run; all at one that was started without any flag, and goes on."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dora_rt import attach, run_status
from dora_rt.errors import RunNotFoundError
from dora_rt.launcher.requests import MAX_REQUESTERS
from dora_rt.runs import base_folder, open_run
from tests.harness.flow import Flow
from tests.harness.verbs import COMMAND, process, start, status, statuses, verb
from tests.harness.waiting import eventually

pytestmark = pytest.mark.programs


@dataclass(frozen=True)
class Running:
    """The run that the tests of this module look at."""

    flow: Flow
    name: str


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, nothing_left_behind: None
) -> Iterator[Running]:
    flow = Flow(tmp_path_factory.mktemp("flow"))
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: source
            path: source.py
            inputs: {tick: dora/timer/millis/10}
            outputs: [out, unread]
            restart: always
          - {id: sink, path: sink.py, inputs: {out: source/out}}
          - id: pair
            operators:
              - {id: first, python: echo.py, inputs: {in: source/out}, outputs: [out]}
              - {id: second, python: echo.py, inputs: {in: pair/first/out}, outputs: [out]}
        """,
    )
    flow.write(
        "source.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        for count, _ in enumerate(node):
            node.send_output("out", np.zeros(1000, np.uint8))
            if count % 10 == 0:
                print("sent", count)
        """,
    )
    flow.write("sink.py", "from dora_rt import Node\nfor event in Node(): print('got', event.seq)")
    flow.write(
        "echo.py",
        """
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                send_output("out", dora_input["data"])
                return DoraStatus.CONTINUE
        """,
    )
    flow.start()
    eventually(lambda: [one["state"] for one in statuses()] == ["running"])
    yield Running(flow, status()["run"])
    flow.close()


def test_ps_lists_runs_and_their_nodes(running: Running):
    out = verb("ps").out

    assert re.search(rf"^{running.name}  {running.flow.folder}/flow.yml  running for ", out, re.M)
    assert re.search(r"^  source +running +\d+ +0 +[\d.]+ +[\d.]+ MiB$", out, re.M)
    assert verb("ps", "--json").json[0]["run"] == running.name
    assert verb("ps", "-q").out.split() == [running.name, "source", "sink", "pair"]


def test_status_tells_all_that_the_contract_names(running: Running):
    told = status()

    assert told["state"] == "running"
    assert told["running_s"] > 0
    assert told["inputs"] == [{"target": "source/tick", "period_ns": 10_000_000}]
    pair = process("pair")
    assert (pair["nodes"], pair["pid"] > 0, pair["threads"] > 0) == (
        ["pair/first", "pair/second"],
        True,
        True,
    )
    sources = {output["source"]: output for output in told["outputs"]}
    assert sources.keys() >= {"source/out", "source/unread"}
    # The bytes of a sample are counted right after it, when its readers are awake.
    out = sources["source/out"]
    assert out["sent"] > 0 and 1000 * out["sent"] - out["nbytes"] in (0, 1000)
    assert sources["source/unread"]["sent"] == 0
    edges = {(edge["source"], edge["target"]): edge for edge in told["edges"]}
    local = edges["pair/first/out", "pair/second/in"]
    assert (local["is_local"], local["sent"]) == (True, None)
    sunk = edges["source/out", "sink/out"]
    assert sum(sunk["latencies"].values()) == sum(sunk["ages"].values()) == sunk["delivered"]


def test_top_measures_rate_bandwidth_drops_and_latency(running: Running):
    (edge,) = [
        edge
        for edge in verb("top", "--once", "--json", "-i", "0.3").json["edges"]
        if edge["target"] == "sink/out"
    ]

    assert 50 < edge["rate_hz"] < 150
    # The bytes of a sample are counted right after it: at either end of 0.3 s one may be missing.
    assert edge["bytes_per_s"] == pytest.approx(1000 * edge["rate_hz"], abs=1000 / 0.3 * 1.01)
    assert 0 < edge["p50_ns"] <= edge["p99_ns"]
    assert (edge["dropped"], edge["drops_hz"]) == (0, 0)


def test_top_shows_a_table_of_nodes_and_one_of_edges(running: Running):
    out = verb("top", running.name[:6], "--once", "-i", "0.2").out

    assert re.search(r"^source +running +\d+ +0 +\d+ % +[\d.]+ MiB +\d+$", out, re.M)
    edge = r"^source/out -> sink/out +[\d.]+ +[\d.]+ KiB/s +\d+/10 +0(?: +[\d.]+ [um]s){4}$"
    assert re.search(edge, out, re.M)
    assert re.search(r"^pair/first/out -> pair/second/in(?: +-){8}$", out, re.M)


def test_top_in_a_pipe_goes_on_without_control_sequences_until_ctrl_c(running: Running):
    with start("top", "-i", "0.05") as top:
        assert top.stdout is not None
        lines = [top.stdout.readline() for _ in range(30)]
        top.send_signal(signal.SIGINT)

        assert top.wait(30) == 0
    assert sum(line.startswith(f"run {running.name}") for line in lines) >= 2
    assert "\x1b" not in "".join(lines)


def test_top_on_a_terminal_draws_in_place(running: Running):
    ours, theirs = pty.openpty()
    top = subprocess.Popen([*COMMAND, "top", "-i", "0.05"], stdout=theirs)
    os.close(theirs)
    drawn = b""
    while drawn.count(b"\x1b[H") < 2:
        drawn += os.read(ours, 65536)
    top.send_signal(signal.SIGINT)

    assert top.wait(30) == 0
    os.close(ours)
    # On a screen of its own: what the terminal showed before comes back.
    assert drawn.startswith(b"\x1b[?1049h")


def test_hz_and_bw_show_what_is_named(running: Running):
    hz = verb("hz", "source/out", "--once", "-i", "0.2")
    bw = verb("bw", "sink", "source/unread", "--once", "--json", "-i", "0.2").json

    assert re.search(r"^source/out +\d+\.\d +-$", hz.out, re.M)
    assert re.search(r"^source/out -> sink/out +\d+\.\d +0\.0$", hz.out, re.M)
    assert "unread" not in hz.out
    (unread,) = bw["outputs"]
    assert (unread["source"], unread["bytes_per_s"], unread["mean_nbytes"]) == (
        "source/unread",
        0,
        None,
    )
    assert [edge["target"] for edge in bw["edges"]] == ["sink/out"]


def test_name_that_does_not_exist_is_told_with_those_that_do(running: Running):
    hz, logs = verb("hz", "sourc", "--once", "-i", "0.05"), verb("logs", "sourc")

    assert (hz.exit_code, logs.exit_code) == (2, 2)
    assert "has no 'sourc'; it has: source/out, source/unread" in hz.err
    assert "has no node 'sourc'; it has: source, sink, pair" in logs.err
    assert "no run is called 'x'; there are:\n  " + running.name in verb("top", "x").err


def test_logs_show_the_last_lines_of_all_nodes_in_order(running: Running):
    lines = verb("logs", "-n", "40").out.splitlines()

    assert len(lines) == 40
    assert lines == sorted(lines, key=lambda line: line[:24])
    texts = {line[24:].split(" | ")[0] for line in lines}
    assert texts == {"source", "sink  "}
    assert re.search(r"^[\d-]+ [\d:.]+ got \d+$", verb("logs", "sink", "-n", "1").out)


def test_followed_log_goes_on(running: Running):
    with start("logs", "sink", "-f", "-n", "0") as logs:
        assert logs.stdout is not None
        first, second = (int(logs.stdout.readline().split()[-1]) for _ in range(2))
        logs.send_signal(signal.SIGINT)

        assert logs.wait(30) == 0
    assert second == first + 1


def test_reader_of_a_log_that_goes_away_is_no_error(running: Running):
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -n 1', "sh", *COMMAND, "logs"],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_restarted_node_goes_on_with_its_peers_and_it_is_no_failure(running: Running):
    before = status()

    done = verb("restart", "source")

    after = status()
    assert done.out.startswith("node source runs again (process ")
    assert after["processes"][0]["pid"] != before["processes"][0]["pid"]
    assert [one["restarts"] for one in after["processes"]] == [1, 0, 0]
    eventually(lambda: status()["edges"][0]["delivered"] > after["edges"][0]["delivered"])


def test_node_that_is_restarted_although_its_policy_says_never_keeps_its_peers(running: Running):
    sent = status()["edges"][0]["sent"]

    assert verb("restart", "pair").exit_code == 0
    assert verb("restart", "sink").exit_code == 0

    assert [one["state"] for one in status()["processes"]] == ["running"] * 3
    eventually(lambda: status()["edges"][0]["sent"] > sent)


def test_node_stopped_by_hand_stays_away_whatever_its_policy_until_it_is_restarted(
    running: Running,
):
    assert verb("stop", "source").exit_code == 0

    source = process("source")
    assert (source["state"], source["pid"]) == ("stopped by hand", None)
    assert process("sink")["state"] == "running"
    again = verb("stop", "source")
    assert (again.exit_code, again.err) == (
        1,
        "dora-rt: node 'source' does not run: it is stopped by hand\n",
    )
    delivered = status()["edges"][0]["delivered"]
    assert verb("restart", "source").exit_code == 0
    eventually(lambda: status()["edges"][0]["delivered"] > delivered)


def test_of_several_runs_one_must_be_named_and_it_alone_is_stopped(running: Running, flow: Flow):
    flow.write(
        "flow.yml", "nodes: [{id: lone, path: lone.py, inputs: {tick: dora/timer/millis/10}}]"
    )
    flow.write("other.yml", (flow.folder / "flow.yml").read_text())
    flow.write("lone.py", "from dora_rt import Node\nfor event in Node(): pass")
    launcher = flow.start()
    eventually(lambda: len(statuses()) == 2)
    (other,) = {one["run"] for one in statuses()} - {running.name}

    unnamed = verb("stop")
    by_name, by_file = verb("top", other, "--once", "-i", "0.05"), verb("stop", "flow.yml")
    stopped = verb("stop", str(flow.folder / "flow.yml"))

    assert unnamed.exit_code == by_file.exit_code == 2
    assert "2 runs are there; say which:\n  " in unnamed.err
    assert f"\n  {other}  {flow.folder}/flow.yml" in by_file.err
    assert f"run {other}" in by_name.out
    assert (stopped.exit_code, launcher.wait(30)) == (0, 0)
    assert status()["run"] == running.name


def test_run_to_which_too_many_programs_are_connected_says_so(running: Running):
    base = base_folder(os.environ)
    with contextlib.ExitStack() as connections:
        for _ in range(MAX_REQUESTERS):
            connection = connections.enter_context(open_run(base))
            assert connection.run == running.name

        with pytest.raises(RunNotFoundError, match=f"{MAX_REQUESTERS} programs are connected"):
            open_run(base)

    eventually(lambda: statuses() != [])


def test_run_of_another_version_is_named_and_its_answers_are_not_guessed_at(
    running: Running, monkeypatch: pytest.MonkeyPatch
):
    version = run_status.STATUS_VERSION
    monkeypatch.setattr(run_status, "STATUS_VERSION", 99)

    ps = verb("ps")
    found = verb("top", "--once", "--run", running.name)
    with pytest.raises(RunNotFoundError) as attached:
        attach("source/out")

    expected = f"answers in format {version}, this dora_rt .* reads format 99: use the dora_rt"
    assert (ps.exit_code, found.exit_code) == (1, 2)
    for told in (ps.err, found.err, str(attached.value)):
        assert running.name in told
        assert re.search(expected, told)
