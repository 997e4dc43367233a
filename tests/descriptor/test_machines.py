"""`machines:`, `machine:`, `over_network:` and dora's `deploy:`, and each way to get them wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dora_rt.descriptor import Host, parse_descriptor, read_descriptor
from dora_rt.descriptor.tree.model import Descriptor
from dora_rt.network.gateway_plan import OverNetwork

Parse = Callable[[str], Descriptor]
Refusal = Callable[[str], list[str]]

TWO = """\
machines:
  robot: {listen: 192.168.1.20:7447}
  laptop: {optional: true, timeout: 30s}
"""
NODES = """\
nodes:
  - {id: camera, machine: robot, path: a.py, outputs: [image]}
  - {id: view, machine: laptop, path: b.py, inputs: {image: camera/image}}
"""


def test_machines_have_addresses_and_settings(parse: Parse) -> None:
    machines = parse(TWO + NODES).machines

    assert machines is not None
    robot, laptop = machines.members
    assert (robot.name, robot.listen, robot.is_optional, robot.timeout_s) == (
        "robot",
        ("192.168.1.20:7447",),
        False,
        None,
    )
    assert (laptop.name, laptop.listen, laptop.is_optional, laptop.timeout_s) == (
        "laptop",
        (),
        True,
        30.0,
    )
    assert (machines.fleet, machines.robot, machines.is_insecure) == ("default", None, False)


def test_what_all_machines_share_stands_beside_them(parse: Parse) -> None:
    text = """\
    machines:
      robot: {}
      laptop:
      via: [one.example.org:7447, "[fd00::1]:7447"]
      fleet: acme
      name: r7
      insecure: true
      tls: certificates
    """
    machines = parse(text + NODES.replace("\n", "\n    ")).machines

    assert machines is not None
    assert machines.names() == ["robot", "laptop"]
    assert machines.via == ("one.example.org:7447", "[fd00::1]:7447")
    assert (machines.fleet, machines.robot, machines.is_insecure) == ("acme", "r7", True)
    assert machines.tls_folder == "certificates"


def test_machine_beside_the_nodes_is_that_of_each_node_without_one(parse: Parse) -> None:
    text = f"{TWO}machine: robot\n" + NODES.replace(", machine: robot", "")

    nodes = parse(text).nodes

    assert [(node.id, node.machine) for node in nodes] == [("camera", "robot"), ("view", "laptop")]


def test_deploy_of_dora_names_machine_and_folder(parse: Parse) -> None:
    text = TWO + NODES.replace("machine: robot", "deploy: {machine: robot, working_dir: cam}")

    camera = parse(text).nodes[0]

    assert (camera.machine, camera.resources.working_dir) == ("robot", "cam")


def test_deploy_of_the_whole_dataflow_is_the_default(parse: Parse) -> None:
    text = f"{TWO}deploy: {{machine: robot}}\n" + NODES.replace(", machine: robot", "")

    assert [node.machine for node in parse(text).nodes] == ["robot", "laptop"]


def test_file_of_dora_without_machines_runs_here_with_a_note(parse: Parse) -> None:
    descriptor = parse("nodes: [{id: a, path: a.py, deploy: {machine: arm}}]")

    assert descriptor.machines is None
    assert descriptor.nodes[0].machine is None
    assert descriptor.notes == (
        "flow.yml:1:47: 'deploy' names a machine, and the file has no 'machines': all nodes run "
        "on this one",
    )


def test_labels_of_dora_are_noted(parse: Parse) -> None:
    text = TWO + NODES.replace("machine: robot", "deploy: {machine: robot, labels: {gpu: 'true'}}")

    assert any("'labels' chooses no machine here" in note for note in parse(text).notes)


def test_input_says_how_its_samples_cross(parse: Parse) -> None:
    text = TWO + NODES.replace(
        "camera/image}",
        "{source: camera/image, over_network: {compress: jpeg, quality: 60, max_width: 640, "
        "max_hz: 7.5, decode: false}}}",
    )

    (image,) = parse(text).nodes[1].inputs

    assert image.over_network == OverNetwork("jpeg", 60, 640, 7.5, decode=False)


def test_operators_and_old_nodes_run_on_machines_as_well(parse: Parse) -> None:
    text = f"""\
{TWO}nodes:
  - {{id: camera, machine: robot, custom: {{source: a.py, outputs: [image]}}}}
  - id: vision
    machine: laptop
    operators:
      - {{id: find, python: b.py, inputs: {{image: camera/image}}, outputs: [bbox]}}
