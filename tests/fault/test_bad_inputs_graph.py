"""Bad inputs 15 to 33: the nodes, what connects them, and how they are looked after."""

from __future__ import annotations

import pytest

from dora_rt.descriptor import Host, parse_descriptor
from tests.descriptor.bad_inputs import FILE, numbered, refusal_lines

HOST = Host(cores=(0, 1), memory_nbytes=4 * 1024**3)

NAME_RULE = "use a-z, A-Z, 0-9, '_', '-' and '.', beginning with a letter, a digit or '_'"
SOURCE_HINT = "such as camera/image, or dora/timer/millis/100 for a timer"
RANGE = "its period must be between 100 micros (10000 hz) and 1 day (86400 secs)"


@pytest.mark.parametrize(
    ("text", "message"),
    numbered(
        15,
        ("nodes: {}", "1:8: 'nodes' must be a non-empty list, got a mapping"),
        ("nodes: []", "1:8: 'nodes' must be a non-empty list, got an empty list"),
        ("nodes:", "1:7: 'nodes' must be a non-empty list, got nothing"),
        ("env: {A: b}", "1:1: 'nodes' is missing: expected a list of nodes such as '- id: camera'"),
        ("node: []", "1:1: unknown key 'node' in the dataflow; did you mean 'nodes'?"),
        ("nodes: [a]", "1:9: expected a node such as '- id: camera', got string 'a'"),
        (
            "module: {name: m}\nnodes: [{id: a, path: a.py}]",
            "1:1: 'module' in the dataflow is not supported; "
            "this file is a module; name it in a dataflow, as 'module: file.yml' of a node",
        ),
    ),
)
def test_dataflow_without_nodes(text: str, message: str) -> None:
    assert refusal_lines(text) == [message]


@pytest.mark.parametrize(
    ("node_id", "message"),
    [
        *numbered(
            16,
            ("a/b", f"invalid node id 'a/b'; {NAME_RULE}"),
            ("a b", f"invalid node id 'a b'; {NAME_RULE}"),
            ("é", f"invalid node id 'é'; {NAME_RULE}"),
            ("-a", f"invalid node id '-a'; {NAME_RULE}"),
            (".a", f"invalid node id '.a'; {NAME_RULE}"),
            ("''", f"invalid node id ''; {NAME_RULE}"),
            ("7", "node id: expected a string, got integer '7': quote it (\"7\")"),
            ('"a\\n"', f"invalid node id 'a\\n'; {NAME_RULE}"),
            ("..", "invalid node id '..'; '..' is not allowed"),
            ("a..b", "invalid node id 'a..b'; '..' is not allowed"),
            ("x" * 65, f"invalid node id '{'x' * 65}'; at most 64 characters are allowed, got 65"),
            ("on", "node id: expected a string, got boolean 'on': quote it (\"on\")"),
            ("[a]", "node id: expected a name, got a list"),
        ),
        *numbered(
            18,
            ("dora", "node id 'dora' is reserved; choose another name"),
        ),
    ],
)
def test_node_id_that_is_not_a_name(node_id: str, message: str) -> None:
    assert refusal_lines(f"nodes:\n- path: a.py\n  id: {node_id}\n") == [f"3:7: {message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *numbered(
            16,
            ("nodes:\n- path: a.py\n", "2:3: this node has no 'id'; add 'id: <name>'"),
            ("nodes:\n- id:\n  path: b.py\n", "2:6: node id: expected a name, got nothing"),
            # What else is wrong with it is told as well.
            (
                "nodes:\n- path: a.py\n  ouputs: [x]\n",
                "2:3: this node has no 'id'; add 'id: <name>'\n"
                "3:3: unknown key 'ouputs' in this node; did you mean 'outputs'?",
            ),
        ),
        *numbered(
            17,
            (
                "nodes:\n- {id: plot, path: a.py}\n- {id: plot, path: b.py}\n",
                "3:8: duplicate node id 'plot' (first at line 2)",
            ),
            (
                "nodes:\n- id: a\n  operators: [{id: x, python: a.py}, {id: x, python: b.py}]",
                "3:43: duplicate operator id 'a/x' (first at line 3)",
            ),
        ),
        *numbered(
            18,
            (
                "nodes: [{id: a, operator: {python: a.py}, runtime: dora}]",
                "1:52: runtime name 'dora' is reserved; choose another name",
            ),
        ),
    ],
)
def test_node_without_an_id_of_its_own(text: str, message: str) -> None:
    assert refusal_lines(text) == message.splitlines()


