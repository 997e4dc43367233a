from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dora_rt.descriptor import DescriptorProblems, Problem, read_descriptor
from dora_rt.descriptor.tree.model import Place
from dora_rt.errors import DescriptorError


def refusal_of(path: Path) -> str:
    with pytest.raises(DescriptorProblems) as caught:
        read_descriptor(path)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "flow.yml"


def test_file_that_is_too_large_is_not_read_to_its_end(file: Path) -> None:
    file.write_text("é" * 1024 * 1024)

    assert refusal_of(file) == f"{file}:1:1: file too complex: larger than 1024 KiB"


def test_byte_order_mark_is_not_part_of_the_first_key(file: Path) -> None:
    (file.parent / "a.py").write_text("")
    file.write_text("\ufeffnodes: [{id: a, path: a.py}]", encoding="utf-8")

    assert read_descriptor(file).nodes[0].id == "a"


def test_programs_that_exist_pass(file: Path) -> None:
    (file.parent / "a.py").write_text("def broken_only_when_run(): undefined_name")
    (file.parent / "local.py").write_text("")
    tool = file.parent / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    file.write_text(
        "nodes:\n"
        "- {id: a, path: ./a.py}\n"
        "- {id: b, path: tool}\n"
        f"- {{id: c, path: {sys.executable}}}\n"
        "- {id: d, path: sh}\n"
        "- {id: e, module: dora_rt.nodes.webcam}\n"
        "- {id: f, module: local}\n"
        "- {id: g, operator: {python: a.py}}\n"
    )

    assert len(read_descriptor(file).nodes) == 7


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"#!/bin/bash\r\necho hi\r\n",
            "its first line ends with a carriage return (line ends of Windows); run: sed -i "
            "'s/\\r$//' {file}",
        ),
        (
            b"#!/usr/bin/env python3\r\nprint(1)\r\n",
            "its first line ends with a carriage return (line ends of Windows); run: sed -i "
            "'s/\\r$//' {file}",
        ),
        (
            b"echo hi\n",
            "it has no #! line, so nothing says what runs it; write its program into the first "
            "line, such as #!/bin/sh or #!/usr/bin/env python3",
        ),
        ("# grüße\nécho\n".encode("latin-1"), "it has no #! line, so nothing says what runs it; "),
        (b"", "it is empty"),
        (b"#!\necho hi\n", "its first line, #!, names no program that runs it"),
        (
            b"\xef\xbb\xbf#!/bin/sh\n",
            "it begins with a byte order mark, so its first line is not seen; save it as UTF-8 "
            "without one: ",
        ),
        (b"#!/nowhere/sh -e\n", "its first line names /nowhere/sh, which does not exist"),
    ],
    ids=["crlf", "crlf-env", "no-line", "latin-1", "empty", "bare", "mark", "missing"],
)
def test_script_that_the_kernel_would_not_execute_is_told_by_the_check(
    file: Path, content: bytes, told: str
) -> None:
    script = file.parent / "script.sh"
    script.write_bytes(content)
    script.chmod(0o755)
    file.write_text("nodes: [{id: a, path: script.sh}]")

    start = f"{file}:1:23: node 'a': 'script.sh' cannot be executed: "
    assert refusal_of(file).startswith(start + told.format(file=script))


def test_command_on_the_path_is_looked_at_as_well(file: Path) -> None:
    script = file.parent / "bin" / "drive"
    script.parent.mkdir()
    script.write_bytes(b"#!/bin/sh\r\n")
    script.chmod(0o755)
    file.write_text(f"nodes: [{{id: a, path: drive, env: {{PATH: {script.parent}}}}}]")

    assert "'drive' cannot be executed: its first line ends with a carriage return" in (
        refusal_of(file)
    )


def test_tilde_in_a_path_is_the_home_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = file.parent / "home"
    home.mkdir()
    (home / "a.py").touch()
    monkeypatch.setenv("HOME", str(home))
    file.write_text(
        "nodes:\n"
        "- {id: a, path: ~/a.py, working_dir: '~'}\n"
        "- {id: b, operator: {python: ~/a.py}}\n"
        "- {id: c, operator: {python: {source: ~/a.py}}}\n"
        "- {id: d, custom: {source: ~/a.py}}\n"
        "- {id: e, custom: {run: ~/a.py --fast}}\n"
    )

    a, b, c, d, e = read_descriptor(file).nodes

    programs = [one.program.path for one in (a, d, e) if one.program]
    operators = [one.operators[0].path for one in (b, c)]
    assert [*programs, *operators] == [f"{home}/a.py"] * 5
    assert a.resources.working_dir == str(home)


