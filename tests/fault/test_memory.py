"""F23 to F27: too little shared memory, and shared memory that somebody tampers with."""

from __future__ import annotations

import errno
import mmap
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dora_rt.descriptor import read_descriptor
from dora_rt.errors import SharedMemoryError, SharedMemoryFullError
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.plan.memory_need import check_room, find_need, room_note
from dora_rt.plan.plan import Plan
from dora_rt.plan.planner import make_plan
from dora_rt.transport.primitives import shm
from dora_rt.transport.primitives.shm import Room, Segment
from dora_rt.units import size
from tests.harness.finished import Finished
from tests.harness.flow import Flow
from tests.harness.objects import new_run
from tests.harness.ring import wired

MIB = 2**20

needs_mount = pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0,
    reason="a small /dev/shm of one's own needs root, and the right to mount",
)


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "flow").mkdir()
    return Flow(tmp_path / "flow")


def run_with_shm(mib: int, flow: Flow, *command: str) -> Finished:
    """Run a command where /dev/shm is a tmpfs of that size, and prove that it left nothing."""
    script = f"""
        mount -t tmpfs -o size={mib}m tmpfs /dev/shm || exit 99
        "$@"
        code=$?
        ls -A /dev/shm > left
        exit $code
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *(command or flow.command())],
        cwd=flow.folder,
        capture_output=True,
        text=True,
        timeout=30,
    )
    left = (flow.folder / "left").read_text().split()
    assert [name for name in left if "drt-" in name] == []
    return Finished(done.returncode, done.stdout, done.stderr)


LARGE = """
    nodes:
      - {id: camera, path: camera.py, outputs: [image, note]}
      - {id: viewer, path: viewer.py, inputs: {
          image: {source: camera/image, queue_size: 1, max_held: 1, slot_bytes: %s},
          note: camera/note}}
