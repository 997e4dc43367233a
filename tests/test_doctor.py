from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import pytest

from dora_rt import __version__
from dora_rt.descriptor import read_descriptor
from dora_rt.doctor.checks import (
    Finding,
    Level,
    examine,
    examine_plan,
    findings_as_json,
    is_healthy,
    render_findings,
)
from dora_rt.doctor.machine import (
    Camera,
    IdleProvider,
    Interpreter,
    Machine,
    OnnxRuntime,
    OpenCv,
    _find_cameras,
    find_interpreters,
    find_machine,
    removes_ipc,
)
from dora_rt.launcher.preconditions import Limits
from dora_rt.plan.plan import Plan
from dora_rt.plan.planner import make_plan
from dora_rt.transport.primitives.shm import Room
from tests.harness.waiting import PATIENCE_S

MIB = 2**20

BROKEN_CUDA = IdleProvider(
    "CUDAExecutionProvider", True, "libcublasLt.so.13 is missing", "install CUDA"
)

FINE = Machine(
    platform="linux aarch64",
    python=(3, 11, 7),
    word_bits=64,
    executable="/venv/bin/python",
    c_library="glibc 2.36",
    has_clock_wait=True,
    packages={
        "dora_rt": "1.0",
        "numpy": "2.0",
        "posix_ipc": "1.3",
        "PyYAML": "6.0",
        "opencv-python": "4.12",
        "onnxruntime": "1.20",
    },
    hot_path="compiled",
    uid=1000,
    user="ada",
    cores=4,
    limits=Limits(1024, 4096, 10, 65530, None, None),
    shm_room=Room(4000 * MIB, 3900 * MIB),
    shm_mode=0o1777,
    shm_type="tmpfs",
    shm_is_writable=True,
    has_logind=True,
    removes_ipc=True,
    is_lingering=True,
    dead_runs=frozenset(),
    display=":0",
    opencv=OpenCv("4.12", "GTK", True),
    onnx=OnnxRuntime(
        "1.20",
        ("CPUExecutionProvider",),
        idle=(
            IdleProvider("CUDAExecutionProvider", False, "not in this onnxruntime 1.20", "get it"),
            IdleProvider("TensorrtExecutionProvider", True, "libnvinfer.so.10 is missing", "get"),
            IdleProvider("OpenVINOExecutionProvider", False, "not in this onnxruntime 1.20", ""),
        ),
    ),
    cameras=(Camera("/dev/video0", "USB Camera", "video", True),),
)


def test_machine_on_which_all_is_well_has_no_complaint():
    findings = examine(FINE)

    assert {finding.level for finding in findings} == {Level.OK}
    assert not any(finding.remedy for finding in findings)
    assert is_healthy(findings)


