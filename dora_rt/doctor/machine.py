"""The facts about this machine that `dora-rt doctor` judges; nothing heavy is imported here."""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import pwd
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dora_rt import __version__
from dora_rt.compiled import describe_code
from dora_rt.launcher.preconditions import Limits, find_limits
from dora_rt.opencv import installed_wheels
from dora_rt.plan.plan import Plan
from dora_rt.transport.primitives.shm import SHM_DIRECTORY, WORD_BITS, Room, find_room

_PROBE_TIMEOUT_S = 60
_LOGIND_FILES = ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd")
_PACKAGES = (
    "numpy",
    "posix_ipc",
    "PyYAML",
    "onnxruntime",
    "onnxruntime-gpu",
)

_OPENCV_PROBE = """
import cv2
try:
    gui = cv2.currentUIFramework()
except (AttributeError, cv2.error):
    gui = ""  # the headless wheels have no such function
print(cv2.__version__, gui, "dnn" if hasattr(cv2, "dnn") else "", sep=",")
"""

_ONNX_PROBE = """
import onnxruntime
print(onnxruntime.__version__, *onnxruntime.get_available_providers(), sep=",")
"""

# The nodes' own reasons. It runs a network on each device.
_PROVIDERS_PROBE = """
import dataclasses, importlib.util, json, pathlib
import onnxruntime
from dora_rt.nodes import execution_providers
(folder,) = importlib.util.find_spec("dora_rt.nodes.object_detection").submodule_search_locations
idle = execution_providers.find_idle(onnxruntime, pathlib.Path(folder, "scene_model.onnx"))
print(json.dumps({
    "version": onnxruntime.__version__,
    "providers": onnxruntime.get_available_providers(),
    "idle": [dataclasses.asdict(one) for one in idle],
    "has_gpu": execution_providers.has_nvidia_driver(),
}))
"""

_DORA_RT_PROBE = """
import dora_rt
print(dora_rt.__version__)
"""


@dataclass(frozen=True, slots=True)
class OpenCv:
    """What importing cv2 showed; version None: it failed with `error`."""

    version: str | None
    gui: str = ""
    has_dnn: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class IdleProvider:
    """An execution provider that runs no model here, as the detection node sees it.

    Attributes:
        provider: its name.
        is_built_in: whether the installed onnxruntime has it.
        reason: what it lacks.
        remedy: what to do about it; empty if there is nothing.
    """

    provider: str
    is_built_in: bool
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class OnnxRuntime:
    """What onnxruntime showed.

    Attributes:
        version: of onnxruntime; None if it cannot be imported.
        providers: those that it was built with.
        error: why it cannot be imported, or why its providers could not be examined.
        idle: those that run no model.
        has_gpu: whether this machine has a GPU of NVIDIA.
    """

    version: str | None
    providers: tuple[str, ...] = ()
    error: str = ""
    idle: tuple[IdleProvider, ...] = ()
    has_gpu: bool = False


@dataclass(frozen=True, slots=True)
class Camera:
    """A video device."""

    path: str
    name: str
    group: str
    is_usable: bool


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that runs nodes, and its dora_rt; version None: importing failed with `error`."""

    path: str
    nodes: tuple[str, ...]
    version: str | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts about a machine; `packages` has the versions of the installed ones."""

    platform: str
    python: tuple[int, int, int]
    word_bits: int
    executable: str
    c_library: str
    has_clock_wait: bool
    packages: Mapping[str, str]
    hot_path: str
    uid: int
    user: str
    cores: int
    limits: Limits
    shm_room: Room | None
    shm_mode: int
    shm_type: str
    shm_is_writable: bool
    has_logind: bool
    removes_ipc: bool
    is_lingering: bool
    dead_runs: frozenset[str]
    display: str
    opencv: OpenCv
    onnx: OnnxRuntime
    cameras: tuple[Camera, ...]


def find_machine(environ: Mapping[str, str], *, dead_runs: Collection[str]) -> Machine:
    """Return the facts about this machine; packages that are slow to import get a process each.

    Args:
        environ: the environment, with DISPLAY or WAYLAND_DISPLAY.
        dead_runs: names of dead runs that have left objects.
    """
    user = _user_name()
    return Machine(
        platform=f"{sys.platform} {os.uname().machine}",
        python=sys.version_info[:3],
        word_bits=WORD_BITS,
        executable=sys.executable,
        c_library=_c_library(),
        has_clock_wait=hasattr(ctypes.CDLL(None), "sem_clockwait"),
        packages={"dora_rt": __version__, **dict(_installed())},
        hot_path=describe_code(),
        uid=os.geteuid(),
        user=user,
        cores=len(os.sched_getaffinity(0)),
        limits=find_limits(),
        shm_room=find_room() if SHM_DIRECTORY.is_dir() else None,
        shm_mode=SHM_DIRECTORY.stat().st_mode & 0o7777 if SHM_DIRECTORY.is_dir() else 0,
        shm_type=_file_system(Path("/proc/mounts").read_text()),
        shm_is_writable=os.access(SHM_DIRECTORY, os.R_OK | os.W_OK | os.X_OK),
        has_logind=Path("/run/systemd/system").is_dir(),
        removes_ipc=removes_ipc(_logind_settings()),
        is_lingering=Path("/var/lib/systemd/linger", user).exists(),
        dead_runs=frozenset(dead_runs),
        display=environ.get("WAYLAND_DISPLAY") or environ.get("DISPLAY", ""),
        opencv=find_opencv(),
        onnx=_find_onnx(),
        cameras=tuple(_find_cameras(Path("/dev"))),
    )


