"""Turn the text of a dataflow file into a `Descriptor` in which everything is checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dora_rt.descriptor.check.programs_exist import check_files
from dora_rt.descriptor.modules.expansion import expand_modules, with_builds
from dora_rt.descriptor.read.env_args_build_keys import parse_commands
from dora_rt.descriptor.read.launch_arguments import LaunchArgument, read_launch_arguments
from dora_rt.descriptor.read.parameter_keys import read_parameter_file
from dora_rt.descriptor.read_dataflow import read_dataflow
from dora_rt.descriptor.tree.document import parse_document, read_text, write_document
from dora_rt.descriptor.tree.host import Host, this_host
from dora_rt.descriptor.tree.model import Build, Descriptor
from dora_rt.descriptor.tree.problems import DescriptorProblems, Problem, Problems

__all__ = [
    "DescriptorProblems",
    "Host",
    "LaunchArgument",
    "Problem",
    "expand_dataflow",
    "parse_builds",
    "parse_descriptor",
    "read_arguments",
    "read_descriptor",
    "read_parameter_file",
]


def read_descriptor(
    path: Path,
    environ: Mapping[str, str] | None = None,
    *,
    has_strict_types: bool = False,
    is_built: bool = True,
    machine: str | None = None,
    arguments: Mapping[str, str] | None = None,
) -> Descriptor:
    """Read a dataflow file and check it, together with the programs and cores that it names.

    Args:
        path: the file.
        environ: what `${NAME}` in its values stands for; without it, they stay as written.
        has_strict_types: whether types that do not fit are errors, whatever the file says.
        is_built: False to let what has a `build:` name programs that do not exist yet.
        machine: which of the file's machines this is: nothing of the others is looked for here;
            None: this one runs all of it.
        arguments: what is given for `arguments:` of the file.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems, one per line.
    """
    problems = Problems()
    text = read_text(path, problems)
    # Resolved as for the plan: the nodes run in the folder of the file, not of a link to it.
    folder = path.resolve().parent
    host = this_host(
        environ, folder, has_strict_types=has_strict_types, machine=machine, arguments=arguments
    )
    descriptor = read_dataflow(text, str(path), host, problems)
    search_path = (os.environ if environ is None else environ).get("PATH")
    own = [node for node in descriptor.nodes if machine in (None, node.machine)]
    local = replace(descriptor, nodes=tuple(own))
    check_files(local, folder, search_path, problems, is_built=is_built)
    problems.raise_if_any()
    return descriptor


def parse_builds(descriptor: Descriptor) -> list[tuple[Build, list[tuple[str, ...]]]]:
    """Split the builds of a dataflow into their commands.

    Raises:
        DescriptorProblems: a `DescriptorError` with all lines that only a shell would understand.
    """
    problems = Problems()
    commands = [(build, parse_commands(build, problems)) for build in descriptor.builds]
    problems.raise_if_any()
    return commands


def expand_dataflow(path: Path) -> str:
    """Return the text of a dataflow file with its modules written out, and nothing else changed.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems of the file or its modules.
    """
    problems = Problems()
    document = parse_document(read_text(path, problems), str(path), problems)
    flat, builds = expand_modules(document, Host(folder=path.resolve().parent), problems)
    problems.raise_if_any()
    return write_document(with_builds(flat, builds))


def read_arguments(path: Path, environ: Mapping[str, str]) -> list[LaunchArgument]:
    """Return the arguments that a dataflow file declares.

    Raises:
        DescriptorProblems: the file cannot be read, or its arguments are wrong.
    """
    problems = Problems()
    document = parse_document(read_text(path, problems), str(path), problems)
    arguments = read_launch_arguments(document, environ, problems)
    problems.raise_if_any()
    return arguments


def parse_descriptor(text: str, file: str, host: Host | None = None) -> Descriptor:
    """Check the text of a dataflow file without a look at this computer, unless `host` is given.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems, one per line.
    """
    problems = Problems()
    descriptor = read_dataflow(text, file, host or Host(), problems)
    problems.raise_if_any()
    return descriptor
