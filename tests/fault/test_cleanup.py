"""What programs do at their end, such as to switch a motor off, is done before anything is killed.

Each program prints what it does; all are real processes in real dataflows.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness.finished import Finished
from tests.harness.flow import Flow
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.waiting import eventually

MOTOR = """
    import atexit, sys, time
    from pathlib import Path
    atexit.register(print, "atexit")
    {begin}
    try:
        print("motor on")
        Path("on").touch()
        {work}
    except KeyboardInterrupt:
        print("interrupted")
        raise
    finally:
        print("motor off")
"""

CLOCK = """
    from pathlib import Path
    from dora_rt import Node
    for event in Node():
        Path("ticks").touch()
    print("end")
"""

STOPPING_CLOCK = """
    from pathlib import Path
    from dora_rt import Node
    node = Node()
    for event in node:
        if Path("on").exists():
            node.stop_dataflow()
    print("end")
"""

SENDING = "from dora_rt import Node; node = Node()"
CLEANED_UP = ["motor on", "interrupted", "motor off", "atexit"]

# With one of these variables a node is no copy of the fork server.
WAYS = pytest.mark.parametrize("env", ["{}", "{PYTHONHASHSEED: 0}"], ids=["forked", "plain"])


def motor(begin: str, work: str) -> str:
    return MOTOR.format(begin=begin, work=work)


def write_motor(flow: Flow, program: str, *, env: str = "{}", grace: str = "3s") -> None:
    # A program that is no node has no outputs: the start would wait until it is ready.
    outputs = "[out]" if "import Node" in program else "[]"
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: motor, path: motor.py, stop_grace: {grace}, outputs: {outputs}, env: {env}}}
          - {{id: clock, path: clock.py, inputs: {{tick: dora/timer/millis/20}}}}
        """,
    )
    flow.write("motor.py", program)
    flow.write("clock.py", CLOCK)


def test_traceback_of_the_interruption_is_in_the_log(flow: Flow, tmp_path: Path):
    write_motor(flow, motor("", "time.sleep(60)"))

    stop_when_on(flow, arguments=("--log-dir", str(tmp_path / "logs")))

    log = (tmp_path / "logs/motor.log").read_text()
    assert log.index("Traceback (most recent call last):") < log.index(" KeyboardInterrupt\n")


def test_traceback_of_a_failing_cleanup_is_shown_and_is_a_failure(flow: Flow):
    write_motor(
        flow,
        """
        import time
        from pathlib import Path
        try:
            Path("on").touch()
            time.sleep(60)
        finally:
            raise OSError("the motor does not answer")
        """,
    )
    flow.write("clock.py", STOPPING_CLOCK)

    done = flow.run()

    assert done.lines("motor")[-1] == "OSError: the motor does not answer"
    assert done.lines("motor").count("KeyboardInterrupt") == 1, "it is told where that was"
    assert done.ending("motor") == "failed: exit status 1"
    assert done.exit_code == 1


def test_node_that_is_busy_when_it_is_told_is_interrupted_after_its_grace(flow: Flow):
    write_motor(flow, motor(SENDING, "node.is_stopped(); time.sleep(60)"), grace="0.2s")

    done = stop_when_on(flow)

    assert done.lines("motor") == CLEANED_UP
    assert done.ending("motor") == "stopped (SIGINT)"


