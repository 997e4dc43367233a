"""Options of the ready nodes come from the file or by their own names, and not from any shell."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dora_rt.nodes.object_detection import parse_options as parse_detection
from dora_rt.nodes.options import FILE_VARIABLES
from dora_rt.nodes.plot import parse_options as parse_plot
from dora_rt.nodes.record import parse_options as parse_record
from dora_rt.nodes.replay import parse_options as parse_replay
from dora_rt.nodes.rerun import parse_options as parse_rerun
from dora_rt.nodes.webcam import parse_options as parse_webcam

from dora_rt.launcher.processes import starter
from tests.harness.flow import Flow
from tests.nodes.node_helpers import file_env

# What conda, tcsh, compose files, CI systems and other programs export.
SHELL = {
    "HOST": "0.0.0.0",
    "PORT": "1",
    "OUTPUT": "results",
    "SAVE": "/somewhere/else.png",
    "SOURCE": "src/",
    "MODEL": "gpt-4",
    "LABELS": "prod",
    "DEVICE": "sda",
    "THREADS": "many",
    "LOOP": "forever",
    "WIDTH": "wide",
    "FPS": "high",
    "RATE": "fast",
    "SERVE_WEB": "maybe",
    "CONNECT": "elsewhere",
}


@pytest.mark.parametrize("parse", [parse_webcam, parse_detection, parse_plot, parse_rerun])
def test_variables_of_the_users_shell_change_no_option(parse):
    assert parse([], {**os.environ, **SHELL}) == parse([], dict(os.environ))


@pytest.mark.parametrize("parse", [parse_webcam, parse_detection, parse_plot, parse_rerun])
def test_variables_are_those_that_the_file_names_and_not_others_beside_them(parse):
    environ = {**SHELL, **file_env(UNRELATED="x")}

    assert parse([], environ) == parse([], {})


def test_from_outside_an_option_has_the_name_of_its_node_in_front():
    environ = {
        "DORA_RT_WEBCAM_SOURCE": "3",
        "DORA_RT_WEBCAM_LOOP": "yes",
        "DORA_RT_PLOT_OUTPUT": "none",
        "DORA_RT_OBJECT_DETECTION_MODEL": "best.onnx",
    }

    webcam = parse_webcam([], environ)
    assert (webcam.source, webcam.loop) == ("3", True)
    assert parse_plot([], environ).output == "none"
    assert parse_detection([], environ).model == "best.onnx"


def test_file_comes_before_outside_and_the_command_line_before_both():
    environ = {**file_env(SOURCE="1"), "DORA_RT_WEBCAM_SOURCE": "2"}

    assert parse_webcam([], environ).source == "1"
    assert parse_webcam(["--source", "0"], environ).source == "0"


def test_empty_variable_of_the_file_is_the_default_also_where_outside_has_another():
    # The file says ${SOURCE:-}.
    assert parse_webcam([], {**file_env(SOURCE=""), "DORA_RT_WEBCAM_SOURCE": "2"}).source == "auto"


@pytest.mark.parametrize(
    ("parse", "option", "node"),
    [
        (parse_plot, "host", "PLOT"),
        (parse_plot, "port", "PLOT"),
        (parse_rerun, "serve_web", "RERUN"),
        (parse_rerun, "port", "RERUN"),
    ],
)
def test_what_opens_a_port_to_the_network_comes_from_the_file_only(parse, option, node):
    value = {"host": "0.0.0.0", "port": "81", "serve_web": "true"}[option]
    default = getattr(parse([], {}), option)

    outside = parse([], {f"DORA_RT_{node}_{option.upper()}": value})
    inside = parse([], file_env(**{option.upper(): value}))

    assert getattr(outside, option) == default
    assert str(getattr(inside, option)).lower() == value


def test_wrong_value_from_outside_is_told_with_the_name_that_it_has_there(capsys):
    with pytest.raises(SystemExit):
        parse_webcam([], {"DORA_RT_WEBCAM_FPS": "fast"})

    assert "environment variable DORA_RT_WEBCAM_FPS=fast: " in capsys.readouterr().err


def test_help_names_both_variables_and_no_outer_one_for_a_port(capsys):
    with pytest.raises(SystemExit):
        parse_plot(["--help"], {})

    said = " ".join(capsys.readouterr().out.split())
    assert "[env: SAVE; DORA_RT_PLOT_SAVE]" in said
    assert "[env: HOST, default 127.0.0.1]" in said


@pytest.mark.parametrize(
    ("parse", "argv", "option"),
    [
        (parse_plot, ["--save", "~/out/last.png"], "save"),
        (parse_rerun, ["--save", "~/drive.rrd"], "save"),
        (parse_record, ["--file", "~/drive.mcap"], "file"),
        (parse_replay, ["~/drive.mcap"], "file"),
        (parse_webcam, ["--source", "~/clip.mp4"], "source"),
        (parse_webcam, ["--fallback", "~/clip.mp4"], "fallback"),
        (parse_detection, ["--model", "~/best.onnx"], "model"),
    ],
)
def test_tilde_of_a_path_is_the_home_folder(parse, argv, option, monkeypatch):
    monkeypatch.setenv("HOME", "/home/robot")

    has_environ = parse not in (parse_record, parse_replay)
    options = parse(argv, {}) if has_environ else parse(argv)

    assert str(getattr(options, option)) == argv[-1].replace("~", "/home/robot")


def test_tilde_of_a_labels_file_is_the_home_folder(monkeypatch, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert parse_detection(["--labels", "~/names.txt"], {}).labels == ("cat", "dog")


def test_home_of_nobody_is_told(capsys):
    with pytest.raises(SystemExit):
        parse_plot(["--save", "~nobody-of-this-name/a.png"], {})

    assert "'~nobody-of-this-name/a.png' begins in the home folder of nobody" in (
        capsys.readouterr().err
    )


def test_launcher_and_nodes_mean_the_same_variable():
    assert FILE_VARIABLES == starter.FILE_VARIABLES


PLOT_FLOW = """
nodes:
  - id: webcam
    module: dora_rt.nodes.webcam
    args: --source test://scene?frames=3
    outputs: [image]
  - id: plot
    module: dora_rt.nodes.plot
    {plot}
    inputs: {{image: webcam/image}}
