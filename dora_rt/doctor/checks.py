"""What on this machine may keep a dataflow from running, each with a way out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from dora_rt.doctor.machine import Camera, Interpreter, Machine, OnnxRuntime
from dora_rt.errors import LaunchError
from dora_rt.launcher.preconditions import check_limits
from dora_rt.opencv import repair_command
from dora_rt.plan.kernel_need import find_footprints
from dora_rt.plan.memory_need import find_need, no_room, room_note
from dora_rt.plan.plan import Plan
from dora_rt.transport.primitives.shm import SHM_DIRECTORY
from dora_rt.units import counted, size

_OLDEST_PYTHON = (3, 10)
_FEWEST_DESCRIPTORS = 1024
_FIRST_PERSON_UID = 1000


class Level(Enum):
    """How bad a finding is; only a problem keeps dataflows from running."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `remedy` is what to do about it, empty if all is well."""

    level: Level
    subject: str
    text: str
    remedy: str = ""


def examine(machine: Machine) -> list[Finding]:
    """Return the findings about a machine."""
    checks = (
        _check_python,
        _check_packages,
        _check_shared_memory,
        _check_logout,
        _check_leftovers,
        _check_cores,
        _check_descriptors,
        _check_mappings,
        _check_tasks,
        _check_opencv,
        _check_display,
        _check_onnx,
        _check_cameras,
    )
    return [finding for check in checks for finding in check(machine)]


def examine_plan(
    plan: Plan, machine: Machine, interpreters: Sequence[Interpreter]
) -> list[Finding]:
    """Return the findings about one dataflow on a machine.

    Args:
        plan: what would run.
        machine: the machine.
        interpreters: the Pythons that the plan's nodes run in, this one included.
    """
    findings = [_judge_interpreter(interpreter, machine) for interpreter in interpreters]
    need = find_need(plan)
    if machine.shm_room is None or need.nbytes <= machine.shm_room.free_nbytes:
        text = f"{size(need.nbytes)} before the first sample"
        findings.append(Finding(Level.OK, "memory of the dataflow", text))
    else:
        text, _, remedy = str(no_room(plan, machine.shm_room)).rpartition("\n")
        findings.append(Finding(Level.PROBLEM, "memory of the dataflow", text, remedy))
    findings += _judge_objects(plan, machine)
    findings += _judge_limits(plan, machine)
    return findings


def _judge_objects(plan: Plan, machine: Machine) -> Iterator[Finding]:
    subject, room = "objects of the dataflow", machine.shm_room
    need = find_need(plan)
    if room is None:
        return
    least, most = need.objects, need.objects + need.most_tokens
    text = f"{least:,}, up to {most:,}"
    if room.free_objects is None:
        yield Finding(Level.OK, subject, f"{text}, without a limit in {SHM_DIRECTORY}")
        return
    level = Level.OK
    if room.free_objects < most:
        level = Level.PROBLEM if room.free_objects < least else Level.WARNING
    remedy = f"`mount -o remount,nr_inodes={2 * most} {SHM_DIRECTORY}`"
    yield Finding(
        level,
        subject,
        f"{text}; {SHM_DIRECTORY} has room for {room.free_objects:,} more",
        "" if level is Level.OK else remedy,
    )