NODES = """\
nodes:
- {id: webcam, path: webcam.py, outputs: [image]}
- {id: lamp, path: lamp.py}
- {id: detect, operator: {python: detect.py, outputs: [bbox]}}
- {id: rt, operators: [{id: left, python: l.py, outputs: [x]}, {id: right, python: r.py}]}
- id: plot
  path: plot.py
  inputs:
    image: """


@pytest.mark.parametrize(
    ("source", "message"),
    [
        *numbered(
            19,
            ("webcan/image", "no node 'webcan' exists; did you mean 'webcam'?"),
            ("zzz/image", "no node 'zzz' exists; the nodes are: webcam, lamp, detect, rt, plot"),
        ),
        *numbered(
            20,
            ("webcam/imge", "output 'imge' of node 'webcam' does not exist; it has: image"),
            (
                "lamp/image",
                "output 'image' of node 'lamp' does not exist; it declares none: add 'outputs: "
                "[image]' to it",
            ),
            ("dora/logs/info/lapm", "no node 'lapm' exists; did you mean 'lamp'?"),
            ("timer/millis/9", "no node 'timer' exists; did you mean 'dora/timer/millis/9'?"),
            ("webcam/op/image", "node 'webcam' has no operators; write webcam/image"),
            (
                "detect/left/bbox",
                "the operator of node 'detect' is not called 'left'; write detect/bbox",
            ),
            (
                "rt/x",
                "node 'rt' has a list of operators; write rt/<operator>/x with one of: left, right",
            ),
            ("rt/lft/x", "node 'rt' has no operator 'lft'; did you mean 'left'?"),
            ("rt/up/x", "node 'rt' has no operator 'up'; its operators are: left, right"),
            ("rt/left/y", "output 'y' of operator 'rt/left' does not exist; it has: x"),
        ),
    ],
)
def test_input_that_reads_what_does_not_exist(source: str, message: str) -> None:
    messages = refusal_lines(NODES + source)

    assert messages == [f"9:12: input 'plot/image' reads '{source}', but {message}"]


@pytest.mark.parametrize(
    "source",
    numbered(21, ("camera",), ("camera/",), ("/image",), ("a b/c",), ("3",)),
)
def test_source_that_is_no_node_and_output(source: str) -> None:
    messages = refusal_lines(
        f"nodes:\n- id: plot\n  path: plot.py\n  inputs:\n    image: {source}\n"
    )

    assert messages == [
        f"5:12: input 'plot/image': expected <node>/<output>, got '{source}'; {SOURCE_HINT}"
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        *numbered(
            21,
            (
                "[a/x]",
                "5:11: 'inputs' of 'b': expected a mapping such as 'image: camera/image', "
                "got a list",
            ),
            ("{x: }", "5:14: input 'b/x': expected <node>/<output>, got nothing"),
            ("{x: [a/x]}", "5:15: input 'b/x': expected <node>/<output>, got a list"),
            (
                "{x: {queue_size: 3}}",
                "5:15: input 'b/x' has no 'source'; add 'source: <node>/<output>'",
            ),
            (
                "{x: {sorce: a/x}}",
                "5:16: unknown key 'sorce' in input 'b/x'; did you mean 'source'?",
            ),
        ),
        *numbered(
            16,
            (
                "{a b: a/x}",
                "5:12: invalid input name 'a b'; "
                "use a-z, A-Z, 0-9, '_', '-' and '.', beginning with a letter, a digit or '_'",
            ),
        ),
        *numbered(
            22,
            ("{x: a/x, x: a/x}", "5:20: duplicate key 'x' (first at line 5)"),
        ),
    ],
)
def test_inputs_of_the_wrong_form(inputs: str, message: str) -> None:
    messages = refusal_lines(
        "nodes:\n- {id: a, path: a.py, outputs: [x]}\n- id: b\n  path: b.py\n"
        f"  inputs: {inputs}\n"
    )

    assert messages == [message]


