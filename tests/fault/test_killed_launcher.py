"""SIGKILL of the launcher, which cannot clean up: what it started must not survive it."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dora_rt.units import size
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.objects import new_objects, objects
from tests.harness.processes import cpu_ticks
from tests.harness.waiting import eventually

LIMIT_S = 2.0

# A launcher that kills itself just before the n-th of the effects by which it makes, runs and
# removes a run, and tells how many there were if it is not killed.
KILLED_AT_STEP = """
    import os, signal, sys
    import posix_ipc
    from dora_rt.cli import dora_launch, run_file

    EFFECTS = {
        "os.mkdir", "os.chmod", "os.rename", "os.truncate", "os.remove", "os.rmdir", "os.scandir",
        "open", "fcntl.flock", "mmap.__new__", "shutil.rmtree", "subprocess.Popen", "os.killpg",
    }
    step, file = int(sys.argv[1]), sys.argv[2]
    steps = 0

    def count():
        global steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function):
        def call(*arguments, **options):
            count()
            return function(*arguments, **options)
        return call

    def launch(*arguments, **options):
        sys.addaudithook(lambda event, arguments: count() if event in EFFECTS else None)
        outcome = run_launch(*arguments, **options)
        print("steps:", steps)
        return outcome

    run_launch, run_file.launch = run_file.launch, launch
    for name in ("Semaphore", "SharedMemory", "unlink_semaphore", "unlink_shared_memory"):
        setattr(posix_ipc, name, counted(getattr(posix_ipc, name)))
    dora_launch.main([file, "--stop-after", "20ms"])
