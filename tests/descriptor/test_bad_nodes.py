from __future__ import annotations

from collections.abc import Callable

import pytest

Refusal = Callable[[str], list[str]]

NAME_RULE = "use a-z, A-Z, 0-9, '_', '-' and '.', beginning with a letter or '_'"
REFUSED_VARIABLES = "LD_PRELOAD, LD_AUDIT, DYLD_INSERT_LIBRARIES and DORA_RT_* are refused"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: {}", "1:8: 'nodes' must be a non-empty list, got a mapping"),
        ("nodes: []", "1:8: 'nodes' must be a non-empty list, got an empty list"),
        ("nodes:", "1:7: 'nodes' must be a non-empty list, got nothing"),
        ("env: {A: b}", "1:1: 'nodes' is missing: expected a list of nodes such as '- id: camera'"),
        ("node: []", "1:1: unknown key 'node' in the dataflow; did you mean 'nodes'?"),
        ("nodes: [a]", "1:9: expected a node such as '- id: camera', got string 'a'"),
        (
            "module: {name: m}\nnodes: [{id: a, path: a.py}]",
            "1:1: 'module' in the dataflow is not supported; "
            "a module of another dataflow cannot be launched",
        ),
    ],
)
def test_dataflow_without_nodes(refusal: Refusal, text: str, message: str) -> None:
    assert refusal(text) == [message]


@pytest.mark.parametrize(
    ("node_id", "message"),
    [
        ("a/b", f"invalid node id 'a/b'; {NAME_RULE}"),
        ("a b", f"invalid node id 'a b'; {NAME_RULE}"),
        ("é", f"invalid node id 'é'; {NAME_RULE}"),
        ("1a", f"invalid node id '1a'; {NAME_RULE}"),
        (".a", f"invalid node id '.a'; {NAME_RULE}"),
        ("''", f"invalid node id ''; {NAME_RULE}"),
        ("7", f"invalid node id '7'; {NAME_RULE}"),
        ('"a\\n"', f"invalid node id 'a\\n'; {NAME_RULE}"),
        ("..", "invalid node id '..'; '..' is not allowed"),
        ("a..b", "invalid node id 'a..b'; '..' is not allowed"),
        ("x" * 65, f"invalid node id '{'x' * 65}'; at most 64 characters are allowed, got 65"),
        ("on", "node id: expected a string, got boolean 'on': quote it (\"on\")"),
        ("[a]", "node id: expected a name, got a list"),
        ("dora", "node id 'dora' is reserved; choose another name"),
        ("timer", "node id 'timer' is reserved; choose another name"),
    ],
)
def test_node_id_that_is_not_a_name(refusal: Refusal, node_id: str, message: str) -> None:
    assert refusal(f"nodes:\n- path: a.py\n  id: {node_id}\n") == [f"3:7: {message}"]


def test_node_without_an_id_is_still_checked(refusal: Refusal) -> None:
    messages = refusal("nodes:\n- path: a.py\n  ouputs: [x]\n- id:\n  path: b.py\n")

    assert messages == [
        "2:3: this node has no 'id'; add 'id: <name>'",
        "3:3: unknown key 'ouputs' in this node; did you mean 'outputs'?",
        "4:6: node id: expected a name, got nothing",
    ]


def test_duplicate_node_id_names_both_lines(refusal: Refusal) -> None:
    messages = refusal("nodes:\n- {id: plot, path: a.py}\n- {id: plot, path: b.py}\n")

    assert messages == ["3:8: duplicate node id 'plot' (first at line 2)"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nodes:\n- id: plot\n  path: plot.py\n  inptus: {}\n",
            "4:3: unknown key 'inptus' in node 'plot'; did you mean 'inputs'?",
        ),
        (
            "nodes:\n- id: plot\n  path: plot.py\n  colour: red\n",
            "4:3: unknown key 'colour' in node 'plot'; allowed are: path, module, operator, "
            "operators, custom, args, inputs, outputs, runtime, id, name, description, env",
        ),
        (
            "nodes:\n- id: plot\n  run: plot.py\n",
            "3:3: unknown key 'run' in node 'plot'; did you mean 'path'?",
        ),
        (
            "nodes:\n- id: plot\n  operator:\n    path: plot.py\n",
            "4:5: unknown key 'path' in operator 'plot'; did you mean 'python'?",
        ),
        (
            "nodes:\n- id: plot\n  custom:\n    sorce: plot.py\n",
            "4:5: unknown key 'sorce' in 'custom' of node 'plot'; did you mean 'source'?",
        ),
        (
            "nodes:\n- {id: plot, path: a.py}\ncolour: red\n",
            "3:1: unknown key 'colour' in the dataflow; allowed are: nodes, env",
        ),
    ],
)
def test_unknown_key_gets_a_suggestion_or_the_allowed_keys(
    refusal: Refusal, text: str, message: str
) -> None:
    assert refusal(text) == [message]


