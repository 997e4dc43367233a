"""SIGKILL of the launcher, which cannot clean up: what it started must not survive it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dora_rt.units import size
from tests.fault.bed import Bed, cpu_ticks, new_objects, objects
from tests.helpers import eventually

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


def nothing_is_left(bed: Bed, before: dict[str, int]) -> bool:
    return not bed.processes() and not new_objects(before)


def test_killed_launcher_leaves_nothing_of_idle_nodes(bed: Bed):
    # F05
    bed.write("flow.yml", "nodes: [{id: idle, path: idle.py, inputs: {tick: dora/timer/secs/60}}]")
    bed.write(
        "idle.py",
        """
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        Path("ready").write_text("x")
        node.next()
        """,
    )
    before = objects()
    launcher = bed.start_and_wait_for("ready")
    (run,) = bed.runs()
    assert objects(run)
    commands = " ".join(bed.processes().values())
    assert len(bed.processes()) == 3
    assert all(word in commands for word in ("flow.yml", "idle.py", "reaper.py"))

    bed.kill(launcher)

    eventually(lambda: nothing_is_left(bed, before) and not bed.runs(), within_s=LIMIT_S)


def test_killed_launcher_takes_a_node_with_it_that_keeps_the_gil_in_a_c_call(bed: Bed):
    # F06
    bed.write("flow.yml", "nodes: [{id: keeps_the_gil, path: keeps_the_gil.py}]")
    bed.write(
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
    launcher = bed.start_and_wait_for("pid")
    node = bed.number("pid")
    ticks = cpu_ticks(node)
    eventually(lambda: cpu_ticks(node) >= ticks + 10, within_s=20)
    beats = (bed.folder / "beats").read_text()
    eventually(lambda: cpu_ticks(node) >= ticks + 30, within_s=20)
    assert (bed.folder / "beats").read_text() == beats, "no thread gets the GIL"

    bed.kill(launcher)

    eventually(lambda: nothing_is_left(bed, before) and not bed.runs(), within_s=LIMIT_S)


def test_killed_launcher_takes_along_what_a_node_started_but_not_what_left_its_session(bed: Bed):
    # F07; that a process which called setsid survives is a limit that docs/reliability.md tells.
    bed.write("flow.yml", "nodes: [{id: has_children, path: has_children.py}]")
    bed.write(
        "has_children.py",
        """
        import subprocess
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
        Path("sleeping").write_text(str(sleeping.pid))
        Path("deaf").write_text(str(deaf.pid))
        Path("escaped").write_text(str(escaped.pid))
        sleeping.wait()
        """,
    )
    before = objects()
    launcher = bed.start_and_wait_for("sleeping", "deaf", "escaped")
    children = {bed.number(name) for name in ("sleeping", "deaf", "escaped")}
    assert children < bed.processes().keys()

    bed.kill(launcher)

    escaped = bed.number("escaped")
    eventually(lambda: bed.processes().keys() == {escaped}, within_s=LIMIT_S)
    asked_ns, *_, last_ns = (
        int(line) for name in ("asked", "last") for line in (bed.folder / name).read_text().split()
    )
    assert last_ns - asked_ns > 500_000_000, "what ignores SIGTERM is given its second"
    eventually(lambda: not new_objects(before) and not bed.runs(), within_s=LIMIT_S)
    os.kill(escaped, signal.SIGKILL)


def test_launcher_killed_before_any_of_its_steps_leaves_nothing_behind(bed: Bed):
    # F08
    bed.write_ticking()
    script = str(bed.write("killed_at_step.py", KILLED_AT_STEP))
    flow = str(bed.folder / "flow.yml")
    code, out = bed.run(command=[sys.executable, script, "0", flow])
    assert code == 0, out
    steps = int(out.partition("steps: ")[2].split()[0])
    chosen = [1 + number * (steps - 5) // 50 for number in range(50)]
    before = objects()

    def kill_at(step: int) -> str | None:
        code, out = bed.run(command=[sys.executable, script, str(step), flow])
        return None if code == -signal.SIGKILL else f"step {step} was not reached: {out}"

    for pair in zip(chosen[::2], chosen[1::2], strict=True):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(kill_at, pair)) == [None, None]
        eventually(lambda: nothing_is_left(bed, before), within_s=LIMIT_S)
    bed.clean()
    assert not bed.runs()


def test_launcher_killed_at_50_random_moments_of_start_run_and_stop_leaves_nothing(bed: Bed):
    # Criterion 3 of step 2.
    bed.write_ticking()
    before = objects()
    arguments = ("--stop-after", "100ms")
    moments = random.Random(3)
    whole_s = measure_s(bed, arguments)
    killed = 0

    def kill_after(moment_s: float) -> float | None:
        began = os.times().elapsed
        launcher = bed.start(*arguments)
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
        eventually(lambda: nothing_is_left(bed, before), within_s=LIMIT_S)

    bed.clean()
    assert not bed.runs()


def measure_s(bed: Bed, arguments: tuple[str, ...]) -> float:
    began = os.times().elapsed
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: bed.run(*arguments), range(2)))
    assert [code for code, _ in results] == [0, 0], results
    return os.times().elapsed - began


def test_run_that_died_with_its_reaper_is_reclaimed_by_the_next_launch_and_living_runs_are_not(
    bed: Bed, tmp_path: Path
):
    # F09
    (tmp_path / "other").mkdir()
    other = Bed(tmp_path / "other")
    other.runtime = bed.runtime
    bed.write_ticking()
    other.write_ticking()
    launcher = bed.start_and_wait_for("received")
    (dead,) = bed.runs()
    living_launcher = other.start_and_wait_for("received")
    (living,) = bed.runs() - {dead}
    kept = objects(living)
    reaper = bed.reaper()
    os.kill(reaper, signal.SIGSTOP)
    bed.kill(launcher)
    eventually(lambda: bed.processes().keys() == {reaper})
    os.kill(reaper, signal.SIGKILL)
    eventually(lambda: not bed.processes())
    left = objects(dead)
    assert left

    code, out = bed.run("--stop-after", "50ms")

    assert code == 0, out
    assert out.splitlines()[0] == (
        f"reclaimed {len(left)} objects ({size(sum(left.values()))}) of dead run {dead} "
        f"({bed.folder / 'flow.yml'})"
    )
    assert out.count("reclaimed") == 1
    assert not objects(dead)
    assert bed.runs() == {living}
    # It goes on, and makes a token whenever it first uses a slot.
    assert objects(living).keys() >= kept.keys()
    (other.folder / "received").unlink()
    eventually(lambda: other.has("received"))
    os.kill(living_launcher, signal.SIGINT)
    eventually(lambda: not bed.runs(), within_s=10)
    other.close()


def test_run_goes_on_without_its_reaper(bed: Bed):
    bed.write_ticking()
    launcher = bed.start("--stop-after", "300ms")
    eventually(lambda: bed.has("received"), within_s=20)
    reaper = bed.reaper()

    os.kill(reaper, signal.SIGKILL)

    out, _ = launcher.communicate(timeout=20)
    assert launcher.returncode == 0, out
    assert not bed.processes()
    assert not bed.runs()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_reaper_does_its_work_after_a_signal_that_was_meant_for_the_launcher(
    bed: Bed, number: signal.Signals
):
    bed.write_ticking()
    before = objects()
    launcher = bed.start_and_wait_for("received")
    reaper = bed.reaper()

    os.kill(reaper, number)
    bed.kill(launcher)

    eventually(lambda: nothing_is_left(bed, before) and not bed.runs(), within_s=LIMIT_S)
