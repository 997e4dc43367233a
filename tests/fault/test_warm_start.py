"""Nodes that begin as a copy of the fork server: the same as those started plainly."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dora_rt.launcher.processes import fork_client
from dora_rt.launcher.processes.fork_client import WarmStart
from dora_rt.plan.plan import ProcessPlan
from tests.harness.finished import Finished
from tests.harness.flow import Flow
from tests.harness.processes import children, is_alive, is_suspended
from tests.harness.ring import Reader, plan_of
from tests.harness.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.programs

# Whatever begins with PYTHON is read at the start of an interpreter only.
PLAIN = "env: {PYTHONNODEBUGRANGES: ''}"
FORK_SERVER = re.compile(rb"dora_rt\0fork\0server\0")

WORLD = """
    import json, os, signal, sys, threading
    from pathlib import Path
    import __main__
    from dora_rt import Node

    WORLD_IS_HERE = True
    node = Node()
    status = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":\\t", 1) for line in status)
    world = {
        "argv": sys.argv,
        "path": sys.path,
        "name": __name__,
        "main": __main__.__file__ if hasattr(__main__, "__file__") else None,
        "is_main": __main__ is sys.modules["__main__"] and hasattr(__main__, "WORLD_IS_HERE"),
        "spec": __spec__ if __spec__ is None else __spec__.name,
        "package": __package__,
        "folder": os.getcwd(),
        "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        "input": sys.stdin.read(),
        "files": sorted(os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
                        for fd in os.listdir("/proc/self/fd")
                        if os.path.exists(f"/proc/self/fd/{fd}") or fd in "012"),
        "unbuffered": [sys.stdout.write_through, sys.stderr.write_through],
        "ignored": fields["SigIgn"],
        "blocked": fields["SigBlk"],
        "interrupt": signal.getsignal(signal.SIGINT).__name__,
        "threads": [fields["Threads"], threading.active_count()],
        "own": sorted(key for key in os.environ if key.startswith("DORA_RT")),
        "line": Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0").decode().split("\\0"),
        "modules": [name for name in sys.modules if name in ("yaml", "cv2", "subprocess")],
    }
    print(json.dumps(world))
"""


def worlds(flow: Flow, nodes: str) -> list[dict[str, object]]:
    for name in ("sub/node.py", "package_of_mine/__main__.py", "package_of_mine/__init__.py"):
        (flow.folder / name).parent.mkdir(exist_ok=True)
        flow.write(name, "" if "__init__" in name else WORLD)
    flow.write("flow.yml", nodes)
    run = flow.run()
    return [json.loads(line) for name in ("warm", "plain") for line in run.lines(name)]


@pytest.mark.parametrize(
    "program", ["path: sub/node.py, args: [a, 'b c']", "module: package_of_mine, args: [a]"]
)
def test_node_finds_the_same_world_however_it_was_started(flow: Flow, program: str):
    warm, plain = worlds(
        flow,
        f"""
        nodes:
          - {{id: warm, {program}}}
          - {{id: plain, {program}, {PLAIN}}}
          - {{id: other, path: sub/node.py}}
        """,
    )

    assert warm.pop("threads") == ["1", 1], "nothing that numpy has started"
    assert plain.pop("threads") is not None
    assert warm == plain


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_nodes_are_children_of_the_launcher_and_outlive_the_fork_server(
    flow: Flow, fate: signal.Signals
):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {tick: dora/timer/millis/5}, outputs: [number]}
          - id: sink
            path: sink.py
            restart: on-failure
            restart_delay: 10ms
            inputs: {number: source/number}
        """,
    )
    flow.write(
        "source.py",
        "from dora_rt import Node\nnode = Node()\n"
        "for event in node:\n    node.send_output('number', b'1')\n",
    )
    flow.write(
        "sink.py",
        "from pathlib import Path\nfrom dora_rt import Node\n"
        "for event in Node():\n    Path('received').touch()\n",
    )
    launcher = flow.start()
    # Not before it receives: until its pid is told, a death only means that it starts plainly.
    eventually((flow.folder / "received").exists)
    (server,) = with_line(launcher.pid, FORK_SERVER)
    (sink,) = with_line(launcher.pid, rb"sink\.py")
    assert FORK_SERVER.search(cmdline(server))
    assert environment_mark(sink), "it began as a copy"

    os.kill(server, fate)
    os.kill(sink, signal.SIGKILL)

    def has_new_sink() -> bool:
        found = with_line(launcher.pid, rb"sink\.py")
        return bool(found) and found != [sink] and not environment_mark(found[0])

    # The supervisor does not wait for a server that stands still as long as for its imports.
    eventually(has_new_sink)
    assert not with_line(launcher.pid, FORK_SERVER)
    launcher.send_signal(signal.SIGINT)
    out, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == 130, out
    assert "failed: SIGKILL (Killed); restart 1" in out
    assert re.search(r"^source +stopped +0 ", out, re.M), "nothing happened to it"


