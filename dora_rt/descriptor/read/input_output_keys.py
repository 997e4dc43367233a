"""Read the inputs and outputs of a node or an operator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from dora_rt.descriptor.read.input_source import parse_source
from dora_rt.descriptor.read.over_network_keys import read_over_network
from dora_rt.descriptor.tree.document import (
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import Fields, is_nothing, name_and_options
from dora_rt.descriptor.tree.identifiers import read_name
from dora_rt.descriptor.tree.keys import INPUT, OUTPUT
from dora_rt.descriptor.tree.model import (
    DEFAULT_LINES,
    DEFAULT_MAX_HELD,
    DEFAULT_QUEUE_SIZE,
    Input,
    LogSource,
    Output,
    OutputSource,
    TimerSource,
)
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.descriptor.tree.quantities import (
    MAX_SLOT_NBYTES,
    parse_boolean,
    parse_duration_s,
    parse_integer,
    parse_nbytes,
)
from dora_rt.node_config import QueuePolicy


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
        key, options = name_and_options(item)
        if isinstance(key, YamlMapping):
            what = f"'outputs' of {quote(owner)}: expected a name, or one name with its options"
            problems.add(item.place, what, "write them as '- map: {latched: true}'")
            continue
        name = read_name(key, "output name", problems, is_port=True)
        if name in outputs:
            what = f"output {quote(f'{owner}/{name}')} is listed twice"
            problems.add(item.place, f"{what} (first at line {outputs[name].place.line})")
        elif name:
            is_latched = _read_is_latched(options, f"{owner}/{name}", problems)
            outputs[name] = Output(name, item.place, is_latched=is_latched)
    return tuple(outputs.values())


def _read_is_latched(options: YamlValue | None, label: str, problems: Problems) -> bool:
    if options is None or is_nothing(options):
        return False
    if not isinstance(options, YamlMapping):
        what = f"output {quote(label)}: expected options such as {{latched: true}}"
        problems.add(options.place, f"{what}, got {describe(options)}")
        return False
    fields = Fields(options, f"output {quote(label)}", problems)
    fields.check_keys(OUTPUT)
    return bool(fields.parsed("latched", parse_boolean))


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
    over_network = read_over_network(fields, problems)
    if source is None:
        return None
    made = _make_input(name, source, queue, source_value)
    return replace(made, timeout_s=timeout_s, over_network=over_network)


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


MAX_QUEUE_SIZE = 1024
MAX_MAX_HELD = 64

# dora's word; there such a queue drops all the same, here the writer waits.
_POLICIES = {policy.value: policy for policy in QueuePolicy} | {"backpressure": QueuePolicy.BLOCK}


@dataclass(frozen=True, slots=True)
class Queue:
    """The options of one queue, with their defaults; `is_sized` if the file says how long it is."""

    size: int = DEFAULT_QUEUE_SIZE
    is_sized: bool = False
    policy: QueuePolicy = QueuePolicy.DROP_OLDEST
    max_held: int = DEFAULT_MAX_HELD
    slot_nbytes: int | None = None


# The receiving node makes its ticks itself; if it is late, one tick waits for it, not ten.
TIMER_QUEUE = Queue(size=1, is_sized=True, policy=QueuePolicy.LATEST)


def read_queue(fields: Fields, default: Queue, problems: Problems) -> Queue:
    """Read the queue of an input that reads from an output; `default` fills what is missing."""
    policy = _read_policy(fields, problems)
    size = _read_integer(fields, "queue_size", MAX_QUEUE_SIZE)
    max_held = _read_integer(fields, "max_held", MAX_MAX_HELD)
    if policy is QueuePolicy.LATEST and size not in (None, 1):
        problems.add(
            fields.place_of("queue_size"),
            f"{fields.owner} has queue_policy 'latest', which keeps one sample, "
            f"but queue_size {size}",
            "remove 'queue_size', or use drop_oldest",
        )
    return Queue(
        size=1 if policy is QueuePolicy.LATEST else size or default.size,
        is_sized=size is not None or policy is QueuePolicy.LATEST,
        policy=policy,
        max_held=max_held or default.max_held,
        slot_nbytes=_read_slot_nbytes(fields),
    )


def read_timer_queue(fields: Fields, problems: Problems) -> Queue:
    """Read the options of a timer's input: there is no queue, but dora's files may give a size."""
    if _read_integer(fields, "queue_size", MAX_QUEUE_SIZE) is not None:
        problems.note(
            fields.key_place("queue_size"), "'queue_size' has no effect on a timer: ignored"
        )
    if read_input_timeout_s(fields) is not None:
        problems.note(
            fields.key_place("input_timeout"), "'input_timeout' has no effect on a timer: ignored"
        )
    for key in ("queue_policy", "slot_bytes", "max_held", "over_network"):
        if fields.has(key):
            problems.add(
                fields.key_place(key),
                f"{quote(key)} has no meaning for {fields.owner}, which is a timer",
                "remove it",
            )
    return TIMER_QUEUE


def read_input_timeout_s(fields: Fields) -> float | None:
    """Read how long an input may be silent."""
    parse = partial(parse_duration_s, least_s=0.001, greatest_s=24 * 3600.0)
    return fields.parsed("input_timeout", parse)


def _read_policy(fields: Fields, problems: Problems) -> QueuePolicy:
    text = fields.string("queue_policy")
    if text is not None and text not in _POLICIES:
        problems.add(
            fields.place_of("queue_policy"),
            f"unknown queue_policy {quote(text)} of {fields.owner}",
            "use latest, drop_oldest or block",
        )
    return _POLICIES.get(text or "", QueuePolicy.DROP_OLDEST)


def _read_integer(fields: Fields, key: str, greatest: int) -> int | None:
    return fields.parsed(key, partial(parse_integer, least=1, greatest=greatest))


def _read_slot_nbytes(fields: Fields) -> int | None:
    return fields.parsed("slot_bytes", partial(parse_nbytes, least=1, greatest=MAX_SLOT_NBYTES))
