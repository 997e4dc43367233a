"""`dora-rt build` and `dora-rt expand`; and which commands and which `dora` the nodes see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from dora_rt.launcher.processes.environ import inherited_environ
from tests.harness.finished import Finished
from tests.harness.flow import Flow
from tests.harness.verbs import COMMAND
from tests.harness.waiting import eventually


def verb_apart(flow: Flow, verb: str, *arguments: str, **env: str) -> Finished:
    """Run a verb of dora-rt on flow.yml."""
    done = subprocess.run(
        [*COMMAND, verb, str(flow.folder / "flow.yml"), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **env},
    )
    return Finished(done.returncode, done.stdout, done.stderr)


BUILDS = """
    env: {EVERYWHERE: "1"}
    nodes:
      - id: camera
        path: camera.py
        env: {SIZE: "640"}
        build: |
          # the driver
          python -c "import os; print(os.environ['SIZE'], os.environ['EVERYWHERE'], os.getcwd())"

          python -c "open('camera.py', 'w')" 'two words'
      - id: vision
        operators:
          - {id: left, python: left.py, build: touch left.py}
      - {id: plain, path: plain.py}
"""


def test_commands_run_in_order_in_the_folder_and_the_environment_of_their_node(flow: Flow):
    flow.write("flow.yml", BUILDS)
    flow.write("plain.py", "")

    done = verb_apart(flow, "build")

    assert (done.exit_code, done.err) == (0, "")
    assert done.lines("camera") == [f"640 1 {flow.folder}"]
    told = [line for line in done.out.splitlines() if line.startswith("[")]
    assert told[0].startswith("[1/3] camera: python -c 'import os;")
    assert told[1].startswith("[1/3] done in ")
    assert told[4] == "[3/3] vision/left: touch left.py"
    assert done.out.endswith(f"built: dora-launch {flow.folder}/flow.yml\n")
    assert {path.name for path in flow.folder.glob("*.py")} == {"camera.py", "left.py", "plain.py"}


def test_dry_run_shows_what_would_run_and_with_which_python(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: a, path: a.py, build: "pip install -e '.[all]'"}
          - {id: b, path: b.py, build: cargo build}
        """,
    )

    plain, uv = (
        verb_apart(flow, "build", "--dry-run"),
        verb_apart(flow, "build", "--dry-run", "--uv"),
    )

    assert plain.out == f"a: {sys.executable} -m pip install -e '.[all]'\nb: cargo build\n"
    assert uv.out == "a: uv pip install -e '.[all]'\nb: cargo build\n"
    assert not (flow.folder / "a.py").exists()


