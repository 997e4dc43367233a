"""A job: one benchmark with one contender at one placement, as its processes are told of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WRITER = "writer"


@dataclass(frozen=True, slots=True)
class Job:
    """What one start of a writer and its readers is to do.

    Attributes:
        folder: a folder of its own, for results, sockets and dataflow files.
        writer_cores: cores that the writer's process may run on.
        reader_cores: cores that the readers' processes may run on.
        is_answered: the writer waits for the answer to each message before it sends the next.
        lossless: the writer waits for readers that fall `queue_size` behind; else they lose.
        largest_nbytes: size of the largest message.
        settings: what the benchmark wants to know, JSON-able.
    """

    benchmark: str
    contender: str
    folder: Path
    writer_cores: tuple[int, ...]
    reader_cores: tuple[int, ...]
    readers: int = 1
    is_answered: bool = False
    lossless: bool = False
    queue_size: int = 10
    largest_nbytes: int = 8
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...]:
        """Name the processes: the writer, and the readers by number."""
        return (WRITER, *(f"reader{number}" for number in range(self.readers)))

    @property
    def cores(self) -> tuple[int, ...]:
        """Name the cores that anything of this job may run on."""
        return tuple(sorted({*self.writer_cores, *self.reader_cores}))

    @property
    def file(self) -> Path:
        """Give where the job is written for its processes."""
        return self.folder / "job.json"

    def result_file(self, role: str) -> Path:
        """Give where a process writes what it found."""
        return self.folder / f"{role}.result.json"

    def write(self) -> None:
        """Write the job for its processes."""
        self.file.write_text(json.dumps({**asdict(self), "folder": str(self.folder)}))

    @classmethod
    def load(cls, file: Path) -> Job:
        """Read a job that `write` wrote."""
        values = json.loads(file.read_text())
        for name in ("writer_cores", "reader_cores"):
            values[name] = tuple(values[name])
        return cls(**{**values, "folder": Path(values["folder"])})