def test_key_that_was_meant_to_be_the_program_is_not_reported_twice(refusal: Refusal) -> None:
    messages = refusal("nodes:\n- id: plot\n  pth: plot.py\n")

    assert messages == ["3:3: unknown key 'pth' in node 'plot'; did you mean 'path'?"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "",
            "2:3: node 'a' has nothing to run; "
            "add 'path: file.py', 'module: package.name' or 'operator:'",
        ),
        (
            "path: a.py, operator: {python: b.py}",
            "2:23: node 'a' has both 'path' and 'operator'; keep one of them",
        ),
        ("custom: {}", "2:19: 'custom' of node 'a' has nothing to run; add 'source: file.py'"),
        ("custom: x", "2:19: 'custom' of node 'a': expected a mapping, got string 'x'"),
        (
            "custom: {run: a.py, source: b.py}",
            "2:31: 'custom' of node 'a' has both 'run' and 'source'; keep one of them",
        ),
        (
            "operator: {}",
            "2:21: operator 'a' has nothing to run; "
            "add 'python: file.py' or 'module: package.name'",
        ),
        (
            "operator: {python: a.py, module: b}",
            "2:36: operator 'a' has both 'python' and 'module'; keep one of them",
        ),
        (
            "operator: {shared-library: build/x}",
            "2:22: 'shared-library' in operator 'a' is not supported; "
            "only Python operators run here",
        ),
        (
            "operator: {wasm: x.wasm}",
            "2:22: 'wasm' in operator 'a' is not supported; only Python operators run here",
        ),
        (
            "operator: {python: {source: a.py, conda_env: x}}",
            "2:45: 'conda_env' in 'python' of operator 'a' is not supported; "
            "remove it and start dora-launch in that environment",
        ),
        (
            "operators: []",
            "2:22: 'operators' of node 'a': expected a list of operators, got an empty list",
        ),
        (
            "operators: [{python: a.py}]",
            "2:23: 'operators' of node 'a': this operator has no 'id'; add 'id: <name>'",
        ),
        (
            "operators: [{id: x, python: a.py}, {id: x, python: b.py}]",
            "2:51: duplicate operator id 'a/x' (first at line 2)",
        ),
        (
            "path: dynamic",
            "2:17: 'path: dynamic' of node 'a' is not supported; "
            "every node is started by dora-launch, so write its program here",
        ),
        (
            "path: shell, args: ls",
            "2:17: 'path: shell' of node 'a' is not supported; "
            "no node runs in a shell, so write its program here and the rest in 'args'",
        ),
        (
            "path: 'https://example.com/a.py'",
            "2:17: 'path' of node 'a': 'https://example.com/a.py' is not downloaded; "
            "download the file and give its path",
        ),
        ("path: ''", "2:17: 'path' of node 'a' is empty"),
        (
            "path: yes",
            "2:17: 'path' of node 'a': expected a string, got boolean 'yes': quote it (\"yes\")",
        ),
        (
            "path: 2024-01-01",
            "2:17: 'path' of node 'a': expected a string, got date '2024-01-01': "
            'quote it ("2024-01-01")',
        ),
        ("path: ~", "2:17: 'path' of node 'a': expected a string, got null '~': quote it (\"~\")"),
        (
            "module: my-camera",
            "2:19: 'module' of node 'a': 'my-camera' is not the name of a Python module; "
            "write it as in an import statement, such as package.camera",
        ),
        (
            "path: a.py, git: 'https://x'",
            "2:23: 'git' in node 'a' is not supported; "
            "clone the repository yourself and give 'path'",
        ),
        ("ros2: {}", "2:11: 'ros2' in node 'a' is not supported; there is no bridge to ROS 2"),
        (
            "operator: {python: a.py}, inputs: {x: a/b}",
            "2:37: 'inputs' of node 'a' has no meaning beside 'operator'; "
            "move it into 'operator'",
        ),
        (
            "custom: {source: a.py}, args: x",
            "2:35: 'args' of node 'a' has no meaning beside 'custom'; move it into 'custom'",
        ),
        (
            "path: a.py, runtime: x",
            "2:23: 'runtime' of node 'a' has no meaning beside 'path'; "
            "it goes with 'operator' only; remove it",
        ),
        (
            "operator: {python: a.py}, runtime: dora",
            "2:46: runtime name 'dora' is reserved; choose another name",
        ),
    ],
)  # fmt: skip
def test_node_that_does_not_say_what_to_run(refusal: Refusal, keys: str, message: str) -> None:
    assert refusal(f"nodes:\n- {{id: a, {keys}}}\n") == [message]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("[-n, 3]", "4:14: 'args' of node 'a': expected a string, got integer '3': "
         'quote it ("3")'),
        ("{n: 3}", "4:9: 'args' of node 'a': expected a string or a list, got a mapping"),
        ("3", "4:9: 'args' of node 'a': expected a string, got integer '3': quote it (\"3\")"),
        ('["x\\0y"]', "4:10: 'args' of node 'a' contains a NUL character; remove it"),
        (
            "it's",
            "4:9: 'args' of node 'a': a quote or backslash has no end in \"it's\"; "
            "a list of strings needs no quoting",
        ),
    ],
)  # fmt: skip
def test_args_that_are_not_strings(refusal: Refusal, args: str, message: str) -> None:
    assert refusal(f"nodes:\n- id: a\n  path: a.py\n  args: {args}\n") == [message]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("A=B: x", "4:9: invalid variable name 'A=B' in 'env' of node 'a'; "
         "use a-z, A-Z, 0-9 and '_', beginning with a letter or '_'"),
        ("'': x", "4:9: invalid variable name '' in 'env' of node 'a'; "
         "use a-z, A-Z, 0-9 and '_', beginning with a letter or '_'"),
        ("LD_PRELOAD: x.so", f"4:9: 'LD_PRELOAD' may not be set in 'env' of node 'a'; "
         f"{REFUSED_VARIABLES}"),
        ("DORA_RT_NODE: x", f"4:9: 'DORA_RT_NODE' may not be set in 'env' of node 'a'; "
         f"{REFUSED_VARIABLES}"),
        ("A: {__dora_env: B}", "4:12: 'A' in 'env' of node 'a': expected a string, got a mapping"),
        ("A: on", "4:12: 'A' in 'env' of node 'a': expected a string, got boolean 'on': "
         'quote it ("on")'),
        ("A: 2024-01-01", "4:12: 'A' in 'env' of node 'a': expected a string, "
         'got date \'2024-01-01\': quote it ("2024-01-01")'),
        ("A: ", "4:11: 'A' in 'env' of node 'a' has no value; write \"\" for an empty one"),
        ('A: "x\\0y"', "4:12: 'A' in 'env' of node 'a' contains a NUL character; remove it"),
        ("on: x", "4:9: variable name in 'env' of node 'a': expected a string, "
         "got boolean 'on': quote it (\"on\")"),
    ],
)  # fmt: skip
def test_env_that_cannot_be_given_to_a_process(refusal: Refusal, entry: str, message: str) -> None:
    assert refusal(f"nodes:\n- id: a\n  path: a.py\n  env: {{{entry}}}\n") == [message]


def test_env_that_is_not_a_mapping(refusal: Refusal) -> None:
    messages = refusal("nodes:\n- id: a\n  path: a.py\n  env: [A=b]\n")

    assert messages == [
        "4:8: 'env' of node 'a': expected a mapping such as 'CI: \"true\"', got a list"
    ]
