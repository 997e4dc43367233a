"""Read one entry of `nodes:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dora_rt.descriptor.read.call_keys import read_calls, read_serves
from dora_rt.descriptor.read.env_args_build_keys import read_build, read_env
from dora_rt.descriptor.read.logging_keys import (
    merge_settings,
    read_line_outputs,
    read_log_settings,
    with_line_outputs,
)
from dora_rt.descriptor.read.parameter_keys import read_parameters
from dora_rt.descriptor.read.port_type_keys import PortTypes
from dora_rt.descriptor.read.program_keys import read_content
from dora_rt.descriptor.read.supervision_keys import Settings, read_settings
from dora_rt.descriptor.read.sync_keys import read_sync
from dora_rt.descriptor.tree.document import YamlMapping, YamlScalar, YamlValue, describe
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.host import Host
from dora_rt.descriptor.tree.identifiers import read_unreserved_name
from dora_rt.descriptor.tree.keys import (
    CUSTOM,
    KEYS_BESIDE,
    LOG_KEYS,
    NODE,
    NODE_IDENTITY,
    NODE_SETTINGS,
    OPERATOR,
    SETTING_SYNONYMS,
)
from dora_rt.descriptor.tree.model import Build, LineOutput, Node
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.node_config import Api

_UNNAMED = "?"
# Those that say what its end means and how it waits, and not how its process is started.
_KEYS_OF_DYNAMIC_NODES = (
    "restart",
    "restart_policy",
    "stop_grace",
    "finish_grace_secs",
    "on_exit",
    "spin_us",
)


@dataclass(frozen=True, slots=True)
class ReadNode:
    """A node as it was written, with what only the wiring needs to know.

    Attributes:
        operator_id: by which other nodes may call the operator of a single `operator:`.
        has_all_outputs: False if an error in the node may have hidden some of its outputs.
        settings: those of its process; other nodes of its runtime may add to them.
        builds: what makes it ready to run.
        port_types: the types of its inputs and outputs, or those of each operator.
    """

    node: Node
    operator_id: str | None
    has_all_outputs: bool
    settings: Settings
    builds: tuple[Build, ...]
    port_types: tuple[PortTypes, ...]


def read_node(
    value: YamlValue, base_env: Mapping[str, str], host: Host, problems: Problems
) -> ReadNode | None:
    """Read one node; None if it has no valid id, by which others could refer to it.

    Args:
        value: the entry of the list.
        base_env: the environment that the file gives to all nodes.
        host: the computer whose files, variables and cores the node may refer to.
        problems: where to report.
    """
    if not isinstance(value, YamlMapping):
        what = f"expected a node such as '- id: camera', got {describe(value)}"
        problems.add(value.place, what)
        return None
    node_id, label = _read_id(value, problems)
    owner = f"node {quote(label)}" if label != _UNNAMED else "this node"
    fields = Fields(value, owner, problems)
    are_keys_known = fields.check_keys(NODE)
    machine = fields.string("machine")
    host = host.of(machine)
    kind = _read_kind(fields, are_keys_known, problems)
    env = read_env(fields.get("env"), fields.owner, problems)
    content = read_content(kind, fields, label, problems)
    settings = merge_settings(
        {**read_settings(fields, label, host, problems), **read_log_settings(fields, label)},
        content.log_settings,
        problems,
    )
    line_outputs = (*_read_line_outputs(fields, kind, problems), *content.line_outputs)
    runtime = None
    if kind == "operator" and (runtime_value := fields.get("runtime")):
        runtime = read_unreserved_name(runtime_value, "runtime name", problems)
    sync, inputs = read_sync(fields, content.inputs, problems)
    node = Node(
        id=label,
        name=fields.string("name"),
        description=fields.string("description"),
        env=tuple({**base_env, **env, **content.env}.items()),
        program=content.program,
        inputs=inputs,
        outputs=with_line_outputs(content.outputs, line_outputs, problems)
        if content.program
        else (),
        operators=tuple(
            replace(
                operator,
                outputs=with_line_outputs(
                    operator.outputs,
                    [line for line in line_outputs if line.operator == operator.id],
                    problems,
                ),
            )
            for operator in content.operators
        ),
        runtime=runtime,
        api=_read_api(fields, kind),
        sync=sync,
        line_outputs=line_outputs,
        parameters=read_parameters(fields, problems),
        services=read_serves(fields, problems),
        calls=read_calls(fields, problems),
        place=fields.place_of("id"),
        machine=machine,
    )
    if node.is_dynamic:
        _note_useless_keys(fields, problems)
    has_all_outputs = content.has_all_outputs and (are_keys_known or fields.has("outputs"))
    if not node_id:
        return None
    builds = tuple(
        replace(build, env=node.env) for build in (*read_build(fields, label), *content.builds)
    )
    return ReadNode(
        node, content.operator_id, has_all_outputs, settings, builds, content.port_types
    )


def _read_line_outputs(
    fields: Fields, kind: str | None, problems: Problems
) -> tuple[LineOutput, ...]:
    line_outputs = read_line_outputs(fields, None, problems)
    if kind != "operators":
        return line_outputs
    for line in line_outputs:
        key = "send_logs_as" if line.are_records else "send_stdout_as"
        what = f"{quote(key)} of {fields.owner} does not say of which operator the output is"
        problems.add(line.place, what, "move it to one of the operators")
    return ()


def _read_api(fields: Fields, kind: str | None) -> Api:
    # Nodes of 2022 were written for its tuples.
    default = Api.TUPLES if kind == "custom" else Api.EVENTS
    return fields.parsed("api", _parse_api) or default


def _parse_api(value: YamlValue) -> Api:
    try:
        return Api(value.text if isinstance(value, YamlScalar) else None)
    except ValueError:
        raise MalformedError(
            f"expected {' or '.join(api.value for api in Api)}, got {describe(value)}",
            "what `import dora` gives the node: tuples as in 2022, or event dicts",
        ) from None


def _note_useless_keys(fields: Fields, problems: Problems) -> None:
    for key in (*NODE_SETTINGS, *SETTING_SYNONYMS.values(), *LOG_KEYS, "args", "env"):
        if fields.has(key) and key not in _KEYS_OF_DYNAMIC_NODES:
            problems.note(
                fields.key_place(key),
                f"{quote(key)} of {fields.owner} has no effect: who starts a dynamic node decides "
                "how it runs",
            )


def _read_id(mapping: YamlMapping, problems: Problems) -> tuple[str | None, str]:
    """Return the id if it is valid, and what to call the node in errors in any case."""
    value = mapping.get("id")
    if value is None:
        problems.add(mapping.place, "this node has no 'id'", "add 'id: <name>'")
        return None, _UNNAMED
    node_id = read_unreserved_name(value, "node id", problems)
    written = value.text if isinstance(value, YamlScalar) else ""
    return node_id, written or _UNNAMED


def _read_kind(fields: Fields, are_keys_known: bool, problems: Problems) -> str | None:
    kinds = [kind for kind in KEYS_BESIDE if fields.has(kind)]
    if not kinds:
        # An unknown or refused key was probably meant to be the one that is missing.
        if are_keys_known and not any(fields.has(key) for key in NODE.refused):
            what = f"{fields.owner} has nothing to run"
            hint = "add 'path: file.py', 'module: package.name' or 'operator:'"
            problems.add(fields.place, what, hint)
        return None
    kind = kinds[0]
    for other in kinds[1:]:
        what = f"{fields.owner} has both {quote(kind)} and {quote(other)}"
        problems.add(fields.key_place(other), what, "keep one of them")
    allowed = (*NODE_IDENTITY, *NODE_SETTINGS, *kinds, *KEYS_BESIDE[kind])
    for key in NODE.keys:
        if fields.has(key) and key not in allowed:
            what = f"{quote(key)} of {fields.owner} has no meaning beside {quote(kind)}"
            problems.add(fields.key_place(key), what, _way_out(key, kind))
    return kind


def _way_out(key: str, kind: str) -> str:
    if key == "runtime":
        return "it goes with 'operator' only; remove it"
    inner = {"custom": CUSTOM, "operator": OPERATOR, "operators": OPERATOR}.get(kind)
    return f"move it into {quote(kind)}" if inner and key in inner.keys else "remove it"
