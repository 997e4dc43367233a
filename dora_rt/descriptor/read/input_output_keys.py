"""Read the inputs and outputs of a node or an operator."""

from __future__ import annotations

from dataclasses import replace

from dora_rt.descriptor.read.input_source import parse_source
from dora_rt.descriptor.read.queue import (
    TIMER_QUEUE,
    Queue,
    read_input_timeout_s,
    read_queue,
    read_timer_queue,
)
from dora_rt.descriptor.tree.document import (
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import Fields, is_nothing
from dora_rt.descriptor.tree.identifiers import read_name
from dora_rt.descriptor.tree.keys import INPUT
from dora_rt.descriptor.tree.model import (
    DEFAULT_LINES,
    DEFAULT_MAX_HELD,
    Input,
    LogSource,
    Output,
    OutputSource,
    TimerSource,
)
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote


def read_inputs(
    value: YamlValue | None, owner: str, problems: Problems, *, max_held: int = DEFAULT_MAX_HELD
) -> tuple[Input, ...]:
    """Read an `inputs:` mapping; `owner` is `node` or `node/operator`, `max_held` the default."""
    if value is None or is_nothing(value):
        return ()
    if not isinstance(value, YamlMapping):
        what = f"'inputs' of {quote(owner)}: expected a mapping such as 'image: camera/image'"
        problems.add(value.place, f"{what}, got {describe(value)}")
        return ()
    inputs = []
    for key, item in value.entries:
        name = read_name(key, "input name", problems, is_port=True) or key.text
        declared = _read_input(name, item, f"{owner}/{name}", max_held, problems)
        if declared:
            inputs.append(declared)
    return tuple(inputs)


def read_outputs(value: YamlValue | None, owner: str, problems: Problems) -> tuple[Output, ...]:
    """Read an `outputs:` list; `owner` is `node` or `node/operator`."""
    if value is None or is_nothing(value):
        return ()
    if not isinstance(value, YamlSequence):
        what = f"'outputs' of {quote(owner)}: expected a list such as '- image'"
        problems.add(value.place, f"{what}, got {describe(value)}")
        return ()
    outputs: dict[str, Output] = {}
    for item in value.items:
        name = read_name(item, "output name", problems, is_port=True)
        if name in outputs:
            what = f"output {quote(f'{owner}/{name}')} is listed twice"
            problems.add(item.place, f"{what} (first at line {outputs[name].place.line})")
        elif name:
            outputs[name] = Output(name, item.place)
    return tuple(outputs.values())


def _read_input(
    name: str, value: YamlValue, label: str, max_held: int, problems: Problems
) -> Input | None:
    default = Queue(max_held=max_held)
    if not isinstance(value, YamlMapping):
        source = _read_source(value, f"input {quote(label)}", problems)
        queue = TIMER_QUEUE if isinstance(source, TimerSource) else default
        queue = replace(queue, size=DEFAULT_LINES) if isinstance(source, LogSource) else queue
        return _make_input(name, source, queue, value) if source else None
    fields = Fields(value, f"input {quote(label)}", problems)
    are_keys_known = fields.check_keys(INPUT)
    source_value = value.get("source")
    if source_value is None:
        if are_keys_known:
            what, hint = f"{fields.owner} has no 'source'", "add 'source: <node>/<output>'"
            problems.add(value.place, what, hint)
        read_queue(fields, default, problems)
        read_input_timeout_s(fields)
        return None
    source = _read_source(source_value, fields.owner, problems)
    if isinstance(source, TimerSource):
        queue = read_timer_queue(fields, problems)
        return _make_input(name, source, queue, source_value)
    if isinstance(source, LogSource):
        default = replace(default, size=DEFAULT_LINES)
    queue = read_queue(fields, default, problems)
    timeout_s = read_input_timeout_s(fields)
    if source is None:
        return None
    return replace(_make_input(name, source, queue, source_value), timeout_s=timeout_s)


def _read_source(
    value: YamlValue, where: str, problems: Problems
) -> TimerSource | LogSource | OutputSource | None:
    if not isinstance(value, YamlScalar) or is_nothing(value):
        problems.add(value.place, f"{where}: expected <node>/<output>, got {describe(value)}")
        return None
    try:
        # The kind is no matter: '100' and 'on' are as far from being a source as 'image' is.
        return parse_source(value.text)
    except MalformedError as error:
        problems.add(value.place, f"{where}: {error.what}", error.hint)
        return None


def _make_input(
    name: str, source: TimerSource | LogSource | OutputSource, queue: Queue, source_value: YamlValue
) -> Input:
    return Input(
        id=name,
        source=source,
        queue_size=queue.size,
        queue_policy=queue.policy,
        max_held=queue.max_held,
        slot_nbytes=queue.slot_nbytes,
        place=source_value.place,
        is_sized=queue.is_sized,
    )
