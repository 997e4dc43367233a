"""Turn the text of a dataflow file into a `Descriptor` in which everything is checked."""

from __future__ import annotations

from pathlib import Path

from dora_rt.descriptor.files import check_files, read_text
from dora_rt.descriptor.model import Descriptor
from dora_rt.descriptor.problems import DescriptorProblems, Problem, Problems
from dora_rt.descriptor.reader import read_dataflow

__all__ = ["DescriptorProblems", "Problem", "parse_descriptor", "read_descriptor"]


def read_descriptor(path: Path) -> Descriptor:
    """Read a dataflow file and check it, together with the files and programs that it names.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems, one per line.
    """
    problems = Problems()
    descriptor = read_dataflow(read_text(path, problems), str(path), problems)
    # Resolved as for the plan: the nodes run in the folder of the file, not of a link to it.
    check_files(descriptor.nodes, path.resolve().parent, problems)
    problems.raise_if_any()
    return descriptor


def parse_descriptor(text: str, file: str) -> Descriptor:
    """Check the text of a dataflow file without a look at the file system.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems, one per line.
    """
    problems = Problems()
    descriptor = read_dataflow(text, file, problems)
    problems.raise_if_any()
    return descriptor
