"""Latched outputs of real processes: a map that is sent once reaches who comes later."""

from __future__ import annotations

import pytest

from dora_rt import Node
from tests.flows.test_dynamic_nodes import running, seen
from tests.harness.flow import Flow
from tests.harness.waiting import eventually

MAPS = """
    from dora_rt import Node
    node = Node()
    node.send_output("map", b"world", {"frame": "map"})
    %s
"""
WAITS_FOR_INPUTS = "for event in node: pass"
LOOKS_WHETHER_IT_IS_STOPPED = "import time\n    while not node.is_stopped(): time.sleep(0.01)"
ENDS = ""

# Is killed by its first map, and ends the dataflow with the one that is there for its next life.
READER = """
    import os, signal
    from dora_rt import Node
    node = Node()
    event = node.next(timeout=60)
    with open("seen", "a") as file:
        print(event.id, event.value.decode(), event.metadata["frame"], event.latched, file=file)
    if not event.latched:
        os.kill(os.getpid(), signal.SIGKILL)
    node.stop_dataflow()
"""


def write_flow(flow: Flow, rest: str, policy: str = "drop_oldest") -> None:
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: maps
            path: maps.py
            inputs: {{tick: dora/timer/secs/1}}
            outputs:
              - map: {{latched: true}}
          - id: reader
            path: reader.py
            restart: always
            restart_delay: 0.01
            inputs: {{map: {{source: maps/map, queue_policy: {policy}}}}}
        """,
    )
    flow.write("maps.py", MAPS % rest)
    flow.write("reader.py", READER)


@pytest.mark.parametrize("policy", ["latest", "drop_oldest", "block"])
def test_reader_that_is_killed_gets_the_map_again(flow: Flow, policy: str):
    write_flow(flow, WAITS_FOR_INPUTS, policy)

    finished = flow.run(timeout_s=60)

    assert finished.exit_code == 0, finished.err
    assert seen(flow) == ["map world map False", "map world map True"]


@pytest.mark.parametrize("rest", [LOOKS_WHETHER_IT_IS_STOPPED, ENDS], ids=["looks", "ends"])
def test_map_is_kept_whatever_its_writer_does_afterwards(flow: Flow, rest: str):
    write_flow(flow, rest)

    finished = flow.run(timeout_s=60)

    assert finished.exit_code == 0, finished.err
    assert seen(flow) == ["map world map False", "map world map True"]


def test_reader_without_compiled_code_gets_the_map_again(flow: Flow):
    write_flow(flow, WAITS_FOR_INPUTS)

    finished = flow.run(env={"DORA_RT_PURE": "1"}, timeout_s=60)

    assert finished.exit_code == 0, finished.err
    assert seen(flow) == ["map world map False", "map world map True"]


def test_dynamic_node_gets_the_map_whenever_it_attaches(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: maps
            path: maps.py
            inputs: {tick: dora/timer/millis/20}
            outputs: [map: {latched: true}]
          - {id: visitor, path: dynamic, inputs: {map: maps/map}}
          - {id: witness, path: witness.py, inputs: {map: maps/map}}
        """,
    )
    flow.write(
        "maps.py",
        """
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        node.send_output("map", b"world")
        for event in node:
            if Path("new").exists():
                Path("new").unlink()
                node.send_output("map", b"new world")
        """,
    )
    flow.write(
        "witness.py",
        """
        from dora_rt import Node
        with open("seen", "w", buffering=1) as file:
            for event in Node():
                print(event.value.decode(), event.latched, file=file)
        """,
    )
    with running(flow):
        eventually(lambda: seen(flow) == ["world False"])

        for _ in range(2):
            with Node("visitor") as node:
                event = node.next(timeout=30)
                assert event is not None
                assert (event.value, event.latched, event.seq) == (b"world", True, 0)
        with Node("visitor") as node:
            assert node.next(timeout=30) is not None
            (flow.folder / "new").touch()
            event = node.next(timeout=30)
            assert event is not None
            assert (event.value, event.latched, event.dropped) == (b"new world", False, 0)
        with Node("visitor") as node:
            event = node.next(timeout=30)
            assert event is not None
            assert (event.value, event.latched, event.seq) == (b"new world", True, 1)
        eventually(lambda: seen(flow) == ["world False", "new world False"])
