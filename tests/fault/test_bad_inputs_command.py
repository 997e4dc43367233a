"""Bad inputs 41 and 42: the command line; and that a refused file starts nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.descriptor.bad_inputs import numbered
from tests.harness.objects import own_objects

pytestmark = pytest.mark.programs


def dora_launch(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dora_rt", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=folder,
    )


TIME = "is not a time above 0: write 10s, 500ms, 5m or 1h30m"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *numbered(
            41,
            ("", "the following arguments are required: FILE"),
            ("flow.yml --frobnicate", "unrecognized arguments: --frobnicate"),
            (
                "flow.yml other.yml",
                "argument NAME=VALUE: 'other.yml' is no argument of a file: write NAME=VALUE",
            ),
        ),
        *numbered(
            42,
            ("flow.yml --stop-after 0", f"argument --stop-after: '0' {TIME}"),
            ("flow.yml --stop-after=-1", f"argument --stop-after: '-1' {TIME}"),
            ("flow.yml --stop-after abc", f"argument --stop-after: 'abc' {TIME}"),
            ("flow.yml --stop-after 5parsecs", f"argument --stop-after: '5parsecs' {TIME}"),
            ("flow.yml --stop-after nan", f"argument --stop-after: 'nan' {TIME}"),
            ("flow.yml --stop-after", "argument --stop-after: expected one argument"),
        ),
    ],
)
def test_command_line_that_is_wrong(tmp_path: Path, arguments: str, message: str) -> None:
    done = dora_launch(*arguments.split(), folder=tmp_path)

    assert done.returncode == 2
    usage, *_, last = done.stderr.splitlines()
    assert usage.startswith("usage: dora-launch")
    assert last == f"dora-launch: error: {message}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    numbered(
        1,
        ("flaw.yml", "cannot read flaw.yml: No such file or directory; did you mean flow.yml?"),
        (
            "flow.yml",
            "flow.yml:1:23: node 'a': no such file: 'a.py'; paths begin at {folder}\n"
            "flow.yml:1:29: unknown key 'inptus' in node 'a'; did you mean 'inputs'?",
        ),
        ("flow.yml --check", "flow.yml:1:23: node 'a': no such file: 'a.py'; paths begin at "
         "{folder}\nflow.yml:1:29: unknown key 'inptus' in node 'a'; did you mean 'inputs'?"),
    ),
)  # fmt: skip
def test_refused_file_is_exit_code_2_and_leaves_nothing(
    tmp_path: Path, arguments: str, message: str
) -> None:
    (tmp_path / "flow.yml").write_text("nodes: [{id: a, path: a.py, inptus: {}}]")
    before = own_objects()

    done = dora_launch(*arguments.split(), folder=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == message.format(folder=tmp_path) + "\n"
    assert own_objects() <= before
    assert [path.name for path in tmp_path.iterdir()] == ["flow.yml"]
