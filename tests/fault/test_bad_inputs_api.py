"""Bad inputs 46 to 58: what a node's program does wrong, and what it is told.

One dataflow makes all the mistakes, each test looks at one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dora_rt.node_config import CONFIG_VERSION
from tests.descriptor.bad_inputs import numbered
from tests.harness.flow import Flow

OUTPUT = "node 'camera', output 'image'"
SENDABLE = "a bool, integer, float or complex one of at most 8 can"
NOT_SENDABLE = (
    "cannot be sent; send bytes, bytearray, memoryview, a pyarrow array or a numpy array "
    "(np.asarray(...) makes one of a list)"
)
PLAIN = "use strings, numbers, bools, None, datetimes, lists and dicts"


def sent_array(what: str) -> str:
    return f"UnsupportedValueError: {OUTPUT}: an array of {what} cannot be sent; {SENDABLE}"


def sent_object(what: str) -> str:
    return f"UnsupportedValueError: {OUTPUT}: {what} {NOT_SENDABLE}"


MISTAKES = [
    *numbered(
        47,
        (
            "Node()",
            "NotInDataflowError: node 'camera' is in use in this process already: a process is "
            "one node; pass the Node object on instead of making a second one",
        ),
        (
            "in_fork(lambda: send(b''))",
            f"NodeClosedError: {OUTPUT}: this process is a fork of the node; only the node can "
            "send",
        ),
        (
            "in_fork(lambda: node.next(timeout=0))",
            "NodeClosedError: node 'camera': this process is a fork of the node; only the node can "
            "receive",
        ),
    ),
    *numbered(
        48,
        (
            "node.send_output('imge', b'')",
            "UnknownOutputError: node 'camera' has no output 'imge'; "
            "its outputs in the dataflow file: image",
        ),
        (
            "node.loan('imge', (2, 2))",
            "UnknownOutputError: node 'camera' has no output 'imge'; "
            "its outputs in the dataflow file: image",
        ),
        (
            "node.send_output(None, b'')",
            "UnknownOutputError: node 'camera' has no output None; "
            "its outputs in the dataflow file: image",
        ),
    ),
    *numbered(
        50,
        ("send(np.array([object()]))", sent_array("1 dimensions and dtype object")),
        ("send(np.array(['a']))", sent_array("1 dimensions and dtype <U1")),
        ("send(np.zeros(2, [('a', 'i4')]))", sent_array("1 dimensions and dtype [('a', '<i4')]")),
        ("send(np.zeros(1, 'M8[s]'))", sent_array("1 dimensions and dtype datetime64[s]")),
        ("send([1, 2])", sent_object("a value of type list")),
        ("send(None)", sent_object("a value of type NoneType")),
        ("send('text')", sent_object("a value of type str")),
        ("send({'a': 1})", sent_object("a value of type dict")),
        ("send(2.5)", sent_object("a value of type float")),
        (
            "node.loan('image', (2, 2), 'M8[s]')",
            f"UnsupportedValueError: {OUTPUT}: an array of 2 dimensions and dtype datetime64[s] "
            f"cannot be loaned; {SENDABLE}",
        ),
    ),
    *numbered(51, ("send(np.zeros((1,) * 9))", sent_array("9 dimensions and dtype float64"))),
    *numbered(
        52,
        (
            "send(b'', {'a': object()})",
            f"UnsupportedValueError: {OUTPUT}: metadata cannot be sent: a value of type "
            f"object has no JSON form; {PLAIN}",
        ),
        (
            "send(b'', {'a': b'x'})",
            f"UnsupportedValueError: {OUTPUT}: metadata cannot be sent: a value of type "
            f"bytes has no JSON form; {PLAIN}",
        ),
        (
            "send(b'', {1: 2})",
            f"UnsupportedValueError: {OUTPUT}: metadata key 1 is of type int: keys must be strings",
        ),
        (
            "send(b'', {'a': 'x' * 70000})",
            f"UnsupportedValueError: {OUTPUT}: metadata of 70,008 bytes is too large: at most "
            "65,536 bytes; send larger things as an output of their own",
        ),
        (
            "send(b'', {'a': nested(100000)})",
            # How Python goes on differs between its versions.
            f"UnsupportedValueError: {OUTPUT}: metadata cannot be sent: maximum recursion "
            "depth exceeded",
        ),
    ),
    *numbered(
        53,
        (
            "node.send_output('image', b'', captured_ns=-1)",
            f"UnsupportedValueError: {OUTPUT}: captured_ns must be a whole number of nanoseconds "
            "from 0 to 2**64 - 1, as time.monotonic_ns() gives it, got -1",
        ),
    ),
    *numbered(
        55,
        (
            "open_loans()",
            f"TooManyLoansError: {OUTPUT}: too many loans are open at the same time; "
            "end one first",
        ),
    ),
    *numbered(
        56,
        ("node.next(timeout=-1)", "ValueError: timeout must be 0 or more seconds, or None, got -1"),
        (
            "node.next(timeout=float('nan'))",
            "ValueError: timeout must be 0 or more seconds, or None, got nan",
        ),
        (
            "node.next(timeout='a')",
            "ValueError: timeout must be 0 or more seconds, or None, got 'a'",
        ),
        ("node.next(timeout=0)", "TimeoutError: node 'camera': no input came in time"),
    ),
    # From here on the node is closed.
    *numbered(
        47,
        ("node.close() or send(b'')", f"NodeClosedError: {OUTPUT}: closed, nothing can be sent "
         "any more"),
        ("node.close() or node.next()", "NodeClosedError: node 'camera': closed, no more inputs"),
    ),
]  # fmt: skip

CAMERA = """
import contextlib, json, os
import numpy as np
from dora_rt import Node

