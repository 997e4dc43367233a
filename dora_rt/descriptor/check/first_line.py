"""Why the kernel would not execute a file: what its first line says, or does not say."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

_HEAD_NBYTES = 256  # of which the kernel reads the first line
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What is in the way, and the way out."""

    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}" if self.hint else self.what


def find_obstacle(file: Path) -> Obstacle | None:
    """Read the beginning of an executable file; None if nothing there is in the way."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD_NBYTES)
    except OSError:
        # A compiled program can be executed without being readable.
        return None
    shown = shlex.quote(str(file))
    if head.startswith(_MARK):
        return Obstacle(
            "it begins with a byte order mark, so its first line is not seen",
            f"save it as UTF-8 without one: sed -i '1s/^\\xEF\\xBB\\xBF//' {shown}",
        )
    if not head.startswith(b"#!"):
        # No text has a zero, and what the kernel knows beside scripts has some.
        return None if b"\0" in head else _without_line(head)
    line = head.partition(b"\n")[0]
    if line.endswith(b"\r"):
        return Obstacle(
            "its first line ends with a carriage return (line ends of Windows)",
            f"run: sed -i 's/\\r$//' {shown}",
        )
    words = line[2:].split()
    if not words:
        return Obstacle("its first line, #!, names no program that runs it", "")
    interpreter = os.fsdecode(words[0])
    if not Path(interpreter).exists():
        return Obstacle(f"its first line names {interpreter}, which does not exist", "")
    return None


def _without_line(head: bytes) -> Obstacle:
    if not head:
        return Obstacle("it is empty", "")
    return Obstacle(
        "it has no #! line, so nothing says what runs it",
        "write its program into the first line, such as #!/bin/sh or #!/usr/bin/env python3",
    )
