"""Programs of every kind are stopped in one dataflow, each in the midst of something else."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.fault.test_cleanup import (
    CLEANED_UP,
    CLOCK,
    COMMAND,
    SENDING,
    behind,
    motor,
    stop_when_on,
)
from tests.harness.finished import Finished
from tests.harness.flow import Flow

# What each is about to do when it is told to stop, with what comes before.
INTERRUPTED = {
    "sends": (SENDING, "while True: node.send_output('out', b'x'); time.sleep(0.01)"),
    "sends-once": (SENDING, "node.send_output('out', b'x'); time.sleep(60)"),
    "sleeps": ("", "time.sleep(60)"),
    "computes": ("", "while True: pass"),
    "waits": ("", "import threading; threading.Event().wait()"),
    "has-a-child": ("", "import subprocess; subprocess.run(['sleep', '60'])"),
    "coroutine": ("", "import asyncio; asyncio.run(asyncio.sleep(60))"),
}
ASKED = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('asked')))"
ASKED_AND_CLEANED_UP = ["motor on", "asked", "motor off", "atexit"]
MOTORS = {
    **INTERRUPTED,
    "asked": (ASKED, "time.sleep(60)"),
    # A node that has not looked yet when it is stopped counts as one that does not look.
    "looks": (f"{SENDING}; node.is_stopped()", "while not node.is_stopped(): time.sleep(0.01)"),
}
WRAPPERS = {
    "bash": (("bash", "-c", f"{COMMAND}; true"), "stopped"),
    "sh": (("sh", "-c", f"{COMMAND}; true"), "stopped (SIGINT)"),
    "background": (("bash", "-c", f"{COMMAND} & wait"), "stopped (SIGINT)"),
    "orphan": (("bash", "-c", f"{COMMAND} & exec sleep 60"), "stopped (SIGINT)"),
    "timeout": (("timeout", "100", *COMMAND.split()), "stopped"),
    "timeout-and-bash": (("timeout", "100", "bash", "-c", f"{COMMAND}; true"), "stopped"),
    # These give the program a process group of its own.
    "bash-and-timeout": (("bash", "-c", f"timeout 100 {COMMAND}; true"), "stopped"),
    "job-control": (("bash", "-c", f"set -m; {COMMAND} & wait"), "stopped (SIGINT)"),
}


def write_clock(flow: Flow) -> list[str]:
    """Write a node that waits for events, and give the first lines of the dataflow file."""
    flow.write("clock.py", CLOCK)
    return ["nodes:", "  - {id: clock, path: clock.py, inputs: {tick: dora/timer/millis/20}}"]


def write_motor(flow: Flow, name: str, begin: str, work: str) -> Path:
    return flow.write(f"{name}.py", motor(begin, work).replace('"on"', f'"{name} on"'))


# With one of these variables a node is no copy of the fork server.
@pytest.fixture(scope="module", params=["{}", "{PYTHONHASHSEED: 0}"], ids=["forked", "plain"])
def stopped(shared_flow: Flow, request: pytest.FixtureRequest) -> Finished:
    lines = write_clock(shared_flow)
    for name, (begin, work) in MOTORS.items():
        write_motor(shared_flow, name, begin, work)
        # A program that is no node has no outputs: the start would wait until it is ready.
        outputs = "[out]" if begin.startswith(SENDING) else "[]"
        how = f"outputs: {outputs}, env: {request.param}"
        lines.append(f"  - {{id: {name}, path: {name}.py, stop_grace: 25s, {how}}}")
    shared_flow.write("flow.yml", "\n".join(lines))
    return stop_when_on(shared_flow, "ticks", *(f"{name} on" for name in MOTORS))


@pytest.fixture(scope="module")
def stopped_behind_wrappers(shared_flow: Flow) -> Finished:
    lines = write_clock(shared_flow)
    for name, ((path, *args), _) in WRAPPERS.items():
        write_motor(shared_flow, name, ASKED, "time.sleep(60)")
        start = behind(path, *args).replace("motor.py", f"{name}.py")
        lines.append(f"  - {{id: {name}, {start}, stop_grace: 25s}}")
    shared_flow.write("flow.yml", "\n".join(lines))
    return stop_when_on(shared_flow, "ticks", *(f"{name} on" for name in WRAPPERS))


@pytest.mark.parametrize("name", INTERRUPTED)
def test_program_that_asks_for_no_event_is_interrupted_and_cleans_up(stopped: Finished, name: str):
    assert stopped.lines(name) == CLEANED_UP, "and no traceback"
    assert stopped.ending(name) == "stopped (SIGINT)"
    assert stopped.lines("clock") == ["end"]
    assert stopped.exit_code == 128 + signal.SIGINT


def test_program_with_a_handler_for_sigterm_gets_sigterm(stopped: Finished):
    assert stopped.lines("asked") == ASKED_AND_CLEANED_UP
    assert stopped.ending("asked") == "stopped"


def test_node_that_reads_events_cleans_up_after_its_loop(stopped: Finished):
    assert stopped.lines("looks") == ["motor on", "motor off", "atexit"]
    assert stopped.ending("looks") == "stopped"


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_handler_for_sigterm_is_called_once_behind_any_wrapper(
    stopped_behind_wrappers: Finished, wrapper: str
):
    assert stopped_behind_wrappers.lines(wrapper) == ASKED_AND_CLEANED_UP
    assert stopped_behind_wrappers.ending(wrapper) == WRAPPERS[wrapper][1]
    assert stopped_behind_wrappers.exit_code == 128 + signal.SIGINT