"""


def nothing_is_left(isolated: IsolatedFlow, before: dict[str, int]) -> bool:
    return not isolated.processes() and not new_objects(before)


def test_killed_launcher_leaves_nothing_of_idle_nodes(isolated: IsolatedFlow):
    # F05
    isolated.write(
        "flow.yml", "nodes: [{id: idle, path: idle.py, inputs: {tick: dora/timer/secs/60}}]"
    )
    isolated.write(
        "idle.py",
        """
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        Path("ready").write_text("x")
        for event in node:  # the first is there at once
            pass
        """,
    )
    before = objects()
    launcher = isolated.start_and_wait_for("ready")
    (run,) = isolated.runs()
    assert objects(run)
    commands = " ".join(isolated.processes().values())
    assert len(isolated.processes()) == 3
    assert all(word in commands for word in ("flow.yml", "idle.py", "reaper.py"))

    isolated.kill(launcher)

    eventually(lambda: nothing_is_left(isolated, before) and not isolated.runs(), within_s=LIMIT_S)


def test_killed_launcher_takes_a_node_with_it_that_keeps_the_gil_in_a_c_call(
    isolated: IsolatedFlow,
):
    # F06
    isolated.write("flow.yml", "nodes: [{id: keeps_the_gil, path: keeps_the_gil.py}]")
    isolated.write(
        "keeps_the_gil.py",
        """
        import os, re, threading
        from pathlib import Path

        def beat():
            for number in range(10**9):
                Path("beats").write_text(str(number))

        threading.Thread(target=beat, daemon=True).start()
        Path("pid").write_text(str(os.getpid()))
        re.match(r"(a+)+$", "a" * 40 + "b")
        """,
    )
    before = objects()
    launcher = isolated.start_and_wait_for("pid")
    node = isolated.number("pid")
    ticks = cpu_ticks(node)
    eventually(lambda: cpu_ticks(node) >= ticks + 10, within_s=20)
    beats = (isolated.folder / "beats").read_text()
    eventually(lambda: cpu_ticks(node) >= ticks + 30, within_s=20)
    assert (isolated.folder / "beats").read_text() == beats, "no thread gets the GIL"

    isolated.kill(launcher)

    eventually(lambda: nothing_is_left(isolated, before) and not isolated.runs(), within_s=LIMIT_S)


def test_killed_launcher_takes_along_what_a_node_started_but_not_what_left_its_session(
    isolated: IsolatedFlow,
):
    # F07; that a process which called setsid survives is a limit that docs/reliability.md tells.
    isolated.write("flow.yml", "nodes: [{id: has_children, path: has_children.py}]")
    isolated.write(
        "has_children.py",
        """
        import os, subprocess
        from pathlib import Path
        LOOK = "date +%s%N >> last; sleep 0.02"
        # What it says of its children that are ended would break the pipe of its dead parent.
        QUIET = "exec 2> /dev/null"
        DEAF = f"{QUIET}; trap 'date +%s%N > asked' TERM; echo; while :; do {LOOK}; done"
        sleeping = subprocess.Popen(["sleep", "300"])
        # Its shell tells of killed children, to nobody then: that must not be what ends it.
        deaf = subprocess.Popen(["sh", "-c", DEAF], stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL)
        deaf.stdout.readline()
        escaped = subprocess.Popen(["sleep", "300"], start_new_session=True)
        grouped = subprocess.Popen(["sh", "-c", f"{QUIET}; exec sleep 300"], preexec_fn=os.setpgrp)
        Path("sleeping").write_text(str(sleeping.pid))
        Path("grouped").write_text(str(grouped.pid))
        Path("deaf").write_text(str(deaf.pid))
        Path("escaped").write_text(str(escaped.pid))
        sleeping.wait()
        """,
    )
    before = objects()
    launcher = isolated.start_and_wait_for("sleeping", "deaf", "grouped", "escaped")
    children = {isolated.number(name) for name in ("sleeping", "deaf", "grouped", "escaped")}
    assert children < isolated.processes().keys()

    isolated.kill(launcher)

    escaped = isolated.number("escaped")
    eventually(lambda: isolated.processes().keys() == {escaped}, within_s=LIMIT_S)
    asked_ns, *_, last_ns = (
        int(line)
        for name in ("asked", "last")
        for line in (isolated.folder / name).read_text().split()
    )
    assert last_ns - asked_ns > 500_000_000, "what ignores SIGTERM is given its second"
    eventually(lambda: not new_objects(before) and not isolated.runs(), within_s=LIMIT_S)
    os.kill(escaped, signal.SIGKILL)


@pytest.mark.slow
def test_launcher_killed_before_any_of_its_steps_leaves_nothing_behind(isolated: IsolatedFlow):
    # F08
    isolated.write_ticking()
    script = str(isolated.write("killed_at_step.py", KILLED_AT_STEP))
    flow = str(isolated.folder / "flow.yml")
    code, out = isolated.finish(command=[sys.executable, script, "0", flow])
    assert code == 0, out
    steps = int(out.partition("steps: ")[2].split()[0])
    chosen = [1 + number * (steps - 5) // 50 for number in range(50)]
    before = objects()

    def kill_at(step: int) -> str | None:
        code, out = isolated.finish(command=[sys.executable, script, str(step), flow])
        return None if code == -signal.SIGKILL else f"step {step} was not reached: {out}"

    for pair in zip(chosen[::2], chosen[1::2], strict=True):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(kill_at, pair)) == [None, None]
        eventually(lambda: nothing_is_left(isolated, before), within_s=LIMIT_S)
    isolated.clean()
    assert not isolated.runs()


@pytest.mark.slow
def test_launcher_killed_at_50_random_moments_of_start_run_and_stop_leaves_nothing(
    isolated: IsolatedFlow,
):
    # Criterion 3 of step 2.
    isolated.write_ticking()
    before = objects()
    arguments = ("--stop-after", "100ms")
    moments = random.Random(3)
    whole_s = measure_s(isolated, arguments)
    killed = 0

    def kill_after(moment_s: float) -> float | None:
        began = os.times().elapsed
        launcher = isolated.start(*arguments)
        with suppress(subprocess.TimeoutExpired):
            launcher.wait(moment_s)
        lasted_s = os.times().elapsed - began
        launcher.kill()
        launcher.communicate(timeout=10)
        return None if launcher.returncode == -signal.SIGKILL else lasted_s

    # Who has ended before its moment was not killed, and does not count; but it tells how long a
    # run takes by now.
    while killed < 50:
        pair = [moments.uniform(0, 0.9 * whole_s) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            ended_s = list(pool.map(kill_after, pair))
        killed += ended_s.count(None)
        whole_s = min([whole_s, *(lasted_s for lasted_s in ended_s if lasted_s is not None)])
        eventually(lambda: nothing_is_left(isolated, before), within_s=LIMIT_S)

    isolated.clean()
    assert not isolated.runs()


def measure_s(isolated: IsolatedFlow, arguments: tuple[str, ...]) -> float:
    began = os.times().elapsed
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: isolated.finish(*arguments), range(2)))
    assert [code for code, _ in results] == [0, 0], results
    return os.times().elapsed - began


def test_run_that_died_with_its_reaper_is_reclaimed_by_the_next_launch_and_living_runs_are_not(
    isolated: IsolatedFlow, tmp_path: Path
):
    # F09
    (tmp_path / "other").mkdir()
    other = IsolatedFlow(tmp_path / "other")
    other.runtime = isolated.runtime
    isolated.write_ticking()
    other.write_ticking()
    launcher = isolated.start_and_wait_for("received")
    (dead,) = isolated.runs()
    living_launcher = other.start_and_wait_for("received")
    (living,) = isolated.runs() - {dead}
    kept = objects(living)
    reaper = isolated.reaper()
    os.kill(reaper, signal.SIGSTOP)
    isolated.kill(launcher)
    eventually(lambda: isolated.processes().keys() == {reaper})
    os.kill(reaper, signal.SIGKILL)
    eventually(lambda: not isolated.processes())
    left = objects(dead)
    assert left

    code, out = isolated.finish("--stop-after", "50ms")

    assert code == 0, out
    assert out.splitlines()[0] == (
        f"reclaimed {len(left)} objects ({size(sum(left.values()))}) of dead run {dead} "
        f"({isolated.folder / 'flow.yml'})"
    )
    assert out.count("reclaimed") == 1
    assert not objects(dead)
    assert isolated.runs() == {living}
    # It goes on, and makes a token whenever it first uses a slot.
    assert objects(living).keys() >= kept.keys()
    (other.folder / "received").unlink()
    eventually(lambda: other.has("received"))
    os.kill(living_launcher, signal.SIGINT)
    eventually(lambda: not isolated.runs(), within_s=10)
    other.close()


def test_run_goes_on_without_its_reaper(isolated: IsolatedFlow):
    isolated.write_ticking()
    launcher = isolated.start("--stop-after", "300ms")
    eventually(lambda: isolated.has("received"), within_s=20)
    reaper = isolated.reaper()

    os.kill(reaper, signal.SIGKILL)

    out, _ = launcher.communicate(timeout=20)
    assert launcher.returncode == 0, out
    assert not isolated.processes()
    assert not isolated.runs()


def test_reaper_begins_with_the_signals_blocked_that_it_is_going_to_ignore(
    isolated: IsolatedFlow,
):
    isolated.write_ticking()
    isolated.start_and_wait_for("received")

    (blocked,) = re.findall(
        r"SigBlk:\s*(\w+)", Path(f"/proc/{isolated.reaper()}/status").read_text()
    )

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        assert int(blocked, 16) & 1 << number - 1, number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_reaper_does_its_work_after_a_signal_that_was_meant_for_the_launcher(
    isolated: IsolatedFlow, number: signal.Signals
):
    isolated.write_ticking()
    before = objects()
    launcher = isolated.start_and_wait_for("received")
    reaper = isolated.reaper()

    os.kill(reaper, number)
    isolated.kill(launcher)

    eventually(lambda: nothing_is_left(isolated, before) and not isolated.runs(), within_s=LIMIT_S)
