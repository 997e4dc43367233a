"""A sample that is overwritten in shared memory costs that sample, and no node."""

from __future__ import annotations

import json

import pytest

from tests.harness.finished import Edge
from tests.harness.flow import Flow

# Sends 0; when the reader has it and waits, sends the others, overwrites what it sent, and says so.
SOURCE = """
    import glob, os, sys, time
    from pathlib import Path
    from dora_rt import Node
    from dora_rt.node.session import Session

    HEADER_NBYTES, VERSION_OFFSET = 128, 47
    node = Node()

    def wait_for(name):
        while not Path(name).exists():
            assert not node.is_stopped()
            time.sleep(0.001)

    def overwrite(payload, offset, was, becomes):
        (pool,) = glob.glob(f"/dev/shm/drt-{Session.of(node).config.run}-o*g*")
        memory = Path(pool).read_bytes()
        place = memory.index(payload) + offset
        assert memory[place] == was, memory[place]
        with open(pool, "r+b") as file:
            file.seek(place)
            file.write(bytes([becomes]))

    def send(number):
        metadata = {"number": number} if number % 2 else None
        node.send_output("out", f"sample {number}".encode().ljust(2000, b"."), metadata)

    send(0)
    wait_for("ready")
    for number in range(1, 7):
        send(number)
    for number in map(int, sys.argv[1].split(",")):
        overwrite(b"sample %d" % number, VERSION_OFFSET - HEADER_NBYTES, 1, 0xEE)
    if len(sys.argv) > 2:
        overwrite(b"sample %s" % sys.argv[2].encode(), 2000, ord("{"), ord("["))
    Path("go").touch()
"""

WAIT = """
import json, time
from pathlib import Path

def wait():
    Path("ready").touch()
    while not Path("go").exists():
        time.sleep(0.001)

seen = []

def see(value, dropped=None):
    number = int(bytes(value)[7:8])
    seen.append(number if dropped is None else [number, dropped])
    if number == 0:
        wait()

def tell():
    print("seen", json.dumps(seen), flush=True)
"""

READER = "path: reader.py, inputs: {out: source/out}"
OPERATOR = "operator: {python: reader.py, inputs: {out: source/out}}"
FLOW = """
    nodes:
      - {id: source, path: source.py, args: "%s", outputs: [out]}
      - {id: reader, %s}
"""


def run(flow: Flow, reader: str, bad: str, content: str = READER) -> list[str]:
    """Give what the reader said when headers, and the metadata of one sample, were overwritten."""
    flow.write("source.py", SOURCE)
    flow.write("waiting.py", WAIT)
    (flow.folder / "reader.py").write_text("from waiting import *\n" + reader)
    flow.write("flow.yml", FLOW % (bad, content))
    done = flow.run(env={"PYTHONPATH": str(flow.folder)})
    assert done.exit_code == 0, done.out + done.err
    lost = len(bad.split()[0].split(","))
    assert done.edge("source/out", "reader/out") == Edge(7, 7 - lost, lost)
    return done.lines("reader")


def is_told(line: str) -> bool:
    what = "sample 2 (header version 238) claims 2000 bytes and 0 bytes of metadata"
    end = "it is lost, and counted as dropped (told once for each input)"
    return line.startswith("dora_rt: node 'reader', input ") and what in line and line.endswith(end)


FOR = """
from dora_rt import Node
for event in Node():
    see(event.value, event.dropped)
tell()
"""
NEXT = """
from dora_rt import Node
node = Node()
while (event := node.next(timeout=20)) is not None:
    see(event.value, event.dropped)
tell()
"""
TRY_NEXT = """
from dora_rt import Node
node = Node()
while not node.is_stopped():
    event = node.try_next()
    if event is not None:
        see(event.value, event.dropped)
tell()
"""


@pytest.mark.parametrize("reader", [FOR, NEXT, TRY_NEXT], ids=["for", "next", "try_next"])
def test_node_goes_on_counts_what_is_lost_and_tells_it_once(flow: Flow, reader: str):
    lines = run(flow, reader, "2,4,5")

    told, seen = lines
    assert is_told(told)
    assert seen == "seen [[0, 0], [1, 0], [3, 1], [6, 2]]"


def test_whoever_asks_for_all_events_gets_the_error_and_may_go_on(flow: Flow):
    reader = """
from dora_rt import Node
from dora_rt.errors import CorruptSampleError
node = Node()
while True:
    try:
        event = node.next_event()
    except CorruptSampleError as error:
        seen.append(error.input_id)
        continue
    if event is None:
        break
    if hasattr(event, "value"):
        see(event.value, event.dropped)
tell()
"""
    assert run(flow, reader, "2,4") == [
        'seen [[0, 0], [1, 0], "out", [3, 1], "out", [5, 1], [6, 0]]'
    ]


def test_metadata_that_were_overwritten_are_an_error_when_they_are_looked_at(flow: Flow):
    reader = """
from dora_rt import Node
from dora_rt.errors import CorruptSampleError
for event in Node():
    see(event.value, event.dropped)
    try:
        event.metadata
    except CorruptSampleError:
        seen.append("no metadata")
tell()
"""
    told, seen = run(flow, reader, "2 5")
    assert is_told(told)
    assert seen == 'seen [[0, 0], [1, 0], [3, 1], [4, 0], [5, 0], "no metadata", [6, 0]]'


DORA = """
from dora import Node
for event in Node():
    if event["type"] == "INPUT":
        see(event["value"].to_numpy())
    else:
        seen.append(event["type"])
tell()
"""
ON_INPUT = """
from dora_rt import DoraStatus
class Operator:
    def on_input(self, dora_input, send_output):
        see(dora_input["data"])
        return DoraStatus.CONTINUE
    def drop_operator(self):
        tell()
"""
ON_EVENT = """
from dora import DoraStatus
class Operator:
    def on_event(self, dora_event, send_output):
        if dora_event["type"] == "INPUT":
            see(dora_event["value"].to_numpy())
        else:
            seen.append(dora_event["type"])
        if dora_event["type"] == "STOP":
            tell()
        return DoraStatus.CONTINUE
"""


@pytest.mark.parametrize(
    ("reader", "content"),
    [(DORA, READER), (ON_INPUT, OPERATOR), (ON_EVENT, OPERATOR)],
    ids=["node of dora", "on_input", "on_event"],
)
def test_others_neither_see_nor_end_by_what_cannot_be_read(flow: Flow, reader: str, content: str):
    lines = run(flow, reader, "2,4 5", content)

    told, seen = (line for line in lines if line.startswith(("dora_rt: ", "seen ")))
    assert is_told(told)
    numbers = [one for one in json.loads(seen[5:]) if isinstance(one, int)]
    assert numbers == [0, 1, 3, 6]
