"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "dora_rt",
    "numpy",
    "posix_ipc",
    "opencv-python",
    "dora-rs",
    "iceoryx2",
    "eclipse-zenoh",
    "pyzmq",
    "ros-rclpy",
    "onnxruntime",
)


def describe() -> dict[str, Any]:
    """Describe processor, system and versions."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": sys.version.split()[0],
        "versions": versions,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
