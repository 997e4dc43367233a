"""Leaves one OpenCV that can be imported: `dora-rt doctor --repair-opencv`, and `make run`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dora_rt.doctor.machine import find_opencv
from dora_rt.opencv import OLDEST, STAND_IN, installed_wheels

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
# By setup.cfg.
_REQUIRED = "opencv-python"


def choose_wheel(wheels: Mapping[str, str], *, needs_headless: bool) -> str:
    """Return the wheel to have instead of these: contrib if one is, headless if one is or must."""
    flavour = (
        "opencv-contrib-python" if any("contrib" in name for name in wheels) else "opencv-python"
    )
    is_headless = needs_headless or any(name.endswith("-headless") for name in wheels)
    return f"{flavour}-headless" if is_headless else flavour


def repair_opencv(say: Callable[[str], None]) -> bool:
    """Put one OpenCV in place of two, or of one that cannot be imported, by pip.

    An OpenCV that was not installed by pip is left alone where it can be imported.

    Args:
        say: gets a line for each thing that was found or done.

    Returns:
        Whether cv2 can be imported now.
    """
    wheels, opencv = installed_wheels(), find_opencv()
    if opencv.version is not None and len(wheels) <= 1:
        return True
    is_missing = not wheels and "No module named 'cv2'" in opencv.error
    if opencv.version is None and not is_missing:
        say(f"OpenCV cannot be imported: {opencv.error}")
    if len(wheels) > 1:
        say(f"{' and '.join(sorted(wheels))} overwrite each other's files")
    needs_headless = opencv.version is None and not is_missing
    while True:
        chosen = choose_wheel(wheels, needs_headless=needs_headless)
        if not _replace(wheels, chosen, say):
            return False
        wheels, opencv = installed_wheels(), find_opencv()
        if opencv.version is not None:
            return True
        say(f"OpenCV cannot be imported: {opencv.error}")
        if chosen.endswith("-headless"):
            return False
        needs_headless = True


def _replace(wheels: Mapping[str, str], chosen: str, say: Callable[[str], None]) -> bool:
    """Uninstall all wheels, and install the chosen one; without it nothing is uninstalled."""
    versions = sorted({f"=={version}" for version in wheels.values()}, reverse=True)
    with tempfile.TemporaryDirectory() as folder:
        fetch = (*_PIP, "download", "--no-deps", "--only-binary", ":all:", "--dest", folder)
        # That version where there is one: nothing but the flavour is to change.
        for version in (*versions, f">={OLDEST}"):
            status, output = _run([*fetch, f"{chosen}{version}"])
            if status == 0:
                break
        else:
            say(f"pip cannot get {chosen}: {output}")
            return False
        if wheels:
            status, output = _run([*_PIP, "uninstall", "--yes", *wheels])
            if status != 0:
                say(f"pip cannot uninstall {' '.join(wheels)}: {output}")
                return False
        (wheel,) = Path(folder).iterdir()
        name, version, *_ = wheel.name.split("-")
        new = [wheel]
        if chosen != _REQUIRED:
            new.append(_make_stand_in(Path(folder), version, chosen))
        status, output = _run([*_PIP, "install", "--no-deps", *map(str, new)])
        if status != 0:
            say(f"pip cannot install {wheel.name}: {output}")
            return False
        say(f"installed {name.replace('_', '-')} {version} instead")
    return True


def _make_stand_in(folder: Path, version: str, chosen: str) -> Path:
    """Write a wheel without files: else pip would bring the other cv2 back with the next extra."""
    stem = f"{_REQUIRED.replace('-', '_')}-{version}"
    about = f"{stem}.dist-info"
    path = folder / f"{stem}-py3-none-any.whl"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {_REQUIRED}\nVersion: {version}\n"
        f"Summary: {STAND_IN}: {chosen} has the cv2 of this environment\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: dora_rt\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        "RECORD": "".join(f"{about}/{name},,\n" for name in ("METADATA", "WHEEL", "RECORD")),
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(f"{about}/{name}", content)
    return path


def _run(command: Sequence[str]) -> tuple[int, str]:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = (done.stderr or done.stdout).strip().splitlines()
    return done.returncode, lines[-1] if lines else f"exit status {done.returncode}"
