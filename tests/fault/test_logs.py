"""F36: floods, endless lines and strange bytes; full disks; and where the logs are afterwards."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.node_output.log_files import (
    NodeLogs,
    RotatingFile,
    keep_logs,
    kept_logs_folder,
)
from dora_rt.launcher.node_output.router import SHOWN_LINES_PER_S, LineRouter
from dora_rt.launcher.processes.line_splitter import LineSplitter
from dora_rt.log_record import LogLevel
from tests.harness.flow import Flow


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "flow").mkdir()
    return Flow(tmp_path / "flow")


def no_warning(text: str) -> None:
    raise AssertionError(text)


class Clock:
    def __init__(self) -> None:
        self.now_ns = 10**9

    def __call__(self) -> int:
        return self.now_ns


class Shown:
    """What a console with a clock that is turned by hand shows of a node named `a`."""

    def __init__(self, folder: Path, *, least: LogLevel = LogLevel.STDOUT) -> None:
        self.stream = io.StringIO()
        self.clock = Clock()
        self.logs = NodeLogs(folder, warn=no_warning)
        self.output = LineRouter(
            Console(self.stream, has_colour=False),
            self.logs,
            least={"a": least},
            clock=self.clock,
        )

    def lines(self) -> list[str]:
        return [line.removeprefix("a | ") for line in self.stream.getvalue().splitlines()]

    def logged(self) -> list[str]:
        return [line[24:] for line in self.logs.path("a").read_text().splitlines()]


def test_lines_are_put_together_again_however_they_arrive():
    text = b"one\n\ntwo \xff\r\n10 %\r100 %\nrest"
    expected = ["one", "", "two \\xff", "100 %"]

    for size in range(1, len(text) + 1):
        splitter = LineSplitter()
        lines = []
        for begin in range(0, len(text), size):
            lines += splitter.feed(text[begin : begin + size])

        assert lines == expected
        assert list(splitter.end()) == ["rest"]
        assert list(splitter.end()) == []


def test_line_that_is_too_long_is_cut_once_and_says_how_long_it_was():
    splitter = LineSplitter(10)
    lines = []
    for _ in range(1000):
        lines += splitter.feed(b"x" * 1000)
        assert len(splitter._begun) <= 10

    lines += splitter.feed(b"\nnext\n")

    assert lines == ["xxxxxxxxxx ... [cut: a line of 1,000,000 bytes]", "next"]


def test_progress_bar_without_end_shows_its_last_state():
    splitter = LineSplitter(100)
    lines = []
    for step in range(10_000):
        lines += splitter.feed(b"\r%d of 10000" % step)

    assert [*lines, *splitter.end()] == ["9999 of 10000"]


def test_log_rotates_and_keeps_so_many_files_and_no_more(tmp_path: Path):
    log = RotatingFile(tmp_path / "a.log", nbytes=100, files=3)

    for number in range(50):
        log.append(b"line %02d\n" % number * 3)
    log.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    kept = b"".join((tmp_path / name).read_bytes() for name in ("a.log.2", "a.log.1", "a.log"))
    assert kept.splitlines()[-1] == b"line 49"
    assert len(set(kept.splitlines())) == 50 - int(kept[5:7]), "nothing is missing in between"
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600


def test_log_goes_on_where_the_run_before_ended(tmp_path: Path):
    for text in (b"first\n", b"second\n"):
        log = RotatingFile(tmp_path / "a.log", nbytes=10, files=2)
        log.append(text)
        log.close()

    assert (tmp_path / "a.log.1").read_bytes() == b"first\n"
    assert (tmp_path / "a.log").read_bytes() == b"second\n"


def test_log_does_not_follow_a_link(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "a.log").symlink_to(victim)

    with pytest.raises(OSError, match="symbolic links"):
        RotatingFile(tmp_path / "a.log").append(b"text\n")

    assert victim.read_text() == "mine"


def test_console_shows_the_first_lines_of_a_flood_and_the_log_has_them_all(tmp_path: Path):
    shown = Shown(tmp_path)
    flood = [f"line {number}" for number in range(SHOWN_LINES_PER_S + 12_345)]

    shown.output.write("a", flood)

    log = shown.logs.path("a")
    assert shown.lines() == [
        *flood[:SHOWN_LINES_PER_S],
        f"... more than {SHOWN_LINES_PER_S} lines a second, see {log}",
    ]
    assert shown.logged() == flood
    shown.clock.now_ns += 10**9
    shown.output.write("a", ["calm again"])
    assert shown.lines()[-2:] == [f"... 12,345 lines not shown, see {log}", "calm again"]


def test_flood_that_goes_on_is_told_once_a_second(tmp_path: Path):
    shown = Shown(tmp_path)

    for _ in range(30):
        shown.output.write("a", ["line"] * SHOWN_LINES_PER_S)
        shown.clock.now_ns += 10**8
    shown.output.end("a")

    marker = f"... {9 * SHOWN_LINES_PER_S:,} lines not shown, see {shown.logs.path('a')}"
    assert shown.lines().count(marker) == 3
    assert len(shown.lines()) == 3 * SHOWN_LINES_PER_S + 4


def test_flood_of_one_node_hides_nothing_of_another(tmp_path: Path):
    shown = Shown(tmp_path)

    shown.output.write("b", ["line"] * 10 * SHOWN_LINES_PER_S)
    shown.output.write("a", ["mine"])

    assert shown.lines()[-1] == "mine"


def test_begun_line_that_is_completed_without_more_is_logged_once(tmp_path: Path):
    shown = Shown(tmp_path)

    shown.output.write_begun("a", "Loading")
    shown.output.write("a", ["Loading", "Loading"])

    assert shown.logged() == ["Loading", "Loading"]


def test_begun_line_that_was_too_quiet_to_be_shown_is_logged_if_it_proves_loud(tmp_path: Path):
    shown = Shown(tmp_path, least=LogLevel.ERROR)

    record = '{"level": "ERROR", "message": "no camera"}'

    shown.output.write_begun("a", record)
    shown.output.write("a", [record])

    assert shown.logged() == [record]


def test_begun_line_of_which_only_the_beginning_was_shown_is_logged_whole(tmp_path: Path):
    shown = Shown(tmp_path)
    line = "x" * 5000

    shown.output.write_begun("a", line)
    shown.output.write("a", [line])

    assert [len(one) for one in shown.logged()] == [1000, 5000]


def test_begun_line_that_goes_back_to_an_earlier_state_is_logged(tmp_path: Path):
    shown = Shown(tmp_path)

    shown.output.write_begun("a", "10 %")
    shown.output.write_begun("a", "x" * 5000)
    shown.output.write("a", ["10 %"])

    assert shown.logged() == ["10 %", "x" * 1000, "10 %"]


def test_begun_line_of_a_process_that_ended_is_not_that_of_the_next_one(tmp_path: Path):
    shown = Shown(tmp_path)

    shown.output.write_begun("a", "Loading")
    shown.output.end("a")
    shown.output.write("a", ["Loading"])

    assert shown.logged() == ["Loading", "Loading"]


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Writes fail while the list is not empty."""
    full = [1]
    write = os.write

    def fail_if_full(descriptor: int, text: bytes) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return write(descriptor, text)

    monkeypatch.setattr("dora_rt.launcher.node_output.log_files.os.write", fail_if_full)
    return full


