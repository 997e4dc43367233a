"""Turn the text of a dataflow file into a `Descriptor` in which everything is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dora_rt.descriptor.files import check_files, read_text
from dora_rt.descriptor.host import Host, this_host
from dora_rt.descriptor.model import Descriptor
from dora_rt.descriptor.problems import DescriptorProblems, Problem, Problems
from dora_rt.descriptor.reader import read_dataflow

__all__ = ["DescriptorProblems", "Host", "Problem", "parse_descriptor", "read_descriptor"]


def read_descriptor(path: Path, environ: Mapping[str, str] | None = None) -> Descriptor:
    """Read a dataflow file and check it, together with what it names of this computer.

    Args:
        path: the file.
        environ: what `${NAME}` in its values stands for; without it, they stay as written.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems, one per line.
    """
    problems = Problems()
    text = read_text(path, problems)
    descriptor = read_dataflow(text, str(path), this_host(environ), problems)
    # Resolved as for the plan: the nodes run in the folder of the file, not of a link to it.
    check_files(descriptor.nodes, path.resolve().parent, problems)
    problems.raise_if_any()
    return descriptor


def parse_descriptor(text: str, file: str, host: Host | None = None) -> Descriptor:
    """Check the text of a dataflow file without a look at this computer, unless `host` is given.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems, one per line.
    """
    problems = Problems()
    descriptor = read_dataflow(text, file, host or Host(), problems)
    problems.raise_if_any()
    return descriptor