"""
    assert [node.machine for node in parse(text).nodes] == ["robot", "laptop"]


def test_module_runs_on_the_machine_of_its_node_and_its_nodes_may_say_another(
    tmp_path: Path,
) -> None:
    (tmp_path / "eyes.yml").write_text(
        "module: {name: eyes, outputs: [image]}\n"
        "nodes:\n"
        "  - {id: camera, path: a.py, outputs: [image]}\n"
        "  - {id: light, machine: laptop, path: a.py}\n"
    )
    text = f"{TWO}nodes: [{{id: eyes, machine: robot, module: eyes.yml}}]\n"

    nodes = parse_descriptor(text, "flow.yml", Host(folder=tmp_path)).nodes

    assert [(node.id, node.machine) for node in nodes] == [
        ("eyes.camera", "robot"),
        ("eyes.light", "laptop"),
    ]


def test_programs_of_other_machines_need_not_be_here(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    (tmp_path / "flow.yml").write_text(
        TWO + NODES.replace("path: b.py", "path: b.py, working_dir: far, cpu_affinity: [4000]")
    )

    descriptor = read_descriptor(tmp_path / "flow.yml", {}, machine="robot")

    assert [node.id for node in descriptor.nodes] == ["camera", "view"]


def test_machine_without_nodes_is_told(parse: Parse) -> None:
    text = TWO.replace("  laptop:", "  hub: {listen: 10.0.0.1:7447}\n  laptop:") + NODES

    assert [note.partition(": ")[2] for note in parse(text).notes] == [
        "no node runs on machine 'hub': it only passes on what the others send"
    ]


WRONG_MACHINES: list[tuple[str, str]] = [
    (
        "machines: robot",
        "1:11: 'machines': expected the machines by name, got string 'robot'; such as "
        "machines: {robot: {listen: 192.168.1.20:7447}, laptop: {}}",
    ),
    (
        "machines: {via: a.example.org:7447}",
        "1:11: 'machines' names no machine; such as "
        "machines: {robot: {listen: 192.168.1.20:7447}, laptop: {}}",
    ),
    (
        "machines: {robot: {}, laptop: {}}",
        "1:11: no machine can be reached: none has an address; add 'listen: HOST:PORT' to one of "
        "them, or 'via: HOST:PORT' of a router",
    ),
    (
        "machines: {robot: {listen: 10.0.0.1:7447}, laptop: {}, via: a.example.org:7447}",
        "1:12: machine 'robot' listens, and all machines dial 'via'; keep 'listen' or 'via'",
    ),
    (
        "machines: {robot: {listen: 10.0.0.1:7447}, laptop: {}, vai: a.example.org:7447}",
        "1:61: machine 'vai': expected {} or {listen: HOST:PORT}, got string "
        "'a.example.org:7447'; did you mean 'via'?",
    ),
    (
        "machines: {robot: {listen: tcp/10.0.0.1:7447}, laptop: {}}",
        "1:28: 'listen' of machine 'robot': expected HOST:PORT such as 192.168.1.20:7447, got "
        "'tcp/10.0.0.1:7447'; leave the protocol out: it is TLS, or plain TCP on loopback or with "
        "'insecure: true'",
    ),
    (
        "machines: {robot: {listen: 10.0.0.1}, laptop: {}}",
        "1:28: 'listen' of machine 'robot': expected HOST:PORT such as 192.168.1.20:7447, got "
        "'10.0.0.1'; the port is missing: write 10.0.0.1:7447",
    ),
    (
        "machines: {robot: {listen: 10.0.0.1:99999}, laptop: {}}",
        "1:28: 'listen' of machine 'robot': expected HOST:PORT such as 192.168.1.20:7447, got "
        "'10.0.0.1:99999'; the port 99999 is not one of 1 to 65535",
    ),
    (
        "machines: {robot: {listen: 300.1.1.1:7447}, laptop: {}}",
        "1:28: 'listen' of machine 'robot': expected HOST:PORT such as 192.168.1.20:7447, got "
        "'300.1.1.1:7447'; 300.1.1.1 is no address: an address of IPv4 has four numbers of 0 to "
        "255, without zeros in front",
    ),
    (
        "machines: {robot: {}, laptop: {}, via: [relay.example.org:7447, 'fd00::1:7447']}",
        "1:40: 'via' of 'machines': expected HOST:PORT such as 192.168.1.20:7447, got "
        "'fd00::1:7447'; an IPv6 address stands in brackets: write [fd00::1]:7447",
    ),
    (
        "machines: {robot: {address: 10.0.0.1:7447}, laptop: {listen: 10.0.0.1:7447}}",
        "1:20: unknown key 'address' in machine 'robot'; did you mean 'listen'?",
    ),
    (
        "machines: {robot: {listen: 10.0.0.1:7447, insecure: true}, laptop: {}}",
        "1:43: 'insecure' in machine 'robot' is not supported; it is of all machines: write it "
        "beside them, as 'machines: {insecure: ...}'",
    ),
    (
        "machines: {router: {listen: 10.0.0.1:7447}, robot: {}, laptop: {}}",
        "1:12: machine name 'router' is reserved: certificates of routers have it; choose another "
        "name",
    ),
    (
        "machines: {robot: {listen: 10.0.0.1:7447, timeout: never}, laptop: {}}",
        "1:52: 'timeout' of machine 'robot': expected a time such as 2, 0.5, 500ms or 1m, got "
        "string 'never'",
    ),
    (
        "machines: {robot: {listen: 10.0.0.1:7447}, laptop: {}, name: a/b}",
        "1:62: 'name' of 'machines': invalid name 'a/b'; use a-z, A-Z, 0-9, '_', '-' and '.', "
        "beginning with a letter, a digit or '_'",
    ),
    (
        "machines: {robot: {listen: 10.0.0.1:7447}, laptop: {}, tls: true}",
        "1:61: 'tls' of 'machines': expected the folder of the certificates, got boolean 'true'; "
        "`dora-rt pair` makes one; without 'tls' it is found by itself",
    ),
]


@pytest.mark.parametrize(("machines", "expected"), WRONG_MACHINES)
def test_wrong_machines_are_refused(machines: str, expected: str, refusal: Refusal) -> None:
    assert expected in refusal(f"{machines}\n{NODES}")


@pytest.mark.parametrize(
    "machines", ["{robot: {listen: 10.0.0.1}, laptop: {}}", "{robot: {}, laptop: {}, via: [a]}"]
)
def test_mistaken_address_is_told_once(machines: str, refusal: Refusal) -> None:
    assert "no machine can be reached" not in refusal(f"machines: {machines}\n{NODES}")


@pytest.mark.parametrize(
    ("robot", "laptop", "note"),
    [
        ("0.0.0.0:7447", "10.0.0.2:7447", "machine 'robot' listens at all its addresses"),
        ("'[::]:7447'", "10.0.0.2:7447", "machine 'robot' listens at all its addresses"),
        ("10.0.0.1:7447", "10.0.0.1:7447", "machines 'robot' and 'laptop' listen at the same"),
    ],
)
def test_address_that_leads_elsewhere_is_noted(
    robot: str, laptop: str, note: str, parse: Parse
) -> None:
    machines = f"{{robot: {{listen: {robot}}}, laptop: {{listen: {laptop}}}}}"

    (found,) = parse(f"machines: {machines}\n{NODES}").notes

    assert note in found


WRONG_NODES: list[tuple[str, str]] = [
    (
        NODES.replace(", machine: robot", ""),
        "5:10: node 'camera' does not say on which machine it runs; add 'machine:' with one of: "
        "robot, laptop; beside 'nodes' it is for all",
    ),
    (
        NODES.replace("machine: robot", "machine: robto"),
        "5:10: node 'camera' runs on machine 'robto', which 'machines' does not have; did you "
        "mean 'robot'?",
    ),
    (
        NODES.replace("machine: robot", "machine: robot, deploy: {machine: robot}"),
        "5:52: node 'camera' has a machine twice, by 'machine' and by 'deploy'; keep one of them",
    ),
    (
        NODES.replace("machine: robot", "deploy: {machine: robot, distribute: scp}"),
        "5:43: 'distribute' in 'deploy' of node 'camera' is not supported; no program is copied "
        "at the start; `dora-rt deploy MACHINE` copies the project beforehand",
    ),
    (
        NODES.replace("camera/image}", "dora/logs/info/camera}"),
        "6:61: input 'view/image' reads the log of node 'camera', which runs on another machine; "
        "add 'send_logs_as: log' to that node, and read camera/log",
    ),
    (
        NODES + "  - {id: a, machine: robot, runtime: x, operator: {python: a.py}}\n"
        "  - {id: b, machine: laptop, runtime: x, operator: {python: a.py}}\n",
        "8:10: nodes 'a' and 'b' share runtime 'x', which is one process, but run on different "
        "machines; set 'machine' to the same value, or give them different runtimes",
    ),
    (
        NODES + "  - {id: dora.network, machine: robot, path: a.py}\n",
        "7:10: node id 'dora.network' is reserved; choose another name",
    ),
]


@pytest.mark.parametrize(("nodes", "expected"), WRONG_NODES)
def test_nodes_that_cannot_run_there_are_refused(
    nodes: str, expected: str, refusal: Refusal
) -> None:
    assert expected in refusal(TWO + nodes)


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (
            "machine: robto",
            "4:10: the dataflow runs on machine 'robto', which 'machines' does not have; did you "
            "mean 'robot'?",
        ),
        (
            "deploy: {machine: arm}",
            "4:19: the dataflow runs on machine 'arm', which 'machines' does not have; the "
            "machines are: robot, laptop",
        ),
        (
            "machine: [robot]",
            "4:10: 'machine' of the dataflow: expected a name, got a list; the machines are: "
            "robot, laptop",
        ),
    ],
)
def test_wrong_machine_beside_the_nodes_is_refused_though_no_node_takes_it(
    default: str, expected: str, refusal: Refusal
) -> None:
    assert refusal(f"{TWO}{default}\n{NODES}") == [expected]


def test_machine_in_a_file_without_machines_is_refused(refusal: Refusal) -> None:
    assert refusal("nodes: [{id: a, path: a.py, machine: robot}]") == [
        "1:38: node 'a' has a 'machine', but the file has no 'machines'; add "
        "machines: {robot: {listen: 192.168.1.20:7447}, laptop: {}}"
    ]


def test_machine_in_an_operator_belongs_to_its_node(refusal: Refusal) -> None:
    text = f"{TWO}nodes: [{{id: a, machine: robot, operator: {{python: a.py, machine: robot}}}}]"

    (line,) = refusal(text)

    assert line.endswith("move it to the node, beside its 'id'")


WRONG_WAYS: list[tuple[str, str]] = [
    (
        "jpeg",
        "6:98: 'over_network' of input 'view/image': expected a mapping such as "
        "{compress: jpeg}, got string 'jpeg'",
    ),
    (
        "{compress: h264}",
        "6:109: 'compress' of 'over_network' of input 'view/image': expected jpeg, got 'h264'; "
        "without it, samples cross as they are",
    ),
    (
        "{quality: 50}",
        "6:99: 'quality' of 'over_network' of input 'view/image' has no meaning without "
        "'compress: jpeg'; add 'compress: jpeg'",
    ),
    (
        "{compress: jpeg, quality: 101}",
        "6:124: 'quality' of 'over_network' of input 'view/image': expected a whole number from 1 "
        "to 100, got 101",
    ),
    (
        "{max_hz: 0}",
        "6:107: 'max_hz' of 'over_network' of input 'view/image': expected samples per second, at "
        "most 10,000, got integer '0'",
    ),
    (
        "{hz: 5}",
        "6:99: unknown key 'hz' in 'over_network' of input 'view/image'; did you mean 'max_hz'?",
    ),
]


@pytest.mark.parametrize(("way", "expected"), WRONG_WAYS)
def test_wrong_ways_over_the_network_are_refused(way: str, expected: str, refusal: Refusal) -> None:
    text = NODES.replace("camera/image}", f"{{source: camera/image, over_network: {way}}}}}")

    assert expected in refusal(TWO + text)


def test_way_over_the_network_on_one_machine_is_noted(parse: Parse) -> None:
    text = NODES.replace("machine: laptop", "machine: robot").replace(
        "camera/image}", "{source: camera/image, over_network: {max_hz: 5}}}"
    )

    notes = parse(TWO + text).notes

    assert any("'over_network' of input 'view/image' has no effect" in note for note in notes)


def test_timer_cannot_cross(refusal: Refusal) -> None:
    text = NODES.replace(
        "camera/image}", "{source: dora/timer/millis/20, over_network: {max_hz: 5}}}"
    )

    (line,) = refusal(TWO + text)

    assert line.endswith(
        "'over_network' has no meaning for input 'view/image', which is a timer; remove it"
    )


def test_nothing_in_the_file_makes_it_fail_otherwise(refusal: Refusal) -> None:
    broken: list[Any] = ["[]", "{robot: []}", "{robot: {listen: []}}", "{1: {}}", "{robot: 5}"]
    for machines in broken:
        assert refusal(f"machines: {machines}\n{NODES}"), machines
