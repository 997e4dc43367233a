from __future__ import annotations

from collections.abc import Callable

import pytest

from dora_rt.descriptor.tree.model import Descriptor, Input, Node, OutputSource, TimerSource
from dora_rt.node_config import Api, QueuePolicy

Parse = Callable[[str], Descriptor]


def only_node(descriptor: Descriptor) -> Node:
    (node,) = descriptor.nodes
    return node


def only_input(descriptor: Descriptor, *, of: str = "b") -> Input:
    (node,) = (node for node in descriptor.nodes if node.id == of)
    (only,) = node.inputs
    return only


def test_path_and_module_are_programs(parse: Parse) -> None:
    path, module = parse(
        "nodes: [{id: a, path: a.py}, {id: b, module: package.camera, args: -v}]"
    ).nodes

    assert path.program is not None
    assert (path.program.path, path.program.module) == ("a.py", None)
    assert module.program is not None
    assert (module.program.path, module.program.module) == (None, "package.camera")
    assert module.program.args == ("-v",)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("--title 'x y' -n 3", ("--title", "x y", "-n", "3")),
        ("[--title, x y]", ("--title", "x y")),
        ("", ()),
    ],
)
def test_args_are_split_like_a_shell_does_or_listed(
    parse: Parse, args: str, expected: tuple[str, ...]
) -> None:
    node = only_node(parse(f"nodes:\n- id: a\n  path: a.py\n  args: {args}\n"))

    assert node.program is not None
    assert node.program.args == expected


def test_env_keeps_the_spelling_of_numbers_and_writes_booleans_in_lower_case(parse: Parse) -> None:
    node = only_node(
        parse(
            """\
            env: {A: every node, B: every node}
            nodes:
              - id: a
                path: a.py
                env: {B: this one, C: 010, D: 1.50, E: True, F: "on", G: 12:30:00, H: 1e3}
            """
        )
    )

    assert dict(node.env) == {
        "A": "every node",
        "B": "this one",
        "C": "010",
        "D": "1.50",
        "E": "true",
        "F": "on",
        "G": "12:30:00",
        "H": "1e3",
    }


@pytest.mark.parametrize(
    ("options", "size", "policy"),
    [
        ("", 10, QueuePolicy.DROP_OLDEST),
        ("queue_size: 1024", 1024, QueuePolicy.DROP_OLDEST),
        ("queue_policy: latest", 1, QueuePolicy.LATEST),
        ("queue_policy: latest, queue_size: 1", 1, QueuePolicy.LATEST),
        ("queue_policy: drop_oldest, queue_size: 3", 3, QueuePolicy.DROP_OLDEST),
        ("queue_policy: block", 10, QueuePolicy.BLOCK),
        ("queue_policy: backpressure, queue_size: 2", 2, QueuePolicy.BLOCK),
    ],
)
def test_queue_of_an_input(parse: Parse, options: str, size: int, policy: QueuePolicy) -> None:
    descriptor = parse(
        f"nodes: [{{id: a, path: a.py, outputs: [x]}},"
        f" {{id: b, path: b.py, inputs: {{x: {{source: a/x, {options}}}}}}}]"
    )

    queue = only_input(descriptor)
    assert (queue.queue_size, queue.queue_policy) == (size, policy)
    assert queue.source == OutputSource("a", "x")


@pytest.mark.parametrize(
    ("written", "nbytes"),
    [
        ("8000000", 8_000_000),
        ("8_000_000", 8_000_000),
        ("8 MB", 8_000_000),
        ("'8 MB'", 8_000_000),
        ("8MiB", 8 * 1024 * 1024),
        ("1.5 kB", 1500),
        ("1 GiB", 1024**3),
        ("100 B", 100),
    ],
)
def test_slot_bytes_takes_a_number_or_a_size(parse: Parse, written: str, nbytes: int) -> None:
    descriptor = parse(
        f"nodes: [{{id: a, path: a.py, outputs: [x]}},"
        f" {{id: b, path: b.py, inputs: {{x: {{source: a/x, slot_bytes: {written}}}}}}}]"
    )

    assert only_input(descriptor).slot_nbytes == nbytes


@pytest.mark.parametrize(
    ("timer", "period_ns"),
    [
        ("secs/1", 1_000_000_000),
        ("millis/33", 33_000_000),
        ("micros/100", 100_000),
        ("nanos/100000", 100_000),
        ("hz/30", 33_333_333),
        ("hz/29.97", 33_366_700),
        ("hz/10000", 100_000),
        ("hz/0.5", 2_000_000_000),
        ("secs/86400", 86_400_000_000_000),
    ],
)
def test_timer_has_the_period_of_its_unit(parse: Parse, timer: str, period_ns: int) -> None:
    descriptor = parse(f"nodes: [{{id: b, path: b.py, inputs: {{tick: dora/timer/{timer}}}}}]")

    assert only_input(descriptor).source == TimerSource(period_ns)


def test_queue_size_of_a_timer_is_ignored_with_a_note(parse: Parse) -> None:
    descriptor = parse(
        "nodes: [{id: b, path: b.py, inputs: {tick: {source: dora/timer/secs/1, queue_size: 5}}}]"
    )

    tick = only_input(descriptor)
    assert (tick.queue_size, tick.queue_policy) == (1, QueuePolicy.LATEST)
    assert descriptor.notes == ("flow.yml:1:72: 'queue_size' has no effect on a timer: ignored",)


