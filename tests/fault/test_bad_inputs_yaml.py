"""Bad inputs 1 to 14: the file, and its YAML."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dora_rt import __version__
from dora_rt.descriptor import DescriptorProblems, read_descriptor
from tests.descriptor.bad_inputs import numbered, refusal_lines

HALF_A_MEBIBYTE = 512 * 1024
BILLION_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *numbered(
            3,
            ("", "1:1: file is empty: expected a mapping with 'nodes:'"),
            ("# nothing yet\n", "1:1: file is empty: expected a mapping with 'nodes:'"),
            ("---\n", "1:1: file is empty: expected a mapping with 'nodes:'"),
        ),
        *numbered(
            4,
            ("- id: a\n", "1:1: expected a mapping with 'nodes:', got a list"),
            ("webcam", "1:1: expected a mapping with 'nodes:', got string 'webcam'"),
            ("42", "1:1: expected a mapping with 'nodes:', got integer '42'"),
        ),
    ],
)
def test_file_that_is_not_a_mapping(text: str, message: str) -> None:
    assert refusal_lines(text) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *numbered(
            5,
            ("nodes:\n\t- id: a\n", "2:1: tabs are not allowed for indentation; use spaces"),
            (
                "nodes:\n  - id: a\n\tpath: x\n",
                "3:1: tabs are not allowed for indentation; use spaces",
            ),
            ("nodes:\n-\tx\n", "2:2: a tab is not allowed here; use spaces"),
        ),
        *numbered(
            6,
            (
                "nodes:\n- id: a\n  outputs: [x\n  path: a.py\n",
                "4:7: expected ',' or ']'; the '[' of line 3 is not closed",
            ),
            ("nodes: [1,\n", "2:1: a value is missing here; is a '[' or '{' before it not closed?"),
            ("nodes:\n- id: 'a\n  path: b\n", "2:7: the quote that opens here is never closed"),
            (
                "nodes:\n  - id: a\n   path: b\n",
                "3:4: this line does not fit the indentation of the lines above it; "
                "compare it with the block that begins at line 2",
            ),
            (
                "nodes: a: b\n",
                "1:9: a ':' is not allowed here; "
                "check the indentation and the line above, or put the whole value in quotes",
            ),
            (
                "nodes: 'a' b\n",
                "1:12: unexpected text; if it belongs to the value, put the whole value in quotes",
            ),
            ("nodes: @a\n", "1:8: a value cannot begin with '@'; put it in quotes"),
            ("nodes: *.py\n", "1:9: a value cannot begin with '*'; put it in quotes"),
            (
                'nodes: "\\q"\n',
                "1:10: unknown escape character 'q'; "
                "in single quotes a backslash stands for itself",
            ),
        ),
        *numbered(
            2,
            ("nodes: \0", "1:8: the file contains a NUL; is it a text file?"),
            (
                "a: 1\nb: \x1b[0m",
                "2:4: the file contains a control character U+001B; is it a text file?",
            ),
            ("a: \ud800", "1:4: the file contains a control character U+D800; is it a text file?"),
        ),
    ],
)
def test_text_that_is_not_yaml_is_one_problem_in_plain_words(text: str, message: str) -> None:
    assert refusal_lines(text) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *numbered(
            7,
            (
                "nodes: []\n---\nnodes: []\n",
                "2:1: exactly one document expected, but a second one starts here; "
                "remove the '---', or move what follows into a file of its own",
            ),
        ),
        *numbered(
            10,
            (
                "nodes: &a [*a]\n",
                "1:12: recursive alias '*a': it stands inside the value that it names",
            ),
            ("nodes: *a\n", "1:8: alias '*a' refers to an anchor that does not exist"),
        ),
        *numbered(
            11,
            (
                "nodes:\n- id: a\n  <<: {path: x.py}\n",
                "3:3: merge keys ('<<') are not supported; write the keys out",
            ),
            ("nodes: " + "[" * 51, "1:57: file too complex: nested deeper than 50 levels"),
            ("nodes: " + "[" * 100_000, "1:57: file too complex: nested deeper than 50 levels"),
            (
                "a: &a 1\nnodes: [" + "*a," * 1001 + "]",
                "2:3009: file too complex: more than 1000 aliases",
            ),
            (
                "nodes: [" + "1," * 20_001 + "]",
                "1:8: file too complex: more than 20000 values, aliases written out",
            ),
            ("# " + "é" * HALF_A_MEBIBYTE, "1:1: file too complex: larger than 1024 KiB"),
        ),
    ],
)
def test_what_would_be_ambiguous_or_endless_is_refused(text: str, message: str) -> None:
    assert refusal_lines(text) == [message]


def test_billion_laughs_are_refused_before_anybody_counts_them() -> None:
    started_s = time.process_time()

    messages = refusal_lines(BILLION_LAUGHS)

    assert messages == ["5:4: file too complex: more than 20000 values, aliases written out"]
    assert time.process_time() - started_s < 1


def test_aliases_within_the_limits_of_text_but_not_of_nodes_are_refused() -> None:
    # Three levels of 300 aliases are 900 aliases and 27 million inputs.
    sources = ", ".join(f"i{number}: *source" for number in range(300))
    text = (
        "x: &source a/b\n"
        f"y: &operator {{inputs: {{{sources}}}}}\n"
        f"z: &node {{operators: [{', '.join(['*operator'] * 300)}]}}\n"
        f"nodes: [{', '.join(['*node'] * 300)}]\n"
    )

    messages = refusal_lines(text)

    assert messages == ["3:22: file too complex: more than 20000 values, aliases written out"]


@pytest.mark.parametrize(
    ("text", "message"),
    numbered(
        8,
        (
            "nodes:\n- id: a\n  path: a.py\n  outputs: [x]\n  outputs: [y]\n",
            "5:3: duplicate key 'outputs' (first at line 4)",
        ),
        ("nodes: [{id: a, path: a.py, id: a}]", "1:29: duplicate key 'id' (first at line 1)"),
    ),
)
def test_duplicate_key_names_the_line_of_the_first(text: str, message: str) -> None:
    assert refusal_lines(text) == [message]


@pytest.mark.parametrize(
    ("value", "shown"),
    numbered(
        9,
        ("!!python/object/apply:os.system [ls]", "'!!python/object/apply:os.system'"),
        ("!!str 3", "'!!str'"),
        ("!env HOME", "'!env'"),
        ("! x", "'!'"),
    ),
)
def test_yaml_tags_are_refused_and_never_built(value: str, shown: str) -> None:
    messages = refusal_lines(f"nodes: [{{id: a, path: {value}}}]")

    assert messages[0] == f"1:23: YAML tags are not allowed, got {shown}; remove it"


def test_key_that_is_not_a_word() -> None:
    messages = refusal_lines("nodes: [{id: a, path: a.py}]\n? [x]\n: y\n")

    assert messages == ["2:3: a key must be a word, got a list"]


@pytest.mark.parametrize(
    ("text", "message"),
    numbered(
        14,
        (
            "version: 2\nnodez: []\n",
            f"1:10: version 2 is not supported: this is dora_rt {__version__}, which reads "
            "version 1; install the dora_rt that the file was written for",
        ),
        (
            "version: '1'\nnodes: [{id: a, path: a.py}]",
            "1:10: 'version' of the dataflow: expected 1, got string '1'",
        ),
        (
            "version: [1]\nnodes: [{id: a, path: a.py}]",
            "1:10: 'version' of the dataflow: expected 1, got a list",
        ),
    ),
)
def test_version_of_the_file_that_is_not_known(text: str, message: str) -> None:
    assert refusal_lines(text) == [message]


def refused(path: Path) -> str:
    with pytest.raises(DescriptorProblems) as caught:
        read_descriptor(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        *numbered(
            1,
            (
                "dataflw.yml",
                "cannot read {folder}/dataflw.yml: No such file or directory; "
                "did you mean {folder}/dataflow.yml?",
            ),
            (
                "elsewhere.yml",
                "cannot read {folder}/elsewhere.yml: No such file or directory; "
                "there is {folder}/dataflow.yml, {folder}/latin.yml",
            ),
        ),
        *numbered(
            2,
            (
                ".",
                "cannot read {folder}: it is a folder; "
                "there is {folder}/dataflow.yml, {folder}/latin.yml",
            ),
            (
                "fifo",
                "cannot read {folder}/fifo: it is not a file; "
                "there is {folder}/dataflow.yml, {folder}/latin.yml",
            ),
            ("/proc/self/mem", "cannot read /proc/self/mem: Input/output error"),
            (
                "latin.yml",
                "{folder}/latin.yml:2:10: the file is not UTF-8 text (byte 0xe9); save it as UTF-8",
            ),
        ),
    ],
)
def test_file_that_cannot_be_read(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "dataflow.yml").write_text("")
    (tmp_path / "latin.yml").write_bytes("nodes:\n- id: café\n".encode("latin-1"))
    os.mkfifo(tmp_path / "fifo")

    # Opening the FIFO would wait for ever.
    assert refused(tmp_path / path) == message.format(folder=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [pytest.param(0, id="2 unreadable")])
def test_file_that_may_not_be_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "flow.yml"
    path.write_text("nodes: []")
    path.chmod(mode)

    assert refused(path) == f"cannot read {path}: Permission denied"


@pytest.mark.parametrize(
    ("line", "message"),
    numbered(
        12,
        ("id: on", "3:7: node id: expected a string, got boolean 'on': quote it (\"on\")"),
        (
            "path: yes",
            "3:9: 'path' of node 'a': expected a string, got boolean 'yes': quote it (\"yes\")",
        ),
        (
            "path: 2024-01-01",
            "3:9: 'path' of node 'a': expected a string, got date "
            "'2024-01-01': quote it (\"2024-01-01\")",
        ),
        ("path: ~", "3:9: 'path' of node 'a': expected a string, got null '~': quote it (\"~\")"),
        (
            "outputs: [no]",
            "3:13: output name: expected a string, got boolean 'no': quote it (\"no\")",
        ),
        (
            "inputs: {on: dora/timer/secs/1}",
            "3:12: input name: expected a string, got boolean 'on': quote it (\"on\")",
        ),
        (
            "env: {A: on}",
            "3:12: 'A' in 'env' of node 'a': expected a string, got boolean 'on': "
            'quote it ("on")',
        ),
        (
            "env: {A: 2024-01-01}",
            "3:12: 'A' in 'env' of node 'a': expected a string, got date "
            "'2024-01-01': quote it (\"2024-01-01\")",
        ),
        (
            "env: {on: x}",
            "3:9: variable name in 'env' of node 'a': expected a string, "
            "got boolean 'on': quote it (\"on\")",
        ),
        (
            "args: 3",
            "3:9: 'args' of node 'a': expected a string, got integer '3': quote it (\"3\")",
        ),
        (
            "args: [-n, 12:30:00]",
            "3:14: 'args' of node 'a': expected a string, got integer "
            "'12:30:00': quote it (\"12:30:00\")",
        ),
        (
            "startup_timeout: 010",
            "3:20: 'startup_timeout' of node 'a': expected a time such as "
            "2, 0.5, 500ms or 1m, got integer '010'",
        ),
    ),
)
def test_word_that_yaml_takes_for_something_else(line: str, message: str) -> None:
    first, last = "id: a", "path: a.py"
    if line.startswith("id:"):
        first, last = last, "args: x"
    elif line.startswith("path:"):
        last = "args: x"

    assert refusal_lines(f"nodes:\n- {first}\n  {line}\n  {last}\n") == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    numbered(
        13,
        (
            "nodes:\n- id: plot\n  path: plot.py\n  inptus: {}\n",
            "4:3: unknown key 'inptus' in node 'plot'; did you mean 'inputs'?",
        ),
        (
            "nodes:\n- id: plot\n  path: plot.py\n  colour: red\n",
            "4:3: unknown key 'colour' in node 'plot'; allowed are: path, module, operator, "
            "operators, custom, ros2, args, inputs, outputs, input_types, output_types, "
            "output_metadata, pattern, api, sync, serves, calls, runtime, params, id, name, "
            "description, env, build, parameters, enabled, send_stdout_as, "
            "send_logs_as, min_log_level, max_log_size, max_rotated_files, machine, "
            "restart, max_restarts, restart_delay, max_restart_delay, restart_window, "
            "startup_timeout, heartbeat_timeout, stop_grace, on_exit, without_readers, "
            "memory_limit, cpu_affinity, nice, priority, spin_us, working_dir, stdin",
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
            "3:1: unknown key 'colour' in the dataflow; allowed are: nodes, machines, machine, "
            "env, arguments, clock, strict_types, type_rules, version",
        ),
        (
            "nodes:\n- id: plot\n  path: a.py\n  restart_polcy: always\n",
            "4:3: unknown key 'restart_polcy' in node 'plot'; did you mean 'restart_policy'?",
        ),
        (
            "nodes:\n- id: plot\n  custom: {source: a.py, restart: always}\n",
            "3:26: 'restart' does not belong in 'custom' of node 'plot'; "
            "move it to the node, beside its 'id'",
        ),
        (
            "nodes:\n- id: plot\n  operator: {python: a.py, nice: 3}\n",
            "3:28: 'nice' does not belong in operator 'plot'; move it to the node, beside its 'id'",
        ),
        # One problem, and not a second one that the node has nothing to run.
        (
            "nodes:\n- id: plot\n  pth: plot.py\n",
            "3:3: unknown key 'pth' in node 'plot'; did you mean 'path'?",
        ),
    ),
)
def test_unknown_key_gets_a_suggestion_or_the_allowed_keys(text: str, message: str) -> None:
    assert refusal_lines(text) == [message]
