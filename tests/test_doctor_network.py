"""What doctor says of links to other machines."""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from pathlib import Path

import pytest

from dora_rt.doctor.checks import Level
from dora_rt.doctor.network_checks import (
    NetworkSettings,
    Wireless,
    examine_network,
    find_network_settings,
)
from tests.harness.verbs import verb

MIB = 2**20

FINE = NetworkSettings(
    zenoh="1.10.2",
    congestion="bbr",
    congestion_allowed=frozenset(["reno", "bbr"]),
    has_bbr=True,
    send_buffer_nbytes=4 * MIB,
    receive_buffer_nbytes=6 * MIB,
    wireless=(Wireless("wlan0", saves_power=False),),
)


def test_machine_with_fine_links_has_no_complaint():
    findings = examine_network(FINE, is_needed=True)

    assert {finding.level for finding in findings} == {Level.OK}
    assert [finding.subject for finding in findings] == [
        "zenoh",
        "TCP control",
        "TCP buffers",
        "Wi-Fi",
    ]


@pytest.mark.parametrize(
    ("changes", "level", "text", "remedy"),
    [
        ({"zenoh": None}, Level.PROBLEM, "is not installed", "pip install 'dora_rt[network]'"),
        (
            {"congestion": "cubic", "congestion_allowed": frozenset(["reno", "cubic"])},
            Level.WARNING,
            "cubic, and bbr is not allowed",
            "net.ipv4.tcp_allowed_congestion_control='bbr cubic reno'",
        ),
        (
            {"receive_buffer_nbytes": 212992},
            Level.WARNING,
            "up to 4.0 MiB to send, 208.0 KiB to receive: too little",
            "`sudo sysctl net.ipv4.tcp_rmem='4096 131072 4194304'`",
        ),
        (
            {"wireless": (Wireless("wlan0", saves_power=True),)},
            Level.WARNING,
            "wlan0 saves power",
            "iw dev wlan0 set power_save off",
        ),
    ],
    ids=["zenoh", "bbr", "buffers", "Wi-Fi"],
)
def test_each_flaw_of_the_links_is_named_with_a_way_out(
    changes: dict[str, object], level: Level, text: str, remedy: str
):
    findings = examine_network(dataclasses.replace(FINE, **changes), is_needed=True)  # type: ignore[arg-type]

    (flaw,) = [finding for finding in findings if finding.level is not Level.OK]
    assert flaw.level is level
    assert text in flaw.text
    assert remedy in flaw.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"congestion": "cubic"},
        {"congestion": "cubic", "congestion_allowed": frozenset(), "has_bbr": False},
        {"congestion": "", "send_buffer_nbytes": None},
        {"wireless": (Wireless("wlan0", saves_power=None),)},
    ],
    ids=["bbr is allowed", "a kernel without bbr", "a container", "a driver that does not say"],
)
def test_what_cannot_be_mended_or_need_not_is_no_complaint(changes: dict[str, object]):
    findings = examine_network(dataclasses.replace(FINE, **changes), is_needed=True)  # type: ignore[arg-type]

    assert {finding.level for finding in findings} == {Level.OK}


def test_machine_that_runs_dataflows_alone_needs_no_zenoh():
    (finding,) = examine_network(dataclasses.replace(FINE, zenoh=None), is_needed=False)

    assert finding.level is Level.OK
    assert "dataflows run on this machine alone" in finding.text


def test_settings_of_this_machine_are_read():
    settings = find_network_settings()

    assert settings.zenoh == metadata.version("eclipse-zenoh")
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    assert settings.congestion == (control.read_text().strip() if control.exists() else "")


@pytest.mark.programs
def test_part_that_cannot_start_here_is_a_problem_among_the_findings(tmp_path: Path):
    (tmp_path / "camera.py").touch()
    (tmp_path / "flow.yml").write_text(
        'machines: {robot: {listen: "192.168.1.20:7447"}, laptop: {}}\n'
        "nodes: [{id: camera, machine: robot, path: camera.py, outputs: [image]}]"
    )
    env = {"XDG_CONFIG_HOME": str(tmp_path)}

    done = verb("doctor", str(tmp_path / "flow.yml"), "--machine", "robot", "--json", env=env)

    problems = [one for one in json.loads(done.out) if one["level"] == "problem"]
    assert done.exit_code == 1
    assert "machine robot" in [problem["subject"] for problem in problems]
