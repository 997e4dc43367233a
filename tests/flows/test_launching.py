"""dora-launch: how flows begin and end, and what the person at the terminal is told."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.harness.finished import Edge
from tests.harness.flow import Flow
from tests.harness.waiting import eventually

ENDLESS = """
    from dora_rt import Node
    for event in Node():
        pass
    print("saw the end")
"""

TICKED = """
    nodes:
      - {id: source, path: source.py, inputs: {tick: dora/timer/millis/20}, outputs: [out]}
      - {id: sink, path: sink.py, inputs: {out: source/out}}
"""

TICKED_SOURCE = """
    from dora_rt import Node
    node = Node()
    for event in node:
        node.send_output("out", b"x")
    print("saw the end")
"""


def write_ticked(flow: Flow) -> None:
    flow.write("flow.yml", TICKED)
    flow.write("source.py", TICKED_SOURCE)
    flow.write("sink.py", ENDLESS)


def test_stop_after_stops_everything_and_is_a_success(flow: Flow):
    write_ticked(flow)
    flow.write(
        "source.py",
        """
        import time
        from dora_rt import Node
        node = Node()
        for event in node:
            began_ns = event.sent_ns - event.seq * 20_000_000
            node.send_output("out", b"x")
        print(0.3 <= (time.monotonic_ns() - began_ns) / 1e9 < 20)
        """,
    )

    done = flow.run("--stop-after", "300ms")

    assert done.exit_code == 0, done.out + done.err
    assert (done.lines("source"), done.lines("sink")) == (["True"], ["saw the end"])
    assert done.ending("source") == "stopped"
    edge = done.edge("source/out", "sink/out")
    assert edge.sent > 3
    assert edge == Edge(edge.sent, edge.sent, 0), "what was sent before the stop arrives"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGQUIT, 131),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP", "SIGQUIT"],
)
def test_signal_stops_the_flow_in_order(flow: Flow, number: signal.Signals, code: int):
    write_ticked(flow)
    ready = flow.folder / "ready"
    flow.write("sink.py", "from pathlib import Path\n")
    flow.write(
        "sink.py",
        f"""
        from pathlib import Path
        from dora_rt import Node
        for event in Node():
            Path({str(ready)!r}).touch()
        print("saw the end")
        """,
    )
    launcher = flow.start()
    eventually(ready.exists)

    launcher.send_signal(number)
    out, _ = launcher.communicate(timeout=30)

    assert launcher.returncode == code
    assert out.count("saw the end") == 2
    assert f"{number.name}: stopping" in out


def test_node_that_ignores_everything_is_killed_at_the_third_ctrl_c(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: deaf, path: deaf.py}]")
    ready = flow.folder / "ready"
    flow.write(
        "deaf.py",
        f"""
        import signal, time
        from pathlib import Path
        from dora_rt import Node
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Node().is_stopped()  # else it would be taken for one that never looks, and spared a step
        Path({str(ready)!r}).write_text(str(__import__("os").getpid()))
        while True:
            time.sleep(1)
        """,
    )
    launcher = flow.start()
    eventually(lambda: ready.exists() and bool(ready.read_text()))

    pid = int(ready.read_text())
    assert launcher.stdout is not None
    for _ in range(3):
        launcher.send_signal(signal.SIGINT)
        next(line for line in launcher.stdout if "SIGINT" in line)
    out, _ = launcher.communicate(timeout=30)

    assert "killed: it did not stop when told to, nor at SIGTERM" in out
    assert launcher.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_failing_node_is_named_with_its_last_lines(flow: Flow):
    write_ticked(flow)
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        node = Node()
        node.next()
        for number in range(31):
            print("line", number)
        raise OSError("camera unplugged")
        """,
    )

    done = flow.run()

    assert done.exit_code == 1
    assert done.ending("source") == "failed: exit status 1"
    assert done.ending("sink") == "finished", "who reads a crashed node sees its end"
    tail = done.out[done.out.rindex("node source failed: exit status 1") :].splitlines()
    assert tail[1].startswith("the last lines it printed (the others: ")
    assert tail[-1] == "  OSError: camera unplugged"
    assert len(tail) == 2 + 20


