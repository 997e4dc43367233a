"""Programs that other people wrote for dora, as they are on PyPI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PROGRAMS = (
    "dora-echo==0.5.0",
    "dora-openarm-dummy-camera==1.0.1",
    "dora-openarm-quitter==1.0.0",
    "dora-openarm-selector==0.1.0",
    "dora-opencv-image-splitter==0.1.0",
    "opencv-plot==0.5.0",
    "opencv-video-capture==0.5.0",
    "pyarrow-assert==0.5.0",
    "pyarrow-sender==0.5.0",
)


def install_programs(folder: Path) -> Mapping[str, str]:
    """Install the programs without what they name as dependencies, of which one is dora itself.

    Returns:
        The environment in which they are found.
    """
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    patience = ["--retries", "1", "--timeout", "10"]
    done = subprocess.run(
        [*install, *patience, "--no-deps", "--target", folder, *PROGRAMS],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        pytest.skip(
            f"the programs of dora's node hub cannot be had from PyPI: {done.stderr[-300:]}"
        )
    python_path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(python_path),
    }
