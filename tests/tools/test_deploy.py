"""`dora-rt deploy`: a project is copied to another machine, and checked there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from dora_rt import __version__
from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.deploy import Target, check_command, check_there, parse_target, rsync_command
from tests.harness.verbs import verb

FLOW = """\
machines: {robot: {listen: "127.0.0.1:7447"}, laptop: {}}
nodes:
  - {id: camera, machine: robot, path: camera.py, outputs: [image]}
  - {id: viewer, machine: laptop, path: viewer.py, inputs: {image: camera/image}}
"""
# Stands for ssh and the machine behind it: a home of its own, and a shell that runs the words.
SSH = """\
#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do [ "$1" = -l ] && shift; shift; done
echo "$1" >> {log}
shift
cd {home} && HOME={home} exec sh -c "$*"
"""

needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "laptop" / "my robot"
    folder.mkdir(parents=True)
    (folder / "dataflow.yml").write_text(FLOW)
    for name in ("camera.py", "viewer.py"):
        (folder / name).write_text("from dora_rt import Node\n")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "pyvenv.cfg").write_text("of the laptop")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the home on the other machine, which has a dora-rt."""
    home, programs = tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(SSH.format(home=home, log=tmp_path / "hosts"))
    dora_rt = programs / "dora-rt"
    dora_rt.write_text(f'#!/bin/sh\nexec {sys.executable} -m dora_rt.cli "$@"\n')
    for program in (ssh, dora_rt):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return home


@needs_rsync
@pytest.mark.programs
def test_project_is_copied_without_what_is_of_this_machine_and_checked_there(
    project: Path, home: Path, tmp_path: Path
):
    (project / ".deployignore").write_text("*.mcap\n")
    (project / "drive.mcap").write_text("large")

    done = verb("deploy", "robot", cwd=project)

    assert done.exit_code == 0, done.err
    there = home / "my robot"
    names = {".deployignore", "camera.py", "dataflow.yml", "viewer.py"}
    assert {path.name for path in there.iterdir()} == names
    assert (there / "dataflow.yml").read_text() == FLOW
    assert set((tmp_path / "hosts").read_text().split()) == {"robot"}
    assert f"copied; dataflow.yml is fine there, with dora_rt {__version__}" in done.out
    assert "cd 'my robot' && dora-launch dataflow.yml --machine robot" in done.out


@pytest.mark.programs
@pytest.mark.parametrize(
    ("version", "is_fine"),
    [
        (f"dora_rt {__version__}", True),
        (f"dora_rt {__version__} (compiled)", True),
        (f"dora_rt {__version__}.1", False),
    ],
)
def test_dora_rt_there_is_of_the_same_version_compiled_or_not(
    home: Path,
    tmp_path: Path,
    version: str,
    is_fine: bool,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "programs" / "dora-rt").write_text(f"#!/bin/sh\necho '{version}'\n")
    (home / "demo").mkdir()

    assert check_there(Target("robot", "demo"), Path("dataflow.yml"), "robot") is is_fine
    assert (f"has {version}, and this machine" in capsys.readouterr().err) is not is_fine


@needs_rsync
@pytest.mark.programs
def test_dry_run_copies_nothing(project: Path, home: Path):
    done = verb("deploy", "robot", "--dry-run", cwd=project)

    assert done.exit_code == 0, done.err
    assert "nothing was copied: it was a dry run" in done.out
    assert list(home.iterdir()) == []


@needs_rsync
@pytest.mark.programs
def test_what_is_only_there_stays_unless_it_shall_go(project: Path, home: Path):
    there = home / "work" / "demo"
    (there / ".venv").mkdir(parents=True)
    (there / "old.py").touch()
    to = ("--to", "ann@robot.local:work/demo")

    assert verb("deploy", "robot", *to, cwd=project).exit_code == 0
    kept = (there / "old.py").exists()
    assert verb("deploy", "robot", *to, "--delete", cwd=project).exit_code == 0

    assert kept
    assert not (there / "old.py").exists()
    assert (there / ".venv").exists(), "each machine keeps its own"