def test_traceback_of_a_mistake_ends_in_the_line_that_made_it(flow: Flow):
    write_ticked(flow)
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        node = Node()
        node.send_output("imgae", b"")
        """,
    )

    done = flow.run()

    files = [line for line in done.lines("source") if line.lstrip().startswith("File ")]
    assert files == [f'File "{flow.folder}/source.py", line 4, in <module>']
    assert "UnknownOutputError" in done.lines("source")[-1]


@pytest.mark.parametrize("where", [[], ["--log-dir", "logs"]], ids=["kept", "given"])
def test_log_that_does_not_exist_is_not_named(flow: Flow, where: list[str]):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, min_log_level: error}]\n")
    flow.write("a.py", "print('hello')\nraise SystemExit(1)\n")
    arguments = [str(flow.folder / word) if word == "logs" else word for word in where]

    done = flow.run(*arguments)

    named = re.search(r"the last lines it printed(?: \(the others: (.*)\))?:\n  hello", done.out)
    assert named, done.out
    assert named[1] is None or Path(named[1]).is_file()


def test_everything_sent_by_a_killed_node_is_delivered(flow: Flow):
    write_ticked(flow)
    flow.write(
        "source.py",
        """
        import os, signal
        from dora_rt import Node
        node = Node()
        for number in range(10):
            node.send_output("out", b"x" * number)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )

    done = flow.run()

    assert done.edge("source/out", "sink/out") == Edge(10, 10, 0)
    assert done.lines("sink") == ["saw the end"]


def test_no_input_flows_before_every_node_is_ready(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: fast, path: fast.py, inputs: {out: source/out}}
          - {id: slow, path: slow.py, inputs: {out: source/out}}
        """,
    )
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        node = Node()
        for number in range(5):
            node.send_output("out", bytes([number]))
        """,
    )
    receive = """
        print([event.value[0] for event in node], time.monotonic_ns())
    """
    flow.write(
        "fast.py", "import time\nfrom dora_rt import Node\nnode = Node()\n" + receive.strip()
    )
    flow.write(
        "slow.py",
        "import time\nfrom dora_rt import Node\nnode = Node()\ntime.sleep(0.4)\n"
        "print(time.monotonic_ns())\n" + receive.strip(),
    )

    done = flow.run()

    ready_ns = int(done.lines("slow")[0])
    for line in (done.lines("fast")[0], done.lines("slow")[1]):
        values, _, end_ns = line.rpartition(" ")
        assert values == "[0, 1, 2, 3, 4]"
        assert int(end_ns) > ready_ns


def test_timers_do_not_keep_other_nodes_alive(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: sink, path: sink.py, inputs: {out: source/out, tick: dora/timer/millis/5}}
        """,
    )
    flow.write("source.py", "from dora_rt import Node\nNode().send_output('out', b'x')\n")
    flow.write("sink.py", ENDLESS)

    done = flow.run()

    assert done.lines("sink") == ["saw the end"]
    assert done.exit_code == 0


def test_ticks_are_aligned_to_the_start_and_do_not_drift(flow: Flow):
    flow.write(
        "flow.yml",
        "nodes: [{id: a, path: a.py, inputs: {fast: dora/timer/millis/10, "
        "slow: dora/timer/hz/20}}]",
    )
    flow.write(
        "a.py",
        """
        from dora_rt import Node
        fast, slow = {}, {}
        for event in Node():
            (fast if event.id == "fast" else slow)[event.seq] = event
            if len(slow) == 5:
                break
        # A node that comes late has missed the first ones.
        seq, first = next(iter(fast.items()))
        start = first.sent_ns - seq * 10_000_000
        print(first.value, first.metadata)
        print(all(event.sent_ns - start == seq * 10_000_000 for seq, event in fast.items()))
        print(all(event.sent_ns - start == seq * 50_000_000 for seq, event in slow.items()))
        print(sum(1 + event.dropped for event in fast.values()) == max(fast) + 1)
        """,
    )

    assert flow.run().lines("a") == [
        "b'' {'open_telemetry_context': ''}",
        "True",
        "True",
        "True",
    ]


def test_ticks_slept_through_are_counted_as_dropped(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, inputs: {tick: dora/timer/millis/10}}]")
    flow.write(
        "a.py",
        """
        import time
        from dora_rt import Node
        node = Node()
        first = node.next()
        time.sleep(0.1)
        second = node.next()
        print(second.dropped == second.seq - first.seq - 1, second.dropped >= 8)
        """,
    )

    assert flow.run().lines("a") == ["True True"]


def test_programs_that_are_no_python_run_too(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: shell, path: /bin/sh, args: ["-c", "echo $GREETING; pwd"], env: {GREETING: hi}}
          - {id: script, path: ./script, args: one "two three"}
        """,
    )
    flow.write("script", '#!/bin/sh\nprintf "%s|" "$@"\n').chmod(0o755)

    done = flow.run()

    assert done.lines("shell") == ["hi", str(flow.folder)]
    assert done.lines("script") == ["one|two three|"]
    assert done.exit_code == 0