def test_full_disk_is_told_once_and_logging_resumes_when_there_is_room(
    tmp_path: Path, full_disk: list[int]
):
    warnings: list[str] = []
    clock = Clock()
    logs = NodeLogs(tmp_path, warn=warnings.append, clock=clock)

    for _ in range(100):
        logs.write("a", ["lost"])
        clock.now_ns += 10**9
    full_disk.clear()
    clock.now_ns += 30 * 10**9
    logs.write("a", ["kept"])

    assert logs.path("a").read_text().endswith(" kept\n")
    assert "lost" not in logs.path("a").read_text()
    assert len(warnings) == 1
    assert f"cannot be written to {tmp_path}: No space left on device" in warnings[0]


def test_only_the_newest_failed_runs_of_a_name_space_are_kept(tmp_path: Path):
    kept = tmp_path / "state"
    (kept / "mine").mkdir(parents=True)
    for number in range(13):
        (kept / f"20260101-0000{number:02}-aaaaaaaa").mkdir()
        (kept / f"20250101-0000{number:02}-aaaaaaaa.other").mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text("why")

    now = keep_logs(tmp_path / "logs", kept, "0123abcd")

    assert (now / "a.log").read_text() == "why"
    assert not (tmp_path / "logs").exists()
    names = sorted(path.name for path in kept.iterdir())
    assert names == [
        *(f"20250101-0000{number:02}-aaaaaaaa.other" for number in range(13)),
        *(f"20260101-0000{number:02}-aaaaaaaa" for number in range(4, 13)),
        now.name,
        "mine",
    ]


