"""`arguments:` of a dataflow file, what is given for them, and nodes that are not enabled."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from dora_rt.descriptor import (
    DescriptorProblems,
    Host,
    parse_descriptor,
    read_arguments,
    read_descriptor,
)
from dora_rt.descriptor.tree.model import Descriptor

FILE = """
arguments:
  camera: {default: 0, min: 0, help: number of the camera}
  mode: {default: fast, choices: [fast, exact]}
  viewer: true
  robot: {help: its name}
nodes:
  - id: a
    path: a.py
    args: --camera ${camera}
    env: {ROBOT: $robot, HOME_OF: "${HOME}"}
    outputs: [x]
  - {id: viewer, path: a.py, enabled: "${viewer}", inputs: {x: a/x}, outputs: [y]}
  - {id: b, path: a.py, inputs: {x: a/x, y: viewer/y}}
"""


def read(
    text: str = FILE,
    arguments: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Descriptor:
    host = Host(
        {"HOME": "/home/ann"} if environ is None else environ,
        folder=folder,
        arguments={"robot": "r2"} if arguments is None else arguments,
    )
    return parse_descriptor(text, "flow.yml", host)


def refused(text: str = FILE, arguments: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(DescriptorProblems) as caught:
        read(text, arguments)
    return [line.removeprefix("flow.yml:") for line in str(caught.value).splitlines()]


def test_defaults_and_given_values_stand_where_the_file_names_them():
    first = read().nodes[0]
    second = read(arguments={"robot": "it", "camera": "2"}).nodes[0]

    assert (first.program.args, dict(first.env)) == (
        ("--camera", "0"),
        {"ROBOT": "r2", "HOME_OF": "/home/ann"},
    )
    assert (second.program.args, dict(second.env)["ROBOT"]) == (("--camera", "2"), "it")


def test_argument_goes_before_a_variable_of_the_environment_which_may_be_its_default():
    text = """
arguments: {camera: "${CAMERA:-0}", name: plain}
nodes: [{id: a, path: a.py, env: {C: "${camera}", N: "${name}", D: "${camera:-7}"}}]
"""
    environ = {"CAMERA": "4", "name": "of the shell"}

    (by_variable,) = read(text, {}, environ).nodes
    (given,) = read(text, {"camera": "9", "name": ""}, environ).nodes

    assert dict(by_variable.env) == {"C": "4", "N": "plain", "D": "4"}
    assert dict(given.env) == {"C": "9", "N": "", "D": "9"}


def test_arguments_are_there_also_without_an_environment_and_variables_stay_as_written():
    host = Host(arguments={"robot": "it"})

    node = parse_descriptor(FILE, "flow.yml", host).nodes[0]

    assert dict(node.env) == {"ROBOT": "it", "HOME_OF": "${HOME}"}


def test_values_of_settings_and_parameters_may_be_arguments():
    text = """
arguments: {rate: 30, restarts: 2, gain: 0.5}
nodes:
  - id: a
    path: a.py
    max_restarts: ${restarts}
    inputs: {tick: "dora/timer/hz/${rate}"}
    parameters: {gain: "${gain}", rate: "${rate}"}
"""
    (node,) = read(text, {"rate": "10"}).nodes

    assert node.supervision.max_restarts == 2
    assert node.inputs[0].source.period_ns == 100_000_000
    assert [one.value for one in node.parameters or ()] == [0.5, 10]


def test_node_that_is_not_enabled_is_not_there_and_who_reads_it_does_without():
    descriptor = read(arguments={"robot": "r2", "viewer": "false"})

    assert [node.id for node in descriptor.nodes] == ["a", "b"]
    assert [one.id for one in descriptor.nodes[1].inputs] == ["x"]
    assert descriptor.notes == (
        "flow.yml:14:42: input 'b/y' is left out: node 'viewer' is not enabled",
    )
    assert [node.id for node in read().nodes] == ["a", "viewer", "b"]


def test_inputs_of_all_forms_that_read_a_disabled_node_are_left_out():
    text = """
nodes:
  - {id: off, path: a.py, enabled: false, outputs: [x]}
  - {id: n, path: a.py, inputs: {a: {source: off/x, queue_size: 1}, b: dora/logs/info/off}}
  - {id: o, operator: {python: o.py, inputs: {a: off/x, t: dora/timer/secs/1}}}
  - {id: m, operators: [{id: q, python: o.py, inputs: {a: off/x}}]}
  - {id: c, custom: {source: a.py, inputs: {a: off/x}}, enabled: true}
  - {id: all, path: a.py, inputs: {l: dora/logs}}
"""
    descriptor = read(text, {})

    left = {
        node.id: [one.id for part in (node, *node.operators) for one in part.inputs]
        for node in descriptor.nodes
    }
    assert left == {"n": [], "o": ["t"], "m": [], "c": [], "all": ["l"]}
    notes = [note.partition(": ")[2] for note in descriptor.notes if "left out" in note]
    assert notes == [
        f"input '{name}' is left out: node 'off' is not enabled"
        for name in ("n/a", "n/b", "o/a", "m/q/a", "c/a")
    ]


def test_whole_module_or_a_node_in_it_can_be_switched_off(tmp_path: Path):
    (tmp_path / "part.yml").write_text(
        dedent(
            """
            module: {name: part, outputs: [x, y]}
            nodes:
              - {id: one, path: a.py, outputs: [x]}
              - {id: two, path: a.py, outputs: [y], enabled: $PARAM_TWO}
            """
        )
    )
    text = """
