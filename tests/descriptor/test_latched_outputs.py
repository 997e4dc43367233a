from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dora_rt.descriptor import read_descriptor
from dora_rt.descriptor.tree.model import Descriptor
from dora_rt.plan.plan import outline
from dora_rt.plan.planner import make_plan

Parse = Callable[[str], Descriptor]
Refusal = Callable[[str], list[str]]


def test_output_with_options_is_latched_and_one_without_is_not(parse: Parse) -> None:
    descriptor = parse(
        """\
        nodes:
          - id: maps
            path: maps.py
            outputs:
              - map: {latched: true}
              - scan
              - pose: {latched: false}
              - goal:
        """
    )

    outputs = descriptor.nodes[0].outputs
    assert [(output.id, output.is_latched) for output in outputs] == [
        ("map", True),
        ("scan", False),
        ("pose", False),
        ("goal", False),
    ]


def test_output_of_an_operator_is_latched(parse: Parse) -> None:
    descriptor = parse(
        "nodes: [{id: a, operators: [{id: b, python: b.py, outputs: [map: {latched: true}]}]}]"
    )

    assert descriptor.nodes[0].operators[0].outputs[0].is_latched


@pytest.mark.parametrize(
    "outputs, message",
    [
        (
            "[map: {latched: yes}]",
            "1:54: 'latched' of output 'a/map': expected true or false, got boolean 'yes'",
        ),
        (
            "[map: {latched: 1}]",
            "1:54: 'latched' of output 'a/map': expected true or false, got integer '1'",
        ),
        (
            "[map: {latch: true}]",
            "1:45: unknown key 'latch' in output 'a/map'; did you mean 'latched'?",
        ),
        (
            "[map: true]",
            "1:44: output 'a/map': expected options such as {latched: true}, got boolean 'true'",
        ),
        (
            "[{map: , latched: true}]",
            "1:39: 'outputs' of 'a': expected a name, or one name with its options; "
            "write them as '- map: {latched: true}'",
        ),
        (
            "[map, map: {latched: true}]",
            "1:44: output 'a/map' is listed twice (first at line 1)",
        ),
    ],
)
def test_what_is_wrong_at_an_output_is_told_with_its_place(
    refusal: Refusal, outputs: str, message: str
) -> None:
    messages = refusal(f"nodes: [{{id: a, path: a.py, outputs: {outputs}}}]")

    assert messages == [message]


def test_latched_at_an_input_says_where_it_belongs(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - {id: a, path: a.py, outputs: [map]}
          - {id: b, path: b.py, inputs: {map: {source: a/map, latched: true}}}
        """
    )

    assert messages == [
        "3:55: 'latched' in input 'b/map' is not supported; it belongs to the output that is "
        "read: '- map: {latched: true}' there"
    ]


def test_lines_of_a_node_are_not_latched(refusal: Refusal) -> None:
    messages = refusal(
        "nodes: [{id: a, path: a.py, send_stdout_as: log, outputs: [log: {latched: true}]}]"
    )

    assert messages == [
        "1:60: output 'log' has the lines that the node prints, which cannot be latched; "
        "remove 'latched'"
    ]


def test_latched_output_of_a_module_is_found(tmp_path: Path) -> None:
    (tmp_path / "inner.yml").write_text(
        "module: {name: inner, outputs: [map]}\n"
        "nodes: [{id: maps, path: maps.py, outputs: [map: {latched: true}]}]\n"
    )
    file = tmp_path / "flow.yml"
    file.write_text(
        "nodes:\n"
        "  - {id: world, module: inner.yml}\n"
        "  - {id: reader, path: reader.py, inputs: {map: world/map}}\n"
    )
    for name in ("maps.py", "reader.py"):
        (tmp_path / name).write_text("")

    descriptor = read_descriptor(file, {})

    writer = next(node for node in descriptor.nodes if node.outputs)
    assert writer.outputs[0].is_latched


def test_plan_has_a_slot_more_for_what_is_latched_and_says_so(parse: Parse) -> None:
    flow = """\
        nodes:
          - {id: maps, path: dynamic, outputs: [%s]}
          - {id: reader, path: dynamic, inputs: {map: maps/map}}
        """

    plain, latched = (
        make_plan(parse(flow % output), folder=Path(), interpreter="python")
        for output in ("map", "map: {latched: true}")
    )

    assert latched.outputs[0].slots == plain.outputs[0].slots + 1
    assert "maps/map -> reader/map (queue 10, drop_oldest, latched)" in outline(latched)
    assert "latched" not in outline(plain)
