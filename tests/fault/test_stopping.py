"""Nodes that cannot even look at a signal: in a C call that keeps the GIL."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.processes import cpu_ticks
from tests.harness.waiting import eventually


@pytest.mark.parametrize(
    ("handler", "ending"),
    [
        ("signal.SIG_DFL", "stopped (SIGINT)"),
        # Who has a handler for SIGTERM gets that; Python runs it, and goes on.
        ("lambda *_: None", "killed: it did not stop when told to, nor at SIGTERM"),
    ],
)
def test_node_in_a_c_call_that_keeps_the_gil_is_stopped(
    isolated: IsolatedFlow, handler: str, ending: str
):
    isolated.write(
        "flow.yml",
        """
        nodes:
          - id: busy
            path: busy.py
            stop_grace: 0.2
            inputs: {tick: dora/timer/millis/10}
        """,
    )
    isolated.write(
        "busy.py",
        f"""
        import os, re, signal
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        node.next()
        signal.signal(signal.SIGTERM, {handler})
        Path("pid").write_text(str(os.getpid()))
        re.match(r"(a+)+$", "a" * 40 + "b")
        """,
    )
    launcher = isolated.start()
    eventually(lambda: isolated.has("pid"))
    node = isolated.number("pid")
    ticks = cpu_ticks(node)
    eventually(lambda: cpu_ticks(node) >= ticks + 10)

    launcher.send_signal(signal.SIGINT)
    out, _ = launcher.communicate(timeout=30)

    assert f"busy  {ending} " in out
    assert launcher.returncode == 130
    assert not Path(f"/proc/{node}").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_between_the_last_node_and_the_summary_still_counts(
    isolated: IsolatedFlow, number: signal.Signals, code: int
):
    isolated.write("flow.yml", "nodes: [{id: alone, path: /bin/true}]")
    late = f"""
import os
from dora_rt.__main__ import main
from dora_rt.launcher.supervision.supervisor import Supervisor

run = Supervisor.run

def run_and_interrupt(*arguments):
    outcome = run(*arguments)
    os.kill(os.getpid(), {number})
    return outcome

Supervisor.run = run_and_interrupt
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", late, "flow.yml"],
        cwd=isolated.folder,
        env=isolated.environ,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == code
    assert "alone  finished" in done.stdout
    assert isolated.runs() == set()