arguments: {left: true, two: true}
nodes:
  - {id: left, module: part.yml, params: {two: "${two}"}, enabled: "${left}"}
  - {id: r, path: a.py, inputs: {x: left/x, y: left/y, t: dora/timer/secs/1}}
"""

    def found(**arguments: str) -> dict[str, list[str]]:
        nodes = read(text, arguments, folder=tmp_path).nodes
        return {node.id: [one.id for one in node.inputs] for node in nodes}

    assert found() == {"left.one": [], "left.two": [], "r": ["x", "y", "t"]}
    assert found(two="false") == {"left.one": [], "r": ["x", "t"]}
    assert found(left="false") == {"r": ["t"]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, ["6:3: argument 'robot' has no default; give it: robot=VALUE (its name)"]),
        (
            {"robot": "a", "camra": "1"},
            ["2:1: the dataflow has no argument 'camra'; did you mean 'camera'?"],
        ),
        (
            {"robot": "a", "zz": "1"},
            ["2:1: the dataflow has no argument 'zz'; it has: camera, mode, viewer, robot"],
        ),
        (
            {"camera": "-1", "mode": "exat", "viewer": "maybe"},
            [
                "3:3: argument 'camera'=-1: expected 0 or more, got -1",
                '4:3: argument \'mode\'=exat: expected one of "fast", "exact", got "exat"; '
                'did you mean "exact"?',
                "5:3: argument 'viewer'=maybe: expected true or false, got \"maybe\"",
                "6:3: argument 'robot' has no default; give it: robot=VALUE (its name)",
            ],
        ),
    ],
)
def test_what_is_given_wrongly_is_told(arguments: dict[str, str], told: list[str]):
    assert refused(arguments=arguments) == told


def test_file_without_arguments_says_so():
    text = "nodes: [{id: a, path: a.py}]"

    assert refused(text, {"camera": "1"}) == [
        "1:1: the dataflow has no argument 'camera'; it has no 'arguments'"
    ]


NODES = "nodes: [{id: a, path: a.py}]"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("arguments: 5", "1:12: 'arguments' of the dataflow: expected a mapping such as 'camera"),
        ("arguments: {a-b: 1}", "1:13: invalid name 'a-b' in 'arguments' of the dataflow; use a-z"),
        (
            "arguments: {a: [1]}",
            "1:16: argument 'a': expected a text, a number, true or false, got",
        ),
        ("arguments: {a: null}", "1:16: argument 'a': expected a text, a number, true or false, g"),
        ("arguments: {a: {default: 3, max: 2}}", "1:26: 'default' of argument 'a': expected 2 or"),
        (
            "arguments: {a: {default: c, choices: [d]}}",
            "'default' of argument 'a': expected one of",
        ),
        ("arguments: {a: {value: 3}}", "unknown key 'value' in argument 'a'; did you mean 'defa"),
        ("arguments: {a: {choices: 3}}", "'choices' of argument 'a': expected a list such as"),
        ("argument: {a: 3}", "unknown key 'argument' in the dataflow; did you mean 'arguments'?"),
    ],
)
def test_mistakes_in_the_declaration_have_their_place(text: str, told: str):
    (line, *_) = refused(f"{text}\n{NODES}", {})

    assert told in line


def test_reference_that_is_misspelt_is_told_with_the_argument_that_is_meant():
    text = "arguments: {camera: 1}\nnodes: [{id: a, path: a.py, args: '${camra}'}]"

    assert refused(text, {}) == [
        "2:35: environment variable camra is not set; did you mean 'camera'?"
    ]


def test_flow_in_which_nothing_is_enabled_or_the_key_is_no_switch_is_refused():
    assert refused("nodes: [{id: a, path: a.py, enabled: false}]", {}) == [
        "1:8: no node of the dataflow is enabled"
    ]
    assert refused("nodes: [{id: a, path: a.py, enabled: 5}]", {}) == [
        "1:38: 'enabled' of node 'a': expected true or false, got integer '5'"
    ]


def test_limits_of_an_argument_that_were_swapped_are_told_as_such():
    text = "arguments: {a: {default: 3, min: 5, max: 2}}\nnodes: [{id: a, path: a.py}]"

    assert refused(text, {"a": "3"}) == ["1:34: argument 'a': 'min' is more than 'max'"]


def test_arguments_of_a_file_are_listed_without_the_rest_being_right(tmp_path: Path):
    file = tmp_path / "flow.yml"
    file.write_text(f"{FILE}\nunknown: key\n")

    found = read_arguments(file, {})

    assert [(one.form.name, one.default) for one in found] == [
        ("camera", "0"),
        ("mode", "fast"),
        ("viewer", "true"),
        ("robot", None),
    ]


def test_file_is_read_with_what_is_given(tmp_path: Path):
    file = tmp_path / "flow.yml"
    file.write_text("arguments: {word: a}\nnodes: [{id: n, path: n.py, env: {W: '${word}'}}]\n")
    (tmp_path / "n.py").touch()

    (node,) = read_descriptor(file, {}, arguments={"word": "b"}).nodes

    assert dict(node.env) == {"W": "b"}
