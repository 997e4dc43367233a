"""Nodes that the launcher may not signal, that have no process group yet, or that never begin."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dora_rt.launcher.processes.ending import Rung, describe_ending
from tests.harness.flow import Flow
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.verbs import COMMAND

USER, OTHER_USER = 65534, 65533


@pytest.fixture
def ordinary(starts_programs: None) -> Iterator[IsolatedFlow]:
    """Give a flow whose launchers are an ordinary user, whose nodes may become another one."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can prepare it, and it takes setpriv (util-linux)")
    folder = Path(tempfile.mkdtemp())
    isolated = IsolatedFlow(folder)
    for path in (folder, isolated.runtime):
        os.chown(path, USER, USER)
    yield isolated
    isolated.close()
    shutil.rmtree(folder)


def as_ordinary_user(isolated: IsolatedFlow, *arguments: str) -> list[str]:
    return become_ordinary(isolated.command(*arguments))


def become_ordinary(command: list[str]) -> list[str]:
    # As `sudo` and drivers with the set-user-ID bit do it, in whose place the node calls setuid().
    # The second capability is for an interpreter in root's home.
    caps = "+setuid,+dac_override"
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    return [*user, f"--inh-caps={caps}", f"--ambient-caps={caps}", *command]


def ask(isolated: IsolatedFlow, *words: str) -> int:
    """Run a verb of `dora-rt`, such as `stop NODE`, and give its exit code."""
    command = [*COMMAND, *words]
    return subprocess.run(become_ordinary(command), env=isolated.environ, timeout=20).returncode


def write_driver(isolated: IsolatedFlow, end: str, restart: str = "never") -> None:
    isolated.write_ticking()
    isolated.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: source, path: source.py, inputs: {{tick: dora/timer/millis/10}}, outputs: [out]}}
          - {{id: sink, path: sink.py, inputs: {{out: source/out}}}}
          - {{id: driver, path: driver.py, stop_grace: 0.2, restart: {restart}, max_restarts: 2}}
        """,
    )
    isolated.write(
        "driver.py",
        f"""
        import os, sys, time
        from pathlib import Path
        os.setuid({OTHER_USER})
        print("pid", os.getpid())
        {end}
        """,
    )


def test_end_of_a_node_that_has_become_another_user_is_an_end_like_any_other(
    ordinary: IsolatedFlow,
):
    write_driver(ordinary, "sys.exit(3)", restart="on-failure")

    code, out = ordinary.finish(command=as_ordinary_user(ordinary, "--stop-after", "4s"))

    assert out.count("node driver failed: exit status 3") == 4, "three starts, and the summary"
    assert re.search(r"^driver +failed: exit status 3 +2 ", out, re.M)
    assert re.search(r"^source/out -> sink/out +\d\d+ ", out, re.M), "all others go on"
    assert "Traceback" not in out
    assert code == 1


def test_node_that_may_not_be_signalled_is_named_at_the_stop_and_all_others_drain(
    ordinary: IsolatedFlow,
):
    write_driver(ordinary, "time.sleep(60)")

    code, out = ordinary.finish(command=as_ordinary_user(ordinary, "--stop-after", "1s"))

    pid = int(re.search(r"^driver \| pid (\d+)$", out, re.M)[1])
    try:
        where = f"process {pid} belongs to user {OTHER_USER}, and may not be signalled"
        assert f"node driver: {where}; waiting for it to end by itself\n" in out
        assert f"node driver left behind: {where}; it goes on\n" in out
        assert re.search(rf"^driver +left behind: {where}; it goes on ", out, re.M)
        assert re.search(r"^source +stopped ", out, re.M)
        assert re.search(r"^sink +finished ", out, re.M)
        assert code == 1
        assert Path(f"/proc/{pid}").exists(), "the fault took place"
        assert ordinary.runs() == set()
    finally:
        os.kill(pid, signal.SIGKILL)


def pid_of(driver: str, out: str) -> int:
    return int(re.search(rf"^{driver} *\| pid (\d+)$", out, re.M)[1])


def left_behind(pid: int) -> str:
    return f"process {pid} belongs to user {OTHER_USER}, and may not be signalled; it goes on"


def test_what_has_become_another_user_below_a_shell_is_named_and_left_behind(
    ordinary: IsolatedFlow,
):
    write_driver(ordinary, "time.sleep(60)")
    text = (ordinary.folder / "flow.yml").read_text()
    shell = f"path: bash, args: '-c \"{sys.executable} -u driver.py; true\"'"
    (ordinary.folder / "flow.yml").write_text(text.replace("path: driver.py", shell))

    code, out = ordinary.finish(command=as_ordinary_user(ordinary, "--stop-after", "1s"))

    pid = pid_of("driver", out)
    try:
        assert f"node driver: {left_behind(pid)}".replace("it goes on", "waiting for it") in out
        assert re.search(rf"^driver +killed: [^;]*; {left_behind(pid)} ", out, re.M), out
        assert re.search(r"^sink +finished ", out, re.M)
        assert code == 1
        assert Path(f"/proc/{pid}").exists(), "the fault took place"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_node_that_dies_before_it_has_a_process_group_of_its_own_has_failed(isolated: IsolatedFlow):
    isolated.write_ticking()
    isolated.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
          - {id: sink, path: sink.py, inputs: {out: source/out}}
          - {id: dead, path: dead.sh, restart: on-failure, max_restarts: 2, restart_delay: 0.1}
        """,
    )
    isolated.write("dead.sh", "#!/bin/sh\n").chmod(0o755)
    isolated.write(
        "launch.py",
        """
        import os, signal, subprocess, sys
        from dora_rt.cli.dora_launch import main
        start = subprocess.Popen.__init__
        def start_and_die(self, command, **options):
            if command[-1].endswith("dead.sh"):
                # What the child does before it is a session's leader.
                options["start_new_session"] = False
                options["preexec_fn"] = lambda: os.kill(os.getpid(), signal.SIGKILL)
            start(self, command, **options)
        subprocess.Popen.__init__ = start_and_die
        main(sys.argv[1:])
        """,
    )
    python, _, _, file, *rest = isolated.command("--stop-after", "1s")

    code, out = isolated.finish(command=[python, str(isolated.folder / "launch.py"), file, *rest])

    assert re.search(r"^dead +failed: SIGKILL \(Killed\) +2 ", out, re.M), out
    assert re.search(r"^source/out -> sink/out +\d\d+ ", out, re.M), "all others go on"
    assert "Traceback" not in out
    assert code == 1