def find_interpreters(plan: Plan) -> list[Interpreter]:
    """Return the Pythons that a plan's nodes run in, each with its version of dora_rt."""
    nodes: defaultdict[str, list[str]] = defaultdict(list)
    for process in plan.processes:
        # Other programs may be anything; those that dora_rt calls Python are started with -u.
        if process.argv[1:2] == ("-u",):
            nodes[process.argv[0]].append(process.name)
    found = []
    for path, names in nodes.items():
        if path == sys.executable:
            found.append(Interpreter(path, tuple(names), __version__))
            continue
        answer, error = _probe(_DORA_RT_PROBE, path)
        version = answer[0] if answer else None
        found.append(Interpreter(path, tuple(names), version, error))
    return found


def find_opencv() -> OpenCv:
    """Import OpenCV in a process of its own; return what that showed."""
    answer, error = _probe(_OPENCV_PROBE)
    if len(answer) != 3:
        return OpenCv(None, error=error)
    version, gui, dnn = answer
    return OpenCv(version, gui, bool(dnn))


def removes_ipc(settings: str) -> bool:
    """Whether logind removes shared memory at logout: by default, and unless its settings say no.

    Args:
        settings: its files, concatenated in the order in which they apply: the last one counts.
    """
    values = re.findall(r"^\s*RemoveIPC\s*=\s*(\w*)", settings, re.M)
    return not values or values[-1].lower() not in ("no", "false", "off", "0", "n", "f")


def _logind_settings() -> str:
    main = [Path(folder, "logind.conf") for folder in reversed(_LOGIND_FILES)]
    # Only the first of the main files is read, and then all others, in the order of their names.
    paths = [path for path in main if path.is_file()][:1]
    added = [path for folder in _LOGIND_FILES for path in Path(folder).glob("logind.conf.d/*.conf")]
    paths += sorted(added, key=lambda path: path.name)
    settings = []
    for path in paths:
        with contextlib.suppress(OSError):
            settings.append(path.read_text(errors="replace"))
    return "\n".join(settings)


def _installed() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)
    yield from installed_wheels().items()


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        # Usual in containers: `docker run --user 1000`.
        return str(os.geteuid())


def _c_library() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "the C library"
    except (ValueError, OSError):
        return "the C library"


def _file_system(mounts: str) -> str:
    found = ""
    for line in mounts.splitlines():
        _, folder, kind, *_ = line.split(" ")
        # The last mount over a folder is the one that is seen.
        if folder == str(SHM_DIRECTORY):
            found = kind
    return found or "part of another file system"


def _find_onnx() -> OnnxRuntime:
    answer, error = _ask(_PROVIDERS_PROBE)
    if not answer:
        # A broken driver may crash it, and then it is still worth to know what is installed.
        words, import_error = _probe(_ONNX_PROBE)
        if not words:
            return OnnxRuntime(None, error=import_error)
        return OnnxRuntime(words[0], tuple(words[1:]), error=error)
    found = json.loads(answer)
    return OnnxRuntime(
        found["version"],
        tuple(found["providers"]),
        idle=tuple(IdleProvider(**one) for one in found["idle"]),
        has_gpu=found["has_gpu"],
    )


def _probe(program: str, interpreter: str = sys.executable) -> tuple[list[str], str]:
    """Run a program that prints words between commas; the words, or none and why."""
    answer, error = _ask(program, interpreter)
    return (answer.split(",") if answer else []), error


def _ask(program: str, interpreter: str = sys.executable) -> tuple[str, str]:
    """Run a program; return the last line that it printed, or nothing and why."""
    try:
        done = subprocess.run(
            [interpreter, "-c", program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer in {_PROBE_TIMEOUT_S} s"
    except OSError as error:
        return "", str(error.strerror)
    if done.returncode == 0 and done.stdout:
        return done.stdout.splitlines()[-1], ""
    *_, last = ["", *done.stderr.strip().splitlines()]
    return "", last or f"exit status {done.returncode}"


def _find_cameras(devices: Path) -> Iterator[Camera]:
    for path in sorted(devices.glob("video[0-9]*"), key=lambda path: int(path.name[5:])):
        name = ""
        with contextlib.suppress(OSError):
            name = Path("/sys/class/video4linux", path.name, "name").read_text().strip()
        try:
            group = grp.getgrgid(path.stat().st_gid).gr_name
        except KeyError:
            group = str(path.stat().st_gid)
        yield Camera(str(path), name, group, os.access(path, os.R_OK | os.W_OK))
