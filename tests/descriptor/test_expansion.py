"""`${NAME}` in a dataflow file."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from dora_rt.descriptor import DescriptorProblems, Host, parse_descriptor, read_descriptor
from dora_rt.descriptor.tree.model import Descriptor, Program, RestartPolicy

ENVIRON = {"CAM": "/dev/video2", "N": "3", "EMPTY": "", "TWO": "a b", "YES": "on", "REF": "${CAM}"}


def parse(text: str) -> Descriptor:
    return parse_descriptor(dedent(text), "flow.yml", Host(environ=ENVIRON))


def args_of(args: str) -> tuple[str, ...]:
    program = parse(f"nodes:\n- id: a\n  path: a.py\n  args: {args}\n").nodes[0].program
    assert isinstance(program, Program)
    return program.args


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("--source ${CAM}", ("--source", "/dev/video2")),
        ("'${CAM}-${N}'", ("/dev/video2-3",)),
        ("-n ${UNSET:-5} ${EMPTY:-6} ${N:-7}", ("-n", "5", "6", "3")),
        ("${UNSET:-}", ()),
        ("${TWO}", ("a", "b")),
        ("['${TWO}', '${N}', '${YES}', '${EMPTY}']", ("a b", "3", "on", "")),
        # What comes out is not expanded again, and there is a way to write '${'.
        ("['${REF}', '$${CAM}', '$$', '$CAM']", ("${CAM}", "${CAM}", "$$", "$CAM")),
    ],
)
def test_reference_in_args(args: str, expected: tuple[str, ...]) -> None:
    assert args_of(args) == expected


def test_reference_in_any_value_that_is_read() -> None:
    descriptor = parse(
        """\
        env: {CAMERA: "${CAM}", build: "${N}"}
        nodes:
          - id: ${UNSET:-webcam}
            path: ${UNSET:-webcam}.py
            outputs: [image]
          - id: plot
            path: plot.py
            restart: ${UNSET:-always}
            stop_grace: ${N}
            nice: ${N}
            inputs:
              image: {source: "webcam/${UNSET:-image}", queue_size: "${N}"}
        """
    )

    webcam, plot = descriptor.nodes
    assert webcam.program is not None
    assert (webcam.id, webcam.program.path) == ("webcam", "webcam.py")
    assert dict(webcam.env) == {"CAMERA": "/dev/video2", "build": "3"}
    assert plot.supervision.restart is RestartPolicy.ALWAYS
    assert (plot.supervision.stop_grace_s, plot.resources.nice) == (3, 3)
    assert plot.inputs[0].queue_size == 3
    assert descriptor.notes == ()


def env_of(env: str) -> dict[str, str]:
    return dict(parse(f"nodes:\n- id: a\n  path: a.py\n  env: {env}\n").nodes[0].env)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("$N", "3"),
        ("$CAM/x", "/dev/video2/x"),
        ("'${N}$N'", "33"),
        ("'${UNSET:-5}'", "5"),
        ("$EMPTY", ""),
        ("$REF", "${CAM}"),
        ("'$$N, $${N}, 5$, $1, $(N)'", "$N, ${N}, 5$, $1, $(N)"),
        ("{__dora_env: CAM}", "/dev/video2"),
    ],
)
def test_reference_in_env_is_expanded_as_dora_does(value: str, expected: str) -> None:
    assert env_of(f"{{X: {value}}}") == {"X": expected}


@pytest.mark.parametrize("value", ["$UNSET", "{__dora_env: UNSET}"])
def test_variable_in_env_that_is_not_set_is_an_error(value: str) -> None:
    with pytest.raises(DescriptorProblems, match="environment variable UNSET is not set; set it"):
        env_of(f"{{X: {value}}}")


def test_what_nobody_reads_may_refer_to_anything() -> None:
    descriptor = parse(
        """\
        nodes:
          - id: a
            path: a.py
            description: needs ${SOMETHING}
            build: pip install ${WHERE}
        """
    )

    assert descriptor.nodes[0].description == "needs ${SOMETHING}"


def test_keys_are_not_expanded() -> None:
    with pytest.raises(DescriptorProblems, match=r"^flow.yml:1:1: unknown key '\$\{N\}'"):
        parse("${N}: 3\nnodes: [{id: a, path: a.py}]")


def test_without_an_environment_values_stay_as_they_are_written() -> None:
    (node,) = parse_descriptor("nodes: [{id: a, path: a.py, args: '${X}'}]", "flow.yml").nodes

    assert node.program is not None
    assert node.program.args == ("${X}",)


def test_expansion_cannot_make_a_file_endless() -> None:
    text = f"nodes: [{{id: a, path: a.py, args: ['{'${LONG}' * 20}']}}]"

    with pytest.raises(DescriptorProblems) as caught:
        parse_descriptor(text, "flow.yml", Host(environ={"LONG": "x" * 100_000}))

    assert str(caught.value) == (
        "flow.yml:1:36: file too complex: larger than 1024 KiB, variables written out"
    )


def test_path_that_could_not_be_expanded_is_one_problem(tmp_path: Path) -> None:
    flow = tmp_path / "flow.yml"
    flow.write_text("nodes:\n- {id: a, path: '${CAMERA}.py'}\n- {id: b, path: '${PROGRAM}.py'}\n")
    (tmp_path / "b.py").write_text("")

    with pytest.raises(DescriptorProblems) as caught:
        read_descriptor(flow, {"PROGRAM": "b"})

    assert str(caught.value) == (
        f"{flow}:2:17: environment variable CAMERA is not set; set it, or use ${{CAMERA:-default}}"
    )