"""


def write_large(flow: Flow) -> None:
    """Write a flow that needs 63.9 MiB, however many slots an output is given."""
    for name in ("camera", "viewer"):
        flow.write(f"{name}.py", f"open('{name} was started', 'w')\n")
    flow.write("flow.yml", LARGE % 1)
    slots = plan_of(flow).outputs[0].slots
    flow.write("flow.yml", LARGE % ((64 * MIB - 200 * 1024) // slots))


def plan_of(flow: Flow) -> Plan:
    descriptor = read_descriptor(flow.folder / "flow.yml")
    return make_plan(descriptor, folder=flow.folder, interpreter=sys.executable)


def needed(flow: Flow) -> str:
    return size(find_need(plan_of(flow)).nbytes)


@needs_mount
def test_shared_memory_without_a_limit_has_room(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: alone, path: /bin/true}]")

    done = run_with_shm(0, flow)

    assert (done.exit_code, done.err) == (0, "")
    assert "note: " not in done.out


@needs_mount
def test_flow_too_large_for_shared_memory_is_refused_before_any_node_starts(flow: Flow):
    write_large(flow)

    done = run_with_shm(8, flow)

    assert done.exit_code == 3
    lines = done.err.splitlines()
    assert lines[0].endswith(
        f"needs {needed(flow)} of shared memory, /dev/shm has 8.0 MiB free (of 8.0 MiB):"
    )
    assert re.fullmatch(r" +6[34]\.\d MiB  camera/image \(\d+ slots of \d+\.\d MiB\)", lines[1])
    assert re.fullmatch(r" +\d+\.\d KiB  camera/note \(its samples come on top: .*\)", lines[2])
    assert lines[3].startswith("lower slot_bytes, queue_size or max_held of their inputs, or ")
    assert lines[3].endswith("`docker run --shm-size=128m`")
    assert not list(flow.folder.glob("* was started"))
    assert "has only 8.0 MiB (8.0 MiB free)" in done.out


@needs_mount
def test_memory_that_somebody_takes_after_the_look_ends_the_start_cleanly(flow: Flow):
    write_large(flow)
    flow.write(
        "race.py",
        f"""
        import sys
        from pathlib import Path
        from dora_rt.cli import dora_launch
        from dora_rt.launcher import launch as launcher
        look = launcher.check_room
        def look_then_lose(plan, room):
            look(plan, room)
            Path("/dev/shm/somebody").write_bytes(bytes(20 * {MIB}))
        launcher.check_room = look_then_lose
        dora_launch.main(["flow.yml"])
        """,
    )

    done = run_with_shm(80, flow, sys.executable, "race.py")

    assert done.exit_code == 3
    free = "/dev/shm has 60.0 MiB free (of 80.0 MiB):"
    assert f"needs {needed(flow)} of shared memory, {free}" in done.err
    assert not list(flow.folder.glob("* was started"))


@needs_mount
def test_tmpfs_without_inodes_ends_the_start_cleanly(flow: Flow):
    write_large(flow)

    done = run_with_shm(
        100,
        flow,
        "sh",
        "-c",
        f"mount -o remount,nr_inodes=9 /dev/shm && exec {' '.join(flow.command())}",
    )

    assert done.exit_code == 3
    assert "has 100.0 MiB free (of 100.0 MiB)" not in done.err
    needed, free = re.search(
        r"flow\.yml needs (\d+) objects in /dev/shm, which has room for (\d+) more \(inodes\): "
        r"`mount -o remount,nr_inodes=\d+ /dev/shm`",
        done.err,
    ).groups()
    assert int(needed) > int(free) >= 5
    assert not list(flow.folder.glob("* was started"))


@needs_mount
def test_inodes_that_somebody_takes_after_the_look_end_the_start_cleanly(flow: Flow):
    write_large(flow)
    flow.write(
        "race.py",
        """
        from pathlib import Path
        from dora_rt.cli import dora_launch
        from dora_rt.launcher import launch as launcher
        look = launcher.check_room
        def look_then_lose(plan, room):
            look(plan, room)
            for number in range(7):
                Path(f"/dev/shm/somebody{number}").touch()
        launcher.check_room = look_then_lose
        dora_launch.main(["flow.yml"])
        """,
    )

    done = run_with_shm(
        100,
        flow,
        "sh",
        "-c",
        f"mount -o remount,nr_inodes=18 /dev/shm && exec {sys.executable} race.py",
    )

    assert done.exit_code == 3
    assert "flow.yml needs 13 objects in /dev/shm, which has room for 8 more" in done.err


@needs_mount
def test_sample_that_finds_no_room_is_an_error_in_send_and_the_flow_goes_on(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: sink, path: sink.py, inputs: {out: {source: source/out, queue_policy: block}}}
        """,
    )
    flow.write(
        "source.py",
        f"""
        from dora_rt import Node
        from dora_rt.errors import SharedMemoryFullError
        node = Node()
        node.send_output("out", bytes(100))
        for _ in range(3):
            try:
                node.send_output("out", bytes(20 * {MIB}))
            except SharedMemoryFullError as error:
                print("no room:", error)
        node.send_output("out", bytes(200))
        """,
    )
    flow.write(
        "sink.py",
        """
        from dora_rt import Node
        print([len(event.value) for event in Node()])
        """,
    )

    done = run_with_shm(8, flow)

    errors = done.lines("source")
    assert len(errors) == 3
    # In whole pages, and with room for its header.
    (nbytes,) = {
        int(re.search(r"needs ([\d,]+) more bytes", one)[1].replace(",", "")) for one in errors
    }
    assert nbytes % mmap.PAGESIZE == 0
    assert 20 * MIB < nbytes <= 20 * MIB + 4096 + mmap.PAGESIZE
    assert all("/dev/shm has " in error for error in errors)
    assert done.lines("sink") == ["[100, 200]"]
    assert done.exit_code == 0


