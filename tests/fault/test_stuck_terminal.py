"""A terminal after Ctrl-S, a pipe that nobody reads: they hold up the output, never the robot."""

from __future__ import annotations

import array
import fcntl
import io
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading
from pathlib import Path

import pytest

from dora_rt.launcher.node_output.background_writer import ROOM_NBYTES
from dora_rt.launcher.node_output.console import Console
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.objects import new_objects, objects
from tests.harness.waiting import eventually

LINES = 400  # fewer than are shown in a second
NBYTES = 16_000
CTRL_S, CTRL_Q = b"\x13", b"\x11"
FLOOD = f"""
    from pathlib import Path
    for number in range({LINES}):
        print(f"line {{number:03}} " + "x" * {NBYTES})
    Path("printed").write_text("x")
"""

assert LINES * NBYTES > ROOM_NBYTES + 1024 * 1024


def is_full(descriptor: int) -> bool:
    """Tell whether a pipe takes no more, by its end to read from."""
    unread = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, unread)
    # It is counted in pages, which need not be full.
    return unread[0] > fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) - 2 * 4096


def is_stuck(launcher: subprocess.Popen[str]) -> bool:
    assert launcher.stdout is not None
    return is_full(launcher.stdout.fileno())


def logged(folder: Path, node: str) -> list[str]:
    path = folder / f"{node}.log"
    return [line[24:] for line in path.read_text().splitlines()] if path.exists() else []


def test_launcher_whose_output_nobody_reads_kills_restarts_and_stops_as_ever(
    isolated: IsolatedFlow,
):
    isolated.write(
        "flow.yml",
        """
        nodes:
          - {id: flood, path: flood.py, restart: always, max_restarts: 0, restart_delay: 10ms}
          - id: hangs
            path: hangs.py
            restart: on-failure
            restart_delay: 10ms
            heartbeat_timeout: 500ms
            inputs: {tick: dora/timer/millis/20}
        """,
    )
    isolated.write("flood.py", FLOOD)
    isolated.write(
        "hangs.py",
        """
        from pathlib import Path
        from dora_rt import Node
        for event in Node():
            if Path("came_back").exists():
                Path("received").write_text("x")
            elif Path("hang").exists():
                Path("came_back").write_text("x")
                while True:
                    pass
        """,
    )
    launcher = isolated.start()
    eventually(lambda: is_stuck(launcher) and isolated.has("printed"))
    (isolated.folder / "printed").unlink()

    isolated.write("hang", "x")

    eventually(lambda: isolated.has("received"))
    eventually(lambda: isolated.has("printed"))
    assert is_stuck(launcher), "all the while"
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(30) == 128 + signal.SIGTERM
    assert isolated.runs() == set()


def test_terminal_after_ctrl_s_misses_lines_in_one_piece_and_says_after_ctrl_q_how_many(
    isolated: IsolatedFlow,
):
    isolated.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    isolated.write(
        "a.py",
        f"""
        import time
        from pathlib import Path
        def wait_for(name):
            while not Path(name).exists():
                time.sleep(0.001)
        print("begins")
        wait_for("stopped")
        {FLOOD.replace(chr(10), chr(10) + "    ").strip()}
        wait_for("resumed")
        print("after")
        """,
    )
    controller, screen = pty.openpty()
    os.set_inheritable(screen, True)
    wrapped = ["sh", "-c", f'exec "$@" >/dev/fd/{screen}', "sh"]
    launcher = isolated.start(
        command=[*wrapped, *isolated.command("--log-dir", str(isolated.folder / "logs"))],
        env={"TERM": "dumb"},
        pass_fds=(screen,),
    )
    seen = bytearray()
    reader = threading.Thread(target=read_all, args=(controller, seen))
    reader.start()
    eventually(lambda: b"begins" in seen)

    os.write(controller, CTRL_S)
    # The kernel takes its time to look at what was typed.
    eventually(lambda: not select.select([], [screen], [], 0)[1])
    isolated.write("stopped", "x")
    eventually(lambda: isolated.has("printed"))
    eventually(lambda: len(logged(isolated.folder / "logs", "a")) == 1 + LINES)
    assert b"line" not in seen, "it is stuck"
    os.write(controller, CTRL_Q)
    eventually(lambda: b"not shown" in seen)
    isolated.write("resumed", "x")
    assert launcher.wait(30) == 0
    os.close(screen)
    reader.join(30)
    os.close(controller)

    lines = seen.decode().splitlines()
    numbers = [int(found[1]) for line in lines if (found := re.match(r"a \| line (\d+) x+$", line))]
    missed = re.search(
        r"^\.\.\. (\d+) lines not shown: nobody read this output for a while; the log files have "
        r"what the nodes printed\r?$",
        seen.decode(),
        re.M,
    )
    assert missed is not None
    assert numbers == list(range(LINES - int(missed[1])))
    assert 0 < int(missed[1]) < LINES
    assert lines.index("a | after") > lines.index(missed[0].strip())


