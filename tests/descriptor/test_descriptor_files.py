from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dora_rt.descriptor import DescriptorProblems, Problem, read_descriptor
from dora_rt.descriptor.model import Place
from dora_rt.errors import DescriptorError


def refusal_of(path: Path) -> str:
    with pytest.raises(DescriptorProblems) as caught:
        read_descriptor(path)
    return str(caught.value)


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    return tmp_path / "flow.yml"


def test_file_that_is_missing_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "dataflow.yml").write_text("")

    missing = tmp_path / "dataflw.yml"

    assert refusal_of(missing) == (
        f"cannot read {missing}: No such file or directory; "
        f"did you mean {tmp_path / 'dataflow.yml'}?"
    )


def test_folder_names_the_dataflows_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("")

    assert refusal_of(tmp_path) == (
        f"cannot read {tmp_path}: it is a folder; there is {tmp_path / 'a.yml'}"
    )


def test_fifo_is_not_opened_which_would_wait_for_ever(flow: Path) -> None:
    os.mkfifo(flow)

    assert refusal_of(flow) == f"cannot read {flow}: it is not a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read(flow: Path) -> None:
    flow.write_text("nodes: []")
    flow.chmod(0)

    assert refusal_of(flow) == f"cannot read {flow}: Permission denied"


def test_file_in_another_encoding_names_the_byte(flow: Path) -> None:
    flow.write_bytes("nodes:\n- id: café\n".encode("latin-1"))

    assert refusal_of(flow) == (
        f"{flow}:2:10: the file is not UTF-8 text (byte 0xe9); save it as UTF-8"
    )


def test_file_that_is_too_large_is_not_read_to_its_end(flow: Path) -> None:
    flow.write_text("é" * 1024 * 1024)

    assert refusal_of(flow) == f"{flow}:1:1: file too complex: larger than 1024 KiB"


def test_byte_order_mark_is_not_part_of_the_first_key(flow: Path) -> None:
    (flow.parent / "a.py").write_text("")
    flow.write_text("\ufeffnodes: [{id: a, path: a.py}]", encoding="utf-8")

    assert read_descriptor(flow).nodes[0].id == "a"


def test_programs_that_exist_pass(flow: Path) -> None:
    (flow.parent / "a.py").write_text("def broken_only_when_run(): undefined_name")
    (flow.parent / "local.py").write_text("")
    tool = flow.parent / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    flow.write_text(
        "nodes:\n"
        "- {id: a, path: ./a.py}\n"
        "- {id: b, path: tool}\n"
        f"- {{id: c, path: {sys.executable}}}\n"
        "- {id: d, path: sh}\n"
        "- {id: e, module: dora_rt.nodes.webcam}\n"
        "- {id: f, module: local}\n"
        "- {id: g, operator: {python: a.py}}\n"
    )

    assert len(read_descriptor(flow).nodes) == 7


def test_nothing_of_the_dataflow_is_executed(flow: Path) -> None:
    package = flow.parent / "package"
    package.mkdir()
    for name in ("a.py", "package/__init__.py", "package/part.py"):
        (flow.parent / name).write_text("import pathlib; pathlib.Path('executed').touch()\n")
    flow.write_text(
        "nodes: [{id: a, path: a.py}, {id: b, module: package.part},"
        " {id: c, operator: {module: package.part}}, {id: d, operator: {python: a.py}}]"
    )

    read_descriptor(flow)

    assert not Path("executed").exists()
    assert "package" not in sys.modules


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("path: webcan.py", "2:17: node 'a': no such file: 'webcan.py'; "
         "did you mean 'webcam.py'?"),
        ("path: ./webcan.py", "2:17: node 'a': no such file: './webcan.py'; "
         "did you mean 'webcam.py'?"),
        ("path: far/away.py", "2:17: node 'a': no such file: 'far/away.py'; "
         "paths begin at {folder}"),
        ("path: ~/webcam.py", "2:17: node 'a': no such file: '~/webcam.py'; "
         "'~' is not expanded, write the whole path"),
        ("path: no-such-command", "2:17: node 'a': no file 'no-such-command' beside the "
         "dataflow file, and no command of that name; is its package installed?"),
        ("path: webcam.py --fast", "2:17: node 'a': no file 'webcam.py --fast' beside the "
         "dataflow file, and no command of that name; "
         "if the rest are arguments, write them in 'args'"),
        ("path: things", "2:17: node 'a': 'things' is a folder; name a file in it"),
        ("path: /dev/null", "2:17: node 'a': '/dev/null' is not a regular file"),
        ("path: notes.txt", "2:17: node 'a': 'notes.txt' is neither a .py file nor executable; "
         "run: chmod +x {folder}/notes.txt"),
        ("path: broken.py", "2:17: node 'a': syntax error in broken.py:2:6: '(' was never closed"),
        ("custom: {run: ./broken.py -v}", "2:25: node 'a': syntax error in ./broken.py:2:6: "
         "'(' was never closed"),
        ("operator: {python: gone.py}", "2:30: node 'a': no such file: 'gone.py'; "
         "paths begin at {folder}"),
        ("operator: {python: broken.py}", "2:30: node 'a': syntax error in broken.py:2:6: "
         "'(' was never closed"),
        ("operators: [{id: x, python: things}]", "2:39: operator 'a/x': 'things' is a folder; "
         "name a file in it"),
        ("module: no_such_package.part", "2:19: node 'a': no module 'no_such_package' in this "
         "Python; install it, or run dora-launch in the environment that has it"),
    ],
)  # fmt: skip
def test_program_that_cannot_run(flow: Path, node: str, message: str) -> None:
    (flow.parent / "webcam.py").write_text("")
    (flow.parent / "notes.txt").write_text("")
    (flow.parent / "broken.py").write_text("x = 1\nprint(\n")
    (flow.parent / "things").mkdir()
    flow.write_text(f"nodes:\n- {{id: a, {node}}}\n")

    assert refusal_of(flow) == f"{flow}:{message.format(folder=flow.parent)}"


def test_problems_of_files_and_of_the_text_come_together(flow: Path) -> None:
    flow.write_text("nodes:\n- {id: a, path: ./gone}\n- {id: b, path: ./gone, inputs: {x: c/y}}\n")

    with pytest.raises(DescriptorError) as caught:
        read_descriptor(flow)

    assert isinstance(caught.value, DescriptorProblems)
    gone = ("no such file: './gone'", f"paths begin at {flow.parent}")
    assert caught.value.problems == (
        Problem(Place(str(flow), 2, 17), f"node 'a': {gone[0]}", gone[1]),
        Problem(Place(str(flow), 3, 17), f"node 'b': {gone[0]}", gone[1]),
        Problem(
            Place(str(flow), 3, 37),
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