def test_command_that_fails_ends_the_build_and_is_named(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: a, path: a.py, build: "python -c 'raise SystemExit(3)'"}
          - {id: b, path: b.py, build: touch b.py}
        """,
    )

    done = verb_apart(flow, "build")

    assert done.exit_code == 1
    assert done.err == (
        "dora-rt: the build of a failed: `python -c 'raise SystemExit(3)'`: exit status 3\n"
    )
    assert not (flow.folder / "b.py").exists()


def test_command_that_does_not_exist_is_named(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, build: no-such-tool -x}]")

    done = verb_apart(flow, "build")

    assert done.exit_code == 1
    assert "`no-such-tool -x`: no-such-tool: No such file or directory" in done.err


def test_lines_that_only_a_shell_understands_are_refused_before_anything_runs(flow: Flow):
    flow.write(
        "flow.yml",
        """\
        nodes:
          - {id: a, path: a.py, build: touch built}
          - id: b
            path: b.py
            build: |
              cd driver && make
              touch a; touch b
              touch a;touch b
              touch a&
              pip install --dry-run numpy>=1 http://host/x?a=1&b=2 "x; python_version < '3'"
              make $TARGET
              sh -c 'make > log'
              echo "unfinished
        """,
    )

    done = verb_apart(flow, "build")

    assert done.exit_code == 2
    assert [line.split(": ", 1)[1].split(";")[0] for line in done.err.splitlines()] == [
        "'build' of b: '&&' means something to a shell, and no shell reads this in "
        "'cd driver && make'",
        "'build' of b: 'a",
        "'build' of b: 'a",
        "'build' of b: 'a&' means something to a shell, and no shell reads this in 'touch a&'",
        "'build' of b: '$TARGET' means something to a shell, and no shell reads this in "
        "'make $TARGET'",
        "'build' of b: a quote or backslash has no end in 'echo \"unfinished'",
    ]
    assert not (flow.folder / "built").exists()


def test_what_is_still_missing_after_the_build_is_told(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, build: 'true'}]")

    built, launched = verb_apart(flow, "build"), flow.run()

    assert built.exit_code == 1
    assert "no such file: 'a.py'" in built.err
    assert "all was built, and still this is wrong" in built.err
    assert launched.exit_code == 2
    assert launched.err.rstrip().endswith(
        f"if its 'build' makes it: dora-rt build {flow.folder}/flow.yml"
    )


def test_nothing_to_build_is_no_error(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "")

    done = verb_apart(flow, "build")

    assert (done.exit_code, done.out.split(":")[0]) == (0, "nothing to build")


def test_ctrl_c_ends_the_command_that_runs(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, build: python sleeper.py}]")
    flow.write(
        "sleeper.py",
        """
        import os, pathlib, time
        pathlib.Path("pid").write_text(str(os.getpid()))
        time.sleep(60)
        """,
    )
    command = [*COMMAND, "build", str(flow.folder / "flow.yml")]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as build:
        eventually(lambda: (flow.folder / "pid").exists() and pid(flow) > 0)

        os.killpg(build.pid, signal.SIGINT)

        assert build.wait(30) == 130
        assert not Path(f"/proc/{pid(flow)}").exists()


def pid(flow: Flow) -> int:
    return int((flow.folder / "pid").read_text() or 0)


def test_launch_builds_nothing(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, build: touch built}]")
    flow.write("a.py", "print('here')")

    assert flow.run().lines("a") == ["here"]
    assert not (flow.folder / "built").exists()


def test_modules_are_written_out_to_a_file_that_means_the_same(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out], env: {MODE: "on", RATE: 1.50}}
          - {id: pipe, module: parts/pipe.yml, inputs: {raw: source/out}, params: {word: hi}}
          - {id: sink, path: sink.py, inputs: {in: pipe/out}}
        """,
    )
    (flow.folder / "parts").mkdir()
    flow.write(
        "parts/pipe.yml",
        """
        module: {name: pipe, inputs: [raw], outputs: [out]}
        build: touch parts/built
        nodes:
          - {id: pass, path: pass.py, args: $PARAM_WORD, inputs: {in: _mod/raw}, outputs: [out]}
        """,
    )
    flow.write("source.py", "from dora_rt import Node\nNode().send_output('out', b'x')\n")
    flow.write("sink.py", "from dora_rt import Node\nfor event in Node(): print(event.value)\n")
    flow.write(
        "parts/pass.py",
        """
        import sys
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("out", sys.argv[1].encode() + event.value)
        """,
    )

    expanded = verb_apart(flow, "expand")
    (flow.folder / "flat.yml").write_text(expanded.out)
    as_module = flow.run()
    flow.write("flow.yml", expanded.out)
    as_text = flow.run()

    assert "module" not in expanded.out
    assert "  path: parts/pass.py\n" in expanded.out
    assert "  build: touch parts/built\n" in expanded.out
    assert "    MODE: 'on'\n    RATE: 1.50\n" in expanded.out
    for done in (as_module, as_text):
        assert (done.exit_code, done.lines("sink")) == (0, ["b'hix'"])
        assert done.edge("pipe.pass/out", "sink/in").delivered == 1


def test_commands_of_an_environment_that_is_not_active_are_found(flow: Flow):
    # As when somebody runs /some/venv/bin/dora-launch.
    flow.write("flow.yml", "nodes: [{id: a, path: python3, args: [-c, 'print(\"found\")']}]")

    done = flow.run(env={"PATH": "/nowhere"})

    assert (done.exit_code, done.lines("a")) == (0, ["found"])
    own = str(Path(sys.executable).parent)
    assert inherited_environ({"PATH": "/a"})["PATH"] == f"{own}:/a"
    assert inherited_environ({"PATH": f"/a:{own}:/b"})["PATH"] == f"/a:{own}:/b"


def test_import_of_dora_is_ours_unless_it_is_switched_off(flow: Flow):
    # Also where the file has a PYTHONPATH of its own, on which there is another one.
    flow.write(
        "flow.yml",
        "nodes: [{id: a, path: a.py, env: {PYTHONPATH: other}}, {id: b, path: a.py}]",
    )
    flow.write("a.py", "import dora\nprint(dora.__file__)\n")
    (flow.folder / "other" / "dora").mkdir(parents=True)
    flow.write("other/dora/__init__.py", "")

    ours, theirs = flow.run(), flow.run("--no-dora-compat")

    compat = Path(__file__).parents[2] / "dora_rt" / "compat" / "dora" / "__init__.py"
    assert ours.lines("a") == ours.lines("b") == [str(compat)]
    assert theirs.lines("a") == [str(flow.folder / "other" / "dora" / "__init__.py")]
    assert "No module named 'dora'" in theirs.out


def test_form_of_its_inputs_is_told_to_the_node(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: new, path: a.py}
          - {id: old, custom: {source: a.py}}
          - {id: told, path: a.py, api: tuples}
        """,
    )
    flow.write(
        "a.py",
        """
        from dora_rt import Node
        from dora_rt.node.session import Session
        print(Session.of(Node()).config.api.value)
        """,
    )

    done = flow.run()

    forms = [done.lines(node) for node in ("new", "old", "told")]
    assert forms == [["events"], ["tuples"], ["tuples"]]