def test_kept_logs_are_where_the_user_keeps_state():
    assert kept_logs_folder({"XDG_STATE_HOME": "/s"}) == Path("/s/dora_rt/logs")
    home = Path.home() / ".local/state/dora_rt/logs"
    assert kept_logs_folder({}) == kept_logs_folder({"XDG_STATE_HOME": "relative"}) == home


PACED = """
    nodes:
      - {id: flood, path: flood.py}
      - {id: source, path: source.py, inputs: {tick: dora/timer/millis/20}, outputs: [out]}
      - {id: sink, path: sink.py, inputs: {out: source/out}}
"""

SOURCE = """
    import os, re
    from pathlib import Path
    from dora_rt import Node
    node = Node()
    for event in node:
        node.send_output("out", b"x")
        if Path("flooded").exists():
            break
    status = Path(f"/proc/{os.getppid()}/status").read_text()
    print("launcher", re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
"""

SINK = """
    import time
    from pathlib import Path
    from dora_rt import Node
    times = []
    for event in Node():
        Path("flowing").touch()
        times.append(time.monotonic())
    print("slowest", max(after - before for before, after in zip(times, times[1:], strict=False)))
"""

FLOOD = """
    import os, time
    from pathlib import Path
    while not Path("flowing").exists():
        time.sleep(0.01)
    lines = (b"flood " * 20)[:99] + b"\\n"
    lines *= 1000
    for number in range({count}):
        os.write(1, lines)
    Path("flooded").touch()
"""


def write_paced(flow: Flow, flood: str) -> None:
    flow.write("flow.yml", PACED)
    flow.write("source.py", SOURCE)
    flow.write("sink.py", SINK)
    flow.write("flood.py", flood)


def test_node_that_prints_100_mb_fills_neither_memory_nor_disk_and_slows_nobody(
    flow: Flow, tmp_path: Path
):
    write_paced(flow, FLOOD.format(count=1000))

    done = flow.run("--log-dir", str(tmp_path / "logs"), timeout_s=60)

    flooded = done.lines("flood")
    hidden = sum(
        int(found[1].replace(",", ""))
        for line in flooded
        if (found := re.match(r"\.\.\. ([\d,]+) lines not", line))
    )
    shown = sum(line.startswith("flood") for line in flooded)
    assert hidden + shown == 1_000_000, "the flood was real, and every line is shown or counted"
    assert shown <= 60 * SHOWN_LINES_PER_S
    assert int(done.lines("source")[0].split()[1]) < 60 * 1024, "kB that the launcher had at most"
    sizes = [path.stat().st_size for path in (tmp_path / "logs").glob("flood.log*")]
    assert len(sizes) == 3
    assert 20 * 2**20 < sum(sizes) <= 30 * 2**20
    assert float(done.lines("sink")[0].split()[1]) < 1
    assert done.exit_code == 0


def test_ctrl_c_ends_a_flow_whose_node_floods(flow: Flow, tmp_path: Path):
    write_paced(flow, FLOOD.format(count=10**9))
    launcher = flow.start("--log-dir", str(tmp_path / "logs"))
    assert launcher.stdout is not None
    next(line for line in launcher.stdout if "lines not shown" in line)

    launcher.send_signal(signal.SIGINT)
    out, _ = launcher.communicate(timeout=30)

    assert launcher.returncode == 130
    assert "SIGINT: stopping" in out
    assert "slowest" in out