node = Node()
node.next()  # the first tick

def send(*arguments, **options):
    node.send_output("image", *arguments, **options)

def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value

def open_loans():
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(node.loan("image", 1))

def in_fork(action):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, told_by(action).encode())
        os._exit(0)
    os.close(write)
    os.wait()
    raise Told(os.read(read, 1000).decode())

class Told(Exception):
    pass

def told_by(action):
    try:
        return f"nothing was raised: {action()!r}"
    except Told as told:
        return str(told)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

for mistake in MISTAKES:
    print(json.dumps([mistake, told_by(lambda: eval(mistake))]), flush=True)
"""


@pytest.fixture(scope="module")
def told(starts_programs: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give what a node is told about each mistake."""
    flow = Flow(tmp_path_factory.mktemp("mistakes"))
    flow.write(
        "flow.yml",
        "nodes:\n"
        "- {id: camera, path: camera.py, inputs: {tick: dora/timer/secs/60}, outputs: [image]}\n",
    )
    mistakes = [case.values[0] for case in MISTAKES]
    flow.write("camera.py", f"MISTAKES = {mistakes!r}\n{CAMERA}")
    done = flow.run()
    assert done.exit_code == 0, done.out + done.err
    return dict(json.loads(line) for line in done.lines("camera"))


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_mistake_is_named_with_the_way_out(
    told: dict[str, str], mistake: str, message: str
) -> None:
    if "recursion" in message:
        assert told[mistake].startswith(message)
        assert told[mistake].endswith(PLAIN)
    else:
        assert told[mistake] == message


# What is sent, what the receiver says of it, and the answer.
ODDITIES = [
    *numbered(
        54,
        # First, because later ones are copies: the receiver's own, with which it may do anything.
        ("np.ones(4)", "unlock(value)", "ValueError: cannot set WRITEABLE flag to True of this "
         "array"),
    ),
    *numbered(
        51,
        ("grid[:, ::2]", "value.tolist()", [[0, 2], [3, 5]]),
        ("grid[::-1]", "value.tolist()", [[3, 4, 5], [0, 1, 2]]),
        ("np.asfortranarray(grid)", "value.tolist()", [[0, 1, 2], [3, 4, 5]]),
        ("grid.astype('>f4')", "[value.tolist(), value.dtype.str]", [[[0, 1, 2], [3, 4, 5]],
         "<f4" if sys.byteorder == "little" else ">f4"]),
        ("np.array(3.5)", "[float(value), value.shape, str(value.dtype)]", [3.5, [], "float64"]),
        ("np.int16(7)", "[int(value), value.shape, str(value.dtype)]", [7, [], "int16"]),
        ("np.zeros((0, 4), 'i2')", "[value.shape, str(value.dtype)]", [[0, 4], "int16"]),
        ("b''", "[len(value), type(value).__name__]", [0, "bytes"]),
        ("memoryview(b'abcdef')[::2]", "value.decode()", "ace"),
        ("np.zeros((1,) * 8, 'u1')", "value.shape", [1] * 8),
    ),
    *numbered(
        52,
        ("b'', {'a': float('nan')}", "str(event.metadata['a'])", "nan"),
        ("b'', {'a': np.float32(0.5), 'b': np.arange(2)}",
         "[event.metadata['a'], event.metadata['b']]", [0.5, [0, 1]]),
        ("b'', {'open_telemetry_context': ''}", "event.metadata",
         {"open_telemetry_context": ""}),
    ),
    *numbered(
        53,
        # Times are the sender's word: they travel as they are, unless they are in the future.
        ("b'', None, captured_ns=6", "event.origin_ns", 6),
        ("b'', None, captured_ns=5", "event.origin_ns", 5),
        ("b'', None, captured_ns=4", "event.origin_ns", 4),
    ),
    *numbered(
        54,
        ("np.ones(3)", "write(value)", "ValueError: assignment destination is read-only"),
        ("np.ones((2, 2))", "write(value.reshape(4))",
         "ValueError: assignment destination is read-only"),
    ),
    *numbered(
        55,
        # The receiver keeps all events, and its max_held is 2; what is small counts for nothing.
        ("np.full(500, 3)", "[event.copied, value[-2:].tolist()]", [False, [3, 3]]),
        ("np.full(500, 4)", "[event.copied, value[-2:].tolist()]", [False, [4, 4]]),
        ("np.full(500, 1)", "[event.copied, value[-2:].tolist()]", [True, [1, 1]]),
        ("np.full(500, 2)", "[event.copied, value[-2:].tolist()]", [True, [2, 2]]),
    ),
]  # fmt: skip

