"""The file of `--report`."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.harness.flow import Flow
from tests.harness.waiting import eventually


def write(flow: Flow, program: str) -> Path:
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", program)
    return flow.folder / "report.json"


def test_report_is_replaced_as_a_whole_at_the_end(flow: Flow):
    report = write(flow, "print(open('report.json').read())\n")
    report.write_text("old")

    done = flow.run("--report", str(report))

    assert done.lines("a") == ["old"]
    assert json.loads(report.read_text())["processes"][0]["name"] == "a"
    assert not list(flow.folder.glob(".report*"))


def test_files_of_options_may_begin_in_the_home_folder(flow: Flow):
    report = write(flow, "print('hello')\n")

    done = flow.run("--report=~/report.json", "--log-dir=~/logs", env={"HOME": str(flow.folder)})

    assert done.exit_code == 0, done.err
    assert report.exists()
    assert (flow.folder / "logs" / "a.log").exists()


def test_old_report_stays_if_the_launcher_is_killed(flow: Flow):
    report = write(
        flow, "from pathlib import Path\nPath('on').touch()\nimport time\ntime.sleep(60)\n"
    )
    report.write_text("old")
    launcher = flow.start("--report", str(report))
    eventually(lambda: (flow.folder / "on").exists())

    launcher.send_signal(signal.SIGKILL)
    launcher.communicate(timeout=30)

    assert report.read_text() == "old"


def test_report_of_a_link_and_of_a_pipe_goes_where_they_lead(flow: Flow):
    report = write(flow, "")
    link = flow.folder / "link.json"
    link.symlink_to(report)

    flow.run("--report", str(link))
    piped = subprocess.run(
        ["sh", "-c", '"$@" | cat', "sh", *flow.command("--report", "/dev/stdout")],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert link.is_symlink()
    assert json.loads(report.read_text())["failures"] == []
    assert '{"file": ' in piped.stdout


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("none/report.json", "No such file or directory"),
        (".", "Is a directory"),
        ("a.py/report.json", "Not a directory"),
    ],
)
def test_report_that_cannot_be_written_is_told_before_anything_starts(
    flow: Flow, place: str, why: str
):
    write(flow, "print('started')")
    path = flow.folder / place

    done = flow.run("--report", str(path))

    assert done.err == f"dora-launch: --report {path}: {why}\n"
    assert (done.exit_code, "started" in done.out) == (2, False)


def test_report_in_a_folder_that_one_may_not_write_is_told(flow: Flow):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    write(flow, "print('started')")
    folder = flow.folder / "locked"
    folder.mkdir(stat.S_IRUSR | stat.S_IXUSR)

    done = flow.run("--report", str(folder / "report.json"))

    assert done.err.endswith(": Permission denied\n")