def test_module_runs_as_a_node_in_the_folder_of_the_file(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, module: mine.work, args: [x]}]")
    (flow.folder / "mine").mkdir()
    flow.write("mine/__init__.py", "")
    flow.write("mine/work.py", "import sys\nprint(sys.argv[1:], __name__)\n")

    assert flow.run().lines("a") == ["['x'] __main__"]


def test_output_is_shown_whole_whatever_its_bytes(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write(
        "a.py",
        r"""
        import sys
        sys.stdout.buffer.write(b"caf\xc3\xa9 \xff\xfe end\n")
        sys.stderr.write("to stderr\n")
        sys.stdout.buffer.write(b"10 %\r50 %\r100 %\n")
        sys.stdout.buffer.write(b"no newline at the end")
        """,
    )

    assert sorted(flow.run().lines("a")) == sorted(
        ["café \\xff\\xfe end", "to stderr", "100 %", "no newline at the end"]
    )


def test_check_says_what_would_run_and_starts_nothing(flow: Flow):
    write_ticked(flow)

    done = flow.run("--check")

    assert done.exit_code == 0
    assert "2 processes, 1 edge" in done.out
    assert "source/out -> sink/out (queue 10, drop_oldest)" in done.out
    assert "saw the end" not in done.out


def test_bad_file_names_every_problem_and_exits_with_2(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: gone.py, inptus: {x: b/y}}]")

    done = flow.run()

    assert done.exit_code == 2
    assert done.out == ""
    assert "flow.yml:1:9: " in done.err or "flow.yml:1:" in done.err
    assert "did you mean 'inputs'?" in done.err
    assert "gone.py" in done.err


def test_program_that_cannot_be_executed_is_named_and_nothing_stays_behind(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: fine, path: fine.py}, {id: bad, path: ./bad}]")
    flow.write("fine.py", "import time\ntime.sleep(60)\n")
    flow.write("bad", "#!/no/such/interpreter\n").chmod(0o755)

    done = flow.run()

    assert done.exit_code == 2
    assert "node 'bad': './bad' cannot be executed" in done.err


@pytest.mark.parametrize("text", ["0", "-1s", "abc", "5 parsecs"])
def test_stop_after_must_be_a_time(flow: Flow, text: str):
    write_ticked(flow)

    done = flow.run(f"--stop-after={text}")

    assert done.exit_code == 2
    assert f"{text!r} is not a time above 0: write 10s, 500ms, 5m or 1h30m" in done.err


def test_two_runs_of_one_file_do_not_meet(flow: Flow):
    write_ticked(flow)
    flow.write(
        "source.py",
        """
        import os
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("out", str(os.getppid()).encode())
        """,
    )
    flow.write(
        "sink.py",
        """
        import os
        from dora_rt import Node
        print({int(event.value) for event in Node()} == {os.getppid()})
        """,
    )

    runs = [flow.start("--stop-after", "300ms") for _ in range(2)]
    outs = [run.communicate(timeout=30)[0] for run in runs]

    assert all("sink   | True" in out for out in outs), outs


def test_launcher_imports_neither_numpy_nor_opencv(flow: Flow):
    write_ticked(flow)
    flow.write(
        "probe.py",
        """
        import sys
        from dora_rt.cli.dora_launch import main
        try:
            main([sys.argv[1], "--stop-after", "100ms"])
        finally:
            print("imported:", sorted({"numpy", "cv2", "dora_rt.node.node"} & set(sys.modules)))
        """,
    )

    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, str(flow.folder / "probe.py"), str(flow.folder / "flow.yml")],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert "imported: []" in done.stdout, done.stdout + done.stderr
