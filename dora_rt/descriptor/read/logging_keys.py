"""Read the log keys: `send_stdout_as`, `min_log_level`, `max_log_size` and the like."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

from dora_rt.descriptor.read.supervision_keys import Setting, Settings
from dora_rt.descriptor.tree.document import YamlScalar, YamlValue, describe
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.identifiers import read_name
from dora_rt.descriptor.tree.model import LineOutput, Output
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.descriptor.tree.quantities import parse_integer, parse_nbytes
from dora_rt.log_record import LogLevel

_MIN_NBYTES = 1000
_MAX_NBYTES = 1024**4
_MAX_FILES = 100
# Whether it has each line as it is, or each as a record of a log.
_LINE_KEYS = {"send_stdout_as": False, "send_logs_as": True}


def read_log_settings(fields: Fields, node: str) -> Settings:
    """Read how loud a line must be to be kept, and how much is kept."""
    nbytes = partial(parse_nbytes, least=_MIN_NBYTES, greatest=_MAX_NBYTES)
    rotated = partial(parse_integer, least=1, greatest=_MAX_FILES)
    found = {
        "min_level": ("min_log_level", fields.parsed("min_log_level", parse_log_level)),
        "file_nbytes": ("max_log_size", fields.parsed("max_log_size", nbytes)),
        "rotated_files": ("max_rotated_files", fields.parsed("max_rotated_files", rotated)),
    }
    return {
        name: Setting(value, key, node, fields.key_place(key))
        for name, (key, value) in found.items()
        if value is not None
    }


def merge_settings(own: Settings, others: Iterable[Settings], problems: Problems) -> Settings:
    """Return the settings of a node together with those of its operators."""
    merged: dict[str, Setting] = dict(own)
    for settings in others:
        for name, setting in settings.items():
            first = merged.setdefault(name, setting)
            if first.value != setting.value:
                what = f"{quote(setting.key)} of node {quote(setting.node)} has two values"
                hint = "its operators are one process; say it once, beside the 'id' of the node"
                problems.add(setting.place, what, hint)
    return merged


def read_line_outputs(
    fields: Fields, operator_id: str | None, problems: Problems
) -> tuple[LineOutput, ...]:
    """Read which outputs have the lines of a node, or of the process of an operator."""
    found = []
    for key, are_records in _LINE_KEYS.items():
        value = fields.get(key)
        if value is None:
            continue
        name = read_name(value, f"{quote(key)} of {fields.owner}", problems, is_port=True)
        if name is not None:
            found.append(LineOutput(name, operator_id, are_records, value.place))
    return tuple(found)


def with_line_outputs(
    outputs: tuple[Output, ...], line_outputs: Collection[LineOutput], problems: Problems
) -> tuple[Output, ...]:
    """Declare the outputs that have lines; dora's files need not."""
    lines = {line.output for line in line_outputs}
    for output in outputs:
        if output.is_latched and output.id in lines:
            what = f"output {quote(output.id)} has the lines that the node prints, which cannot be"
            problems.add(output.place, f"{what} latched", "remove 'latched'")
    declared = {output.id for output in outputs}
    more = {
        line.output: Output(line.output, line.place)
        for line in line_outputs
        if line.output not in declared
    }
    return (*outputs, *more.values())


def parse_log_level(value: YamlValue) -> LogLevel:
    """Parse the name of a level.

    Raises:
        MalformedError: it is none.
    """
    try:
        return LogLevel(value.text if isinstance(value, YamlScalar) else None)
    except ValueError:
        levels = ", ".join(level.value for level in LogLevel)
        raise MalformedError(f"expected one of {levels}, got {describe(value)}") from None