@pytest.mark.parametrize(
    ("changes", "level", "text", "remedy"),
    [
        ({"python": (3, 9, 2)}, Level.PROBLEM, "3.9.2 on linux", "needs Python 3.10 or newer"),
        ({"platform": "darwin arm64"}, Level.PROBLEM, "darwin arm64 has no /dev/shm", "on Linux"),
        ({"word_bits": 32}, Level.PROBLEM, "32 bits", "Raspberry Pi OS 64-bit"),
        ({"c_library": "the C library"}, Level.PROBLEM, "is no glibc (Alpine?)", "on Debian"),
        ({"has_clock_wait": False}, Level.WARNING, "has no sem_clockwait", "glibc 2.30"),
        (
            {"packages": {**FINE.packages, "opencv-python-headless": "4.12"}},
            Level.WARNING,
            "(opencv-python, opencv-python-headless): these overwrite each other's files",
            "doctor --repair-opencv` leaves one of them",
        ),
        (
            {"packages": {key: "1" for key in FINE.packages if key != "posix_ipc"}},
            Level.PROBLEM,
            "is not installed for this Python",
            "/venv/bin/python -m pip install posix_ipc",
        ),
        ({"shm_room": None}, Level.PROBLEM, "does not exist", "mount -t tmpfs"),
        (
            {"shm_is_writable": False, "shm_mode": 0o755},
            Level.PROBLEM,
            "cannot make files in it (mode 755)",
            "chmod 1777 /dev/shm",
        ),
        ({"shm_type": "ext4"}, Level.WARNING, "no tmpfs but ext4", "mount -t tmpfs"),
        (
            {"shm_room": Room(64 * MIB, 60 * MIB)},
            Level.WARNING,
            "has only 64.0 MiB (60.0 MiB free), as in a container",
            "docker run --shm-size=512m",
        ),
        (
            {"shm_room": Room(1000 * MIB, 90 * MIB)},
            Level.WARNING,
            "1000.0 MiB, 90.0 MiB free: less than a tenth",
            "dora-rt clean",
        ),
        (
            {"is_lingering": False},
            Level.WARNING,
            "(RemoveIPC)",
            "loginctl enable-linger",
        ),
        (
            {"dead_runs": frozenset(["0badcafe"])},
            Level.WARNING,
            "1 dead run left objects in /dev/shm: 0badcafe",
            "dora-rt clean",
        ),
        ({"cores": 1}, Level.WARNING, "1: all nodes take turns", "second core"),
        (
            {"limits": Limits(256, 4096, 10, 65530, None, None)},
            Level.WARNING,
            "at most 256 a process (`ulimit -n` raises it to 4096)",
            "ulimit -n 1024",
        ),
        (
            {"opencv": OpenCv(None, error="ImportError: libGL.so.1: cannot open")},
            Level.PROBLEM,
            "cannot be imported: ImportError: libGL.so.1",
            "doctor --repair-opencv` installs one that works here; for windows: `apt install",
        ),
        (
            {"opencv": OpenCv("4.12", "", True)},
            Level.WARNING,
            ":0, but this OpenCV has no windows",
            "opencv-python instead of opencv-python-headless",
        ),
        (
            {"opencv": OpenCv("4.12", "GTK", False)},
            Level.WARNING,
            "is not in this OpenCV",
            "onnxruntime",
        ),
        (
            {"packages": {**FINE.packages, "onnxruntime-gpu": "1.20"}},
            Level.WARNING,
            "CPUExecutionProvider (onnxruntime, onnxruntime-gpu): these overwrite each other's",
            "`pip uninstall onnxruntime onnxruntime-gpu`, then install one of them",
        ),
        (
            {"onnx": dataclasses.replace(FINE.onnx, has_gpu=True)},
            Level.WARNING,
            "CUDAExecutionProvider is not used: not in this onnxruntime 1.20",
            "get it",
        ),
        (
            {"onnx": OnnxRuntime("1.20", ("CPUExecutionProvider",), idle=(BROKEN_CUDA,))},
            Level.WARNING,
            "CUDAExecutionProvider does not start: libcublasLt.so.13 is missing",
            "install CUDA",
        ),
        (
            {"onnx": OnnxRuntime("1.20", ("CPUExecutionProvider",), error="exit status -11")},
            Level.WARNING,
            "its providers could not be examined: exit status -11",
            "--device cpu",
        ),
        (
            {"cameras": (Camera("/dev/video2", "", "video", False),)},
            Level.PROBLEM,
            "/dev/video2 may not be read by this user (group video)",
            "sudo usermod -aG video ada",
        ),
    ],
)
def test_each_flaw_is_named_with_a_way_out(
    changes: dict[str, object], level: Level, text: str, remedy: str
):
    findings = examine(dataclasses.replace(FINE, **changes))  # type: ignore[arg-type]

    (flaw,) = [finding for finding in findings if finding.level is not Level.OK]
    assert flaw.level is level
    assert text in flaw.text
    assert remedy in flaw.remedy
    assert is_healthy(findings) == (level is not Level.PROBLEM)


