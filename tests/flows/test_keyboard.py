"""`stdin: terminal`: a node reads the terminal that dora-launch was started in."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest

from tests.harness.flow import Flow
from tests.harness.waiting import eventually

pytestmark = pytest.mark.programs

ASKS = """
    import sys, termios, tty
    name = input("your name? ")
    print("hello", name)
    tty.setcbreak(0)
    print("press a key")
    print("pressed", repr(sys.stdin.read(1)))
    tty.setraw(0)
"""
FLOW = """
    nodes:
      - {id: asks, path: asks.py, stdin: terminal}
      - {id: other, path: other.py}
      - {id: third, path: other.py}
"""
OTHER = "from pathlib import Path\nimport time\nwhile not Path('over').exists(): time.sleep(0.01)\n"


class Terminal:
    """A terminal in which a program runs, in front."""

    def __init__(self, *command: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if not self.pid:
            os.execv(command[0], command)
        os.set_blocking(self.descriptor, False)
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def shows(self, text: str) -> bool:
        # Nothing yet, or nobody writes any more.
        with contextlib.suppress(OSError):
            self.text += os.read(self.descriptor, 65536).decode()
        return text in self.text

    @property
    def modes(self) -> int:
        return termios.tcgetattr(self.descriptor)[3]

    def exit_status(self) -> int:
        ended: list[int] = []

        def has_ended() -> bool:
            self.shows("")  # its output must be read
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                ended.append(os.waitstatus_to_exitcode(status))
            return bool(pid)

        eventually(has_ended)
        self.pid = 0
        return ended[0]

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)


@pytest.fixture
def terminal(flow: Flow) -> Iterator[Terminal]:
    flow.write("flow.yml", FLOW)
    flow.write("asks.py", ASKS)
    flow.write("other.py", OTHER)
    made = Terminal(*flow.command())
    yield made
    made.close()


def test_node_asks_reads_keys_and_leaves_the_terminal_as_it_was(flow: Flow, terminal: Terminal):
    before = terminal.modes
    eventually(lambda: terminal.shows(" your name? "))
    terminal.type("Ada\n")
    eventually(lambda: terminal.shows(" your name? hello Ada"))
    eventually(lambda: terminal.shows("press a key"))
    assert not terminal.modes & termios.ICANON

    terminal.type("k")

    eventually(lambda: terminal.shows("pressed 'k'"))
    # The others go on, and Ctrl-C must work although the node has left it off.
    eventually(lambda: terminal.modes == before)
    (flow.folder / "over").touch()
    assert terminal.exit_status() == 0
    assert terminal.modes == before


def test_ctrl_c_in_the_terminal_stops_the_dataflow(terminal: Terminal):
    eventually(lambda: terminal.shows("your name? "))

    terminal.type("\x03")

    assert terminal.exit_status() == 130
    assert "SIGINT: stopping" in terminal.text


@pytest.mark.parametrize("pipe", ["", " | cat"], ids=["alone", "pipe"])
def test_ctrl_z_leaves_the_keys_to_the_node_and_not_the_node_to_read_those_of_the_shell(
    flow: Flow, pipe: str
):
    flow.write("flow.yml", "nodes: [{id: asks, path: asks.py, stdin: terminal}]\n")
    flow.write("asks.py", "print('ready')\nprint('hello', input('name? '))\n")
    # A shell with job control goes on when its job is suspended.
    terminal = Terminal("/bin/bash", "-mc", f"{' '.join(flow.command())}{pipe}; echo over")
    try:
        # To a pipe whole lines only are written, so the question comes with the answer.
        asked = "name? " if not pipe else "asks | ready"
        eventually(lambda: terminal.shows(asked))
        terminal.type("\x1a")
        eventually(lambda: terminal.shows("Ctrl-Z does nothing while a node has the terminal"))

        terminal.type("Ada\n")

        eventually(lambda: terminal.shows("hello Ada"))
        eventually(lambda: terminal.shows("over"))
        assert "Stopped" not in terminal.text
    finally:
        terminal.close()


def test_without_a_terminal_a_sentence_says_what_to_do(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: asks, path: asks.py, stdin: terminal}]\n")
    flow.write("asks.py", ASKS)

    done = flow.run()

    assert (
        "node asks has `stdin: terminal`, but dora-launch was not started in a terminal: it reads "
        "nothing. Start dora-launch by hand in a terminal; or write `path: dynamic` and start the "
        "program of the node there\n"
    ) in done.out
    assert done.ending("asks") == "failed: exit status 1"


def test_dynamic_node_takes_no_terminal_since_it_is_started_in_its_own(flow: Flow):
    flow.write(
        "flow.yml",
        "nodes: [{id: asks, path: dynamic, stdin: terminal}, {id: other, path: other.py}]\n",
    )
    flow.write("other.py", "")

    done = flow.run()

    assert "'stdin' of node 'asks' has no effect" in done.out
    assert "was not started in a terminal" not in done.out


@pytest.mark.parametrize(
    "code", ["input('? ')", "import sys, tty; tty.setraw(sys.stdin)"], ids=["input", "termios"]
)
def test_node_that_reads_the_keyboard_without_asking_for_it_is_told_the_key(flow: Flow, code: str):
    flow.write("flow.yml", "nodes: [{id: asks, path: asks.py}]\n")
    flow.write("asks.py", f"{code}\n")

    done = flow.run()

    assert "a node has no keyboard: with `stdin: terminal` at node asks it has that of" in done.out


def test_flow_in_the_background_takes_nothing_from_the_shell(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: asks, path: asks.py, stdin: terminal}]\n")
    flow.write("asks.py", "print('read', input('? '))\n")
    # A shell with job control gives a background job a process group of its own.
    shell = f"set -m; {' '.join(flow.command())} <&0 & wait; read line; echo shell read $line"
    terminal = Terminal("/bin/bash", "-c", shell)
    try:
        terminal.type("mine\n")
        eventually(lambda: terminal.shows("shell read mine"))
        assert "dora-launch runs in the background of its terminal" in terminal.text
    finally:
        terminal.close()
