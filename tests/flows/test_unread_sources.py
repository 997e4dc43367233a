"""A real flow whose only reader has failed: it ends by itself, unless somebody looks at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import dora_rt
from dora_rt.runs import base_folder
from dora_rt.watchers import has_watchers
from tests.harness.flow import Flow
from tests.harness.verbs import started_run
from tests.harness.waiting import eventually

pytestmark = pytest.mark.programs

SOURCE = """
    import time
    from dora_rt import Node
    node = Node()
    while not node.is_stopped():
        node.send_output("number", b"1")
        time.sleep(0.01)
    print("the camera is closed")
"""
PAIR = """
    nodes:
      - {id: source, path: source.py, outputs: [number]}
      - {id: reader, path: reader.py, inputs: {number: source/number}}
"""


@pytest.fixture
def pair(flow: Flow) -> Flow:
    flow.write("flow.yml", PAIR)
    flow.write("source.py", SOURCE)
    flow.write("reader.py", "from dora_rt import Node\nnext(Node())\nraise ValueError('mine')\n")
    return flow


def test_flow_of_a_source_without_readers_ends_in_order_and_says_why(pair: Flow):
    done = pair.run()

    assert done.exit_code == 1, done.out
    assert done.lines("source") == ["the camera is closed"]
    assert done.ending("source") == "stopped"
    why = "no node reads source any more, since reader has ended"
    assert done.out.count(f"{why}: the dataflow ends (`without_readers: go_on` at source") == 1
    assert done.out.count(f"the dataflow was ended: {why}") == 1, "in the summary"


def test_program_that_looks_at_the_source_keeps_the_flow_until_it_is_killed(pair: Flow):
    launcher = pair.start()
    run = started_run(launcher.pid)
    folder = base_folder(os.environ) / run
    attached = subprocess.Popen(
        [sys.executable, "-c", "import dora_rt; [0 for _ in dora_rt.attach('source/number')]"]
    )
    try:
        eventually(lambda: has_watchers(folder))
        began_s = time.monotonic()
        # Longer than the grace, which begins when the reader fails, right at the start.
        with dora_rt.attach("source/number") as watch:
            while time.monotonic() < began_s + 4.5:
                assert watch.next(timeout=30) is not None
        assert launcher.poll() is None
        assert has_watchers(folder), "the other one still looks"
        attached.send_signal(signal.SIGKILL)
        attached.wait(30)

        out, _ = launcher.communicate(timeout=30)
    finally:
        attached.kill()
        attached.wait(30)

    assert "no node reads source any more" in out
    assert launcher.returncode == 1


def test_watch_that_is_forgotten_looks_no_more(pair: Flow):
    pair.write("reader.py", "from dora_rt import Node\nfor event in Node():\n    pass\n")
    launcher = pair.start()
    folder = base_folder(os.environ) / started_run(launcher.pid)
    eventually(lambda: folder.is_dir())

    watch = dora_rt.attach("source/number")
    while_there = has_watchers(folder)
    del watch

    assert while_there
    assert not has_watchers(folder)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)


def test_watch_of_files_is_one_that_looks(pair: Flow):
    pair.write("reader.py", "from dora_rt import Node\nfor event in Node():\n    pass\n")
    launcher = pair.start("--watch")
    folder = base_folder(os.environ) / started_run(launcher.pid)

    eventually(lambda: has_watchers(folder))

    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)
