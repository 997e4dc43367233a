"""`parameters:` of a node, as the file says it, and what its author reads who got it wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dora_rt.descriptor import DescriptorProblems, Host, parse_descriptor, read_parameter_file
from dora_rt.descriptor.tree.model import Descriptor
from dora_rt.node_parameters import Parameter, ParameterKind

Parse = Callable[[str], Descriptor]
Refusal = Callable[[str], list[str]]
SWITCH, WHOLE, NUMBER = ParameterKind.SWITCH, ParameterKind.WHOLE, ParameterKind.NUMBER
TEXT, LIST = ParameterKind.TEXT, ParameterKind.LIST


def test_node_that_says_nothing_declares_nothing(parse: Parse):
    first, second = parse("nodes: [{id: a, path: a.py}, {id: b, path: b.py, parameters: }]").nodes

    assert first.parameters is None
    assert second.parameters is None


def test_types_are_those_of_the_values(parse: Parse):
    (node,) = parse(
        """
        nodes:
          - id: a
            path: a.py
            parameters:
              on: true
              count: 1_000
              speed: -0.5
              name: fast
              quoted: "7"
              words: [a, b]
              numbers: [1, 2.5]
              nothing: []
        """
    ).nodes

    assert node.parameters == (
        Parameter("on", SWITCH, True),
        Parameter("count", WHOLE, 1000),
        Parameter("speed", NUMBER, -0.5),
        Parameter("name", TEXT, "fast"),
        Parameter("quoted", TEXT, "7"),
        Parameter("words", LIST, ["a", "b"], items=TEXT),
        Parameter("numbers", LIST, [1.0, 2.5], items=NUMBER),
        Parameter("nothing", LIST, []),
    )


def test_limits_choices_and_help(parse: Parse):
    (node,) = parse(
        """
        nodes:
          - id: a
            path: a.py
            parameters:
              threshold: {value: 0.4, min: 0, max: 1, help: least confidence}
              gain: {value: 1, max: 2.5}
              mode: {value: fast, choices: [fast, exact]}
              size: {value: 640, choices: [320, 640]}
              classes: {value: [dog], choices: [person, dog]}
        """
    ).nodes

    assert node.parameters == (
        Parameter("threshold", NUMBER, 0.4, 0, 1, None, "least confidence"),
        Parameter("gain", NUMBER, 1.0, None, 2.5),
        Parameter("mode", TEXT, "fast", choices=("fast", "exact")),
        Parameter("size", WHOLE, 640, choices=(320, 640)),
        Parameter("classes", LIST, ["dog"], choices=("person", "dog"), items=TEXT),
    )


def test_values_from_the_environment_and_from_a_module_have_the_type_that_they_look_like(
    tmp_path: Path,
):
    (tmp_path / "part.yml").write_text(
        "module: {name: part}\n"
        "nodes: [{id: x, path: x.py, parameters: {speed: $PARAM_SPEED, name: a$PARAM_SPEED}}]\n"
    )
    text = """
nodes:
  - {id: m, module: part.yml, params: {speed: 2.5}}
  - {id: a, path: a.py, parameters: {n: "${N}", on: "${ON:-true}", word: "${WORD}"}}
