"""The verbs that need no run: they write, check, print."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dora_rt.cli.dora_rt import VERBS, load_verb
from dora_rt.cli.logs import _Log
from tests.harness.flow import Flow
from tests.harness.objects import namespace
from tests.harness.verbs import verb

FLOW = "nodes: [{id: node, path: node.py, inputs: {tick: dora/timer/millis/10}}]"


def write_flow(flow: Flow) -> None:
    flow.write("flow.yml", FLOW)
    flow.write("node.py", "from dora_rt import Node\nfor event in Node(): pass")


def test_help_of_every_verb_has_an_example():
    for name in VERBS:
        epilog = load_verb(name).epilog
        assert "example" in epilog, name
        assert f"dora-rt {name}" in epilog, name


@pytest.mark.programs
def test_new_project_runs_at_once_and_its_test_passes(tmp_path: Path):
    assert verb("new", "robot", cwd=tmp_path).exit_code == 0

    folder = tmp_path / "robot"
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=folder, capture_output=True, text=True
    )
    run = subprocess.run(
        [sys.executable, "-m", "dora_rt", "dataflow.yml", "--stop-after", "500ms"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert (tests.returncode, run.returncode) == (0, 0), tests.stdout + run.stdout
    assert "1 passed" in tests.stdout
    assert "printer    | frame 0: mean colour [0. 0. 0.]" in run.stdout


def test_new_project_never_overwrites_what_exists(tmp_path: Path):
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "dataflow.yml").write_text("mine")

    done = verb("new", "robot", cwd=tmp_path)

    assert (done.exit_code, (tmp_path / "robot" / "dataflow.yml").read_text()) == (2, "mine")
    assert done.err == "dora-rt: robot exists already, and is not an empty folder\n"


def test_check_names_what_would_run_or_every_mistake(flow: Flow):
    write_flow(flow)
    flow.write("wrong.yml", "nodes: [{id: node, path: node.py, inputs: {a: nobody/out}}]")

    fine = verb("check", str(flow.folder / "flow.yml"))
    wrong = verb("check", str(flow.folder / "wrong.yml"))

    assert fine.exit_code == 0
    assert "flow.yml is fine: 1 process, 0 edges" in fine.out
    assert "shared memory at the start: " in fine.out
    assert wrong.exit_code == 2
    assert "wrong.yml:1:" in wrong.err
    assert "'nobody'" in wrong.err


def test_unit_starts_the_run_and_learns_when_it_is_ready_and_when_it_stops(flow: Flow):
    write_flow(flow)
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(verb("service", "print", str(flow.folder / "flow.yml")).out)
    service = unit["Service"]
    address = f"@dora_rt-{namespace()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:])
        manager.settimeout(20)
        launcher = subprocess.Popen(
            shlex.split(service["ExecStart"]),
            cwd=service["WorkingDirectory"],
            env={**os.environ, "NOTIFY_SOCKET": address},
            stdout=subprocess.DEVNULL,
        )
        ready = manager.recv(1000)
        launcher.send_signal(signal.SIGTERM)
        stopping = manager.recv(1000)

        assert (ready, stopping) == (b"READY=1\nSTATUS=running", b"STOPPING=1\nSTATUS=stopping")
        assert str(launcher.wait(30)) in service["SuccessExitStatus"].split()
    assert (service["Type"], service["KillMode"], service["Restart"]) == (
        "notify",
        "mixed",
        "on-failure",
    )
    assert unit["Install"]["WantedBy"] == "default.target"


def test_unit_of_the_system_has_a_user_a_video_group_and_time_for_the_stop(flow: Flow):
    flow.write("flow.yml", FLOW.replace("}}", "}, stop_grace: 20}"))
    flow.write("node.py", "")

    unit = verb("service", "print", str(flow.folder / "flow.yml"), "--system", "--user", "root").out

    assert (
        "\nUser=root\nSupplementaryGroups=video\nEnvironment=XDG_RUNTIME_DIR=/run/user/0\n" in unit
    )
    assert f"\nEnvironment=DORA_RT_NAMESPACE={namespace()}\n" in unit
    assert "\nTimeoutStopSec=85\n" in unit
    assert "\nWantedBy=multi-user.target\n" in unit


def test_unit_of_a_machine_waits_for_the_others_again_after_each_end(flow: Flow):
    machines = 'machines: {robot: {listen: "127.0.0.1:7447"}, laptop: {}}\nmachine: robot\n'
    flow.write("flow.yml", machines + FLOW)
    flow.write("node.py", "")
    part = ("--machine", "robot", "--robot", "r7")

    unit = verb("service", "print", str(flow.folder / "flow.yml"), *part).out
    system = verb("service", "print", str(flow.folder / "flow.yml"), *part, "--system").out

    assert f" -m dora_rt {flow.folder}/flow.yml --machine robot --name r7\n" in unit
    assert "\nRestart=always\n" in unit
    assert "\nTimeoutStartSec=infinity\n" in unit
    assert "\nStartLimitIntervalSec=60\nStartLimitBurst=10\n" in unit
    assert "network-online.target" not in unit, "a unit of the user cannot wait for it"
    assert "\nAfter=network-online.target\n" in system


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.programs
def test_unit_of_a_path_with_odd_letters_is_one_that_systemd_reads(tmp_path: Path):
    folder = tmp_path / "a b%h $c"
    folder.mkdir()
    flow = Flow(folder)
    write_flow(flow)
    unit = tmp_path / "odd.service"
    unit.write_text(verb("service", "print", str(folder / "flow.yml")).out)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(unit)], capture_output=True, text=True
    )

    assert "odd.service" not in done.stderr
    assert f'"{tmp_path}/a b%%h $$c/flow.yml"' in unit.read_text()


def test_install_writes_the_unit_and_lets_systemd_start_it_at_boot(flow: Flow, tmp_path: Path):
    write_flow(flow)
    # The one part that a test must not really do to the machine.
    systemctl = flow.write("systemctl", f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    systemctl.chmod(0o755)
    env = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PATH": f"{flow.folder}{os.pathsep}{os.environ['PATH']}",
    }

    done = verb(
        "service", "install", str(flow.folder / "flow.yml"), "--name", "robot", "--now", env=env
    )

    assert done.exit_code == 0, done.err
    unit = tmp_path / "config" / "systemd" / "user" / "robot.service"
    assert "Type=notify" in unit.read_text()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["--user daemon-reload", "--user enable --now robot.service"]
    assert "loginctl enable-linger" in done.out


@pytest.fixture
def services(flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of the user's units, with a systemctl that does nothing."""
    systemctl = flow.write("systemctl", "#!/bin/sh\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{flow.folder}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "config" / "systemd" / "user"


def dataflow_in(folder: Path, name: str = "dataflow.yml") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node.py").touch()
    (folder / name).write_text(FLOW)
    return str(folder / name)


@pytest.mark.parametrize("name", ["机器人.yml", "---.yml", "..yml"])
def test_unit_is_not_named_after_what_is_no_name(services: Path, tmp_path: Path, name: str):
    done = verb("service", "install", dataflow_in(tmp_path / "robots", name))

    assert done.exit_code == 2
    assert done.err == (
        f"dora-rt: a unit cannot be named after {Path(name).stem!r}, which has no letter from a to "
        "z and no digit: give it a name with --name, such as --name robot\n"
    )
    assert not services.exists()


def test_unit_with_such_a_name_of_its_own_is_installed(services: Path, tmp_path: Path):
    file = dataflow_in(tmp_path / "robots", "机器人.yml")

    assert verb("service", "install", file, "--name", "robot").exit_code == 0

    assert [path.name for path in services.iterdir()] == ["robot.service"]


def test_unit_is_named_after_what_is_left_of_a_name(services: Path, tmp_path: Path):
    verb("service", "install", dataflow_in(tmp_path / "-Küche 2"))

    assert [path.name for path in services.iterdir()] == ["K-che-2.service"]


def test_second_robot_of_the_same_folder_name_does_not_take_the_unit_of_the_first(
    services: Path, tmp_path: Path
):
    first, second = (dataflow_in(tmp_path / house / "robot") for house in "ab")
    assert verb("service", "install", first).exit_code == 0
    before = (services / "robot.service").read_text()

    refused = verb("service", "install", second)
    again = verb("service", "install", first)
    named = verb("service", "install", second, "--name", "robot-b")

    assert refused.exit_code == 2
    assert refused.err == (
        f"dora-rt: {services}/robot.service is there already, and runs {first}: choose another "
        "name with --name, or remove it\n"
    )
    assert (again.exit_code, named.exit_code) == (0, 0)
    assert (services / "robot.service").read_text() == before
    assert second in (services / "robot-b.service").read_text()


def test_unit_of_somebody_else_is_not_replaced(services: Path, tmp_path: Path):
    services.mkdir(parents=True)
    (services / "robot.service").write_text("[Unit]\nDescription=mine\n")

    refused = verb("service", "install", dataflow_in(tmp_path / "robot"))

    assert refused.exit_code == 2
    assert "robot.service is there already, and is not of dora_rt" in refused.err
    assert "mine" in (services / "robot.service").read_text()


@pytest.mark.parametrize("name", ["-x", ".hidden", "a b", ""])
def test_name_of_a_unit_is_none_that_systemctl_takes_for_something_else(name: str):
    done = verb("service", "print", "flow.yml", f"--name={name}")

    assert done.exit_code == 2
    assert "is not a name of a unit" in done.err


@pytest.mark.programs
@pytest.mark.parametrize("name", ["my robot", "robot"])
def test_line_that_new_prints_works_in_a_shell(tmp_path: Path, name: str):
    done = verb("new", name, cwd=tmp_path)

    (line,) = [line for line in done.out.splitlines() if line.startswith("now: ")]
    command = line.removeprefix("now: ").replace("dora-launch", "test -f")
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path).returncode == 0


