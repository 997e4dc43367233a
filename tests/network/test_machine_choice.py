"""`--machine` and `--name`: what a machine is refused for before anything of it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dora_rt.cli import machine_choice
from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.machine_choice import find_membership
from dora_rt.cli.run_file import plan_file, read_file
from dora_rt.errors import ExtraMissingError, LaunchError
from dora_rt.network.gateway_plan import Security
from dora_rt.plan.machine_part import Membership
from tests.harness.verbs import verb

LOCAL = """\
machines:
  robot: {listen: 127.0.0.1:7447}
  laptop: {}
nodes:
  - {id: camera, machine: robot, path: a.py, outputs: [image]}
  - {id: view, machine: laptop, path: a.py, inputs: {image: camera/image}}
"""
OPEN = LOCAL.replace("127.0.0.1", "192.168.1.20")
ROUTED = LOCAL.replace("{listen: 127.0.0.1:7447}", "{}").replace(
    "nodes:", "  via: 127.0.0.1:7447\nnodes:"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("")
    return tmp_path


def written(folder: Path, text: str, name: str = "flow.yml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def choose(
    file: Path, *, machine: str = "robot", robot: str | None = None, home: Path | None = None
) -> Membership:
    environ = {"HOME": str(home or file.parent)}
    descriptor = read_file(file, environ, machine=machine)
    return find_membership(file, descriptor, environ, machine=machine, robot=robot, is_started=True)


def test_machine_that_the_file_does_not_have_is_refused_with_the_one_that_was_meant(
    folder: Path,
) -> None:
    with pytest.raises(UsageError, match=r"no such machine; did you mean 'laptop'\?"):
        read_file(written(folder, LOCAL), {}, machine="labtop")


def test_machine_of_a_file_with_one_machine_is_refused(folder: Path) -> None:
    file = written(folder, "nodes: [{id: a, path: a.py}]")

    with pytest.raises(UsageError, match=r"has no 'machines': all its nodes run on one"):
        read_file(file, {}, machine="robot")


def test_name_without_machine_is_refused(folder: Path) -> None:
    file = written(folder, LOCAL)

    with pytest.raises(UsageError, match="say --machine, too"):
        plan_file(file, read_file(file, {}), {}, robot="r7")


def test_machines_on_loopback_need_no_certificates(folder: Path) -> None:
    membership = choose(written(folder, LOCAL))

    assert membership.security == Security()
    assert (membership.machine, membership.robot, membership.flow) == ("robot", "default", "flow")


def test_address_beyond_loopback_needs_certificates(folder: Path) -> None:
    with pytest.raises(LaunchError, match="`dora-rt pair`"):
        choose(written(folder, OPEN))


def test_every_machine_needs_them_not_only_the_one_that_listens(folder: Path) -> None:
    with pytest.raises(LaunchError, match="machine 'laptop' has no certificate"):
        choose(written(folder, OPEN), machine="laptop")


def test_file_that_says_insecure_needs_none(folder: Path) -> None:
    file = written(folder, OPEN.replace("nodes:", "  insecure: true\nnodes:"))

    assert choose(file).security == Security(is_insecure=True)


def test_folder_of_certificates_begins_at_the_file(folder: Path) -> None:
    file = written(folder, LOCAL.replace("nodes:", "  tls: keys\nnodes:"))

    with pytest.raises(LaunchError, match=f"no certificate in {folder}/keys"):
        choose(file)


def test_router_for_several_robots_needs_the_name_of_this_one(folder: Path) -> None:
    file = written(folder, ROUTED)

    with pytest.raises(UsageError, match="say which robot this is, by --name"):
        choose(file)
    assert choose(file, robot="r7").robot == "r7"


def test_name_on_the_command_line_is_stronger_than_that_of_the_file(folder: Path) -> None:
    file = written(folder, ROUTED.replace("nodes:", "  name: r1\nnodes:"))

    assert (choose(file).robot, choose(file, robot="r7").robot) == ("r1", "r7")


def test_name_that_the_network_cannot_carry_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"--name r\*: use a-z"):
        choose(written(folder, LOCAL), robot="r*")


def test_files_are_the_same_whatever_their_comments_and_variables_say(folder: Path) -> None:
    one = choose(written(folder, f"# here\n{LOCAL}env: {{A: '${{HOME}}'}}\n"))
    other = choose(written(folder, f"{LOCAL}env: {{A: '${{HOME}}'}}\n"), home=Path("/"))
    changed = choose(written(folder, LOCAL.replace("image: camera/image", "x: camera/image")))

    assert one.file_sha256 == other.file_sha256 != changed.file_sha256


def test_file_name_becomes_part_of_names_on_the_network(folder: Path) -> None:
    assert choose(written(folder, LOCAL, "my flow*.yml")).flow == "my_flow_"


def test_missing_package_is_named_with_its_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_choice, "find_spec", lambda _: None)

    with pytest.raises(ExtraMissingError, match=r"pip install 'dora_rt\[network\]'"):
        choose(written(folder, LOCAL))


def test_check_shows_what_crosses_and_needs_neither_certificates_nor_packages(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_choice, "find_spec", lambda _: None)

    checked = verb("check", str(written(folder, OPEN)), "--machine", "laptop")

    assert checked.exit_code == 0
    assert "camera/image -> view/image (robot > laptop, queue 10, drop_oldest)" in checked.out
    assert "machine robot: camera" in checked.out