SENDER = """
import numpy as np
from dora_rt import Node

node = Node()
grid = np.arange(6, dtype="f4").reshape(2, 3)
for oddity in ODDITIES:
    eval(f"node.send_output('image', {oddity})")
"""

RECEIVER = """
import json
import numpy as np
from dora_rt import Node

def write(array):
    try:
        array[...] = 0
    except ValueError as error:
        return f"ValueError: {error}"

def unlock(array):
    try:
        array.flags.writeable = True
    except ValueError as error:
        return f"ValueError: {error}"

kept = []
for look, event in zip(LOOKS, Node()):
    kept.append(event)
    value = event.value
    print(json.dumps(eval(look)), flush=True)
"""


@pytest.fixture(scope="module")
def received(starts_programs: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what the receiver of each oddity says of it."""
    flow = Flow(tmp_path_factory.mktemp("oddities"))
    flow.write(
        "flow.yml",
        "nodes:\n"
        "- {id: sender, path: sender.py, outputs: [image]}\n"
        "- id: receiver\n"
        "  path: receiver.py\n"
        "  inputs: {image: {source: sender/image, queue_policy: block, max_held: 2}}\n",
    )
    oddities = [case.values[0] for case in ODDITIES]
    flow.write("sender.py", f"ODDITIES = {oddities!r}\n{SENDER}")
    flow.write("receiver.py", f"LOOKS = {[case.values[1] for case in ODDITIES]!r}\n{RECEIVER}")
    done = flow.run()
    assert done.exit_code == 0, done.out + done.err
    answers = [json.loads(line) for line in done.lines("receiver")]
    return dict(zip(oddities, answers, strict=True))


@pytest.mark.parametrize(("oddity", "look", "answer"), ODDITIES)
def test_oddity_arrives_as_it_was_meant(
    received: dict[str, Any], oddity: str, look: str, answer: Any
) -> None:
    assert received[oddity] == answer, look


@pytest.mark.parametrize(
    ("config", "message"),
    [
        *numbered(
            46,
            (
                None,
                "dora_rt.errors.NotInDataflowError: Node() works only in a program that "
                "dora-launch started: put this script into a dataflow file (- id: my_node, path: "
                "this_script.py) and run `dora-launch dataflow.yml`; to start it yourself, write "
                '`path: dynamic` there and Node("my_node") here; to test its logic alone, use '
                "dora_rt.testing.FakeNode",
            ),
        ),
        *numbered(
            58,
            (
                '{"version": 99}',
                "dora_rt.errors.VersionMismatchError: the launcher speaks version 99 of the "
                f"node configuration, this node's dora_rt speaks version {CONFIG_VERSION}: "
                "install the same dora_rt in the interpreters of the launcher and of the node",
            ),
        ),
    ],
)
@pytest.mark.programs
def test_node_that_no_fitting_launcher_started(config: str | None, message: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("DORA_RT_")}
    if config is not None:
        env["DORA_RT_NODE_CONFIG"] = config

    done = subprocess.run(
        [sys.executable, "-c", "from dora_rt import Node; Node()"],
        capture_output=True,
        text=True,
        env=env,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == message


@pytest.mark.parametrize(
    ("statement", "message"),
    numbered(
        57,
        (
            "raise OSError('camera unplugged')",
            "operator 'detect': on_input raised on input 'image': OSError: camera unplugged",
        ),
        (
            "return 'fine'",
            "operator 'detect': on_input returned 'fine' on input 'image'; expected "
            "DoraStatus.CONTINUE, STOP or STOP_ALL (from dora_rt import DoraStatus)",
        ),
        (
            "send_output('bxo', b'')",
            "operator 'detect': on_input raised on input 'image': UnknownOutputError: operator "
            "'detect' has no output 'bxo'; its outputs in the dataflow file: box",
        ),
    ),
)
@pytest.mark.programs
def test_operator_that_raises_has_failed_and_is_named(
    tmp_path: Path, statement: str, message: str
) -> None:
    flow = Flow(tmp_path)
    flow.write(
        "flow.yml",
        "nodes:\n"
        "- {id: sender, path: sender.py, outputs: [image]}\n"
        "- id: detect\n"
        "  operator: {python: detect.py, inputs: {image: sender/image}, outputs: [box]}\n"
        "- {id: sink, path: sink.py, inputs: {box: detect/box}}\n",
    )
    flow.write("sender.py", "from dora_rt import Node\nNode().send_output('image', b'x')\n")
    flow.write("sink.py", "from dora_rt import Node\nprint(len(list(Node())))\n")
    flow.write(
        "detect.py",
        "class Operator:\n"
        "    def on_input(self, event, send_output):\n"
        f"        {statement}\n",
    )  # fmt: skip

    done = flow.run()

    assert done.exit_code == 1
    assert done.ending("detect") == "failed: exit status 1"
    assert done.lines("detect")[-1] == message
    assert done.lines("sink") == ["0"], "nothing half made was sent"