@pytest.mark.parametrize(
    ("outputs", "message"),
    numbered(
        22,
        (
            "[image, bbox, image]",
            "4:26: output 'a/image' is listed twice (first at line 4)",
        ),
        ("image", "4:12: 'outputs' of 'a': expected a list such as '- image', got string 'image'"),
        (
            "{image: raw}",
            "4:12: 'outputs' of 'a': expected a list such as '- image', got a mapping",
        ),
        (
            "[{image: raw}]",
            "4:21: output 'a/image': expected options such as {latched: true}, got string 'raw'",
        ),
    ),
)
def test_outputs_of_the_wrong_form(outputs: str, message: str) -> None:
    assert refusal_lines(f"nodes:\n- id: a\n  path: a.py\n  outputs: {outputs}\n") == [message]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        *numbered(
            23,
            ("nodes: [{id: a, path: a.py, outputs: [x]}]", "1:39: no input reads output 'a/x'"),
            (
                "nodes: [{id: b, operators: [{id: c, python: c.py, outputs: [z]}]}]",
                "1:61: no input reads output 'b/c/z'",
            ),
        ),
        *numbered(
            25,
            (
                "nodes:\n"
                "- {id: a, module: dora_rt.nodes.webcam, args: --source 0}\n"
                "- {id: b, module: dora_rt.nodes.webcam, args: --source=/dev/video0}\n",
                "3:19: nodes 'a' and 'b' both open /dev/video0, but a camera serves one program "
                "at a time: let the readers of 'b' read 'a'",
            ),
            (
                "nodes:\n"
                "- {id: a, module: dora_rt.nodes.webcam, env: {SOURCE: 2}}\n"
                "- {id: b, path: opencv-video-capture, env: {CAPTURE_PATH: 2}}\n",
                "3:17: nodes 'a' and 'b' both open /dev/video2, but a camera serves one program "
                "at a time: let the readers of 'b' read 'a'",
            ),
        ),
        *numbered(
            33,
            (
                "nodes: [{id: a, path: a.py, memory_limit: 8 GiB}]",
                "1:29: 'memory_limit' of node 'a' is more than all memory of this computer, "
                "4.0 GiB",
            ),
        ),
    ],
)
def test_what_may_be_meant_is_a_note(text: str, note: str) -> None:
    descriptor = parse_descriptor(text, FILE, HOST)

    assert descriptor.notes == (f"{FILE}:{note}",)


def flow(*edges: str, policy: str = "block") -> str:
    """Write one node for each name, and `a>b` as an edge from a to b."""
    names = sorted({name for edge in edges for name in edge.split(">")})
    lines = ["nodes:"]
    for name in names:
        sources = [edge[0] for edge in edges if edge.endswith(name)]
        inputs = ", ".join(
            f"from_{source}: {{source: {source}/x, queue_policy: {policy}}}" for source in sources
        )
        lines.append(f"- {{id: {name}, path: x.py, outputs: [x], inputs: {{{inputs}}}}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("edges", "messages"),
    numbered(
        24,
        (["a>b", "b>a"], ["2:63: deadlock: a → b → a; make one edge latest or drop_oldest"]),
        (
            ["c>a", "a>b", "b>c"],
            ["2:63: deadlock: a → b → c → a; make one edge latest or drop_oldest"],
        ),
        (["a>a"], ["2:63: deadlock: a → a; make this edge latest or drop_oldest"]),
        (
            ["a>b", "b>a", "c>d", "d>c", "b>c"],
            [
                "2:63: deadlock: a → b → a; make one edge latest or drop_oldest",
                "4:63: deadlock: c → d → c; make one edge latest or drop_oldest",
            ],
        ),
    ),
)
def test_cycle_of_block_edges_is_a_deadlock(edges: list[str], messages: list[str]) -> None:
    assert refusal_lines(flow(*edges)) == messages


