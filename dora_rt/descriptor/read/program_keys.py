"""Read the program of a node: `path:`, `module:`, the `custom:` of 2022, or operators."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dora_rt.descriptor.read.env_args_build_keys import read_args, read_build, read_env
from dora_rt.descriptor.read.input_output_keys import read_inputs, read_outputs
from dora_rt.descriptor.read.logging_keys import read_line_outputs, read_log_settings
from dora_rt.descriptor.read.operator_keys import read_module, read_operator
from dora_rt.descriptor.read.port_type_keys import PortTypes, read_port_types
from dora_rt.descriptor.read.ros2_keys import ROS2_MODULE, read_ros2
from dora_rt.descriptor.read.supervision_keys import Settings
from dora_rt.descriptor.tree.document import YamlMapping, YamlSequence, YamlValue, describe
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.home_folder import with_home
from dora_rt.descriptor.tree.identifiers import read_name
from dora_rt.descriptor.tree.keys import CUSTOM
from dora_rt.descriptor.tree.model import (
    DEFAULT_MAX_HELD,
    DYNAMIC,
    Build,
    Input,
    LineOutput,
    Operator,
    Output,
    Place,
    Program,
)
from dora_rt.descriptor.tree.problems import Problems, quote

_WORD = re.compile(r"[^ \t\r\n\f\v]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DEFAULT_OPERATOR_ID = "op"
_NOT_PATHS = {
    "shell": "no node runs in a shell; if one has to, write 'path: sh' and 'args: [-c, ...]'",
}


@dataclass(frozen=True, slots=True)
class Content:
    """Values of the key that decides a node's kind.

    Attributes:
        operator_id: by which other nodes may call the operator of a single `operator:`.
        has_all_outputs: False if an error may have hidden some of the outputs.
        builds: what makes it ready to run, beside the node's own `build:`.
        port_types: the types of its inputs and outputs, or those of each operator.
        line_outputs: its outputs, or those of its operators, that have the lines it prints.
        log_settings: how its lines are kept, as its operators have it.
    """

    program: Program | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    operators: tuple[Operator, ...] = ()
    operator_id: str | None = None
    has_all_outputs: bool = False
    builds: tuple[Build, ...] = ()
    port_types: tuple[PortTypes, ...] = ()
    line_outputs: tuple[LineOutput, ...] = ()
    log_settings: tuple[Settings, ...] = ()


def read_content(kind: str | None, fields: Fields, label: str, problems: Problems) -> Content:
    """Read the part of a node that depends on its kind; `label` is the node's id in errors."""
    value = fields.get(kind) if kind else None
    if value is None:
        return Content()
    match kind:
        case "custom":
            return _read_custom(value, label, problems)
        case "operator":
            return _read_operator(value, label, problems)
        case "operators":
            return _read_operators(value, label, problems)
        case "ros2":
            return _read_ros2(value, fields, label, problems)
        case _:
            return _read_program(fields, label, problems)


def _read_ros2(value: YamlValue, fields: Fields, label: str, problems: Problems) -> Content:
    content = _read_edges(Program(None, ROS2_MODULE, (), value.place), fields, label, problems)
    inputs, outputs = ([one.id for one in ends] for ends in (content.inputs, content.outputs))
    args = read_ros2(value, label, (inputs, outputs), problems)
    return replace(content, program=Program(None, ROS2_MODULE, args, value.place))


def _read_program(fields: Fields, label: str, problems: Problems) -> Content:
    path = _read_path(fields, "path", problems)
    module = read_module(fields, problems) if path is None else None
    args = read_args(fields.get("args"), fields.owner, problems)
    place = fields.place_of("path" if fields.has("path") else "module")
    return _read_edges(Program(path, module, args, place), fields, label, problems)


def _read_custom(value: YamlValue, label: str, problems: Problems) -> Content:
    owner = f"'custom' of node {quote(label)}"
    if not isinstance(value, YamlMapping):
        problems.add(value.place, f"{owner}: expected a mapping, got {describe(value)}")
        return Content()
    fields = Fields(value, owner, problems)
    are_keys_known = fields.check_keys(CUSTOM)
    path, first_args = _read_command(fields, problems)
    if are_keys_known and not (fields.has("run") or fields.has("source")):
        problems.add(fields.place, f"{owner} has nothing to run", "add 'source: file.py'")
    args = first_args + read_args(fields.get("args"), owner, problems)
    place = fields.place_of("run" if fields.has("run") else "source")
    content = _read_edges(Program(path, None, args, place), fields, label, problems)
    return replace(
        content,
        env=read_env(fields.get("env"), owner, problems),
        builds=read_build(fields, label),
        line_outputs=read_line_outputs(fields, None, problems),
        log_settings=(read_log_settings(fields, label),),
        has_all_outputs=content.has_all_outputs and (are_keys_known or fields.has("outputs")),
    )


