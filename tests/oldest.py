"""Run the tests on the oldest releases that setup.cfg allows: `python -m tests.oldest`.

They get a virtual environment of their own, `.venv-oldest`. `make test` has the newest releases.
"""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-oldest"
# The oldest numpy has wheels for these only.
PYTHONS = ((3, 10), (3, 11))
# What nobody installs in order to use dora_rt.
EXTRAS_FOR_DEVELOPERS = {"bench", "test", "train"}
# Its oldest release needs a newer numpy than the oldest, and so a newer OpenCV.
APART = {"rerun": ("tests/nodes/test_rerun.py",)}
# Their newest releases do: what is tested is dora_rt.
TOOLS = ("hypothesis", "pillow", "pytest", "pytest-timeout", "pytest-xdist")
# Their models broadcast constants. OpenCV 4.6 refuses those, and the node then names onnxruntime.
BEYOND_OPENCV_46 = (
    "tests/nodes/test_detection_loop.py::test_masks_are_sent_where_the_file_has_an_output_for_them",
    "tests/nodes/test_detection_loop.py::test_class_of_the_whole_picture_is_counted",
    "tests/nodes/test_detection_loop.py::test_more_than_the_file_has_outputs_for_is_told",
    "tests/nodes/test_detection_loop.py::test_what_is_no_picture_is_answered_at_every_output",
    "tests/nodes/test_detection_tasks.py::test_masks_of_yolov8_are_its_prototypes"
    "_weighed_and_cut_off[opencv]",
)
TESTS = (
    "tests/data_plane",
    "tests/descriptor",
    "tests/nodes",
    "tests/dashboard/test_api.py",
    "tests/flows/test_attach.py",
    "tests/flows/test_main_job.py",
    "tests/flows/test_node_api.py",
    "tests/flows/test_operators.py",
    "tests/flows/test_recording.py",
    "tests/tracing",
    "tests/test_doctor.py",
    "tests/tools",
)


def oldest_releases(config: Path = ROOT / "setup.cfg") -> dict[str, str]:
    """Return the oldest release of each dependency that setup.cfg allows, with most extras."""
    setup = configparser.ConfigParser()
    setup.read(config)
    extras = setup["options.extras_require"]
    lines = setup["options"]["install_requires"].splitlines()
    for extra in extras.keys() - EXTRAS_FOR_DEVELOPERS - APART.keys():
        lines += extras[extra].splitlines()
    return _oldest(lines)


def oldest_releases_of(extra: str, config: Path = ROOT / "setup.cfg") -> dict[str, str]:
    """Return the oldest release of each dependency of one extra."""
    setup = configparser.ConfigParser()
    setup.read(config)
    return _oldest(setup["options.extras_require"][extra].splitlines())


def _oldest(lines: Iterable[str]) -> dict[str, str]:
    oldest: dict[str, str] = {}
    for line in filter(None, map(str.strip, lines)):
        found = re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:,<[\d.]+)?", line)
        if found is None:
            raise ValueError(f"setup.cfg: {line!r} has no oldest release: write NAME>=VERSION")
        name, version = found.groups()
        if oldest.setdefault(name, version) != version:
            raise ValueError(
                f"setup.cfg: {name} has two oldest releases, {oldest[name]}, {version}"
            )
    return oldest


def main() -> int:
    """Make the environment anew, and run the tests in it; return the exit status."""
    python = _find_python()
    if python is None:
        print("the oldest releases need python3.10 or python3.11, and there is neither")
        return 1
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    subprocess.run([python, "-m", "venv", ENVIRONMENT], check=True)
    own = str(ENVIRONMENT / "bin" / "python")
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pins = [f"{name}=={version}" for name, version in sorted(oldest_releases().items())]
    print("oldest releases:", *pins, flush=True)
    subprocess.run([*pip, *pins, *TOOLS], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", ROOT], check=True)
    # Warnings of old packages about today's Python are not ours.
    command = [own, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-W", "default", *TESTS]
    command += [word for test in BEYOND_OPENCV_46 for word in ("--deselect", test)]
    status = subprocess.run(command, cwd=ROOT).returncode
    for extra, tests in APART.items():
        pins = [f"{name}=={version}" for name, version in oldest_releases_of(extra).items()]
        print(f"oldest releases of the extra [{extra}]:", *pins, flush=True)
        subprocess.run([*pip, "--upgrade", "numpy", "opencv-python", *pins], check=True)
        status |= subprocess.run(
            [own, "-m", "pytest", "-q", "-W", "default", *tests], cwd=ROOT
        ).returncode
    return status


def _find_python() -> str | None:
    if sys.version_info[:2] in PYTHONS:
        return sys.executable
    names = (f"python{major}.{minor}" for major, minor in PYTHONS)
    return next(filter(None, map(shutil.which, names)), None)


if __name__ == "__main__":
    sys.exit(main())