def test_node_that_is_blocked_in_a_send_cleans_up(flow: Flow):
    write_motor(flow, motor(SENDING, "while True: node.send_output('out', b'x')"))
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: motor, path: motor.py, outputs: [out]}
          - id: reader
            path: reader.py
            stop_grace: 0.2
            inputs: {out: {source: motor/out, queue_policy: block, queue_size: 1}}
        """,
    )
    flow.write(
        "reader.py",
        motor("from dora_rt import Node; node = Node(); node.next()", "time.sleep(60)").replace(
            '"on"', '"read"'
        ),
    )

    done = stop_when_on(flow, "on", "read")

    assert done.lines("motor") == CLEANED_UP
    assert done.lines("reader") == CLEANED_UP


@pytest.mark.parametrize("library", ["CDLL", "PyDLL"], ids=["without the GIL", "with the GIL"])
def test_program_in_a_c_call_that_nothing_interrupts_is_killed_and_named(flow: Flow, library: str):
    write_motor(
        flow,
        motor(
            f"import ctypes; c = ctypes.{library}(None); lock = ctypes.create_string_buffer(64)",
            "c.pthread_mutex_lock(lock); c.pthread_mutex_lock(lock)",
        ),
        grace="0.3s",
    )
    flow.write("clock.py", STOPPING_CLOCK)

    done = flow.run()

    assert done.lines("motor") == ["motor on"]
    assert done.ending("motor") == "killed: it did not stop when told to, nor at SIGINT"
    assert done.lines("clock") == ["end"], "all others end well"
    assert done.exit_code == 1


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_program_of_a_shell_script_cleans_up(flow: Flow, shell: str):
    write_motor(flow, "")
    flow.write("motor.py", motor("", "time.sleep(60)").replace("interrupted", "slowly"))
    flow.write("motor.sh", "python3 -u motor.py 2>/dev/null\ntrue\n")
    text = (flow.folder / "flow.yml").read_text()
    script = f"path: {shell}, args: motor.sh"
    (flow.folder / "flow.yml").write_text(text.replace("path: motor.py", script, 1))

    done = stop_when_on(flow)

    assert done.lines("motor") == ["motor on", "slowly", "motor off", "atexit"]
    assert done.ending("motor") == "stopped (SIGINT)"


def test_what_a_shell_script_has_started_is_killed_after_its_grace_and_named(flow: Flow):
    write_motor(flow, "", grace="0.3s")
    flow.write(
        "motor.sh", "trap '' INT TERM; sleep 60 & trap - INT TERM\necho on; touch on; wait\n"
    )
    start_by(flow, "path: sh, args: motor.sh")

    done = stop_when_on(flow)

    assert done.lines("motor") == ["on"]
    ending = r"stopped \(SIGINT\); killed: sleep \(process \d+\)"
    assert re.fullmatch(ending, done.ending("motor"))
    assert "node motor failed: stopped (SIGINT); killed: sleep" in done.out


def start_by(flow: Flow, start: str) -> None:
    """Let something else than the node's `path` start motor.py."""
    path = flow.folder / "flow.yml"
    path.write_text(path.read_text().replace("path: motor.py", start, 1))


def stop_when_on(flow: Flow, *names: str, arguments: Sequence[str] = ()) -> Finished:
    """Run it, and stop it as soon as its motor and its clock are on, or all of these names."""
    paths = [flow.folder / name for name in names or ("on", "ticks")]
    for path in paths:
        path.unlink(missing_ok=True)
    launcher = flow.start(*arguments)
    eventually(lambda: all(path.exists() for path in paths) or launcher.poll() is not None)
    launcher.send_signal(signal.SIGINT)
    out, err = launcher.communicate(timeout=30)
    return Finished(launcher.returncode, out, err)


COMMAND = "python3 -u motor.py"


def behind(path: str, *args: str) -> str:
    return f"path: {path}, args: {json.dumps(shlex.join(args))}"


def test_plain_program_behind_timeout_is_interrupted_and_cleans_up(flow: Flow):
    write_motor(flow, motor("", "time.sleep(60)"))
    start_by(flow, behind("timeout", "100", *COMMAND.split()))

    done = stop_when_on(flow)

    assert [line for line in done.lines("motor") if line in CLEANED_UP] == CLEANED_UP
    assert done.ending("motor") == "stopped (SIGINT)"
    assert done.exit_code == 128 + signal.SIGINT


def test_wrapper_that_passes_its_signal_on_gets_it_when_its_program_has_ended(flow: Flow):
    write_motor(flow, motor("", "time.sleep(60)"))
    flow.write(
        "wrapper.py",
        """
        import signal, subprocess, sys
        signal.signal(signal.SIGTERM, lambda *_: (driver.terminate(), sys.exit(print("passed"))))
        driver = subprocess.Popen(["python3", "-u", "motor.py"])
        driver.wait()
        signal.pause()
        """,
    )
    start_by(flow, "path: wrapper.py")

    done = stop_when_on(flow)

    printed = [line for line in done.lines("motor") if line in {*CLEANED_UP, "passed"}]
    assert printed == [*CLEANED_UP, "passed"]
    assert done.ending("motor") == "stopped"


