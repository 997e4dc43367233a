"""Bad inputs 34 to 40: what a node runs, and what its process is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from dora_rt.descriptor import DescriptorProblems, Host, read_descriptor
from tests.descriptor.bad_inputs import numbered, refusal_lines

REFUSED_VARIABLES = "LD_PRELOAD, LD_AUDIT, DYLD_INSERT_LIBRARIES and DORA_RT_* are refused"


@pytest.mark.parametrize(
    ("keys", "message"),
    numbered(
        34,
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
            "path: shell, args: ls",
            "2:17: 'path: shell' of node 'a' is not supported; "
            "no node runs in a shell; if one has to, write 'path: sh' and 'args: [-c, ...]'",
        ),
        (
            "path: 'https://example.com/a.py'",
            "2:17: 'path' of node 'a': 'https://example.com/a.py' is not downloaded; "
            "download the file and give its path",
        ),
        ("path: ''", "2:17: 'path' of node 'a' is empty"),
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
        (
            "path: a.py, rev: abc",
            "2:23: 'rev' in node 'a' is not supported; it goes with 'git'; clone the repository "
            "yourself",
        ),
        (
            "path: a.py, machine: arm",
            "2:32: node 'a' has a 'machine', but the file has no 'machines'; add machines: {robot: "
            "{listen: 192.168.1.20:7447}, laptop: {}}",
        ),
        (
            "hub: camera@1.0",
            "2:11: 'hub' in node 'a' is not supported; install the node's package yourself and "
            "give 'path' or 'module'",
        ),
        (
            "path: a.py, path_sha256: abc",
            "2:23: 'path_sha256' in node 'a' is not supported; nothing is downloaded; check the "
            "file yourself and remove the key",
        ),
        (
            "path: a.py, params: {a: 1}",
            "2:23: 'params' of node 'a' has no meaning beside 'path'; remove it",
        ),
        (
            "path: a.py, api: arrow",
            "2:28: 'api' of node 'a': expected tuples or events, got string 'arrow'; what `import "
            "dora` gives the node: tuples as in 2022, or event dicts",
        ),
        (
            "ros2: {}",
            "2:17: 'ros2' of node 'a': expected one of topic, topics, service and action; it has "
            "none of them",
        ),
        (
            "operator: {python: a.py}, inputs: {x: a/b}",
            "2:37: 'inputs' of node 'a' has no meaning beside 'operator'; move it into 'operator'",
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
    )
    + numbered(
        39,
        (
            "path: a.py, working_dir: 8",
            "2:36: 'working_dir' of node 'a': expected a string, got integer '8': quote it (\"8\")",
        ),
        (
            "path: a.py, working_dir: ''",
            "2:36: 'working_dir' of node 'a': '' is not the name of a folder",
        ),
    ),
)
def test_node_that_does_not_say_what_to_run(keys: str, message: str) -> None:
    assert refusal_lines(f"nodes:\n- {{id: a, {keys}}}\n") == [message]


@pytest.mark.parametrize(
    ("args", "message"),
    numbered(
        36,
        (
            "[-n, 3]",
            "4:14: 'args' of node 'a': expected a string, got integer '3': quote it (\"3\")",
        ),
        ("{n: 3}", "4:9: 'args' of node 'a': expected a string or a list, got a mapping"),
        ('["x\\0y"]', "4:10: 'args' of node 'a' contains a NUL character; remove it"),
        (
            "it's",
            "4:9: 'args' of node 'a': a quote or backslash has no end in \"it's\"; "
            "a list of strings needs no quoting",
        ),
    ),
)
def test_args_that_are_not_strings(args: str, message: str) -> None:
    assert refusal_lines(f"nodes:\n- id: a\n  path: a.py\n  args: {args}\n") == [message]


@pytest.mark.parametrize(
    ("entry", "message"),
    numbered(
        37,
        (
            "A=B: x",
            "4:9: invalid variable name 'A=B' in 'env' of node 'a'; "
            "use a-z, A-Z, 0-9 and '_', beginning with a letter or '_'",
        ),
        (
            "'': x",
            "4:9: invalid variable name '' in 'env' of node 'a'; "
            "use a-z, A-Z, 0-9 and '_', beginning with a letter or '_'",
        ),
        (
            "LD_PRELOAD: x.so",
            f"4:9: 'LD_PRELOAD' may not be set in 'env' of node 'a'; {REFUSED_VARIABLES}",
        ),
        (
            "DORA_RT_NODE: x",
            f"4:9: 'DORA_RT_NODE' may not be set in 'env' of node 'a'; {REFUSED_VARIABLES}",
        ),
        ("A: {__dora_env: B}", "4:12: 'A' in 'env' of node 'a': expected a string, got a mapping"),
        ("A: ", "4:11: 'A' in 'env' of node 'a' has no value; write \"\" for an empty one"),
        ('A: "x\\0y"', "4:12: 'A' in 'env' of node 'a' contains a NUL character; remove it"),
    ),
)
def test_env_that_cannot_be_given_to_a_process(entry: str, message: str) -> None:
    assert refusal_lines(f"nodes:\n- id: a\n  path: a.py\n  env: {{{entry}}}\n") == [message]


@pytest.mark.parametrize(("env", "got"), numbered(37, ("[A=b]", "a list"), ("A=b", "string 'A=b'")))
def test_env_that_is_not_a_mapping(env: str, got: str) -> None:
    messages = refusal_lines(f"nodes:\n- id: a\n  path: a.py\n  env: {env}\n")

    assert messages == [
        f"4:8: 'env' of node 'a': expected a mapping such as 'CI: \"true\"', got {got}"
    ]


@pytest.mark.parametrize(
    ("node", "message"),
    numbered(
        34,
        ("path: webcan.py", "2:17: node 'a': no such file: 'webcan.py'; did you mean 'webcam.py'?"),
        (
            "path: ./webcan.py",
            "2:17: node 'a': no such file: './webcan.py'; did you mean 'webcam.py'?",
        ),
        (
            "path: far/away.py",
            "2:17: node 'a': no such file: 'far/away.py'; paths begin at {folder}",
        ),
        (
            "path: ~nobody-here/webcam.py",
            "2:17: node 'a': no such file: '~nobody-here/webcam.py'; "
            "no home folder is known for that user",
        ),
        (
            "path: no-such-command",
            "2:17: node 'a': no file 'no-such-command' beside the "
            "dataflow file, and no command of that name; is its package installed?",
        ),
        (
            "path: webcam.py --fast",
            "2:17: node 'a': no file 'webcam.py --fast' beside the "
            "dataflow file, and no command of that name; "
            "if the rest are arguments, write them in 'args'",
        ),
        ("path: things", "2:17: node 'a': 'things' is a folder; name a file in it"),
        ("path: /dev/null", "2:17: node 'a': '/dev/null' is not a regular file"),
        (
            "path: notes.txt",
            "2:17: node 'a': 'notes.txt' is neither a .py file nor executable; "
            "run: chmod +x {folder}/notes.txt",
        ),
        ("path: broken.py", "2:17: node 'a': syntax error in broken.py:2:6: '(' was never closed"),
        (
            "custom: {run: ./broken.py -v}",
            "2:25: node 'a': syntax error in ./broken.py:2:6: '(' was never closed",
        ),
        (
            "operator: {python: gone.py}",
            "2:30: node 'a': no such file: 'gone.py'; paths begin at {folder}",
        ),
        (
            "operator: {python: broken.py}",
            "2:30: node 'a': syntax error in broken.py:2:6: '(' was never closed",
        ),
        (
            "operators: [{id: x, python: things}]",
            "2:39: operator 'a/x': 'things' is a folder; name a file in it",
        ),
        (
            "module: no_such_package.part",
            "2:19: node 'a': no module 'no_such_package' in this "
            "Python; install it, or run dora-launch in the environment that has it",
        ),
        (
            "path: venv/bin/python, args: a.py",
            "2:17: node 'a': no such file: 'venv/bin/python'; paths begin at {folder}",
        ),
    )
    + numbered(
        39,
        (
            "path: webcam.py, working_dir: there",
            "2:41: 'working_dir' of node 'a': no such folder: 'there'; paths begin at {folder}",
        ),
        (
            "path: webcam.py, working_dir: ~nobody-here/data",
            "2:41: 'working_dir' of node 'a': no such folder: '~nobody-here/data'; no home folder "
            "is known for that user",
        ),
        (
            "path: webcam.py, working_dir: notes.txt",
            "2:41: 'working_dir' of node 'a': 'notes.txt' is not a folder; name the folder it is "
            "in",
        ),
        (
            "path: webcam.py, working_dir: notes.txt/there",
            "2:41: 'working_dir' of node 'a': no such folder: 'notes.txt/there'; paths begin at "
            "{folder}",
        ),
        (
            "module: beside_it.part, working_dir: things",
            "2:19: node 'a': no module 'beside_it' in this Python; install it, or run dora-launch "
            "in the environment that has it",
        ),
    ),
)
def test_program_that_cannot_run(tmp_path: Path, node: str, message: str) -> None:
    flow = tmp_path / "flow.yml"
    (flow.parent / "webcam.py").write_text("")
    (flow.parent / "notes.txt").write_text("")
    (flow.parent / "broken.py").write_text("x = 1\nprint(\n")
    (flow.parent / "things").mkdir()
    (flow.parent / "beside_it").mkdir()
    flow.write_text(f"nodes:\n- {{id: a, {node}}}\n")

    with pytest.raises(DescriptorProblems) as caught:
        read_descriptor(flow)

    assert str(caught.value) == f"{flow}:{message.format(folder=flow.parent)}"


@pytest.mark.parametrize(
    ("line", "message"),
    numbered(
        40,
        (
            "path: ${CAM}",
            "3:9: environment variable CAM is not set; set it, or use ${CAM:-default}",
        ),
        (
            "path: a.py\n  args: -n ${N} ${M}",
            "4:9: environment variable N is not set; "
            "set it, or use ${N:-default}\n"
            "4:9: environment variable M is not set; set it, or use ${M:-default}",
        ),
        (
            "path: a.py\n  args: [-n, '${N}']",
            "4:14: environment variable N is not set; set it, or use ${N:-default}",
        ),
        (
            "path: a.py\n  env: {A: '${B}'}",
            "4:12: environment variable B is not set; set it, or use ${B:-default}",
        ),
        # No second problem that a size is not '${N}'.
        (
            "path: a.py\n  inputs:\n    x:\n      queue_size: ${N}\n      source: a/x\n"
            "  outputs: [x]",
            "6:19: environment variable N is not set; set it, or use ${N:-default}",
        ),
        (
            "path: a.py\n  restart: ${R}",
            "4:12: environment variable R is not set; set it, or use ${R:-default}",
        ),
        (
            "path: ${HOME",
            "3:9: cannot expand '${HOME'; write ${NAME} or ${NAME:-default}, "
            "and $${ for a '${' that must stay",
        ),
        (
            "path: ${HOME%/}",
            "3:9: cannot expand '${HOME%/}'; write ${NAME} or "
            "${NAME:-default}, and $${ for a '${' that must stay",
        ),
        (
            "path: ${}",
            "3:9: cannot expand '${}'; write ${NAME} or ${NAME:-default}, "
            "and $${ for a '${' that must stay",
        ),
    ),
)
def test_variable_that_cannot_be_expanded(line: str, message: str) -> None:
    messages = refusal_lines(f"nodes:\n- id: a\n  {line}\n", Host(environ={"HOME": "/home/me"}))

    assert messages == message.splitlines()


@pytest.mark.parametrize(
    ("content", "command"),
    numbered(
        34,
        (b"notes", "chmod +x '{folder}/a program'"),
        (b"#!/bin/sh\r\n", "sed -i 's/\\r$//' '{folder}/a program'"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "sed -i '1s/^\\xEF\\xBB\\xBF//' '{folder}/a program'"),
    ),
)
def test_command_that_mends_it_can_be_pasted_where_a_path_has_blanks(
    tmp_path: Path, content: bytes, command: str
) -> None:
    folder = tmp_path / "my robot"
    folder.mkdir()
    program = folder / "a program"
    program.write_bytes(content)
    program.chmod(0o644 if content == b"notes" else 0o755)
    file = folder / "flow.yml"
    file.write_text("nodes: [{id: a, path: './a program'}]\n")

    with pytest.raises(DescriptorProblems) as caught:
        read_descriptor(file)

    assert str(caught.value).endswith(command.format(folder=folder))
