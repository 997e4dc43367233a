"""An OpenCV that cannot be imported: one sentence says so, and one command mends it."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dora_rt.doctor import opencv_repair
from dora_rt.doctor.machine import OpenCv
from dora_rt.doctor.opencv_repair import choose_wheel, repair_opencv
from dora_rt.opencv import OLDEST, explain, repair_command
from tests.harness.flow import Flow
from tests.harness.verbs import COMMAND

ROOT = Path(__file__).parents[1]
# As on a fresh Raspberry Pi OS Lite, Ubuntu Server or slim image.
NO_SCREEN = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
BROKEN = f"raise {NO_SCREEN.partition(':')[0]}({NO_SCREEN.partition(': ')[2]!r})\n"
WORKS = "__version__ = '4.13.0'\nclass error(Exception): ...\n"


def traceback(last: str) -> list[str]:
    return [
        '  File "/venv/lib/python3.11/site-packages/cv2/__init__.py", line 153, in bootstrap',
        '    native_module = importlib.import_module("cv2")',
        last,
    ]


@pytest.mark.parametrize(
    ("last", "wheels", "text"),
    [
        (NO_SCREEN, ["opencv-python"], "needs libGL.so.1, which this system lacks"),
        (NO_SCREEN.replace("GL", "X11-xcb"), ["opencv-python"], "needs libX11-xcb.so.1"),
        (NO_SCREEN.replace("GL", "gthread-2.0"), ["opencv-python"], "needs libgthread-2.0.so.1"),
        (
            NO_SCREEN,
            ["opencv-python-headless", "opencv-python"],
            "opencv-python and opencv-python-headless overwrite each other's cv2",
        ),
        (
            "AttributeError: module 'cv2' has no attribute 'imdecode'",
            ["opencv-python", "opencv-contrib-python"],
            "opencv-contrib-python and opencv-python overwrite each other's cv2",
        ),
        ("ImportError: numpy.core.multiarray failed to import", ["opencv-python"], "older than"),
        ("ModuleNotFoundError: No module named 'cv2'", [], "OpenCV is not installed"),
    ],
)
def test_broken_opencv_is_explained_in_one_line_with_the_way_out(
    last: str, wheels: list[str], text: str
):
    hint = explain(traceback(last), lambda: wheels)

    assert hint is not None
    assert text in hint
    assert "\n" not in hint
    assert "pip install" in hint or repair_command() in hint


@pytest.mark.parametrize(
    "lines",
    [
        ["ImportError: libfoo.so.1: cannot open shared object file: No such file or directory"],
        traceback("ValueError: no such picture"),
        traceback("AttributeError: module 'cv2' has no attribute 'imraed'"),
        [],
    ],
)
def test_other_failures_are_left_to_their_tracebacks(lines: list[str]):
    assert explain(lines, lambda: ["opencv-python"]) is None


def test_failure_that_has_nothing_to_do_with_opencv_is_seen_without_a_look_at_all_packages():
    def look() -> list[str]:
        raise AssertionError("that takes tens of milliseconds, in which nobody is looked after")

    assert explain(["Traceback (most recent call last):", "ValueError: no number"], look) is None


def test_node_that_cannot_import_opencv_ends_with_that_line(flow: Flow):
    broken = flow.folder / "broken" / "cv2"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(BROKEN)
    flow.write("flow.yml", "nodes: [{id: camera, path: camera.py}]")
    flow.write("camera.py", "import cv2")

    done = flow.run(env={"PYTHONPATH": str(broken.parent)})

    hint = f"needs libGL.so.1, which this system lacks: `{repair_command()}` puts"
    assert done.exit_code == 1
    assert len([line for line in done.out.splitlines() if hint in line]) == 2, done.out
    assert hint in done.out.splitlines()[-1]


@pytest.mark.programs
def test_verb_that_shows_pictures_says_it_without_a_traceback(tmp_path: Path):
    broken = tmp_path / "cv2"
    broken.mkdir()
    (broken / "__init__.py").write_text(BROKEN)
    program = "import dora_rt.cli.ps as ps; import sys; from dora_rt.cli import main; " + (
        "ps.find_statuses = lambda *_, **__: __import__('cv2'); main(['ps'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 3
    assert done.stderr.startswith("dora-rt: this OpenCV needs libGL.so.1, which this system lacks")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("wheels", "needs_headless", "chosen"),
    [
        (["opencv-python"], True, "opencv-python-headless"),
        (["opencv-python", "opencv-python-headless"], False, "opencv-python-headless"),
        (["opencv-python", "opencv-contrib-python"], False, "opencv-contrib-python"),
        (["opencv-contrib-python"], True, "opencv-contrib-python-headless"),
        ([], False, "opencv-python"),
    ],
)
def test_wheel_that_stays_has_all_that_was_asked_for(
    wheels: list[str], needs_headless: bool, chosen: str
):
    versions = dict.fromkeys(wheels, "4.13.0.92")

    assert choose_wheel(versions, needs_headless=needs_headless) == chosen


def test_opencv_that_works_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opencv_repair, "installed_wheels", lambda: {"opencv-python": "4.13"})
    monkeypatch.setattr(opencv_repair, "find_opencv", lambda: OpenCv("4.13"))
    said: list[str] = []

    assert repair_opencv(said.append)

    assert said == []


class Pip:
    """An environment of its own, and small wheels instead of those of 60 MB."""

    def __init__(self, folder: Path) -> None:
        _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        self._python = folder / "venv" / "bin" / "python"
        self._wheels = folder / "wheels"
        self._env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self._wheels)}
        (self._site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        # The packages of this Python, but for its OpenCV.
        visible = folder / "visible"
        visible.mkdir()
        for name in ("pip", "numpy", "numpy.libs", "yaml", "posix_ipc"):
            for base in map(Path, sys.path):
                for found in base.glob(f"{name}*"):
                    if "dist-info" not in found.name and not (visible / found.name).exists():
                        (visible / found.name).symlink_to(found)
        (self._site / "visible.pth").write_text(f"{visible}\n{ROOT}\n")

    def __call__(self, *words: str) -> str:
        return _run(self._python, "-m", "pip", *words, env=self._env)

    def repair(self, status: int = 0) -> str:
        words = (self._python, *COMMAND[1:], "doctor", "--repair-opencv")
        return _run(*words, env=self._env, status=status)

    def start_anew(self) -> None:
        """Forget what an earlier test has offered and installed."""
        for folder in (self._wheels, self._site / "cv2", *self._site.glob("opencv_*.dist-info")):
            shutil.rmtree(folder, ignore_errors=True)

    def offer(self, name: str, content: str) -> None:
        _make_wheel(self._wheels, name, content)


@pytest.fixture(scope="module")
def shared_pip(starts_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Pip:
    return Pip(tmp_path_factory.mktemp("pip"))


@pytest.fixture
def pip(shared_pip: Pip) -> Pip:
    shared_pip.start_anew()
    return shared_pip


@pytest.mark.programs
def test_repair_leaves_one_headless_copy_where_there_were_two(pip: Pip):
    pip.offer("opencv-python", BROKEN)
    pip.offer("opencv-python-headless", WORKS)
    pip("install", "-q", "opencv-python-headless", "opencv-python")

    out = pip.repair()

    assert "overwrite each other's files" in out
    assert "installed opencv-python-headless 4.13.0.92 instead" in out
    assert "opencv-python-headless 4.13.0.92" in pip("list")
    assert pip.repair() == ""


@pytest.mark.programs
def test_repair_puts_headless_in_the_place_of_one_that_needs_a_screen(pip: Pip):
    pip.offer("opencv-python", BROKEN)
    pip.offer("opencv-python-headless", WORKS)
    pip("install", "-q", "opencv-python")

    out = pip.repair()

    assert f"OpenCV cannot be imported: {NO_SCREEN}" in out
    assert "installed opencv-python-headless 4.13.0.92 instead" in out
    # What requires opencv-python does not bring it back, and a newer one is noticed.
    pip("install", "-q", "opencv-python>=4.6")
    assert pip.repair() == ""
    pip("install", "-q", "--force-reinstall", "opencv-python")
    assert "overwrite each other's files" in pip.repair()


@pytest.mark.programs
def test_repair_that_cannot_get_a_wheel_uninstalls_nothing(pip: Pip):
    pip.offer("opencv-python", BROKEN)
    pip("install", "-q", "opencv-python")

    out = pip.repair(status=1)

    assert "pip cannot get opencv-python-headless" in out
    assert "opencv-python" in pip("list")


def test_oldest_opencv_is_the_one_that_setup_declares():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")

    assert f"opencv-python>={OLDEST}." in setup["options"]["install_requires"]


def _make_wheel(folder: Path, name: str, content: str) -> None:
    """Write a wheel with a package cv2 of these lines."""
    folder.mkdir(exist_ok=True)
    version = "4.13.0.92"
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("cv2/__init__.py", content)
        wheel.writestr(
            f"{stem}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        )
        wheel.writestr(
            f"{stem}.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(
            f"{stem}.dist-info/RECORD",
            "cv2/__init__.py,,\n"
            + "".join(f"{stem}.dist-info/{one},,\n" for one in ("METADATA", "WHEEL", "RECORD")),
        )


def _run(*words: str | Path, env: dict[str, str] | None = None, status: int = 0) -> str:
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout
