"""Modules: files with nodes of their own, which a node of a dataflow stands for."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from dora_rt.descriptor import DescriptorProblems, read_descriptor
from dora_rt.descriptor.tree.model import Descriptor, Input, Node, OutputSource, TimerSource

MODULE = """\
    module: {name: twice, inputs: [raw], inputs_optional: [limit], outputs: [done, half]}
    build: pip install -r twice.txt
    nodes:
      - id: double
        path: double.py
        args: --factor $PARAM_FACTOR --mode ${PARAM_MODE}
        inputs: {in: _mod/raw, limit: _mod/limit, tick: dora/timer/hz/1}
        outputs: [doubled]
      - id: sink
        path: tool
        env: {PARAM_MODE: own, RATE: "$PARAM_FACTOR Hz"}
        build: make tool
        inputs: {in: {source: double/doubled, queue_size: 3}, raw: {source: _mod/raw, max_held: 2}}
        outputs: [done]
      - id: ops
        operators:
          - {id: a, python: op.py, inputs: {x: _mod/raw}, outputs: [half]}
"""

FLOW = """\
    nodes:
      - {id: source, path: source.py, outputs: [out]}
      - id: pipe
        module: modules/twice.yml
        inputs: {raw: {source: source/out, queue_size: 7}}
        params: {factor: 2.0, mode: fast}
      - {id: end, path: end.py, inputs: {done: pipe/done, half: pipe/half}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "flow.yml", FLOW)
    write(tmp_path, "modules/twice.yml", MODULE)
    for name in ("source.py", "end.py", "modules/double.py", "modules/op.py"):
        write(tmp_path, name, "")
    write(tmp_path, "modules/tool", "#!/bin/sh\n").chmod(0o755)
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(dedent(text))
    return path


def read(folder: Path) -> Descriptor:
    return read_descriptor(folder / "flow.yml", {"HOME": "/home/robot"})


def refusal(folder: Path) -> list[str]:
    with pytest.raises(DescriptorProblems) as caught:
        read(folder)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def node(descriptor: Descriptor, node_id: str) -> Node:
    (found,) = (node for node in descriptor.nodes if node.id == node_id)
    return found


def inputs(node: Node) -> dict[str, Input]:
    return {entry.id: entry for entry in node.inputs}


def test_nodes_of_a_module_stand_in_its_place_with_its_name_before_theirs(folder: Path) -> None:
    descriptor = read(folder)

    ids = [node.id for node in descriptor.nodes]
    assert ids == ["source", "pipe.double", "pipe.sink", "pipe.ops", "end"]
    double, sink = node(descriptor, "pipe.double"), node(descriptor, "pipe.sink")
    assert double.program is not None and double.program.path == "modules/double.py"
    assert sink.program is not None and sink.program.path == "modules/tool"
    assert node(descriptor, "pipe.ops").operators[0].path == "modules/op.py"


def test_inputs_read_what_the_module_is_wired_to_and_its_own_nodes(folder: Path) -> None:
    descriptor = read(folder)

    double = inputs(node(descriptor, "pipe.double"))
    assert double["in"].source == OutputSource("source", "out")
    assert double["in"].queue_size == 7
    assert double["tick"].source == TimerSource(1_000_000_000)
    assert "limit" not in double, "an optional input that nobody wired"
    sink = inputs(node(descriptor, "pipe.sink"))
    assert sink["in"].source == OutputSource("pipe.double", "doubled")
    assert sink["in"].queue_size == 3
    assert (sink["raw"].queue_size, sink["raw"].max_held) == (7, 2)
    (operator,) = node(descriptor, "pipe.ops").operators
    assert operator.inputs[0].source == OutputSource("source", "out")


def test_outputs_are_those_of_the_nodes_that_make_them(folder: Path) -> None:
    end = inputs(node(read(folder), "end"))

    assert end["done"].source == OutputSource("pipe.sink", "done")
    assert end["half"].source == OutputSource("pipe.ops", "half", "a")


def test_parameters_are_in_args_and_in_the_environment(folder: Path) -> None:
    descriptor = read(folder)

    double = node(descriptor, "pipe.double")
    assert double.program is not None
    assert double.program.args == ("--factor", "2.0", "--mode", "fast")
    assert dict(double.env) == {"PARAM_FACTOR": "2.0", "PARAM_MODE": "fast"}
    # What a node says itself is stronger.
    sink = node(descriptor, "pipe.sink")
    assert dict(sink.env) == {"PARAM_FACTOR": "2.0", "PARAM_MODE": "own", "RATE": "2.0 Hz"}


def test_build_of_a_module_comes_first_and_once(folder: Path) -> None:
    builds = read(folder).builds

    assert [(build.label, build.text) for build in builds] == [
        ("pipe", "pip install -r twice.txt"),
        ("pipe.sink", "make tool"),
    ]
    assert dict(builds[0].env) == {"PARAM_FACTOR": "2.0", "PARAM_MODE": "fast"}


def test_modules_may_be_in_modules_and_read_each_other(folder: Path) -> None:
    write(
        folder,
        "modules/outer.yml",
        """\
        module: {name: outer, inputs: [data], outputs: [done]}
        nodes:
          - {id: first, module: twice.yml, inputs: {raw: _mod/data, limit: second/half},
             params: {factor: $PARAM_SPEED, mode: slow}}
          - {id: second, module: twice.yml, inputs: {raw: first/half},
             params: {factor: 1, mode: slow}}
          - {id: last, path: double.py, inputs: {in: first/done}, outputs: [last]}
        """,
    )
    write(
        folder,
        "flow.yml",
        """\
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: all, module: modules/outer.yml, inputs: {data: source/out}, params: {speed: 9}}
          - {id: end, path: end.py, inputs: {done: all/done}}
        """,
    )
    # Both inner modules have an output `done`.
    assert refusal(folder) == [
        "modules/outer.yml:1:48: output 'done' of module 'outer.yml': 2 of its nodes have an "
        "output of that name; rename all but one of: all.first.sink/done, all.second.sink/done"
    ]
    path = folder / "modules/outer.yml"
    path.write_text(path.read_text().replace("outputs: [done]}", "outputs: [last]}"))
    flow = folder / "flow.yml"
    flow.write_text(flow.read_text().replace("all/done", "all/last"))

    descriptor = read(folder)

    double = node(descriptor, "all.first.double")
    assert dict(double.env) == {"PARAM_FACTOR": "9", "PARAM_MODE": "slow", "PARAM_SPEED": "9"}
    assert inputs(double)["in"].source == OutputSource("source", "out")
    assert inputs(double)["limit"].source == OutputSource("all.second.ops", "half", "a")
    assert inputs(node(descriptor, "all.last"))["in"].source == OutputSource(
        "all.first.sink", "done"
    )
    assert inputs(node(descriptor, "end"))["done"].source == OutputSource("all.last", "last")


def test_environment_is_expanded_in_a_module_as_well(folder: Path) -> None:
    path = folder / "modules/twice.yml"
    path.write_text(path.read_text().replace("--mode ${PARAM_MODE}", "--home ${HOME}"))

    double = node(read(folder), "pipe.double")

    assert double.program is not None
    assert double.program.args == ("--factor", "2.0", "--home", "/home/robot")


def test_error_in_a_module_is_told_where_it_is(folder: Path) -> None:
    path = folder / "modules/twice.yml"
    path.write_text(path.read_text().replace("path: double.py", "path: dubble.py"))

    assert refusal(folder) == [
        "modules/twice.yml:5:11: node 'pipe.double': no such file: 'modules/dubble.py'; "
        "did you mean 'modules/double.py'? Or, if its 'build' makes it: dora-rt build flow.yml"
    ]


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        (
            "flow.yml",
            "twice.yml",
            "twise.yml",
            "4:13: 'module' of node 'pipe': no such file: 'modules/twise.yml'; "
            "did you mean 'modules/twice.yml'?",
        ),
        (
            "flow.yml",
            "modules/twice.yml",
            "../twice.yml",
            "4:13: 'module' of node 'pipe': '../twice.yml' is outside; modules are in FOLDER or "
            "below, and named from where the file is",
        ),
        (
            "flow.yml",
            "{raw: {source: source/out, queue_size: 7}}",
            "{row: source/out}",
            "5:13: node 'pipe': input 'raw' of its module is not wired; add 'raw: <node>/<output>' "
            "to its inputs|5:14: node 'pipe': its module has no input 'row'; did you mean 'raw'?",
        ),
        (
            "flow.yml",
            "params:",
            "env: {A: 1}\n    params:",
            "6:5: 'env' in node 'pipe' is not supported; it belongs to the nodes of the module",
        ),
        (
            "flow.yml",
            "mode: fast",
            "mode: [fast]",
            "6:33: parameter 'mode' of node 'pipe': expected a string, a number, true or false, "
            "got a list|modules/twice.yml:6:11: '${PARAM_MODE}': the module gets no parameter "
            "'mode' here; 'params' has: factor",
        ),
        (
            "flow.yml",
            "pipe/half",
            "pipe/halve",
            "7:61: 'pipe/halve': the module of node 'pipe' has no such output; "
            "did you mean 'half'?",
        ),
        (
            "flow.yml",
            "id: end",
            "id: pipe",
            "3:9: duplicate node id 'pipe'; choose another name",
        ),
        (
            "modules/twice.yml",
            "double/doubled",
            "source/out",
            "modules/twice.yml:13:27: 'source/out': the module has no node 'source'; "
            "it reads its own nodes, and _mod/<input> from outside",
        ),
        (
            "modules/twice.yml",
            "_mod/limit",
            "_mod/limits",
            "modules/twice.yml:7:35: '_mod/limits': the module has no input 'limits'; "
            "did you mean 'limit'?",
        ),
        (
            "modules/twice.yml",
            "outputs: [done, half]",
            "outputs: [done, whole]",
            "7:61: 'pipe/half': the module of node 'pipe' has no such output; its outputs are: "
            "done, whole|modules/twice.yml:1:73: output 'whole' of module 'twice.yml': none of its "
            "nodes has an output of that name; its nodes are: double, sink, ops",
        ),
        (
            "modules/twice.yml",
            "module: {name: twice,",
            "module: {nam: twice,",
            "modules/twice.yml:1:9: 'module' of module 'twice.yml' has no 'name'; add 'name: ...'|"
            "modules/twice.yml:1:10: unknown key 'nam' in 'module' of module 'twice.yml'; "
            "did you mean 'name'?",
        ),
        (
            "modules/twice.yml",
            "path: double.py",
            "module: twice.yml",
            "modules/twice.yml:5:13: 'module' of node 'pipe.double': a module cannot contain "
            "itself: twice.yml -> twice.yml",
        ),
    ],
)
def test_what_is_wrong_with_a_module_and_its_use(
    folder: Path, file: str, before: str, after: str, message: str
) -> None:
    path = folder / file
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))

    lines = [line.removeprefix("flow.yml:") for line in refusal(folder)]

    expected = message.replace("FOLDER", str(folder)).split("|")
    assert lines[: len(expected)] == expected


def test_module_cannot_be_launched_itself(folder: Path) -> None:
    with pytest.raises(DescriptorProblems) as caught:
        read_descriptor(folder / "modules/twice.yml", {})

    assert "this file is a module; name it in a dataflow" in str(caught.value)


def test_modules_written_out_have_a_limit(tmp_path: Path) -> None:
    for level in range(7):
        inner = "\n".join(
            f"  - {{id: n{number}, module: m{level + 1}.yml}}" for number in range(10)
        )
        write(tmp_path, f"m{level}.yml", f"module: {{name: m{level}}}\nnodes:\n{inner}\n")
    write(tmp_path, "m7.yml", "module: {name: m7}\nnodes: [{id: a, path: a.py}]\n")
    write(tmp_path, "flow.yml", "nodes: [{id: all, module: m0.yml}]\n")

    (message,) = refusal(tmp_path)

    assert message.endswith("file too complex: more than 2000 nodes, modules written out")


def test_nodes_of_a_module_call_each_other_by_the_names_that_they_have_there(tmp_path: Path):
    module = """\
        module: {name: pair, inputs: [], outputs: []}
        nodes:
          - {id: asker, path: asker.py, calls: {plan: server/plan, map: atlas/map}}
          - {id: server, path: server.py, serves: [plan]}
    """
    flow = """\
        nodes:
          - {id: left, module: pair.yml}
          - {id: atlas, path: server.py, serves: [map], calls: {plan: left.server/plan}}
    """
    write(tmp_path, "pair.yml", module)
    write(tmp_path, "flow.yml", flow)
    for name in ("asker.py", "server.py"):
        write(tmp_path, name, "")

    dataflow = read(tmp_path)

    assert {
        name: str(one.source) for name, one in inputs(node(dataflow, "left.asker")).items()
    } == {
        "plan.response": "left.server/plan.response/left.asker",
        "map.response": "atlas/map.response/left.asker",
    }
    assert list(inputs(node(dataflow, "left.server"))) == [
        "plan.request/left.asker",
        "plan.request/atlas",
    ]