def test_what_is_no_text_is_left_to_the_kernel(file: Path) -> None:
    program = file.parent / "program"
    program.write_bytes(b"\x7fELF\x02\x01" + bytes(300))
    program.chmod(0o711)
    file.write_text("nodes: [{id: a, path: program}]")

    assert read_descriptor(file).nodes[0].id == "a"


def test_compiled_nodes_of_dora_are_refused_before_they_keep_others_waiting(file: Path) -> None:
    node = file.parent / "node"
    node.write_bytes(b"\x7fELF" + bytes(5000) + b"DORA_NODE_CONFIG" + bytes(10))
    node.chmod(0o755)
    file.write_text("nodes:\n- {id: a, path: ./node}\n- {id: b, path: node}\n")

    messages = refusal_of(file).splitlines()

    what = "is a compiled program for dora (C, C++ or Rust); only Python programs take part;"
    assert [what in message for message in messages] == [True, True]
    # Other compiled programs just run.
    node.write_bytes(node.read_bytes().replace(b"DORA_", b"ROOM_"))
    assert len(read_descriptor(file).nodes) == 2


def test_script_of_pip_around_a_compiled_node_of_dora_is_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("dora_rerun", "dora_object_to_pose", "fast_echo"):
        (file.parent / package).mkdir()
        is_for_dora = package.startswith("dora")
        content = (
            b"\x7fELF" + bytes(5000) + (b"DORA_NODE_CONFIG" if is_for_dora else b"") + bytes(9)
        )
        (file.parent / package / f"{package}.abi3.so").write_bytes(content)
        script = file.parent / package.replace("_", "-")
        script.write_text(f"#!/usr/bin/python3\nimport re, sys\nfrom {package} import py_main\n")
        script.chmod(0o755)
    monkeypatch.syspath_prepend(file.parent)
    file.write_text(
        "nodes:\n- {id: a, path: ./dora-rerun}\n- {id: b, path: ./dora-object-to-pose}\n"
        "- {id: c, path: ./fast-echo}\n"
    )

    rerun, pose = refusal_of(file).splitlines()

    assert rerun.endswith(
        "'./dora-rerun' is a compiled program for dora (C, C++ or Rust); only Python programs take "
        "part; this node is here as well: module: dora_rt.nodes.rerun"
    )
    assert "'./dora-object-to-pose' is a compiled program for dora" in pose


def test_nothing_of_the_dataflow_is_executed(file: Path) -> None:
    package = file.parent / "package"
    package.mkdir()
    for name in ("a.py", "package/__init__.py", "package/part.py"):
        (file.parent / name).write_text("import pathlib; pathlib.Path('executed').touch()\n")
    file.write_text(
        "nodes: [{id: a, path: a.py}, {id: b, module: package.part},"
        " {id: c, operator: {module: package.part}}, {id: d, operator: {python: a.py}}]"
    )

    read_descriptor(file)

    assert not Path("executed").exists()
    assert "package" not in sys.modules


def test_problems_of_files_and_of_the_text_come_together(file: Path) -> None:
    file.write_text("nodes:\n- {id: a, path: ./gone}\n- {id: b, path: ./gone, inputs: {x: c/y}}\n")

    with pytest.raises(DescriptorError) as caught:
        read_descriptor(file)

    assert isinstance(caught.value, DescriptorProblems)
    gone = ("no such file: './gone'", f"paths begin at {file.parent}")
    assert caught.value.problems == (
        Problem(Place(str(file), 2, 17), f"node 'a': {gone[0]}", gone[1]),
        Problem(Place(str(file), 3, 17), f"node 'b': {gone[0]}", gone[1]),
        Problem(
            Place(str(file), 3, 37),
            "input 'b/x' reads 'c/y', but no node 'c' exists",
            "the nodes are: a, b",
        ),
    )


def test_paths_begin_at_the_file_and_not_at_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.py").write_text("")
    (tmp_path / "real" / "flow.yml").write_text("nodes: [{id: a, path: a.py}]")
    link = tmp_path / "link.yml"
    link.symlink_to(tmp_path / "real" / "flow.yml")

    assert read_descriptor(link).file == str(link)