@needs_rsync
@pytest.mark.programs
def test_folders_on_the_way_are_made(project: Path, home: Path):
    done = verb("deploy", "robot", "--to", "robot:work/of ann/demo", cwd=project)

    assert done.exit_code == 0, done.err
    assert (home / "work" / "of ann" / "demo" / "camera.py").exists()


@needs_rsync
@pytest.mark.programs
@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("", "there is no dora-rt on robot: install dora_rt there, in my robot/.venv or for"),
        ("echo dora_rt 0.0.1", f"robot has dora_rt 0.0.1, and this machine dora_rt {__version__}"),
        ("echo dora_rt 0.1.0; test $1 != check", "it cannot run on robot, see above"),
    ],
    ids=["none", "another version", "a check that fails"],
)
def test_machine_that_cannot_run_it_is_told(project: Path, home: Path, program: str, message: str):
    dora_rt = home.parent / "programs" / "dora-rt"
    if program:
        dora_rt.write_text(f"#!/bin/sh\n{program}\n")
    else:
        dora_rt.unlink()
        rsync = shutil.which("rsync")
        assert rsync is not None
        folders = [dora_rt.parent, Path(rsync).parent, "/usr/bin", "/bin"]
        os.environ["PATH"] = os.pathsep.join(map(str, folders))

    done = verb("deploy", "robot", cwd=project)

    assert done.exit_code == 1
    assert message in done.err


def test_copy_and_check_are_one_command_each(tmp_path: Path):
    target = Target("ann@robot", "my robot")

    copy = rsync_command(tmp_path, target, is_dry=True, deletes=True)
    check = check_command(target, Path("flow.yml"), "robot")

    assert copy[0] == "rsync"
    assert copy[-3:] == ["--", f"{tmp_path}/", "ann@robot:my robot/"]
    assert {"--exclude=.venv/", "--delete", "--dry-run", "--protect-args"} <= set(copy)
    assert check[:3] == ["ssh", "--", "ann@robot"]
    assert "cd -- '\"'\"'my robot'\"'\"'" in check[3], "quoted for both shells"


@pytest.mark.parametrize(
    ("text", "host", "folder", "address"),
    [
        ("robot", "robot", "project", "robot:project/"),
        ("ann@192.168.1.20", "ann@192.168.1.20", "project", "ann@192.168.1.20:project/"),
        ("robot:work/demo", "robot", "work/demo", "robot:work/demo/"),
        ("robot:~/demo/", "robot", "demo", "robot:demo/"),
        ("robot:/srv/demo", "robot", "/srv/demo", "robot:/srv/demo/"),
        ("ann@[fe80::1]:demo", "ann@fe80::1", "demo", "ann@[fe80::1]:demo/"),
    ],
)
def test_target_is_read_as_ssh_and_rsync_do(text: str, host: str, folder: str, address: str):
    target = parse_target(text, "project")

    assert (target.host, target.folder, target.address) == (host, folder, address)


@pytest.mark.parametrize(
    "text", ["-oProxyCommand=id", "ann@-oProxyCommand=id", "a b", "", "robot:~bob/demo", "@robot"]
)
def test_target_that_is_none_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_target(text, "project")


def test_machine_that_the_file_does_not_have_is_refused(project: Path, home: Path):
    done = verb("deploy", "robt", cwd=project)

    assert done.exit_code == 2
    assert "did you mean 'robot'?" in done.err


def test_dataflow_of_one_machine_is_not_deployed(project: Path, home: Path):
    (project / "dataflow.yml").write_text("nodes: [{id: camera, path: camera.py}]")

    done = verb("deploy", "robot", cwd=project)

    assert done.exit_code == 2
    assert "has no 'machines'" in done.err


def test_file_that_would_not_be_copied_is_named(project: Path, home: Path, tmp_path: Path):
    (tmp_path / "laptop" / "common.py").touch()
    flow = FLOW.replace("path: camera.py", "path: ../common.py")
    (project / "dataflow.yml").write_text(flow)
    os.environ["PATH"] = str(tmp_path / "programs")

    done = verb("deploy", "robot", cwd=project)

    assert f"note: node camera runs {tmp_path}/laptop/common.py, which is not copied" in done.err
    assert done.exit_code == 3
    assert "there is no rsync on this machine: sudo apt install rsync" in done.err