@pytest.mark.parametrize(
    "changes",
    [{"uid": 0}, {"uid": 999}, {"has_logind": False}, {"removes_ipc": False}],
    ids=["root", "service", "no systemd", "RemoveIPC=no"],
)
def test_logout_matters_only_to_whom_it_can_happen(changes: dict[str, object]):
    findings = examine(dataclasses.replace(FINE, is_lingering=False, **changes))  # type: ignore[arg-type]

    assert all(finding.level is Level.OK for finding in findings)


@pytest.mark.parametrize(
    ("settings", "removes"),
    [
        ("", True),
        ("[Login]\n#RemoveIPC=no\n", True),
        ("[Login]\nRemoveIPC=no\n", False),
        ("RemoveIPC=no\n[Login]\n  RemoveIPC = yes\n", True),
        ("RemoveIPC=yes\nRemoveIPC=off", False),
    ],
)
def test_settings_of_logind_are_read_as_logind_does(settings: str, removes: bool):
    assert removes_ipc(settings) is removes


def test_cameras_are_found_in_the_order_of_their_numbers(tmp_path: Path):
    for name in ("video10", "video2", "videos", "null"):
        (tmp_path / name).touch()

    cameras = list(_find_cameras(tmp_path))

    assert [Path(camera.path).name for camera in cameras] == ["video2", "video10"]
    assert all(camera.is_usable and camera.group for camera in cameras)


def plan(folder: Path) -> Plan:
    (folder / "flow.yml").write_text(
        "nodes: [{id: a, path: a.py, outputs: [x]}, "
        "{id: b, path: a.py, inputs: {x: {source: a/x, slot_bytes: 10000000}}}, "
        "{id: c, path: /bin/true}]"
    )
    (folder / "a.py").touch()
    descriptor = read_descriptor(folder / "flow.yml")
    return make_plan(descriptor, folder=folder, interpreter=sys.executable)


@pytest.mark.programs
def test_interpreters_of_a_dataflow_are_asked_for_their_dora_rt(tmp_path: Path):
    flow = plan(tmp_path)
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 'No module named dora_rt' >&2\nexit 1\n")
    other.chmod(0o755)
    elsewhere = dataclasses.replace(
        flow.processes[1], argv=(str(other), *flow.processes[1].argv[1:])
    )
    flow = dataclasses.replace(flow, processes=(flow.processes[0], elsewhere, flow.processes[2]))

    interpreters = find_interpreters(flow)

    assert interpreters == [
        Interpreter(sys.executable, ("a",), __version__),
        Interpreter(str(other), ("b",), None, "No module named dora_rt"),
    ]


def test_dataflow_is_judged_by_its_interpreters_and_its_memory(tmp_path: Path):
    findings = examine_plan(
        plan(tmp_path),
        dataclasses.replace(FINE, shm_room=Room(64 * MIB, 20 * MIB)),
        [
            Interpreter("/venv/bin/python", ("a", "b"), "1.0"),
            Interpreter("/other/python", ("c",), "1.0"),
            Interpreter("/old/python", ("d",), "0.9"),
            Interpreter("/bare/python", ("e",), None, "No module named dora_rt"),
        ],
    )

    same, other, old, bare, memory, *_ = findings
    assert same.text == "this Python runs a, b: dora_rt 1.0, the same as the launcher's"
    assert (other.level, old.level, bare.level) == (Level.OK, Level.PROBLEM, Level.PROBLEM)
    assert old.text == "/old/python (runs d) has dora_rt 0.9, the launcher has 1.0"
    assert old.remedy == "/old/python -m pip install dora_rt==1.0"
    assert bare.text.endswith("has no dora_rt: No module named dora_rt")
    assert memory.level is Level.PROBLEM
    assert "has 20.0 MiB free (of 64.0 MiB):\n" in memory.text
    assert memory.remedy.startswith("lower slot_bytes")