def test_operators_of_one_runtime_name_share_it(parse: Parse) -> None:
    nodes = parse(
        """\
        nodes:
          - {id: a, runtime: vision, operator: {python: a.py}}
          - {id: b, runtime: vision, operator: {module: package.b}}
        """
    ).nodes

    assert [node.runtime for node in nodes] == ["vision", "vision"]
    assert nodes[1].operators[0].module == "package.b"


def test_runtime_may_have_the_name_of_a_node_in_it(parse: Parse) -> None:
    nodes = parse(
        """\
        nodes:
          - {id: a, runtime: a, operator: {python: a.py}}
          - {id: b, runtime: a, operator: {python: b.py}}
        """
    ).nodes

    assert [node.runtime for node in nodes] == ["a", "a"]


def test_keys_of_dora_that_have_no_effect_are_noted_once_each(parse: Parse) -> None:
    descriptor = parse(
        """\
        nodes:
          - {id: a, path: a.py, output_framing: {}, shared_memory_pool_size: 8MB}
          - {id: b, path: b.py, output_framing: {}}
        health_check_interval: 5.0
        """
    )

    assert descriptor.notes == (
        "flow.yml:2:25: 'output_framing' is not needed, each sample says itself what it is: "
        "ignored",
        "flow.yml:2:45: 'shared_memory_pool_size' is not needed, memory grows with the samples "
        "('slot_bytes' of an input allocates it at the start): ignored",
        "flow.yml:4:1: 'health_check_interval' is not needed, a missing heartbeat is noticed at "
        "once: ignored",
    )


def test_output_that_nobody_reads_is_a_note(parse: Parse) -> None:
    descriptor = parse(
        """\
        nodes:
          - {id: a, path: a.py, outputs: [x, y]}
          - {id: b, operators: [{id: c, python: c.py, inputs: {x: a/x}, outputs: [z]}]}
        """
    )

    assert descriptor.notes == (
        "flow.yml:2:38: no input reads output 'a/y'",
        "flow.yml:3:75: no input reads output 'b/c/z'",
    )


def test_collections_with_nothing_in_them_are_empty(parse: Parse) -> None:
    node = only_node(
        parse("nodes:\n- id: a\n  path: a.py\n  inputs:\n  outputs:\n  env:\n  args:\n")
    )

    assert (node.inputs, node.outputs, node.env) == ((), (), ())


def test_anchors_and_aliases_stand_for_their_value(parse: Parse) -> None:
    nodes = parse(
        """\
        nodes:
          - {id: a, path: a.py, env: &common {CI: "true"}}
          - {id: b, path: b.py, env: *common}
        """
    ).nodes

    assert nodes[1].env == (("CI", "true"),)


def test_names_may_have_dots_dashes_and_64_characters(parse: Parse) -> None:
    longest = "x" * 64
    nodes = parse(
        f"nodes: [{{id: {longest}, path: a.py}}, {{id: pipeline.doubler-2, path: b.py}}]"
    ).nodes

    assert [node.id for node in nodes] == [longest, "pipeline.doubler-2"]


def test_text_of_a_file_with_windows_line_ends_has_the_same_places(parse: Parse) -> None:
    node = only_node(parse("nodes:\r\n- id: a\r\n  path: a.py\r\n"))

    assert node.program is not None
    assert (node.program.place.line, node.program.place.column) == (3, 9)


def test_names_may_begin_with_digits_and_ports_may_have_slashes(parse: Parse) -> None:
    nodes = parse(
        """\
        nodes:
          - {id: 2nd, path: a.py, outputs: [arm/left/pose, 3d]}
          - {id: timer, path: b.py, inputs: {pose: 2nd/arm/left/pose, in/3d: 2nd/3d}}
        """
    ).nodes

    pose, cloud = nodes[1].inputs
    assert pose.source == OutputSource("2nd", "arm/left/pose")
    assert (cloud.id, cloud.source) == ("in/3d", OutputSource("2nd", "3d"))


def test_word_null_stands_for_a_key_that_is_not_there(parse: Parse) -> None:
    # As dora itself writes a dataflow whose modules it has written out.
    descriptor = parse(
        """\
        nodes:
          - {id: a, name: null, description: null, path: a.py, env: null, deploy: null,
             operator: null, args: null, restart_policy: never, max_restarts: 0}
        deploy: null
        debug: {enable_debug_inspection: false}
        health_check_interval: null
        """
    )

    assert only_node(descriptor).program is not None
    assert [note.split("'")[1] for note in descriptor.notes] == ["max_restarts", "debug"]


@pytest.mark.parametrize(
    ("content", "api"),
    [
        ("path: a.py", Api.EVENTS),
        ("module: a", Api.EVENTS),
        ("custom: {source: a.py}", Api.TUPLES),
        ("path: a.py, api: tuples", Api.TUPLES),
        ("custom: {source: a.py}, api: events", Api.EVENTS),
    ],
)
def test_node_gets_inputs_in_the_form_of_its_time(parse: Parse, content: str, api: Api) -> None:
    assert only_node(parse(f"nodes: [{{id: a, {content}}}]")).api is api
