"""The threads of an OpenBLAS that was loaded before it was known how many there should be."""

from __future__ import annotations

import ctypes
from pathlib import Path

# As numpy's own wheels, Debian and conda name it.
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def set_blas_threads(count: int) -> bool:
    """Let each OpenBLAS of this process use so many threads; tell whether there is one."""
    is_set = False
    for path in _libraries():
        library = ctypes.CDLL(path)
        for name in _SETTERS:
            if hasattr(library, name):
                getattr(library, name)(count)
                is_set = True
                break
    return is_set


def _libraries() -> list[str]:
    paths = set()
    for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
        path = line.partition("/")[2]
        # Debian's alternatives hide it behind the name of the interface.
        if "blas" in path.rpartition("/")[2]:
            paths.add(f"/{path}")
    return sorted(paths)
