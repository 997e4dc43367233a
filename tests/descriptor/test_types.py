"""Types of inputs and outputs, where the file says them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from dora_rt.descriptor import DescriptorProblems, read_descriptor
from dora_rt.descriptor.tree.model import Descriptor
from dora_rt.descriptor.tree.problems import MalformedError
from dora_rt.descriptor.tree.type_library import parse_type_name

Parse = Callable[[str], Descriptor]
Refusal = Callable[[str], list[str]]

WAY_OUT = "change one of them, or say in 'type_rules' that it fits"


def edge(sent: str, expected: str, root: str = "") -> str:
    """Write an edge from an output of one type to an input of another."""
    return (
        f"{root}\n"
        f"nodes:\n"
        f"- {{id: a, path: a.py, outputs: [x], output_types: {{x: '{sent}'}}}}\n"
        f"- {{id: b, path: b.py, inputs: {{x: a/x}}, input_types: {{x: '{expected}'}}}}\n"
    )


def core(name: str) -> str:
    return f"std/core/v1/{name}"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("std/media/v1/Image", "std/media/v1/Image"),
        (core("UInt8"), core("UInt64")),
        (core("Float32"), core("Float64")),
        ("std/vision/v1/Detection", core("Bytes")),
        ("std/media/v1/Image[encoding=jpeg]", "std/media/v1/Image"),
        ("std/media/v1/Image", "std/media/v1/Image[encoding=jpeg]"),
        ("std/media/v1/Image[encoding=jpeg]", "std/media/v1/Image[quality=9, encoding=jpeg]"),
    ],
)
def test_types_that_fit_are_not_worth_a_word(parse: Parse, sent: str, expected: str) -> None:
    assert parse(edge(sent, expected)).notes == ()


@pytest.mark.parametrize(
    ("sent", "expected", "difference"),
    [
        (core("UInt64"), core("UInt8"), ""),
        (core("Int32"), core("UInt32"), ""),
        ("std/media/v1/Image[encoding=jpeg]", "std/media/v1/Image[encoding=png]", ""),
        ("std/math/v1/Vector3", "std/math/v1/Quaternion", ": it has no field 'w'"),
        (
            "std/math/v1/Pose",
            "std/control/v1/Odometry",
            ": it has no field 'pose'",
        ),
        (
            "std/media/v1/PointCloud",
            "std/vision/v1/BoundingBox",
            ": it has no field 'x'",
        ),
    ],
)
def test_types_that_do_not_fit_are_noted(
    parse: Parse, sent: str, expected: str, difference: str
) -> None:
    (note,) = parse(edge(sent, expected)).notes

    what = f"input 'x' of node 'b' expects {expected}, but a/x sends {sent}{difference}"
    assert note == f"flow.yml:4:58: {what}; {WAY_OUT}"


def test_types_that_do_not_fit_are_errors_if_the_file_is_strict(refusal: Refusal) -> None:
    (message,) = refusal(edge(core("Int64"), core("Int32"), "strict_types: true"))

    assert message.startswith("4:58: input 'x' of node 'b' expects std/core/v1/Int32")


def test_rules_of_the_file_are_steps_of_which_three_may_follow_each_other(parse: Parse) -> None:
    rules = (
        f"type_rules: [{{from: {core('Bool')}, to: {core('UInt8')}}},"
        f" {{from: {core('UInt64')}, to: {core('String')}}}]"
    )

    assert parse(edge(core("Bool"), core("UInt64"), rules)).notes == ()
    assert len(parse(edge(core("Bool"), core("String"), rules)).notes) == 1


def test_timer_sends_whole_numbers(parse: Parse) -> None:
    text = "nodes: [{id: a, path: a.py, inputs: {t: dora/timer/hz/1}, input_types: {t: '%s'}}]"

    assert parse(text % core("UInt64")).notes == ()
    (note,) = parse(text % core("Float32")).notes
    assert "expects std/core/v1/Float32, but a timer sends std/core/v1/UInt64" in note


def test_operators_have_types_as_well(parse: Parse) -> None:
    (note,) = parse(
        f"""\
        nodes:
          - {{id: a, operator: {{python: a.py, outputs: [x], output_types: {{x: {core("Int8")}}}}}}}
          - id: b
            operators:
              - {{id: c, python: c.py, inputs: {{x: a/x}}, input_types: {{x: {core("Float32")}}}}}
        """
    ).notes

    assert "input 'x' of operator 'b/c' expects std/core/v1/Float32, but a/x sends" in note


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (
            "outputs: [x], output_types: {y: std/core/v1/Bool}",
            "1:58: output_types of node 'a' names 'y', which is none of its outputs; its outputs "
            "are: x",
        ),
        (
            "inputs: {tick: dora/timer/hz/1}, input_types: {tik: std/core/v1/UInt64}",
            "1:76: input_types of node 'a' names 'tik', which is none of its inputs; did you mean "
            "'tick'?",
        ),
        (
            "outputs: [x], output_types: {x: std/media/v1/Imge}",
            "1:61: output 'x' of node 'a': there is no type 'std/media/v1/Imge'; did you mean "
            "'std/media/v1/Image'?",
        ),
        (
            "outputs: [x], output_metadata: {reply: [request_id]}",
            "1:61: output_metadata of node 'a' names 'reply', which is none of its outputs; its "
            "outputs are: x",
        ),
    ],
)
def test_what_is_annotated_has_to_be_there(parse: Parse, content: str, note: str) -> None:
    notes = parse(f"nodes: [{{id: a, path: a.py, {content}}}]").notes

    assert [one for one in notes if "no input reads" not in one] == [f"flow.yml:{note}"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "pattern: service",
            "1:38: unknown pattern 'service' of node 'a'; use service-server, service-client, "
            "action-server, action-client",
        ),
        (
            "output_types: [x]",
            "1:43: 'output_types' of node 'a': expected a mapping, got a list",
        ),
        (
            "outputs: [x], output_types: {x: 'std/media/v1/Image[jpeg]'}",
            "1:61: output_types of 'x' in node 'a': expected [name=value] behind the type in "
            "'std/media/v1/Image[jpeg]'; several are separated by commas",
        ),
        (
            "outputs: [x], output_metadata: {x: request_id}",
            "1:64: output_metadata of 'x' in node 'a': expected a list of keys, got string "
            "'request_id'",
        ),
    ],
)
def test_annotations_of_the_wrong_form(refusal: Refusal, content: str, message: str) -> None:
    assert refusal(f"nodes: [{{id: a, path: a.py, {content}}}]") == [message]


@pytest.mark.parametrize("text", ["", "[a=b]", "a[", "a[]", "a[b]", "a[=b]", "a[b=]", "a[b=c]d"])
def test_name_of_a_type_that_is_none(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_type_name(text)


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    """Give a folder with types of its own, and a dataflow that uses them."""
    (tmp_path / "types" / "robot").mkdir(parents=True)
    (tmp_path / "types" / "robot" / "v1.yml").write_text(
        dedent(
            """\
            types:
              Grip: {arrow: Struct, fields: [{name: force, type: Float32}]}
              Grasp:
                arrow: Struct
                description: two of them
                fields: [{name: force, type: Float64}, {name: width, type: Float32}]
              Force: {arrow: Float32}
            """
        )
    )
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "flow.yml").write_text(edge("robot/v1/Grip", "robot/v1/Grasp"))
    return tmp_path


def test_types_of_the_user_are_named_by_where_they_are(robot: Path) -> None:
    (note,) = read_descriptor(robot / "flow.yml").notes

    assert "b' expects robot/v1/Grasp, but a/x sends robot/v1/Grip: its field 'force'" in note
    assert note.endswith(f"is Float32 and not Float64; {WAY_OUT}")
    with pytest.raises(DescriptorProblems, match="expects robot/v1/Grasp"):
        read_descriptor(robot / "flow.yml", has_strict_types=True)


def test_types_of_the_user_cannot_pose_as_standard_ones(robot: Path) -> None:
    (robot / "types" / "std").mkdir()
    (robot / "types" / "std" / "v2.yml").write_text("types: {}")

    with pytest.raises(DescriptorProblems, match="types of your own cannot be called std/"):
        read_descriptor(robot / "flow.yml")


def test_file_of_types_that_makes_no_sense(robot: Path) -> None:
    (robot / "types" / "robot" / "v2.yml").write_text("types: [Grip]")

    with pytest.raises(DescriptorProblems, match=r"v2.yml:1:8: expected 'types:' and below it"):
        read_descriptor(robot / "flow.yml")
