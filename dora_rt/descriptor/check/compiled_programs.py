"""Recognize programs that were compiled for dora, and Python scripts that only call one."""

from __future__ import annotations

import ast
import contextlib
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path

# The nodes of dora's hub that are compiled, and are here as well.
OWN_NODES = {"dora-record": "dora_rt.nodes.record", "dora-rerun": "dora_rt.nodes.rerun"}

_ELF = b"\x7fELF"
_VARIABLE_OF_DORA = b"DORA_NODE_CONFIG"
# What pip writes around the entry point of a package has ten lines.
_MAX_SCRIPT_NBYTES = 4096


def is_compiled_for_dora(file: Path) -> bool:
    """Return whether a program looks for dora's daemon by itself; nothing is executed."""
    # What may be executed need not be readable.
    with contextlib.suppress(OSError):
        with file.open("rb") as opened:
            head = opened.read(_MAX_SCRIPT_NBYTES + 1)
        if head.startswith(_ELF):
            return _has_variable(file)
        if head.startswith(b"#!") and len(head) <= _MAX_SCRIPT_NBYTES:
            libraries = (found for name in _imported(head) for found in _libraries(name, file))
            return any(_has_variable(library) for library in libraries)
    return False


def _has_variable(file: Path) -> bool:
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as content,
    ):
        return content.find(_VARIABLE_OF_DORA) >= 0


def _imported(script: bytes) -> list[str]:
    """Name the packages from which a script takes something."""
    if b"python" not in script.partition(b"\n")[0]:
        return []
    try:
        statements = ast.parse(script).body
    except (SyntaxError, ValueError):
        return []
    taken = [part.module or "" for part in statements if isinstance(part, ast.ImportFrom)]
    # `dora` is what programs in Python import.
    return [name for name in taken if name != "dora" and "." not in name and name.isidentifier()]


def _libraries(package: str, script: Path) -> Iterator[Path]:
    """Return the compiled parts of a package, where the first one of that name is."""
    prefix = script.resolve().parent.parent
    folders = [*map(Path, sys.path), prefix, *prefix.glob("lib/python3*/site-packages")]
    for folder in folders:
        if (folder / package).is_dir():
            yield from (folder / package).glob("*.so")
            return
        if single := [*folder.glob(f"{package}.*.so")]:
            yield from single
            return