def test_program_whose_shell_has_ended_climbs_the_whole_ladder(flow: Flow):
    begin = """import signal
    def ask(*_):
        print("not yet")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("asked")))
    signal.signal(signal.SIGINT, ask)"""
    write_motor(flow, motor(begin, "while True: time.sleep(60)"), grace="0.3s")
    start_by(flow, behind("bash", "-c", f"{COMMAND} & wait"))

    done = stop_when_on(flow)

    assert done.lines("motor") == ["motor on", "not yet", "asked", "motor off", "atexit"]
    assert done.ending("motor") == "stopped (SIGINT)"


def test_command_by_which_a_shell_cleans_up_has_the_grace_for_it(flow: Flow):
    write_motor(flow, "")
    flow.write("motor.py", "import time\nprint('begins')\ntime.sleep(0.3)\nprint('off')\n")
    flow.write(
        "motor.sh", f"trap '{COMMAND}; exit 0' TERM INT\necho on\ntouch on\nsleep 60 & wait\n"
    )
    start_by(flow, "path: bash, args: motor.sh")

    done = stop_when_on(flow)

    assert done.lines("motor") == ["on", "begins", "off"]


def test_what_a_node_has_started_and_does_not_wait_for_cleans_up_too(flow: Flow):
    write_motor(flow, motor("", "time.sleep(60)"))
    flow.write(
        "node.py",
        """
        import subprocess
        from dora_rt import Node
        node = Node()
        node.next()
        driver = subprocess.Popen(["python3", "-u", "motor.py"])
        for event in node: pass
        print("node ends")
        """,
    )
    start_by(flow, "path: node.py, inputs: {tick: dora/timer/millis/20}")

    done = stop_when_on(flow)

    printed = [line for line in done.lines("motor") if line in {*CLEANED_UP, "node ends"}]
    assert printed == ["motor on", "node ends", *CLEANED_UP[1:]]
    assert done.ending("motor") == "stopped"


def test_what_a_node_that_has_drained_leaves_cleans_up_too(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: clock.py, inputs: {tick: dora/timer/millis/20}, outputs: [out]}
          - {id: motor, path: node.py, inputs: {out: source/out}}
        """,
    )
    flow.write("motor.py", motor("", "time.sleep(60)"))
    flow.write(
        "clock.py",
        "from dora_rt import Node\nnode = Node()\nfor _ in node: node.send_output('out', b'x')\n",
    )
    flow.write(
        "node.py",
        """
        import subprocess
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        node.next()
        driver = subprocess.Popen(["python3", "-u", "motor.py"])
        Path("ticks").touch()
        for event in node: pass
        print("node ends")
        """,
    )

    done = stop_when_on(flow)

    printed = [line for line in done.lines("motor") if line in {*CLEANED_UP, "node ends"}]
    assert printed == ["motor on", "node ends", *CLEANED_UP[1:]]
    assert done.ending("motor") == "finished"


OPERATOR = """
    import time
    from dora_rt import DoraStatus
    class Operator:
        def __init__(self):
            print("{name} on")
        def on_input(self, dora_input, send_output):
            try:
                {work}
            finally:
                print("{name} input over")
        def drop_operator(self):
            print("{name} off")
        def __del__(self):
            print("{name} gone")
"""


@pytest.mark.parametrize(
    ("work", "ending"),
    [("return DoraStatus.CONTINUE", "stopped"), ("time.sleep(60)", "stopped (SIGINT)")],
    ids=["idle", "busy"],
)
def test_operators_are_dropped_at_the_stop(flow: Flow, work: str, ending: str):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: both
            stop_grace: 0.3
            operators:
              - {id: motor, python: motor.py, inputs: {tick: dora/timer/millis/50}}
              - {id: lamp, python: lamp.py, inputs: {tick: dora/timer/secs/60}}
        """,
    )
    flow.write("motor.py", OPERATOR.format(name="motor", work=work))
    flow.write("lamp.py", OPERATOR.format(name="lamp", work="return DoraStatus.CONTINUE"))

    done = flow.run("--stop-after", "300ms")

    printed = [line for line in done.lines("both") if "motor" in line and "input" not in line]
    assert printed == ["motor on", "motor off", "motor gone"]
    assert "motor input over" in done.lines("both")
    assert [line for line in done.lines("both") if "lamp" in line and "input" not in line] == [
        "lamp on",
        "lamp off",
        "lamp gone",
    ]
    assert done.ending("both") == ending


