"""What a flow needs of what the kernel limits is computed, and compared, before it starts."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dora_rt.descriptor import read_descriptor
from dora_rt.errors import LaunchError
from dora_rt.launcher.preconditions import Limits, check_limits, find_limits
from dora_rt.plan.kernel_need import find_footprints
from dora_rt.plan.memory_need import find_need, most_note
from dora_rt.plan.plan import Plan
from dora_rt.plan.planner import make_plan
from dora_rt.transport.primitives.shm import Room
from tests.harness.flow import Flow

PLENTY = Limits(100_000, 100_000, 10, 1_000_000, None, None)
GIB = 2**30


def plan_of(flow: Flow, nodes: int, readers: int = 1) -> Plan:
    """Plan a writer, and nodes that each read it so many times."""
    lines = ["nodes:", "  - {id: writer, path: a.py, outputs: [out]}"]
    inputs = ", ".join(f"i{number}: writer/out" for number in range(readers))
    lines += [f"  - {{id: n{number}, path: a.py, inputs: {{{inputs}}}}}" for number in range(nodes)]
    flow.write("a.py", "")
    path = flow.write("flow.yml", "\n".join(lines))
    return make_plan(read_descriptor(path), folder=flow.folder, interpreter=sys.executable)


def refused(plan: Plan, **limits: int) -> str:
    values = {name: limits.get(name, getattr(PLENTY, name)) for name in PLENTY.__slots__}
    with pytest.raises(LaunchError) as caught:
        check_limits(plan, Limits(**values))
    return str(caught.value)


def test_plenty_is_neither_refused_nor_noted(flow: Flow):
    assert check_limits(plan_of(flow, 10), PLENTY) == []
    assert most_note(plan_of(flow, 10), Room(GIB, GIB, 100_000)) is None


def test_node_that_reads_and_writes_more_than_it_may_open_is_named(flow: Flow):
    plan = plan_of(flow, 2, readers=100)
    needed = {node.name: node.descriptors for node in find_footprints(plan).nodes}

    text = refused(plan, descriptors=200, most_descriptors=4096)

    assert text == (
        f"node n0 needs {needed['n0']} open files for its edges, and 200 are allowed here: raise "
        f"the limit (ulimit -n {needed['n0']})"
    )


def test_limit_that_only_root_can_raise_is_told_so(flow: Flow):
    text = refused(plan_of(flow, 2, readers=100), descriptors=200, most_descriptors=200)

    assert re.search(r": raise the hard limit, which is 200 \(nofile in .* nofile=\d+\)$", text)


def test_too_few_processes_are_refused_with_numbers(flow: Flow):
    plan = plan_of(flow, 10)
    tasks = find_footprints(plan).tasks
    assert tasks >= 11

    assert f"needs {tasks} processes, and this user may have 12 more" in refused(
        plan, user_tasks=12
    )
    text = refused(plan, group_tasks=tasks - 1)
    assert f"this container or service may have {tasks - 1} more" in text
    assert "docker run --pids-limit" in text


def test_too_few_mappings_are_refused_if_they_are_needed_and_else_noted(flow: Flow):
    plan = plan_of(flow, 200)
    writer = find_footprints(plan).largest
    assert writer.name == "writer"
    assert writer.most_mappings > 200_000 > 2_000 > writer.mappings > 800

    assert "writer needs" in refused(plan, mappings=writer.mappings - 1)
    (note,) = check_limits(plan, find_limits_with(mappings=65_530))
    assert note.startswith(
        "if every slot of its edges is used at some time, node writer needs "
        f"{writer.most_mappings:,} mappings of memory, and vm.max_map_count allows 65,530: "
    )
    assert note.endswith(f"sysctl -w vm.max_map_count={2 * writer.most_mappings}")


def find_limits_with(*, mappings: int) -> Limits:
    return Limits(100_000, 100_000, 10, mappings, None, None)


def test_tokens_that_may_not_find_room_are_noted(flow: Flow):
    plan = plan_of(flow, 10)
    need = find_need(plan)

    note = most_note(plan, Room(64 * 2**20, need.nbytes + need.most_tokens_nbytes - 1))
    assert note is not None
    assert f"{need.objects + need.most_tokens:,} objects before the samples" in note
    objects = need.objects + need.most_tokens - 1
    note = most_note(plan, Room(GIB, GIB, objects))
    assert note is not None
    assert f"1.0 GiB free and room for {objects:,} objects" in note


def test_memory_is_counted_in_the_pages_of_the_machine(flow: Flow):
    plan = plan_of(flow, 10)

    needs = [find_need(plan, kib * 1024) for kib in (4, 16, 64)]

    assert needs[0].objects == needs[1].objects == needs[2].objects
    assert needs[0].nbytes < needs[1].nbytes < needs[2].nbytes
    # Small objects: a page each.
    assert needs[2].nbytes == 64 * 1024 * (needs[2].objects - 1)
    assert needs[2].most_tokens_nbytes == 16 * needs[0].most_tokens_nbytes


def test_limits_of_this_machine_are_found():
    limits = find_limits()

    assert limits.descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert limits.mappings == int(Path("/proc/sys/vm/max_map_count").read_text())
    assert os.geteuid() != 0 or limits.user_tasks is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.programs
def test_processes_that_a_user_has_count_against_what_it_may_have(tmp_path: Path):
    program = (
        "import os, resource, threading; os.setuid(54321);"
        "resource.setrlimit(resource.RLIMIT_NPROC, (50, 50));"
        "from dora_rt.launcher.preconditions import find_limits;"
        "threading.Thread(target=threading.Event().wait, daemon=True).start();"
        "print(find_limits().user_tasks)"
    )

    done = subprocess.run(
        [sys.executable, "-c", f"import dora_rt.launcher.preconditions; {program}"],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.stdout == "48\n", done.stderr


def test_room_in_a_control_group_is_the_smallest_of_those_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder, most, present in ((inner, "max", 7), (inner.parent, "100", 30)):
        (folder / "pids.max").write_text(f"{most}\n")
        (folder / "pids.current").write_text(f"{present}\n")
    monkeypatch.setattr("dora_rt.launcher.preconditions._CGROUPS", tmp_path)
    groups = tmp_path / "groups"
    groups.write_text("4:memory:/other\n0::/outer/inner\n")
    read_text = Path.read_text

    def read(path: Path) -> str:
        return read_text(groups if path == Path("/proc/self/cgroup") else path)

    monkeypatch.setattr(Path, "read_text", read)

    assert find_limits().group_tasks == 70