def test_need_is_what_the_run_then_allocates(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: a, path: a.py, outputs: [x, y, z]}
          - {id: b, path: a.py, outputs: [w], inputs: {x: {source: a/x, slot_bytes: 100000}}}
          - {id: c, path: a.py, inputs: {x: a/x, y: {source: a/y, queue_size: 30}, w: b/w}}
        """,
    )
    flow.write("a.py", "")
    plan = plan_of(flow)
    before = shm.find_room()

    with RunMemory.create(plan, run := new_run()):
        paths = list(shm.SHM_DIRECTORY.glob(f"*drt-{run}-*"))
        allocated = sum(path.stat().st_blocks * 512 for path in paths)
        objects = len(paths)

    need = find_need(plan)
    assert [output.source for output in need.outputs] == ["a/x", "a/y", "a/z", "b/w"]
    # Signs of life that nobody asked for, and pools that come with the first sample.
    assert 0 <= need.objects - objects <= len(plan.processes) + len(need.outputs)
    assert 0 <= need.nbytes - allocated <= len(plan.processes) * mmap.PAGESIZE
    assert before.nbytes >= before.free_nbytes > 0


def test_flow_that_just_fits_is_not_refused(flow: Flow):
    write_large(flow)
    plan = plan_of(flow)
    nbytes = find_need(plan).nbytes

    check_room(plan, Room(nbytes, nbytes))

    with pytest.raises(SharedMemoryFullError):
        check_room(plan, Room(nbytes, nbytes - 1))


def test_error_names_the_largest_outputs_first_and_not_hundreds_of_them(flow: Flow):
    inputs = ", ".join(
        f"i{number}: {{source: a/o{number}, slot_bytes: {number + 1}000000}}"
        for number in range(30)
    )
    outputs = ", ".join(f"o{number}" for number in range(30))
    flow.write(
        "flow.yml",
        f"nodes: [{{id: a, path: a.py, outputs: [{outputs}]}}, "
        f"{{id: b, path: a.py, inputs: {{{inputs}}}}}]",
    )
    flow.write("a.py", "")

    with pytest.raises(SharedMemoryFullError) as caught:
        check_room(plan_of(flow), Room(64 * MIB, 60 * MIB))

    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + 10 + 1 + 1
    assert [line.split()[2] for line in lines[1:4]] == ["a/o29", "a/o28", "a/o27"]
    assert lines[11].endswith("20 more outputs")


@pytest.mark.parametrize(
    ("room", "begins"),
    [
        (Room(64 * MIB, 60 * MIB), "/dev/shm has only 64.0 MiB (60.0 MiB free), as in a container"),
        (Room(65 * MIB, 1), None),
    ],
    ids=["Docker's default", "more"],
)
def test_default_size_of_docker_is_noted(room: Room, begins: str | None):
    note = room_note(room)

    assert note is None if begins is None else note is not None and note.startswith(begins)


@pytest.fixture
def no_fallocate(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    calls = []

    def refuse(descriptor: int, offset: int, nbytes: int) -> None:
        calls.append((offset, nbytes))
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("dora_rt.transport.primitives.shm.os.posix_fallocate", refuse)
    return calls


def test_where_fallocate_is_not_supported_the_pages_are_written(
    no_fallocate: list[tuple[int, int]],
):
    prefix = f"drt-{new_run()}"
    segment = Segment.create(f"/{prefix}-x", 3 * mmap.PAGESIZE + 8)
    try:
        status = (shm.SHM_DIRECTORY / f"{prefix}-x").stat()
        sparse = Segment.create(f"/{prefix}-y", 10 * mmap.PAGESIZE, sparse=True)
        try:
            sparse.commit(2 * mmap.PAGESIZE, mmap.PAGESIZE)
            committed = (shm.SHM_DIRECTORY / f"{prefix}-y").stat()
        finally:
            sparse.unlink()
            sparse.close()
    finally:
        segment.unlink()
        segment.close()

    assert no_fallocate == [(0, 3 * mmap.PAGESIZE + 8), (2 * mmap.PAGESIZE, mmap.PAGESIZE)]
    assert status.st_size == 3 * mmap.PAGESIZE + 8
    assert status.st_blocks * 512 == 4 * mmap.PAGESIZE
    assert committed.st_size == 10 * mmap.PAGESIZE
    assert committed.st_blocks * 512 == mmap.PAGESIZE


def test_allocation_that_fails_otherwise_is_explained(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("dora_rt.transport.primitives.shm.os.posix_fallocate", refuse)

    with pytest.raises(SharedMemoryError, match="4,096 bytes cannot be allocated: Input/output"):
        Segment.create(f"/drt-{new_run()}-x", 4096)


TAMPERED = """
    nodes:
      - {id: source, path: source.py, outputs: [out]}
      - {id: sink, path: sink.py, inputs: {out: {source: source/out, queue_policy: block}}}