"""
    host = Host(environ={"N": "12", "WORD": "1.2.3"}, folder=tmp_path)

    inner, node = parse_descriptor(text, "flow.yml", host).nodes

    assert inner.parameters == (Parameter("speed", NUMBER, 2.5), Parameter("name", TEXT, "a2.5"))
    assert [one.value for one in node.parameters or ()] == [12, True, "1.2.3"]


@pytest.mark.parametrize("kind", ["custom: {source: a.py}", "operator: {python: a.py}"])
def test_they_belong_to_the_node_of_any_kind(parse: Parse, kind: str):
    (node,) = parse(f"nodes: [{{id: a, {kind}, parameters: {{x: 1}}}}]").nodes

    assert node.parameters == (Parameter("x", WHOLE, 1),)


def in_node(parameters: str) -> str:
    return f"nodes: [{{id: a, path: a.py, parameters: {parameters}}}]"


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("5", "41: 'parameters' of node 'a': expected a mapping such as 'threshold: 0.4', got"),
        ("{'a b': 5}", "42: invalid name 'a b' in 'parameters' of node 'a'"),
        ("{x: }", "parameter 'x' of node 'a': expected a value, got nothing"),
        (
            "{x: yes}",
            "45: parameter 'x' of node 'a': expected a value, got boolean 'yes': quote",
        ),
        ("{x: 010}", "45: parameter 'x' of node 'a': expected a decimal number, got integer '010'"),
        ("{x: .inf}", "45: parameter 'x' of node 'a': expected a decimal number, got float '.inf'"),
        ("{x: 2020-01-01}", "expected a value, got date '2020-01-01': quote it"),
        ("{x: [[1]]}", "45: parameter 'x' of node 'a': a list in a list is no value"),
        ("{x: [1, a]}", "45: parameter 'x' of node 'a': the items of a list have one type, got"),
        ("{x: {min: 0}}", "45: parameter 'x' of node 'a' has no 'value'"),
        ("{x: {default: 1}}", "'value'"),
        ("{x: {value: 2, max: 1}}", "53: 'value' of parameter 'x' of node 'a': expected 1 or less"),
        ("{x: {value: 2, min: 3, max: 1}}", "61: parameter 'x' of node 'a': 'min' is more than"),
        ("{x: {value: a, min: 1}}", "56: parameter 'x' of node 'a': 'min' has no meaning for a"),
        ("{x: {value: 1, min: a}}", "61: 'min' of parameter 'x' of node 'a': expected a number"),
        ("{x: {value: c, choices: [a, b]}}", 'expected one of "a", "b", got "c"'),
        ("{x: {value: a, choices: [a, 1]}}", "'choices' of parameter 'x' of node 'a': expected a"),
        (
            "{x: {value: a, choices: []}}",
            "expected a list such as [fast, exact], got an empty",
        ),
        ("{x: {value: 1, mini: 0}}", "unknown key 'mini' in parameter 'x' of node 'a'; did you"),
        ("{x: {value: 1, minimum: 0}}", "did you mean 'min'?"),
    ],
)
def test_mistakes_are_told_with_their_place(refusal: Refusal, parameters: str, told: str):
    (line, *more) = refusal(in_node(parameters))

    assert told in line, line
    assert not more or "default" in parameters, more


def test_parameters_inside_of_an_operator_are_sent_to_the_node(refusal: Refusal):
    (line,) = refusal("nodes: [{id: a, operator: {python: a.py, parameters: {x: 1}}}]")

    assert "move it to the node, beside its 'id'" in line


def test_file_of_saved_parameters_is_read_with_places(tmp_path: Path):
    file = tmp_path / "tuned.yml"
    file.write_text('detector:\n  threshold: 0.5\n  any: {"a": [1, null]}\n"a.b": {on: true}\n')

    found = read_parameter_file(file)

    assert [(place.line, *one) for place, *one in found] == [
        (2, "detector", "threshold", 0.5),
        (3, "detector", "any", {"a": [1, None]}),
        (4, "a.b", "on", True),
    ]


def test_file_of_saved_parameters_that_is_none_is_refused(tmp_path: Path):
    file = tmp_path / "tuned.yml"
    file.write_text("detector: 5\nother: {x: .nan}\n")

    with pytest.raises(DescriptorProblems) as caught:
        read_parameter_file(file)

    assert [str(one).removeprefix(str(file)) for one in caught.value.problems] == [
        ":1:11: 'detector': expected the parameters of a node, such as 'fps: 30', got integer '5'",
        ":2:12: parameter 'x' of node 'other': expected a decimal number, got float '.nan'",
    ]