def test_node_that_a_real_time_signal_has_ended_has_failed():
    ending = describe_ending(-(signal.SIGRTMIN + 3), [])

    assert (ending.is_failure, ending.text) == (True, f"failed: signal {signal.SIGRTMIN + 3}")


def test_second_rung_is_said_only_if_it_was_reached():
    told, interrupted = Rung.TOLD, Rung.INTERRUPTED

    assert describe_ending(130, [told, interrupted]).text == "stopped (SIGINT)"
    assert describe_ending(-2, [told]).text == "failed: SIGINT (Interrupt)"


CRASHING = """
    nodes:
      - {id: source, path: source.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
      - {id: sink, path: sink.py, inputs: {out: source/out, image: camera/image}}
      - id: camera
        path: camera.py
        outputs: [image]
        restart: always
        max_restarts: 0
        restart_delay: 0.05
        max_restart_delay: 0.05
"""


def write_crashing(flow: Flow, camera: str) -> None:
    flow.write("flow.yml", CRASHING)
    flow.write(
        "source.py",
        "from dora_rt import Node\nnode = Node()\nfor _ in node: node.send_output('out', b'x')\n",
    )
    flow.write("sink.py", "from dora_rt import Node\nfor event in Node(): print(event.id)\n")
    flow.write("camera.py", camera)


def test_node_that_always_fails_before_it_is_ready_holds_up_nobody_nor_the_end(flow: Flow):
    write_crashing(flow, "raise SystemExit('no camera')\n")

    done = flow.run("--stop-after", "500ms", timeout_s=20)

    assert "out" in done.lines("sink")
    assert done.out.count("node camera failed: exit status 1; restart") > 2, "the fault took place"
    assert "stopping after 0.5 s" in done.out


def test_node_that_comes_late_joins_the_flow_that_has_begun_without_it(flow: Flow):
    write_crashing(
        flow,
        """
        import sys
        from pathlib import Path
        from dora_rt import Node
        if not Path("plugged in").exists():
            sys.exit("no camera")
        node = Node()
        while not node.is_stopped():
            node.send_output("image", b"x")
        """,
    )
    launcher = flow.start()
    assert launcher.stdout is not None
    next(line for line in launcher.stdout if line == "sink   | out\n")

    (flow.folder / "plugged in").touch()

    next(line for line in launcher.stdout if line == "sink   | image\n")
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)


def test_launcher_that_is_init_lets_go_of_what_nodes_leave_behind(isolated: IsolatedFlow):
    if os.geteuid() != 0:
        pytest.skip("only root can make a name space of processes")
    isolated.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    isolated.write(
        "a.py",
        """
        import os, subprocess, time
        from pathlib import Path
        # Daemons: their parent, a shell, ends before them.
        script = "for n in 1 2 3 4 5; do setsid sleep 1 & done"
        subprocess.run(["sh", "-c", script])
        def states():
            found = []
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    text = (folder / "stat").read_text()
                except OSError:
                    continue
                if "(sleep)" in text:
                    found.append(text.rpartition(") ")[2].split()[:2])
            return found
        while sum(parent == "1" for _, parent in states()) < 5:
            time.sleep(0.001)
        print("left behind 5")
        while states():
            time.sleep(0.01)
        print("all gone")
        """,
    )
    name_space = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

    code, out = isolated.finish(command=[*name_space, *isolated.command()])

    assert "a | left behind 5\n" in out, "the fault took place"
    assert "a | all gone\n" in out
    assert re.search(r"^a +finished ", out, re.M)
    assert code == 0