"""


def test_flow_goes_on_when_its_objects_are_removed(flow: Flow):
    flow.write("flow.yml", TAMPERED)
    flow.write(
        "source.py",
        """
        from pathlib import Path
        from dora_rt import Node
        from dora_rt.node.session import Session
        node = Node()
        tick = 0
        node.send_output("out", bytes(10))
        while not Path("received").exists():
            pass
        run = Session.of(node).config.run
        removed = [path.unlink() for path in Path("/dev/shm").glob(f"*drt-{run}-*")]
        print("removed", len(removed))
        for number in range(100):
            node.send_output("out", bytes(number))
        # Too large for the slots: memory that is made now can be attached, by name.
        node.send_output("out", bytes(1_000_000))
        """,
    )
    flow.write(
        "sink.py",
        """
        from pathlib import Path
        from dora_rt import Node
        received = []
        for event in Node():
            received.append(len(event.value))
            Path("received").touch()
        print(received == [10, *range(100), 1_000_000])
        """,
    )

    done = flow.run()

    assert int(done.lines("source")[0].split()[1]) >= 8, "those of the run, nodes and edges"
    assert done.lines("sink") == ["True"]
    assert done.exit_code == 0


def test_who_attaches_after_the_objects_were_removed_is_told_why():
    with wired() as live:
        paths = list(shm.SHM_DIRECTORY.glob(f"drt-{live.run}-*"))
        for path in shm.SHM_DIRECTORY.glob(f"*drt-{live.run}-*"):
            path.unlink()

        assert len(paths) >= 3
        for path in paths:
            with pytest.raises(SharedMemoryError, match=f"/{path.name} is gone: .* RemoveIPC=no"):
                Segment.attach(f"/{path.name}", writable=False)


TRUNCATED = """
    nodes:
      - {id: source, path: source.py, outputs: [out], restart: RESTART, restart_delay: 0.1}
      - {id: sink, path: sink.py, inputs: {out: {source: source/out, slot_bytes: 50000}}}
"""

TRUNCATING = """
    import os, time
    from pathlib import Path
    from dora_rt import Node
    from dora_rt.node.session import Session
    node = Node()
    node.send_output("out", bytes(10_000))
    if not Path("truncated").exists():
        # What is in the memory now was received, so only this node meets what comes.
        while not Path("received").exists():
            time.sleep(0.001)
        Path("truncated").touch()
        pools = list(Path("/dev/shm").glob(f"drt-{Session.of(node).config.run}-o*g*"))
        print("pools", len(pools), flush=True)
        os.truncate(pools[0], 0)
    node.send_output("out", bytes(20_000))
"""


@pytest.mark.parametrize(
    ("restart", "received", "exit_code"),
    [("never", [10_000], 1), ("on-failure", [10_000, 10_000, 20_000], 0)],
)
def test_node_killed_by_truncated_memory_is_told_so_and_restarted_with_memory_of_its_own(
    flow: Flow, restart: str, received: list[int], exit_code: int
):
    flow.write("flow.yml", TRUNCATED.replace("RESTART", restart))
    flow.write("source.py", TRUNCATING)
    flow.write(
        "sink.py",
        """
        from pathlib import Path
        from dora_rt import Node
        received = []
        for event in Node():
            received.append(len(event.value))
            Path("received").touch()
        print(received)
        """,
    )

    done = flow.run()

    assert done.lines("source") == ["pools 1"]
    text = "failed: SIGBUS (Bus error: shared memory was truncated, or /dev/shm is full)"
    assert f"node source {text}" in done.out
    assert done.ending("source") == (text if exit_code else "finished")
    assert done.lines("sink") == [str(received)]
    assert done.exit_code == exit_code