def with_line(launcher: int, pattern: bytes | re.Pattern[bytes]) -> list[int]:
    return [pid for pid in children(launcher) if re.search(pattern, cmdline(pid))]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def environment_mark(pid: int) -> bool:
    return b"DORA_RT_FORK_SERVER=" in Path(f"/proc/{pid}/environ").read_bytes()


# Programs that end in different ways, their exit status, and what they say.
ENDS = {
    "exception": ("1 / 0\n", 1, "ZeroDivisionError"),
    "import": ("import no_such_module\n", 1, "ModuleNotFoundError"),
    "exit": ("import sys\nsys.exit(3)\n", 3, None),
    "words": ("import sys\nsys.exit('in words')\n", 1, "in words"),
    "at-once": ("import os\nos._exit(4)\n", 4, None),
    "atexit": ("import atexit\natexit.register(print, 'at the end')\n", 0, "at the end"),
    "thread": ("import threading\nthreading.Timer(0.05, print, ['end']).start()\n", 0, "end"),
    "abort": ("import os\nos.abort()\n", -6, None),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run of all these programs, each of them started in both ways."""
    flow = Flow(tmp_path_factory.mktemp("ends"))
    nodes = []
    for name, (program, _, _) in ENDS.items():
        flow.write(f"{name}.py", program)
        nodes.append(f"  - {{id: {name}-warm, path: {name}.py}}\n")
        nodes.append(f"  - {{id: {name}-plain, path: {name}.py, {PLAIN}}}\n")
    flow.write("flow.yml", "nodes:\n" + "".join(nodes))
    return flow.run()


@pytest.mark.parametrize("name", ENDS)
def test_end_is_told_as_that_of_a_node_started_plainly(ended: Finished, name: str):
    _, status, words = ENDS[name]

    assert ended.lines(f"{name}-warm") == ended.lines(f"{name}-plain")
    assert ended.ending(f"{name}-warm") == ended.ending(f"{name}-plain")
    expected = {0: "finished", -6: "failed: SIGABRT (Aborted)"}
    assert ended.ending(f"{name}-warm") == expected.get(status, f"failed: exit status {status}")
    if words is not None:
        assert any(words in line for line in ended.lines(f"{name}-warm"))


def test_one_node_alone_starts_plainly(flow: Flow):
    flow.write("node.py", "import os\nprint(open('/proc/self/environ').read().count('FORK_SE'))\n")
    flow.write("flow.yml", "nodes: [{id: alone, path: node.py}]\n")

    assert flow.run().lines("alone") == ["0"]


@pytest.fixture
def plan(tmp_path: Path) -> ProcessPlan:
    (process, *_) = plan_of(Reader()).processes
    script = tmp_path / "node.py"
    script.write_text("print('here')\n")
    return replace(process, argv=(sys.executable, "-u", str(script)), folder=str(tmp_path))


def start(server: WarmStart, plan: ProcessPlan) -> tuple[int | None, bytes]:
    read_end, write_end = os.pipe()
    pid = server.start(plan, {}, [], write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as output:
        printed = output.read() if pid is not None else b""
    if pid is not None:
        os.waitpid(pid, 0)
    return pid, printed


def test_server_that_stands_still_is_given_up(plan: ProcessPlan, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fork_client, "_START_S", 0.3)
    monkeypatch.setattr(fork_client, "_GOODBYE_S", 0.3)
    server = WarmStart(dict(os.environ), ())
    os.kill(server._server.pid, signal.SIGSTOP)

    began = time.monotonic()
    pid, _ = start(server, plan)
    server.close()

    assert pid is None
    assert 0.3 <= time.monotonic() - began < PATIENCE_S
    assert server._server.returncode == -signal.SIGKILL


def test_server_that_has_died_is_noticed_at_once(plan: ProcessPlan):
    server = WarmStart(dict(os.environ), ())
    server._server.kill()
    server._server.wait()

    assert start(server, plan)[0] is None
    server.close()


def test_server_whose_imports_fail_is_noticed_at_once(plan: ProcessPlan, tmp_path: Path):
    (tmp_path / "numpy.py").write_text("raise ImportError('broken here')\n")
    server = WarmStart({**os.environ, "PYTHONPATH": str(tmp_path)}, ())

    assert start(server, plan)[0] is None
    server.close()


def test_large_request_and_many_after_it_are_answered(plan: ProcessPlan):
    server = WarmStart(dict(os.environ), ())
    large = replace(plan, argv=(*plan.argv, "x" * 1_000_000))

    answers = [start(server, large), *(start(server, plan) for _ in range(20))]

    server.close()
    assert [printed for _, printed in answers] == [b"here\n"] * 21
    assert len({pid for pid, _ in answers}) == 21


def test_what_a_node_leaves_behind_does_not_come_to_the_launcher(plan: ProcessPlan):
    server = WarmStart(dict(os.environ), ())
    script = Path(plan.argv[2])
    script.write_text(
        "import os, subprocess\n"
        "subprocess.Popen(['sleep', '0.2'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print('left it behind')\n"
    )
    before = set(children(os.getpid()))

    assert start(server, plan)[1] == b"left it behind\n"

    assert set(children(os.getpid())) <= before
    server.close()


def test_ps_shows_the_program_of_the_node(plan: ProcessPlan):
    server = WarmStart(dict(os.environ), ())
    script = Path(plan.argv[2])
    script.write_text(
        "import os, subprocess\n"
        "command = ['ps', '-ww', '-o', 'args=', '-p', str(os.getpid())]\n"
        "print(subprocess.check_output(command).decode())\n"
    )

    _, printed = start(server, plan)

    server.close()
    assert printed.decode().split() == [sys.executable, "-u", str(script)]


def test_process_that_is_stopped_before_it_has_a_session_ends_with_its_server(
    plan: ProcessPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = tmp_path / "stopping.py"
    program.write_text(
        f"""
import os, runpy, signal
def stop_first():
    with open({str(tmp_path / "pid")!r}, "w") as file:
        file.write(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
os.setsid = stop_first
runpy.run_path({str(fork_client._PROGRAM)!r}, run_name="__main__")
"""
    )
    monkeypatch.setattr(fork_client, "_PROGRAM", program)
    monkeypatch.setattr(fork_client, "_START_S", 3.0)
    server = WarmStart(dict(os.environ), ())
    try:
        pid, _ = start(server, plan)
        stopped = int((tmp_path / "pid").read_text())

        assert pid is None
        assert is_suspended(stopped), "the fault took place"
    finally:
        server.kill()

    eventually(lambda: not is_alive(stopped))
    os.waitpid(int((tmp_path / "pid").read_text()), 0)