def _read_command(fields: Fields, problems: Problems) -> tuple[str | None, tuple[str, ...]]:
    if not fields.has("run"):
        return _read_path(fields, "source", problems), ()
    if fields.has("source"):
        what = f"{fields.owner} has both 'run' and 'source'"
        problems.add(fields.key_place("source"), what, "keep one of them")
    # Not shlex: dora of 2022 split on white space, and files rely on what that does to quotes.
    words: list[str] = _WORD.findall(fields.text("run") or "")
    return (with_home(words[0]), tuple(words[1:])) if words else (None, ())


def _read_path(fields: Fields, key: str, problems: Problems) -> str | None:
    path = fields.text(key)
    if path in _NOT_PATHS:
        what = f"'{key}: {path}' of {fields.owner} is not supported"
        problems.add(fields.place_of(key), what, _NOT_PATHS[path])
        return None
    if path and _URL.match(path):
        what = f"'{key}' of {fields.owner}: {quote(path)} is not downloaded"
        problems.add(fields.place_of(key), what, "download the file and give its path")
        return None
    return None if path is None else with_home(path)


def _read_edges(program: Program, fields: Fields, label: str, problems: Problems) -> Content:
    # A notebook that looks at a flow keeps its samples, and may die with them.
    max_held = 0 if program.path == DYNAMIC else DEFAULT_MAX_HELD
    inputs = read_inputs(fields.get("inputs"), label, problems, max_held=max_held)
    nproblems = len(problems)
    outputs = read_outputs(fields.get("outputs"), label, problems)
    return Content(
        program=program if program.path or program.module else None,
        inputs=inputs,
        outputs=outputs,
        has_all_outputs=nproblems == len(problems),
        port_types=(read_port_types(fields, None, problems),),
    )


def _read_operator(value: YamlValue, label: str, problems: Problems) -> Content:
    if not isinstance(value, YamlMapping):
        what = f"'operator' of node {quote(label)}: expected a mapping, got {describe(value)}"
        problems.add(value.place, what)
        return Content()
    id_value = value.get("id")
    operator_id = read_name(id_value, "operator id", problems) if id_value else None
    operator, has_all_outputs = read_operator(value, None, label, problems)
    fields = Fields(value, f"operator {quote(label)}", problems)
    return Content(
        operators=(operator,),
        operator_id=operator_id or _DEFAULT_OPERATOR_ID,
        has_all_outputs=has_all_outputs,
        builds=read_build(fields, label),
        port_types=(read_port_types(fields, None, problems),),
        line_outputs=read_line_outputs(fields, None, problems),
        log_settings=(read_log_settings(fields, label),),
    )


def _read_operators(value: YamlValue, label: str, problems: Problems) -> Content:
    what = f"'operators' of node {quote(label)}"
    if not isinstance(value, YamlSequence) or not value.items:
        got = "an empty list" if isinstance(value, YamlSequence) else describe(value)
        problems.add(value.place, f"{what}: expected a list of operators, got {got}")
        return Content()
    operators: dict[str, Operator] = {}
    lines: dict[str, int] = {}
    builds: list[Build] = []
    port_types: list[PortTypes] = []
    line_outputs: list[LineOutput] = []
    log_settings: list[Settings] = []
    has_all_outputs = True
    for item in value.items:
        if not isinstance(item, YamlMapping):
            problems.add(item.place, f"{what}: expected an operator, got {describe(item)}")
            has_all_outputs = False
            continue
        operator_id, place = _read_operator_id(item, what, problems)
        owner = f"{label}/{operator_id or '?'}"
        operator, is_complete = read_operator(item, operator_id, owner, problems)
        fields = Fields(item, f"operator {quote(owner)}", problems)
        builds += read_build(fields, owner)
        port_types.append(read_port_types(fields, operator_id, problems))
        line_outputs += read_line_outputs(fields, operator_id, problems)
        log_settings.append(read_log_settings(fields, label))
        if operator_id in lines:
            first = f"(first at line {lines[operator_id]})"
            problems.add(place, f"duplicate operator id {quote(owner)} {first}")
        elif operator_id:
            operators[operator_id] = operator
            lines[operator_id] = place.line
        has_all_outputs = has_all_outputs and is_complete and operator_id is not None
    return Content(
        operators=tuple(operators.values()),
        has_all_outputs=has_all_outputs,
        builds=tuple(builds),
        port_types=tuple(port_types),
        line_outputs=tuple(line_outputs),
        log_settings=tuple(log_settings),
    )


def _read_operator_id(
    mapping: YamlMapping, what: str, problems: Problems
) -> tuple[str | None, Place]:
    value = mapping.get("id")
    if value is None:
        problems.add(mapping.place, f"{what}: this operator has no 'id'", "add 'id: <name>'")
        return None, mapping.place
    return read_name(value, "operator id", problems), value.place