def test_second_ctrl_c_breaks_off_no_cleanup_and_signals_all_others(isolated: IsolatedFlow):
    isolated.write(
        "flow.yml",
        """
        nodes:
          - {id: motor, path: motor.py}
          - {id: busy, path: busy.py, inputs: {tick: dora/timer/millis/10}, stop_grace: 60}
        """,
    )
    isolated.write(
        "motor.py",
        """
        import time
        from pathlib import Path
        try:
            Path("on").write_text("x")
            time.sleep(60)
        finally:
            Path("cleans").write_text("x")
            while not Path("go on").exists():
                time.sleep(0.01)
            print("motor off")
        """,
    )
    isolated.write(
        "busy.py",
        """
        import time
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        node.next()
        Path("busy").write_text("x")
        time.sleep(60)
        """,
    )
    launcher = isolated.start()
    eventually(lambda: isolated.has("on") and isolated.has("busy"))

    launcher.send_signal(signal.SIGINT)
    eventually(lambda: isolated.has("cleans"))
    launcher.send_signal(signal.SIGINT)
    assert launcher.stdout is not None
    next(line for line in launcher.stdout if "SIGINT again: a signal to what still runs" in line)
    (isolated.folder / "go on").touch()
    out, _ = launcher.communicate(timeout=30)

    assert "motor | motor off\n" in out
    assert re.search(r"^motor +stopped \(SIGINT\)", out, re.M)
    assert re.search(r"^busy +stopped \(SIGINT\)", out, re.M)


@WAYS
def test_programs_are_interrupted_even_if_dora_launch_was_started_in_the_background(
    isolated: IsolatedFlow, env: str
):
    isolated.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: motor, path: motor.py, args: first, env: {env}}}
          - {{id: other, path: motor.py, args: second, env: {env}}}
        """,
    )
    isolated.write(
        "motor.py", motor("", "time.sleep(60)").replace('Path("on")', "Path(sys.argv[1])")
    )
    # A shell without job control lets what it starts with & ignore SIGINT.
    launcher = isolated.start(
        command=["sh", "-c", 'trap "" INT; exec "$@"', "sh", *isolated.command()]
    )
    eventually(lambda: all((isolated.folder / name).exists() for name in ("first", "second")))

    launcher.send_signal(signal.SIGTERM)
    out, _ = launcher.communicate(timeout=30)

    assert out.count("motor off") == 2
    assert re.search(r"^motor +stopped \(SIGINT\)", out, re.M)


def test_programs_that_have_begun_clean_up_if_another_one_cannot_be_started(isolated: IsolatedFlow):
    isolated.write(
        "flow.yml",
        """
        nodes:
          - {id: motor, path: motor.py}
          - {id: missing, path: ./missing.sh}
        """,
    )
    isolated.write("motor.py", motor("", "time.sleep(60)"))
    isolated.write("missing.sh", "#!/bin/sh\n").chmod(0o755)
    # It is there when the file is checked, and gone when it is its turn.
    isolated.write(
        "launch.py",
        """
        import sys
        from pathlib import Path
        from dora_rt.cli.dora_launch import main
        from dora_rt.launcher.processes.starter import Starter
        start = Starter.start
        def start_after_the_other(self, plan, *rest):
            if plan.name == "missing":
                while not Path("on").exists(): pass
                Path("missing.sh").unlink()
            return start(self, plan, *rest)
        Starter.start = start_after_the_other
        main(sys.argv[1:])
        """,
    )

    python, _, _, file = isolated.command()
    exit_code, out = isolated.finish(
        command=["sh", "-c", f'cd {isolated.folder} && exec "$@"', "sh", python, "launch.py", file]
    )

    assert exit_code == 3
    assert "motor off\n" in out
    assert "node 'missing' cannot be started" in out
