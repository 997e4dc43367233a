"""The arguments of a dataflow file, as `dora-launch FILE --help` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dora_rt.descriptor import LaunchArgument, read_arguments
from dora_rt.launcher.processes.environ import inherited_environ
from dora_rt.node_parameters import ParameterKind, show


def show_arguments(file: Path, environ: Mapping[str, str]) -> None:
    """Print the arguments of a file, a line each.

    Raises:
        DescriptorError: the file cannot be read, or its arguments are wrong.
    """
    arguments = read_arguments(file, inherited_environ(environ))
    if not arguments:
        print(f"{file} declares no arguments")
        return
    print(f"arguments of {file}:")
    width = max(len(_form(argument)) for argument in arguments)
    for argument in arguments:
        form = _form(argument)
        print(f"  {form:{width}}  {_describe(argument)}".rstrip())


def _form(argument: LaunchArgument) -> str:
    default = "VALUE" if argument.default is None else argument.default
    return f"{argument.form.name}={default}"


def _describe(argument: LaunchArgument) -> str:
    form = argument.form
    parts = [form.help] if form.help else []
    if form.choices is not None:
        parts.append(" | ".join(one if isinstance(one, str) else show(one) for one in form.choices))
    elif form.minimum is not None or form.maximum is not None:
        limits = ("" if one is None else f"{one:g}" for one in (form.minimum, form.maximum))
        parts.append(f"{form.kind.value}, {'..'.join(limits)}")
    elif form.kind is not ParameterKind.TEXT:
        parts.append(form.kind.value)
    if argument.default is None:
        parts.append("needed")
    return "; ".join(parts)