def read_all(controller: int, seen: bytearray) -> None:
    while True:
        try:
            seen += os.read(controller, 65536)
        except OSError:
            return  # the other end is closed


@pytest.fixture
def unread_end(isolated: IsolatedFlow) -> subprocess.Popen[str]:
    """Give a launcher whose flow is over, and whose output nobody has read."""
    isolated.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    isolated.write("a.py", FLOOD)
    before = objects()
    launcher = isolated.start()
    eventually(lambda: isolated.has("printed") and not isolated.runs())
    eventually(lambda: list(isolated.processes()) == [launcher.pid])
    assert is_stuck(launcher)
    eventually(lambda: not new_objects(before))
    # Until then signals are for the run, and end nothing else.
    eventually(lambda: not handles(launcher.pid, signal.SIGTERM))
    assert launcher.poll() is None
    return launcher


def handles(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def test_summary_waits_for_who_reads_when_nothing_is_left_of_the_run(
    unread_end: subprocess.Popen[str],
):
    out, _ = unread_end.communicate(timeout=30)

    assert "how it ended" in out
    assert unread_end.returncode == 0


def test_ctrl_c_ends_the_wait_for_who_reads(unread_end: subprocess.Popen[str]):
    unread_end.send_signal(signal.SIGINT)

    assert unread_end.wait(30) == 130


def test_launcher_whose_reader_has_left_goes_on_to_its_end(isolated: IsolatedFlow):
    isolated.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    isolated.write(
        "a.py",
        """
        import time
        from pathlib import Path
        print("begins")
        while not Path("closed").exists():
            time.sleep(0.001)
        for number in range(100):
            print("line", number)
        Path("printed").write_text("x")
        """,
    )
    launcher = isolated.start()
    assert launcher.stdout is not None
    assert "begins" in launcher.stdout.readline()

    launcher.stdout.close()
    isolated.write("closed", "x")

    assert launcher.wait(30) == 0
    assert isolated.has("printed")


def test_stream_that_somebody_else_made_non_blocking_gets_all_the_same():
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    seen = bytearray()
    text = "x" * 1_000_000
    with os.fdopen(write_end, "w") as stream:
        console = Console(stream, has_colour=False)
        with console:
            console.notice(text)
            # Not before the pipe is full.
            eventually(lambda: is_full(read_end))
            reader = threading.Thread(target=read_until_end, args=(read_end, seen))
            reader.start()
    reader.join(30)
    os.close(read_end)

    assert seen.decode() == text + "\n"


def read_until_end(descriptor: int, seen: bytearray) -> None:
    while part := os.read(descriptor, 65536):
        seen += part


def test_console_in_memory_has_each_line_at_once():
    stream = io.StringIO()

    Console(stream, has_colour=False).notice("here")

    assert stream.getvalue() == "here\n"