def _judge_limits(plan: Plan, machine: Machine) -> Iterator[Finding]:
    subject = "limits of the dataflow"
    try:
        notes = check_limits(plan, machine.limits)
    except LaunchError as error:
        text, _, remedy = str(error).rpartition(": ")
        yield Finding(Level.PROBLEM, subject, text, remedy)
        return
    for note in notes:
        text, _, remedy = note.partition(": ")
        yield Finding(Level.WARNING, subject, text, remedy)
    if not notes:
        need = find_footprints(plan)
        yield Finding(
            Level.OK,
            subject,
            f"{counted(need.tasks, 'process')}, at most "
            f"{max((node.most_mappings for node in need.nodes), default=0):,} mappings and "
            f"{max(node.descriptors for node in (need.launcher, *need.nodes))} open files in one "
            "process",
        )


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether no finding is a problem."""
    return all(finding.level is not Level.PROBLEM for finding in findings)


def render_findings(findings: Sequence[Finding]) -> str:
    """Return findings as text, one a line, each way out below its finding."""
    width = max(len(finding.subject) for finding in findings)
    indent = " " * (len("problem  ") + width + 2)
    lines = []
    for finding in findings:
        first, *more = finding.text.splitlines()
        lines.append(f"{finding.level.value:<7}  {finding.subject:<{width}}  {first}")
        lines += [indent + line for line in more]
        if finding.remedy:
            lines.append(f"{indent}-> {finding.remedy}")
    counts = {
        level: sum(finding.level is level for finding in findings)
        for level in (Level.PROBLEM, Level.WARNING)
    }
    lines.append("")
    lines.append(
        f"{counted(counts[Level.PROBLEM], 'problem')}, {counted(counts[Level.WARNING], 'warning')}"
    )
    return "\n".join(lines)


def findings_as_json(findings: Sequence[Finding]) -> str:
    """Return findings as a JSON list of objects: level, subject, text, remedy."""
    return json.dumps(
        [dataclasses.asdict(finding) for finding in findings],
        default=lambda level: level.value,
        indent=2,
    )


def _check_python(machine: Machine) -> Iterator[Finding]:
    version = ".".join(map(str, machine.python))
    text = f"{version} on {machine.platform}, {machine.executable}"
    if machine.python < _OLDEST_PYTHON:
        remedy = "dora_rt needs Python 3.10 or newer: make a virtual environment with one"
        yield Finding(Level.PROBLEM, "Python", text, remedy)
    else:
        yield Finding(Level.OK, "Python", text)
    if machine.word_bits < 64:
        yield Finding(
            Level.PROBLEM,
            "Python",
            f"{text}: {machine.word_bits} bits, which cannot write a counter in one step",
            "install a 64-bit system and Python (Raspberry Pi OS 64-bit)",
        )
    if machine.platform.startswith("linux") and not machine.c_library.startswith("glibc"):
        # With musl a process may have 255 semaphores, and OpenCV has no wheels.
        yield Finding(
            Level.PROBLEM,
            "system",
            f"{machine.c_library} is no glibc (Alpine?): it has too few semaphores for a process",
            "run dora_rt on Debian, Ubuntu, Raspberry Pi OS, or in a container of them",
        )
    elif not machine.platform.startswith("linux"):
        yield Finding(
            Level.PROBLEM,
            "system",
            f"{machine.platform} has no {SHM_DIRECTORY} and no futexes",
            "run dora_rt on Linux, or in a Linux container",
        )
    elif machine.has_clock_wait:
        yield Finding(Level.OK, "system", f"{machine.c_library} with sem_clockwait")
    else:
        yield Finding(
            Level.WARNING,
            "system",
            f"{machine.c_library} has no sem_clockwait: a node that waits for a timer wakes up 20 "
            "times a second to look at the clock",
            "glibc 2.30 or newer has it (Debian 11, Ubuntu 20.04)",
        )


def _check_packages(machine: Machine) -> Iterator[Finding]:
    for name in ("dora_rt", "numpy", "posix_ipc", "PyYAML"):
        version = machine.packages.get(name)
        if version is None:
            remedy = f"{machine.executable} -m pip install {name}"
            yield Finding(Level.PROBLEM, name, "is not installed for this Python", remedy)
        else:
            yield Finding(Level.OK, name, version)
    yield Finding(Level.OK, "hot path", machine.hot_path)


def _check_shared_memory(machine: Machine) -> Iterator[Finding]:
    subject, room = str(SHM_DIRECTORY), machine.shm_room
    if room is None:
        yield Finding(
            Level.PROBLEM,
            subject,
            "does not exist",
            f"mount it: `mkdir {SHM_DIRECTORY} && mount -t tmpfs -o mode=1777 tmpfs "
            f"{SHM_DIRECTORY}`",
        )
        return
    if not machine.shm_is_writable:
        yield Finding(
            Level.PROBLEM,
            subject,
            f"this user cannot make files in it (mode {machine.shm_mode:o})",
            f"`sudo chmod 1777 {SHM_DIRECTORY}`, or mount it writable",
        )
        return
    text = f"{size(room.nbytes)}, {size(room.free_nbytes)} free"
    if room.free_objects is not None:
        text += f", room for {counted(room.free_objects, 'object')}"
    note = room_note(room)
    if machine.shm_type != "tmpfs":
        yield Finding(
            Level.WARNING,
            subject,
            f"{text}; it is no tmpfs but {machine.shm_type}: samples may be written to a disk",
            f"`mount -t tmpfs tmpfs {SHM_DIRECTORY}`",
        )
    elif note is not None:
        text, _, remedy = note.rpartition(": ")
        yield Finding(Level.WARNING, subject, text.removeprefix(f"{subject} "), remedy)
    elif room.free_nbytes < room.nbytes // 10:
        remedy = f"see `ls -lS {SHM_DIRECTORY}`, and `dora-rt clean`"
        yield Finding(Level.WARNING, subject, f"{text}: less than a tenth", remedy)
    else:
        yield Finding(Level.OK, subject, text)


def _check_logout(machine: Machine) -> Iterator[Finding]:
    # logind removes the objects of ordinary users only, and only when none of their sessions (a
    # lingering user's never ends) is left.
    if not machine.has_logind or machine.uid < _FIRST_PERSON_UID or machine.is_lingering:
        return
    if not machine.removes_ipc:
        yield Finding(Level.OK, "logout", "RemoveIPC=no")
        return
    yield Finding(
        Level.WARNING,
        "logout",
        "systemd removes this user's shared memory when the last session ends (RemoveIPC): a "
        "dataflow left running, or started at boot, cannot restart its nodes then",
        "`loginctl enable-linger`, or RemoveIPC=no in /etc/systemd/logind.conf",
    )


def _check_leftovers(machine: Machine) -> Iterator[Finding]:
    if machine.dead_runs:
        yield Finding(
            Level.WARNING,
            "leftovers",
            f"{counted(len(machine.dead_runs), 'dead run')} left objects in {SHM_DIRECTORY}: "
            + ", ".join(sorted(machine.dead_runs)),
            "`dora-rt clean` removes them, and so does the next dora-launch",
        )
    else:
        yield Finding(Level.OK, "leftovers", "none of dead runs")


def _check_cores(machine: Machine) -> Iterator[Finding]:
    if machine.cores == 1:
        remedy = "expect latencies of milliseconds; give the machine or container a second core"
        yield Finding(Level.WARNING, "cores", "1: all nodes take turns", remedy)
    else:
        yield Finding(Level.OK, "cores", str(machine.cores))


def _check_descriptors(machine: Machine) -> Iterator[Finding]:
    limit, most = machine.limits.descriptors, machine.limits.most_descriptors
    text = f"at most {limit} a process"
    if most > limit:
        text += f" (`ulimit -n` raises it to {most})"
    if limit < _FEWEST_DESCRIPTORS:
        remedy = f"`ulimit -n {_FEWEST_DESCRIPTORS}`, or LimitNOFILE= of the service"
        yield Finding(Level.WARNING, "open files", text, remedy)
    else:
        yield Finding(Level.OK, "open files", text)


def _check_mappings(machine: Machine) -> Iterator[Finding]:
    limit = machine.limits.mappings
    text = "no limit is known" if limit is None else f"at most {limit:,} a process"
    yield Finding(Level.OK, "mappings", f"{text} (vm.max_map_count)")


def _check_tasks(machine: Machine) -> Iterator[Finding]:
    rooms = {
        "this user": machine.limits.user_tasks,
        "this container or service": machine.limits.group_tasks,
    }
    known = [f"{room:,} more of {name}" for name, room in rooms.items() if room is not None]
    text = "no limit for this user" if not known else f"{', '.join(known)}, threads included"
    yield Finding(Level.OK, "processes", text)


def _check_opencv(machine: Machine) -> Iterator[Finding]:
    opencv = machine.opencv
    wheels = sorted(name for name in machine.packages if name.startswith("opencv"))
    if opencv.version is None:
        if not wheels:
            remedy = f"`{repair_command()}`"
            yield Finding(Level.WARNING, "OpenCV", "is not installed: no camera, no boxes", remedy)
            return
        remedy = f"`{repair_command()}` installs one that works here"
        if ".so" in opencv.error:
            remedy += "; for windows: `apt install libgl1 libglib2.0-0`"
        yield Finding(Level.PROBLEM, "OpenCV", f"cannot be imported: {opencv.error}", remedy)
        return
    text = f"{opencv.version} ({', '.join(wheels) or 'not from pip'})"
    if len(wheels) > 1:
        yield Finding(
            Level.WARNING,
            "OpenCV",
            f"{text}: these overwrite each other's files",
            f"`{repair_command()}` leaves one of them",
        )
    else:
        yield Finding(Level.OK, "OpenCV", text)
    if opencv.has_dnn:
        yield Finding(Level.OK, "cv2.dnn", "can run ONNX models")
    else:
        remedy = "pip install opencv-python, or onnxruntime"
        yield Finding(Level.WARNING, "cv2.dnn", "is not in this OpenCV", remedy)


def _check_display(machine: Machine) -> Iterator[Finding]:
    if not machine.opencv.version:
        return
    if not machine.display:
        text = "none (no DISPLAY, no WAYLAND_DISPLAY): pictures are shown as a web page"
        yield Finding(Level.OK, "display", text)
    elif machine.opencv.gui:
        yield Finding(Level.OK, "display", f"{machine.display}, OpenCV has {machine.opencv.gui}")
    else:
        yield Finding(
            Level.WARNING,
            "display",
            f"{machine.display}, but this OpenCV has no windows: pictures are shown as a web page",
            "opencv-python instead of opencv-python-headless, for windows",
        )


def _check_onnx(machine: Machine) -> Iterator[Finding]:
    onnx = machine.onnx
    wheels = sorted(name for name in machine.packages if name.startswith("onnxruntime"))
    if onnx.version is not None:
        text = f"{onnx.version}: {', '.join(onnx.providers)}"
        if len(wheels) > 1:
            both = " ".join(wheels)
            yield Finding(
                Level.WARNING,
                "ONNX Runtime",
                f"{text} ({', '.join(wheels)}): these overwrite each other's files",
                f"`pip uninstall {both}`, then install one of them",
            )
        else:
            yield Finding(Level.OK, "ONNX Runtime", text)
        yield from _judge_providers(onnx)
    elif wheels:
        remedy = "pip install --force-reinstall onnxruntime"
        text = f"cannot be imported: {onnx.error}"
        yield Finding(Level.WARNING, "ONNX Runtime", text, remedy)
    else:
        text = "is not installed: detection runs on cv2.dnn (pip install 'dora_rt[onnx]')"
        yield Finding(Level.OK, "ONNX Runtime", text)


def _judge_providers(onnx: OnnxRuntime) -> Iterator[Finding]:
    """Say why providers run no model; a warning where one should."""
    if onnx.error:
        text = f"its providers could not be examined: {onnx.error}"
        yield Finding(Level.WARNING, "ONNX Runtime", text, "object_detection: `--device cpu`")
    for idle in onnx.idle:
        verb = "does not start" if idle.is_built_in else "is not used"
        text = f"{idle.provider} {verb}: {idle.reason}"
        # TensorRT runs only what asks for it, and is in each wheel that has CUDA.
        should = idle.is_built_in or onnx.has_gpu
        if should and not idle.provider.startswith(("Tensorrt", "OpenVINO")):
            yield Finding(Level.WARNING, "ONNX Runtime", text, idle.remedy)
        else:
            yield Finding(Level.OK, "ONNX Runtime", text)


def _check_cameras(machine: Machine) -> Iterator[Finding]:
    if not machine.cameras:
        text = "no /dev/video*: the webcam node shows a drawn scene"
        yield Finding(Level.OK, "cameras", text)
    for camera in machine.cameras:
        yield _judge_camera(camera, machine)


def _judge_camera(camera: Camera, machine: Machine) -> Finding:
    name = f" ({camera.name})" if camera.name else ""
    if camera.is_usable:
        return Finding(Level.OK, "camera", f"{camera.path}{name}")
    return Finding(
        Level.PROBLEM,
        "camera",
        f"{camera.path}{name} may not be read by this user (group {camera.group})",
        f"`sudo usermod -aG {camera.group} {machine.user}`, then log in anew",
    )


def _judge_interpreter(interpreter: Interpreter, machine: Machine) -> Finding:
    nodes = ", ".join(interpreter.nodes)
    subject, own = "interpreter", machine.packages.get("dora_rt")
    if interpreter.path == machine.executable:
        text = f"this Python runs {nodes}: dora_rt {own}, the same as the launcher's"
        return Finding(Level.OK, subject, text)
    remedy = f"{interpreter.path} -m pip install dora_rt=={own}"
    if interpreter.version is None:
        text = f"{interpreter.path} (runs {nodes}) has no dora_rt: {interpreter.error}"
        return Finding(Level.PROBLEM, subject, text, remedy)
    text = f"{interpreter.path} (runs {nodes}) has dora_rt {interpreter.version}"
    if interpreter.version != own:
        return Finding(Level.PROBLEM, subject, f"{text}, the launcher has {own}", remedy)
    return Finding(Level.OK, subject, text)