@pytest.mark.parametrize(
    ("timer", "message"),
    numbered(
        27,
        ("dora/timer/millis/0", f"timer 'dora/timer/millis/0' is out of range; {RANGE}"),
        ("dora/timer/millis/-5", f"timer 'dora/timer/millis/-5' is out of range; {RANGE}"),
        ("dora/timer/micros/99", f"timer 'dora/timer/micros/99' is out of range; {RANGE}"),
        ("dora/timer/secs/86401", f"timer 'dora/timer/secs/86401' is out of range; {RANGE}"),
        ("dora/timer/hz/0", f"timer 'dora/timer/hz/0' is out of range; {RANGE}"),
        ("dora/timer/hz/10001", f"timer 'dora/timer/hz/10001' is out of range; {RANGE}"),
        (
            "dora/timer/hz/0.000000001",
            f"timer 'dora/timer/hz/0.000000001' is out of range; {RANGE}",
        ),
        (
            "dora/timer/secs/" + "9" * 80,
            f"timer 'dora/timer/secs/{'9' * 80}' is out of range; {RANGE}",
        ),
        (
            "dora/timer/millis/abc",
            "expected a whole number of millis in 'dora/timer/millis/abc', got 'abc'",
        ),
        (
            "dora/timer/secs/inf",
            "expected a whole number of secs in 'dora/timer/secs/inf', got 'inf'",
        ),
        (
            "dora/timer/secs/0.5",
            "expected a whole number of secs in 'dora/timer/secs/0.5', got '0.5'; "
            "take a smaller unit, or hz",
        ),
        ("dora/timer/hz/1e3", "expected a number of hz in 'dora/timer/hz/1e3', got '1e3'"),
        (
            "dora/timer/millis",
            "expected dora/timer/<unit>/<number>, got 'dora/timer/millis'; "
            "such as dora/timer/millis/100",
        ),
        (
            "dora/timer/milis/5",
            "unknown unit 'milis' in 'dora/timer/milis/5'; did you mean 'millis'?",
        ),
        (
            "dora/timer/fortnights/5",
            "unknown unit 'fortnights' in 'dora/timer/fortnights/5'; "
            "use secs, millis, micros, nanos, hz",
        ),
        (
            "dora/log/info",
            "there is no 'dora/log/info'; what begins with 'dora/' is a timer, such as "
            "dora/timer/millis/100, or dora/logs",
        ),
        (
            "dora/logs/inf",
            "unknown level 'inf' in 'dora/logs/inf'; did you mean 'info'?",
        ),
        (
            "dora/logs/info/a/b",
            "expected dora/logs/<level>/<node>, got 'dora/logs/info/a/b'; dora/logs and "
            "dora/logs/<level> are possible as well",
        ),
    ),
)
def test_timer_that_cannot_tick(timer: str, message: str) -> None:
    messages = refusal_lines(f"nodes:\n- id: plot\n  path: plot.py\n  inputs:\n    tick: {timer}\n")

    assert messages == [f"5:11: input 'plot/tick': {message}"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        *numbered(
            28,
            (
                "queue_size: 0",
                "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, got 0",
            ),
            (
                "queue_size: -1",
                "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, got -1",
            ),
            (
                "queue_size: 1.5",
                "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, "
                "got float '1.5'",
            ),
            (
                "queue_size: ten",
                "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, "
                "got string 'ten'",
            ),
            (
                "queue_size: 1000000000",
                "'queue_size' of input 'b/x': expected a whole number from "
                "1 to 1024, got 1000000000",
            ),
            (
                "queue_size: 010",
                "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, got 010",
            ),
            (
                "max_held: 65",
                "'max_held' of input 'b/x': expected a whole number from 1 to 64, got 65",
            ),
        ),
        *numbered(
            29,
            (
                "slot_bytes: 0",
                "'slot_bytes' of input 'b/x': expected a size from 1 B to 1 GiB, got '0'",
            ),
            (
                "slot_bytes: -8",
                "'slot_bytes' of input 'b/x': expected a size from 1 B to 1 GiB, got '-8'",
            ),
            (
                "slot_bytes: 2 GiB",
                "'slot_bytes' of input 'b/x': expected a size from 1 B to 1 GiB, got '2 GiB'",
            ),
            (
                "slot_bytes: 5 parsecs",
                "'slot_bytes' of input 'b/x': unknown unit 'parsecs' in "
                "'5 parsecs'; use B, kB, MB, GB, KiB, MiB, GiB",
            ),
            (
                "slot_bytes: large",
                "'slot_bytes' of input 'b/x': expected a size such as 8000000, "
                "8 MB or 8 MiB, got string 'large'",
            ),
            (
                "slot_bytes: 0.5 B",
                "'slot_bytes' of input 'b/x': '0.5 B' is not a whole number of bytes",
            ),
        ),
        *numbered(
            28,
            (
                "queue_policy: newest",
                "unknown queue_policy 'newest' of input 'b/x'; use latest, drop_oldest or block",
            ),
        ),
        *numbered(
            31,
            (
                "input_timeout: -1",
                "'input_timeout' of input 'b/x': expected a time from 1 ms to 24 h, got '-1'",
            ),
            (
                "input_timeout: .inf",
                "'input_timeout' of input 'b/x': expected a time such as 2, 0.5, "
                "500ms or 1m, got float '.inf'",
            ),
        ),
    ],
)
def test_queue_option_out_of_its_range(option: str, message: str) -> None:
    key, value = option.split(": ", 1)
    messages = refusal_lines(
        "nodes:\n- {id: a, path: a.py, outputs: [x]}\n- id: b\n  path: b.py\n  inputs:\n"
        f"    x:\n      source: a/x\n      {key}: {value}\n"
    )

    assert messages == [f"8:{9 + len(key)}: {message}"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        *numbered(
            31,
            (
                "restart_delay: .nan",
                "expected a time such as 2, 0.5, 500ms or 1m, got float '.nan'",
            ),
            ("restart_delay: -0.5", "expected a time from 0 s to 1 h, got '-0.5'"),
            ("restart_delay: 5 parsecs", "unknown unit 'parsecs' in '5 parsecs'; use ms, s, m, h"),
            ("max_restart_delay: 2h", "expected a time from 0 s to 1 h, got '2h'"),
            ("restart_window: 0", "expected a time from 100 ms to 24 h, got '0'"),
            (
                "startup_timeout: nan",
                "expected a time such as 2, 0.5, 500ms or 1m, got string 'nan'",
            ),
            (
                "startup_timeout: -.inf",
                "expected a time such as 2, 0.5, 500ms or 1m, got float '-.inf'",
            ),
            (
                "startup_timeout: 1:30",
                "expected a time such as 2, 0.5, 500ms or 1m, got integer '1:30'",
            ),
            ("startup_timeout: [1]", "expected a time such as 2, 0.5, 500ms or 1m, got a list"),
            ("startup_timeout: ", "expected a time such as 2, 0.5, 500ms or 1m, got nothing"),
            ("heartbeat_timeout: 25h", "expected a time from 100 ms to 24 h, got '25h'"),
            ("health_check_timeout: 0.01", "expected a time from 100 ms to 24 h, got '0.01'"),
            ("stop_grace: 11m", "expected a time from 0 s to 10 m, got '11m'"),
            ("finish_grace_secs: -1", "expected a time from 0 s to 10 m, got '-1'"),
        ),
        *numbered(
            32,
            ("restart: sometimes", "expected never, on-failure or always, got 'sometimes'"),
            ("restart: no", "expected never, on-failure or always, got 'no'"),
            ("restart_policy: [always]", "expected never, on-failure or always, got a list"),
            ("max_restarts: -1", "expected a whole number from 0 to 10000, got -1"),
            ("max_restarts: 1.5", "expected a whole number from 0 to 10000, got float '1.5'"),
            (
                "on_exit: restart",
                "expected stop_all, got 'restart'; without 'on_exit', the other nodes go on",
            ),
            ("stdin: pipe", "expected terminal, got 'pipe'; without 'stdin', it is empty"),
            (
                "without_readers: stop",
                "expected go_on, got 'stop'; without 'without_readers', a dataflow ends when only "
                "sources without readers are left",
            ),
        ),
        *numbered(
            33,
            ("cpu_affinity: [99]", "core 99 does not exist; this computer has 0, 1"),
            ("cpu_affinity: [1, 2, 3]", "cores 2, 3 do not exist; this computer has 0, 1"),
            ("cpu_affinity: [-1]", "expected a whole number from 0 to 4095, got -1"),
            ("cpu_affinity: [all]", "expected a whole number from 0 to 4095, got string 'all'"),
            ("cpu_affinity: 1", "expected a list of cores such as [0, 1], got integer '1'"),
            ("cpu_affinity: []", "expected a list of cores such as [0, 1], got an empty list"),
            ("memory_limit: 1 MiB", "expected a size from 16 MiB to 1024 GiB, got '1 MiB'"),
            ("memory_limit: 2000 GiB", "expected a size from 16 MiB to 1024 GiB, got '2000 GiB'"),
            (
                "memory_limit: 5 parsecs",
                "unknown unit 'parsecs' in '5 parsecs'; use B, kB, MB, GB, KiB, MiB, GiB",
            ),
            ("nice: 20", "expected a whole number from -20 to 19, got 20"),
            ("nice: -21", "expected a whole number from -20 to 19, got -21"),
            ("priority: 0", "expected a whole number from 1 to 99, got 0"),
            ("priority: 100", "expected a whole number from 1 to 99, got 100"),
        ),
    ],
)
def test_setting_out_of_its_range(setting: str, message: str) -> None:
    key = setting.split(":")[0]
    column = len(key) + (5 if setting[-1] != " " else 4)

    messages = refusal_lines(f"nodes:\n- id: a\n  path: a.py\n  {setting}\n", HOST)

    assert messages == [f"4:{column}: '{key}' of node 'a': {message}"]


@pytest.mark.parametrize(
    ("settings", "message"),
    numbered(
        32,
        (
            "restart: never, restart_policy: never",
            "2:39: node 'a' has both 'restart' and 'restart_policy'; keep one of them",
        ),
        (
            "stop_grace: 1s, finish_grace_secs: 1",
            "2:39: node 'a' has both 'stop_grace' and 'finish_grace_secs'; keep one of them",
        ),
        (
            "restart: always, restart_delay: 2s, max_restart_delay: 1s",
            "2:59: 'max_restart_delay' of node 'a' is shorter than 'restart_delay'; "
            "the delay grows from 'restart_delay' to 'max_restart_delay'",
        ),
    ),
)
def test_settings_that_contradict_each_other(settings: str, message: str) -> None:
    assert refusal_lines(f"nodes:\n- {{id: a, path: a.py, {settings}}}\n") == [message]
