"""What stopping and restarting by hand does to the end of a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tests.harness.flow import Flow
from tests.harness.verbs import process, start, status, statuses, verb
from tests.harness.waiting import eventually


def launch(flow: Flow, nodes: str, *names: str):
    flow.write("flow.yml", f"nodes:\n{nodes}")
    launcher = flow.start()
    for name in names:
        eventually(lambda name=name: (flow.folder / name).exists())
    return launcher


def test_run_that_is_stopped_drains_and_ends_well_and_followed_logs_end_with_it(flow: Flow):
    flow.write(
        "node.py",
        """
        from pathlib import Path
        from dora_rt import Node
        print("hello")
        Path("is_there").touch()
        for event in Node(): pass
        print("bye")
        """,
    )
    launcher = launch(
        flow,
        "- {id: node, path: node.py, inputs: {tick: dora/timer/millis/10}}",
        "is_there",
    )
    eventually(lambda: process("node")["state"] == "running")
    with start("logs", "-f") as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline().endswith(" hello\n")
        stopped = verb("stop")

        out, err = launcher.communicate(timeout=30)
        assert (stopped.exit_code, launcher.returncode, err) == (0, 0, "")
        assert "node | bye" in out
        assert logs.stdout.read().endswith(" bye\n")
        assert logs.wait(30) == 0
    assert verb("ps").out == "no dataflow is running\n"


def test_only_line_of_a_node_is_followed_although_it_is_its_last(flow: Flow):
    flow.write(
        "node.py",
        """
        from pathlib import Path
        from dora_rt import Node
        Path("is_there").touch()
        for event in Node(): pass
        print("bye")
        """,
    )
    launcher = launch(
        flow,
        "- {id: node, path: node.py, inputs: {tick: dora/timer/millis/10}}",
        "is_there",
    )
    eventually(lambda: process("node")["state"] == "running")
    with start("logs", "-f") as logs:
        assert logs.stdout is not None
        # It has opened what is there to be opened.
        folder = Path(status()["log_folder"])
        eventually(lambda: str(folder / "node.log") in open_files(logs.pid))

        assert verb("stop").exit_code == 0

        assert logs.stdout.read().endswith(" bye\n")
    launcher.communicate(timeout=30)


def open_files(pid: int) -> list[str]:
    names = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            names.append(str(entry.readlink()))
    return names


def test_failed_node_can_be_started_again_and_who_reads_it_gets_its_samples(flow: Flow):
    flow.write(
        "weak.py",
        """
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        node.send_output("out", b"x")
        if not Path("has_failed").exists():
            Path("has_failed").touch()
            raise SystemExit(7)
        for event in node: node.send_output("out", b"x")
        """,
    )
    flow.write(
        "reader.py",
        """
        from pathlib import Path
        from dora_rt import Node
        for event in Node():
            if event.id == "weak" and event.seq > 3: Path("has_samples").touch()
        """,
    )
    flow.write(
        "other.py",
        "from dora_rt import Node\nnode = Node()\nfor _ in node: node.send_output('out', b'')",
    )
    launcher = launch(
        flow,
        """
        - {id: weak, path: weak.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
        - {id: other, path: other.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
        - {id: reader, path: reader.py, inputs: {weak: weak/out, other: other/out}}
        """.replace("        -", "-"),
        "has_failed",
    )
    eventually(lambda: process("weak")["state"] == "failed")

    assert verb("restart", "weak").exit_code == 0

    eventually((flow.folder / "has_samples").exists)
    assert verb("stop").exit_code == 0
    assert launcher.wait(30) == 1, "that it failed once is not forgotten"


def test_restart_by_hand_loses_nothing_of_a_blocking_queue_and_a_stop_blocks_nobody(flow: Flow):
    flow.write(
        "writer.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node: node.send_output("out", b"x")
        """,
    )
    flow.write(
        "reader.py",
        """
        from dora_rt import Node
        for event in Node():
            with open("numbers", "a") as file: print(event.seq, file=file)
        """,
    )
    launcher = launch(
        flow,
        """
        - {id: writer, path: writer.py, inputs: {tick: dora/timer/millis/2}, outputs: [out]}
        - id: reader
          path: reader.py
          inputs: {out: {source: writer/out, queue_size: 3, queue_policy: block}}
        """.replace("        -", "-").replace("          ", "  "),
        "numbers",
    )

    assert verb("restart", "reader").exit_code == 0
    count = status()["edges"][0]["delivered"]
    eventually(lambda: status()["edges"][0]["delivered"] > count)
    assert verb("stop", "reader").exit_code == 0
    numbers = [int(line) for line in (flow.folder / "numbers").read_text().split()]
    sent = status()["edges"][0]["sent"]

    eventually(lambda: status()["edges"][0]["sent"] > sent + 10)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > count
    assert verb("stop").exit_code == 0
    assert launcher.wait(30) == 0


def test_ps_shows_a_plain_program_as_running_while_it_lives(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: plain, path: /bin/sleep, args: "60"}
          - {id: node, path: node.py, inputs: {tick: dora/timer/millis/20}}
        """,
    )
    flow.write("node.py", "from dora_rt import Node\nfor event in Node(): pass")
    launcher = flow.start()
    eventually(lambda: [one["state"] for one in statuses()] == ["running"])

    states = {one["name"]: one["state"] for one in status()["processes"]}

    assert states == {"plain": "running", "node": "running"}
    verb("stop")
    assert launcher.wait(30) == 0