def complete_in_bash(script: Path, *words: str, cwd: Path) -> list[str]:
    line = " ".join(shlex.quote(word) for word in words)
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _dora_rt; "
            'echo "${COMPREPLY[@]}"',
        ],
        capture_output=True,
        text=True,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.programs
def test_tab_key_of_bash_offers_verbs_options_choices_and_files(tmp_path: Path):
    script = tmp_path / "completion.bash"
    script.write_text(verb("completion", "bash").out)
    (tmp_path / "flow.yml").touch()

    def offered(*words: str) -> list[str]:
        return complete_in_bash(script, "dora-rt", *words, cwd=tmp_path)

    assert offered("res") == ["restart"]
    assert offered("top", "--on") == ["--once"]
    assert offered("service", "pr") == ["print"]
    assert offered("check", "fl") == ["flow.yml"]


def test_log_that_is_put_aside_while_it_is_followed_loses_no_line(tmp_path: Path):
    path = tmp_path / "node.log"
    stamp = "2026-01-31 12:00:00.000 "
    path.write_text(f"{stamp}first\n{stamp}sec")
    log = _Log(tmp_path, "node", 0)
    assert [line[24:] for line in log.old()] == ["first"]

    with path.open("a") as file:
        file.write(f"ond\n{stamp}third\n")
    path.rename(tmp_path / "node.log.1")
    path.write_text(f"{stamp}fourth\n")

    assert [line[24:] for line in log.new()] == ["second", "third", "fourth"]
    log.close()