def test_endless_line_and_strange_bytes_are_shown_and_harm_nobody(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write(
        "a.py",
        r"""
        import os, sys
        sys.stdout.buffer.write(b"x" * 10_000_000 + b"\n\xff\x00\n")
        sys.stdout.flush()
        sys.stdout.close()
        os.close(1)
        """,
    )

    done = flow.run()

    assert done.lines("a") == [
        "x" * 16384 + " ... [cut: a line of 10,000,000 bytes]",
        "\\xff\\x00",
    ]
    assert done.ending("a") == "finished"


def test_logs_of_a_failed_run_are_kept_and_named(flow: Flow, tmp_path: Path):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "for number in range(100): print('line', number)\nraise SystemExit(3)\n")

    done = flow.run()

    named = re.search(r"the last lines it printed \(the others: (.*)\):", done.out)
    assert named is not None, done.out
    assert Path(named[1]).parents[1] == tmp_path / "state/dora_rt/logs"
    lines = Path(named[1]).read_text().splitlines()
    assert [line[24:] for line in lines] == [f"line {number}" for number in range(100)]


def test_logs_of_a_run_without_failures_are_removed_with_it(flow: Flow, tmp_path: Path):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "print('fine')\n")

    done = flow.run()

    assert done.lines("a") == ["fine"]
    assert not (tmp_path / "state").exists()


def test_log_folder_that_was_asked_for_stays(flow: Flow, tmp_path: Path):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "print('fine')\n")

    for _ in range(2):
        flow.run("--log-dir", str(tmp_path / "logs"))

    lines = (tmp_path / "logs/a.log").read_text().splitlines()
    assert [line[24:] for line in lines] == ["fine", "fine"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_full_disk_under_the_logs_stops_nothing(flow: Flow, tmp_path: Path):
    write_paced(flow, FLOOD.format(count=30))
    (tmp_path / "logs").mkdir()

    done = flow.run(
        "--log-dir", str(tmp_path / "logs"), mount=f"-t tmpfs -o size=1m tmpfs {tmp_path}/logs"
    )

    assert done.out.count("No space left on device; the dataflow goes on") == 1
    assert done.ending("flood") == "finished"
    assert done.exit_code == 0


@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null"])
def test_state_folder_that_cannot_be_written_stops_nothing(flow: Flow, home: str):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "print('why')\nraise SystemExit(3)\n")

    done = flow.run(env={"XDG_STATE_HOME": home})

    assert "the logs of this run cannot be kept: " in done.out
    assert "the last lines it printed:\n  why" in done.out
    assert done.exit_code == 1


def test_full_disk_under_standard_output_stops_nothing(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "from pathlib import Path\nprint('x')\nPath('ran').touch()\n")

    with Path("/dev/full").open("w") as full:
        launcher = subprocess.run(flow.command(), stdout=full, stderr=subprocess.PIPE, timeout=20)

    assert (flow.folder / "ran").exists()
    assert (launcher.returncode, launcher.stderr) == (0, b"")


def test_console_that_cannot_show_a_letter_shows_its_code(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "import sys\nsys.stdout.buffer.write('caf\u00e9\\n'.encode())\n")

    assert flow.run(env={"PYTHONIOENCODING": "ascii"}).lines("a") == ["caf\\xe9"]


def test_begun_line_of_a_node_that_hangs_is_on_the_console_and_in_its_log(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: node, path: node.py}]\n")
    flow.write(
        "node.py",
        """
        import time
        from pathlib import Path
        print("Loading model... ", end="", flush=True)
        while not Path("seen").exists():
            time.sleep(0.01)
        print("done")
        """,
    )
    launcher = flow.start("--log-dir", str(flow.folder / "logs"))
    assert launcher.stdout is not None

    line = launcher.stdout.readline()
    (log,) = (flow.folder / "logs").iterdir()
    logged = log.read_text()
    (flow.folder / "seen").touch()
    out, _ = launcher.communicate(timeout=30)

    assert line.endswith("| Loading model... \n")
    assert logged.endswith(" Loading model... \n")
    assert "| Loading model... done\n" in out