"""


@pytest.mark.programs
@pytest.mark.parametrize("plain", ["", "PYTHONNODEBUGRANGES: '', "], ids=["forked", "plain"])
def test_shell_steers_no_node_of_a_flow_and_the_file_does(flow: Flow, plain: str):
    flow.write(
        "flow.yml",
        PLOT_FLOW.format(
            plot=f"env: {{{plain}OUTPUT: file, SAVE: '${{PICTURE:-}}'}}",
        ),
    )

    done = flow.run(env={**SHELL, "CI": "true", "PICTURE": "out/here.png"})

    assert done.exit_code == 0, done.out
    assert (flow.folder / "out" / "here.png").is_file()
    assert "network" not in done.out


@pytest.mark.programs
def test_flow_inside_a_flow_does_not_inherit_which_variables_a_file_sets(flow: Flow):
    flow.write("flow.yml", PLOT_FLOW.format(plot=""))

    outer = {**file_env(OUTPUT="results", HOST="0.0.0.0"), "DORA_RT_PLOT_OUTPUT": "none"}
    done = flow.run(env={**outer, "CI": "true"})

    assert done.exit_code == 0, done.out


@pytest.mark.programs
@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            "module: dora_rt.nodes.plot, inputs: {picture: source/image}",
            "node 'node' needs an input 'image', and its inputs are: 'picture'; in the dataflow "
            "file write at this node: inputs: {image: NODE/OUTPUT}",
        ),
        (
            "module: dora_rt.nodes.object_detection, outputs: [bbox]",
            "node 'node' needs an input 'image', and it has no inputs; in the dataflow file write "
            "at this node: inputs: {image: NODE/OUTPUT}",
        ),
        (
            "module: dora_rt.nodes.object_detection, inputs: {image: source/image}, outputs: [box]",
            "node 'node' sends 'bbox', 'masks', 'keypoints', 'oriented', 'classes', and declares "
            "only: 'box'; in the dataflow file write at this node: outputs: [bbox]",
        ),
        (
            "module: dora_rt.nodes.webcam, args: [--source=test://scene], outputs: [picture]",
            "node 'node' sends 'image', and declares only: 'picture'; in the dataflow file write "
            "at this node: outputs: [image]",
        ),
        (
            "module: dora_rt.nodes.record",
            "node 'node' has no inputs, and so nothing to do; in the dataflow file write at this "
            "node: inputs: {NAME: NODE/OUTPUT}",
        ),
    ],
)
def test_node_with_wiring_that_it_cannot_use_says_what_to_write(flow: Flow, node: str, said: str):
    flow.write("source.py", "from dora_rt import Node\nNode().send_output('image', b'')\n")
    flow.write(
        "flow.yml",
        f"nodes: [{{id: source, path: source.py, outputs: [image]}}, {{id: node, {node}}}]\n",
    )

    done = flow.run()

    assert done.lines("node") == [said], done.out + done.err
    assert done.ending("node") == "failed: exit status 1"


@pytest.mark.programs
def test_inputs_and_outputs_that_a_node_does_not_use_are_told_once_at_its_start(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: webcam, module: dora_rt.nodes.webcam, outputs: [image, depth],
             args: "--source test://scene?frames=2"}
          - {id: plot, module: dora_rt.nodes.plot, args: --output none,
             inputs: {image: webcam/image, boxes: webcam/depth}}
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out
    read = "'image', 'bbox', 'masks', 'keypoints', 'oriented', 'classes'"
    unused = f"input 'boxes' is not used: this node reads only {read}"
    told = [line for line in done.lines("plot") if line.startswith(unused)]
    empty = "output 'depth' stays empty: this node sends only 'image'"
    assert len(told) == 1
    assert done.lines("webcam").count(empty) == 1


@pytest.mark.programs
@pytest.mark.parametrize(
    ("module", "args", "told"),
    [
        ("plot", "--output none --port 81", "--port is not used: no page is shown (--output none)"),
        (
            "plot",
            "--output none --host ::1",
            "--host is not used: no page is shown (--output none)",
        ),
        ("webcam", "--jpeg-quality 20", "--jpeg-quality is not used: it is for --encoding jpeg"),
        ("plot", "--output none", None),
        ("webcam", "--encoding jpeg --jpeg-quality 20", None),
    ],
)
def test_option_that_nothing_uses_is_told(flow: Flow, module: str, args: str, told: str | None):
    given = {"webcam": "", "plot": "--output none", module: args}
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: --source "test://scene?frames=2" {given["webcam"]}
          - id: plot
            module: dora_rt.nodes.plot
            args: {given["plot"]}
            inputs: {{image: webcam/image}}
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out
    assert [line for line in done.lines(module) if "is not used" in line] == (
        [told] if told else []
    )


@pytest.mark.programs
def test_help_of_every_ready_node_is_told_by_its_module():
    package = importlib.import_module("dora_rt.nodes")
    (folder,) = package.__path__
    names = sorted(path.parent.name for path in Path(folder).glob("*/__main__.py"))

    for name in names:
        module = f"dora_rt.nodes.{name}"
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert f"usage: python -m {module} " in done.stdout, "the variables have its name"