def test_limits_that_a_dataflow_is_compared_with_are_shown():
    room = Room(4000 * MIB, 3900 * MIB, 1234)
    limits = Limits(1024, 4096, 10, 65530, user_tasks=500, group_tasks=1)

    found = examine(dataclasses.replace(FINE, shm_room=room, limits=limits))

    texts = {finding.subject: finding.text for finding in found}
    assert texts["/dev/shm"] == "3.9 GiB, 3.8 GiB free, room for 1,234 objects"
    assert texts["open files"] == "at most 1024 a process (`ulimit -n` raises it to 4096)"
    assert texts["mappings"] == "at most 65,530 a process (vm.max_map_count)"
    assert texts["processes"] == (
        "500 more of this user, 1 more of this container or service, threads included"
    )


@pytest.mark.parametrize(
    ("changes", "level", "text", "remedy"),
    [
        ({}, Level.OK, "9 processes, at most ", ""),
        (
            {"limits": Limits(20, 4096, 10, None, None, None)},
            Level.PROBLEM,
            "the launcher of 3 processes needs ",
            "raise the limit (ulimit -n ",
        ),
        (
            {"limits": Limits(1024, 4096, 10, None, 3, None)},
            Level.PROBLEM,
            "needs 9 processes, and this user may have 3 more",
            "raise the limit (ulimit -u",
        ),
        (
            {"limits": Limits(1024, 4096, 10, 100, None, None)},
            Level.PROBLEM,
            "mappings of memory, and vm.max_map_count allows 100",
            "sysctl -w vm.max_map_count=",
        ),
        (
            {"limits": Limits(1024, 4096, 10, 270, None, None)},
            Level.WARNING,
            "if every slot of its edges is used at some time, node ",
            "give its edges shorter queues",
        ),
        (
            {"shm_room": Room(4000 * MIB, 3900 * MIB, 5)},
            Level.PROBLEM,
            "/dev/shm has room for 5 more",
            "nr_inodes=",
        ),
    ],
)
def test_dataflow_is_judged_by_the_limits_of_the_machine(
    tmp_path: Path, changes: dict[str, object], level: Level, text: str, remedy: str
):
    findings = examine_plan(plan(tmp_path), dataclasses.replace(FINE, **changes), [])

    assert findings[0].level is Level.OK, findings[0].text
    (found,) = [finding for finding in findings if text in finding.text]
    assert found.level is level
    assert remedy in found.remedy


def test_findings_are_printed_with_their_way_out_below():
    findings = [
        Finding(Level.OK, "cores", "4"),
        Finding(Level.PROBLEM, "memory", "too little:\n  1 MiB  a/x", "lower it"),
    ]

    assert render_findings(findings).splitlines() == [
        "ok       cores   4",
        "problem  memory  too little:",
        "                   1 MiB  a/x",
        "                 -> lower it",
        "",
        "1 problem, 0 warnings",
    ]
    assert json.loads(findings_as_json(findings))[0] == {
        "level": "ok",
        "subject": "cores",
        "text": "4",
        "remedy": "",
    }


@pytest.mark.programs
def test_this_machine_is_examined_in_seconds():
    began = time.monotonic()

    machine = find_machine(dict(os.environ), dead_runs=[])
    findings = examine(machine)

    assert time.monotonic() - began < PATIENCE_S
    assert machine.executable == sys.executable
    assert machine.opencv.version is not None
    assert machine.opencv.has_dnn
    assert "CPUExecutionProvider" in machine.onnx.providers
    assert machine.onnx.error == ""
    built_in = [idle.provider for idle in machine.onnx.idle if idle.is_built_in]
    assert set(built_in) <= set(machine.onnx.providers)
    assert all(idle.reason for idle in machine.onnx.idle)
    assert machine.shm_type == "tmpfs"
    assert is_healthy(findings), render_findings(findings)
