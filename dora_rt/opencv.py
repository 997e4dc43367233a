"""The wheels of OpenCV that this Python has, and the sentence for an import of cv2 that failed.

Nothing here imports cv2.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""The packages that bring a cv2. Two of them overwrite each other's files."""

STAND_IN = "Stand-in of dora_rt"
"""How the summary of a package begins that only says that another one has its cv2."""

OLDEST = "4.6"
"""The oldest release that is tested, by `python -m tests.oldest`."""

_MISSING_LIBRARY = r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file"
_OLD_NUMPY = r"numpy\.core\.multiarray failed to import|_ARRAY_API not found"
_NO_ATTRIBUTE = r"module 'cv2(\.\w+)*' has no attribute|partially initialized module 'cv2'"


def installed_wheels() -> dict[str, str]:
    """Return the version of each wheel of OpenCV that is installed, without stand-ins."""
    return dict(_find_wheels())


def repair_command() -> str:
    """Return the command that leaves one OpenCV which can be imported, as one types it here."""
    # Here, as below: hardly any command needs it.
    import shutil

    beside = Path(sys.executable).with_name("dora-rt")
    found = shutil.which("dora-rt")
    if found is not None and Path(found).parent == beside.parent:
        command = "dora-rt"
    elif beside.exists():
        is_below = beside.is_relative_to(Path.cwd())
        command = str(beside.relative_to(Path.cwd()) if is_below else beside)
    else:
        command = f"{sys.executable} -m dora_rt.cli"
    return f"{command} doctor --repair-opencv"


def explain(
    lines: Sequence[str], find_wheels: Callable[[], Collection[str]] = installed_wheels
) -> str | None:
    """Return one line on a traceback that ends because cv2 is broken or missing, else None.

    Args:
        lines: the last lines of the traceback.
        find_wheels: returns the wheels of OpenCV that are installed where it happened.
    """
    text = "\n".join(lines)
    last = next((line for line in reversed(lines) if line.strip()), "").strip()
    if re.search(r"No module named 'cv2'", last):
        return "OpenCV is not installed for this Python: `pip install opencv-python-headless`"
    if "cv2" not in text:
        return None
    library = re.search(_MISSING_LIBRARY, last)
    if library is None and not re.search(f"{_OLD_NUMPY}|{_NO_ATTRIBUTE}", last):
        return None
    # Only now: it looks through all packages.
    wheels = find_wheels()
    if len(wheels) > 1:
        return (
            f"{' and '.join(sorted(wheels))} overwrite each other's cv2: `{repair_command()}` "
            "leaves the one that works here"
        )
    if library is not None:
        return (
            f"this OpenCV needs {library[1]}, which this system lacks: `{repair_command()}` puts "
            "opencv-python-headless in its place, which needs no library of a screen"
        )
    if re.search(_OLD_NUMPY, last):
        return "this OpenCV is older than this numpy: `pip install --upgrade opencv-python`"
    return None


def _find_wheels() -> Iterator[tuple[str, str]]:
    # Here: the launcher's start does not pay for it.
    from importlib import metadata

    for name in WHEELS:
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        if not str(about["Summary"]).startswith(STAND_IN):
            yield name, str(about["Version"])
