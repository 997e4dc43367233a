"""Large flows: what the launcher keeps, how long they take, and that nothing is left of them."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from dora_rt.descriptor import read_descriptor
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.plan.kernel_need import find_footprints
from dora_rt.plan.memory_need import find_need
from dora_rt.plan.plan import Plan
from dora_rt.plan.planner import make_plan
from tests.harness.flow import Flow
from tests.harness.objects import new_run, own_objects
from tests.harness.processes import open_files

IS_SOAK = os.environ.get("SOAK") == "1"
INPUTS = 5

NODE = """
    from dora_rt import Node
    node = Node()
    for event in node:
        if event.id == "tick":
            node.send_output("out", b"x")
"""


def write_ring(flow: Flow, nodes: int) -> Plan:
    """Write a flow in which each node reads the five before it."""
    lines = ["nodes:"]
    for number in range(nodes):
        lines += [f"  - id: n{number}", "    path: node.py", "    outputs: [out]", "    inputs:"]
        lines.append("      tick: dora/timer/secs/1")
        for step in range(1, INPUTS + 1):
            lines.append(f"      i{step}: n{(number - step) % nodes}/out")
    flow.write("node.py", NODE)
    return plan_of(flow, lines)


def plan_of(flow: Flow, lines: list[str]) -> Plan:
    path = flow.write("flow.yml", "\n".join(lines))
    return make_plan(read_descriptor(path), folder=flow.folder, interpreter=sys.executable)


def mappings(pid: int | str = "self") -> int:
    return Path(f"/proc/{pid}/maps").read_bytes().count(b"\n")


def used_nbytes(run: str) -> int:
    paths = Path("/dev/shm").glob(f"*drt-{run}-*")
    return sum(path.stat().st_blocks * 512 for path in paths)


def test_launcher_keeps_a_doorbell_of_each_process_and_nothing_of_its_edges(flow: Flow):
    plan = write_ring(flow, 200)
    before = mappings()

    with RunMemory.create(plan, new_run()) as memory:
        for process in range(100):
            memory.mark_dead(process, returns=True)
            memory.renew(process)
        for edge in plan.edges:
            assert edge.output is not None
            assert edge.edge is not None
            assert memory.counters(edge.output, edge.edge) is not None
        kept = mappings() - before
        # All nodes are yet to attach, so that the earlier generations are needed as well.
        objects = len(own_objects())

    assert len(plan.edges) == 1000
    assert kept <= 200 + 20
    # What the slots need comes with the samples.
    assert objects <= 2 * find_need(plan).objects


@dataclass(frozen=True)
class Course:
    """What a run took up, and how long it took."""

    ready_s: float
    stopped_s: float
    launcher_mappings: int
    launcher_descriptors: int
    node_mappings: int
    node_descriptors: int
    objects: int
    shared_nbytes: int
    out: str


def follow(flow: Flow, run_s: float) -> Course:
    """Run a flow to its end, and look at its processes when it has run for a while."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.settimeout(60)
        address = flow.folder / "notify"
        ears.bind(str(address))
        began_s = time.monotonic()
        launcher = subprocess.Popen(
            flow.command("--stop-after", f"{run_s:g}s"),
            cwd=flow.folder,
            env={**os.environ, "NOTIFY_SOCKET": str(address)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with launcher:
            assert launcher.stdout is not None
            while b"READY=1" not in ears.recv(4096):
                pass
            ready_s = time.monotonic() - began_s
            # The samples of a second, so that the tokens are there.
            time.sleep(0.8 * run_s)
            nodes = nodes_of(launcher.pid)
            (run,) = {name.split("-")[1] for name in own_objects() if name.endswith("-board")}
            measured = {
                "launcher_mappings": mappings(launcher.pid),
                "launcher_descriptors": open_files(launcher.pid),
                "node_mappings": max(map(mappings, nodes)),
                "node_descriptors": max(map(open_files, nodes)),
                "objects": sum(f"drt-{run}-" in name for name in own_objects()),
                "shared_nbytes": used_nbytes(run),
            }
            while b"STOPPING=1" not in ears.recv(4096):
                pass
            stopping_s = time.monotonic()
            out = launcher.stdout.read()
        stopped_s = time.monotonic() - stopping_s
    assert launcher.returncode == 0, out[-3000:]
    assert not [name for name in own_objects() if f"drt-{run}-" in name]
    return Course(ready_s, stopped_s, **measured, out=out)


def nodes_of(launcher: int) -> list[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [
        int(pid) for pid in children if b"/node.py\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def show(what: str, course: Course, plan: Plan) -> None:
    need, footprints = find_need(plan), find_footprints(plan)
    print(f"{what}: ready after {course.ready_s:.1f} s, stopped after {course.stopped_s:.1f} s")
    print(
        f"  measured (computed): launcher {course.launcher_mappings} "
        f"({footprints.launcher.mappings}) mappings, {course.launcher_descriptors} "
        f"({footprints.launcher.descriptors}) files; largest node {course.node_mappings} "
        f"({footprints.largest.mappings} to {footprints.largest.most_mappings}) mappings, "
        f"{course.node_descriptors} ({footprints.largest.descriptors}) files; {course.objects} "
        f"({need.objects} to {need.objects + need.most_tokens}) objects, "
        f"{course.shared_nbytes / 1e6:.1f} MB"
    )
    for kib in (4, 16, 64):
        need = find_need(plan, 1024 * kib)
        most_nbytes = need.nbytes + need.most_tokens_nbytes
        print(f"  pages of {kib} KiB: {need.nbytes / 1e6:.1f} to {most_nbytes / 1e6:.1f} MB")


def assert_computed(course: Course, plan: Plan) -> None:
    need, footprints = find_need(plan), find_footprints(plan)
    assert course.launcher_mappings <= footprints.launcher.mappings
    assert course.launcher_descriptors <= footprints.launcher.descriptors
    assert course.node_mappings <= footprints.largest.most_mappings
    assert course.node_descriptors <= max(node.descriptors for node in footprints.nodes)
    assert course.objects <= need.objects + need.most_tokens


@pytest.mark.parametrize("nodes", [2, 20, 200] if IS_SOAK else [20])
def test_flow_of_many_nodes_with_five_inputs_each_takes_what_was_computed(flow: Flow, nodes: int):
    # Of two nodes each reads the other one more than once.
    plan = write_ring(flow, nodes)

    course = follow(flow, 3 if IS_SOAK else 1.5)

    show(f"{nodes} nodes with {len(plan.edges)} edges", course, plan)
    assert_computed(course, plan)
    assert course.out.count(" stopped  ") == nodes, course.out[:3000]
    assert course.launcher_mappings < 1000
    if nodes == 200:
        assert course.ready_s <= 6
        assert course.stopped_s <= 4


@pytest.mark.slow
@pytest.mark.parametrize("readers", [200] if IS_SOAK else [80])
def test_one_output_may_have_many_readers(flow: Flow, readers: int):
    lines = ["nodes:", "  - {id: writer, path: node.py, inputs: {tick: dora/timer/secs/1},"]
    lines.append("     outputs: [out]}")
    lines += [
        f"  - {{id: r{number}, path: node.py, inputs: {{in: writer/out}}}}"
        for number in range(readers)
    ]
    flow.write("node.py", NODE)
    plan = plan_of(flow, lines)

    course = follow(flow, 2.5)

    show(f"one output with {readers} readers", course, plan)
    assert_computed(course, plan)
    counts = re.findall(r"^writer/out -> r\d+/in  +(\d+)  +(\d+)  +(\d+)  ", course.out, re.M)
    assert len(counts) == readers
    assert all(sent == delivered and int(sent) >= 2 for sent, delivered, _ in counts), counts


def test_launcher_may_have_more_than_a_thousand_files_open(flow: Flow):
    # `select` knew no descriptor above 1,023: a hundred nodes were the most.
    flow.write("node.py", NODE.replace('"x")', '"x"); break'))
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: a, path: node.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
          - {id: b, path: node.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
        """,
    )
    flow.write(
        "program.py",
        """
        import os
        from dora_rt.cli.dora_launch import main
        opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
        main(["flow.yml"])
        """,
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("no process may open so many files here")

    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=flow.folder,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard)),
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(re.findall(r"^[ab]  +finished", done.stdout, re.M)) == 2, done.stdout
