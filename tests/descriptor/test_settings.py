"""How a node is looked after and what it may use, as the file says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dora_rt.descriptor import DescriptorProblems, Host, parse_descriptor, read_descriptor
from dora_rt.descriptor.tree.host import parse_cores
from dora_rt.descriptor.tree.model import (
    Descriptor,
    Input,
    Logging,
    LogSource,
    Resources,
    RestartPolicy,
    Supervision,
    TimerSource,
)
from dora_rt.log_record import LogLevel

Parse = Callable[[str], Descriptor]
Refusal = Callable[[str], list[str]]


def test_node_that_says_nothing_has_the_defaults(parse: Parse) -> None:
    (node,) = parse("nodes: [{id: a, path: a.py}]").nodes

    assert node.supervision == Supervision(
        restart=RestartPolicy.NEVER,
        max_restarts=5,
        restart_delay_s=0.5,
        max_restart_delay_s=30,
        restart_window_s=60,
        startup_timeout_s=120,
        heartbeat_timeout_s=None,
        stop_grace_s=3,
        stops_all=False,
    )
    assert node.resources == Resources(None, None, None, None)


ALL = """\
    restart: on-failure
    max_restarts: 0
    restart_delay: 100ms
    max_restart_delay: 1m
    restart_window: 1h
    startup_timeout: 2.5
    heartbeat_timeout: 3 s
    stop_grace: 0
    on_exit: stop_all
    without_readers: go_on
    memory_limit: 512 MiB
    cpu_affinity: [9, 1, 9]
    nice: -5
    priority: 50
    spin_us: 20
    working_dir: data/today
    stdin: terminal
"""


@pytest.mark.parametrize(
    "content",
    [
        "path: a.py",
        "custom: {source: a.py}",
        "operator: {python: a.py}",
        "operators: [{id: x, python: a.py}]",
    ],
)
def test_settings_stand_at_the_node_whatever_it_runs(parse: Parse, content: str) -> None:
    (node,) = parse(f"nodes:\n  - id: a\n    {content}\n{ALL}").nodes

    assert node.supervision == Supervision(
        restart=RestartPolicy.ON_FAILURE,
        max_restarts=0,
        restart_delay_s=0.1,
        max_restart_delay_s=60,
        restart_window_s=3600,
        startup_timeout_s=2.5,
        heartbeat_timeout_s=3,
        stop_grace_s=0,
        stops_all=True,
        goes_on_unread=True,
    )
    assert node.resources == Resources(
        memory_limit_nbytes=512 * 1024**2,
        cpu_affinity=(1, 9),
        nice=-5,
        priority=50,
        spin_us=20,
        working_dir="data/today",
        has_terminal=True,
    )


def test_names_of_dora_mean_the_same(parse: Parse) -> None:
    (node,) = parse(
        """\
        nodes:
          - id: a
            path: a.py
            restart_policy: on_failure
            health_check_timeout: 5.0
            finish_grace_secs: 10
        """
    ).nodes

    assert node.supervision == Supervision(
        restart=RestartPolicy.ON_FAILURE, heartbeat_timeout_s=5, stop_grace_s=10
    )


@pytest.mark.parametrize(
    ("written", "delays"),
    [
        ("restart_delay: 60", (60, 60)),
        ("max_restart_delay: 0.1", (0.1, 0.1)),
        ("restart_delay: 0", (0, 30)),
    ],
)
def test_default_of_one_delay_follows_the_other(
    parse: Parse, written: str, delays: tuple[float, float]
) -> None:
    (node,) = parse(f"nodes: [{{id: a, path: a.py, restart: always, {written}}}]").nodes

    supervision = node.supervision
    assert (supervision.restart_delay_s, supervision.max_restart_delay_s) == delays


def test_options_of_restarts_that_never_happen_are_noted(parse: Parse) -> None:
    descriptor = parse("nodes: [{id: a, path: a.py, max_restarts: 3, restart_window: 5s}]")

    assert descriptor.notes == (
        "flow.yml:1:29: 'max_restarts' of node 'a' has no effect without 'restart: on-failure' "
        "or 'restart: always'",
        "flow.yml:1:46: 'restart_window' of node 'a' has no effect without "
        "'restart: on-failure' or 'restart: always'",
    )


def test_nodes_of_one_runtime_have_what_any_of_them_says(parse: Parse) -> None:
    descriptor = parse(
        """\
        nodes:
          - {id: a, runtime: rt, operator: {python: a.py}, restart: always, nice: 5}
          - {id: b, runtime: rt, operator: {python: b.py}, max_restarts: 2, nice: 5}
          - {id: c, path: c.py}
        """
    )

    a, b, c = descriptor.nodes
    assert a.supervision == Supervision(restart=RestartPolicy.ALWAYS, max_restarts=2)
    assert a.resources == Resources(nice=5)
    assert (b.supervision, b.resources) == (a.supervision, a.resources)
    assert (c.supervision, c.resources) == (Supervision(), Resources())
    assert descriptor.notes == ()


def test_nodes_of_one_runtime_cannot_contradict_each_other(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - {id: a, runtime: rt, operator: {python: a.py}, stop_grace: 1s}
          - {id: b, runtime: rt, operator: {python: b.py}, stop_grace: 1000ms}
          - {id: c, runtime: rt, operator: {python: c.py}, finish_grace_secs: 2}
        """
    )

    assert messages == [
        "4:10: nodes 'a' and 'c' share runtime 'rt', which is one process, but set "
        "'finish_grace_secs' to different values; set it to the same value, or give them "
        "different runtimes"
    ]


def only_input(descriptor: Descriptor) -> Input:
    (only,) = descriptor.nodes[-1].inputs
    return only


@pytest.mark.parametrize(
    ("written", "timeout_s"), [("500ms", 0.5), ("2", 2), (".25", 0.25), ("1 m", 60), ("'3'", 3)]
)
def test_input_timeout_is_a_time(parse: Parse, written: str, timeout_s: float) -> None:
    descriptor = parse(
        f"""\
        nodes:
          - {{id: a, path: a.py, outputs: [x]}}
          - {{id: b, path: b.py, inputs: {{x: {{source: a/x, input_timeout: {written}}}}}}}
        """
    )

    assert only_input(descriptor).timeout_s == timeout_s


def test_input_without_a_timeout_has_none(parse: Parse) -> None:
    descriptor = parse(
        "nodes: [{id: a, path: a.py, outputs: [x]}, {id: b, path: b.py, inputs: {x: a/x}}]"
    )

    assert only_input(descriptor).timeout_s is None


def test_timeout_of_a_timer_is_ignored_with_a_note(parse: Parse) -> None:
    descriptor = parse(
        """\
        nodes:
          - id: b
            path: b.py
            inputs: {tick: {source: dora/timer/secs/1, input_timeout: 5}}
        """
    )

    tick = only_input(descriptor)
    assert (tick.source, tick.timeout_s) == (TimerSource(1_000_000_000), None)
    assert descriptor.notes == ("flow.yml:4:48: 'input_timeout' has no effect on a timer: ignored",)


def test_cores_are_checked_only_where_they_are_known() -> None:
    text = "nodes: [{id: a, path: a.py, cpu_affinity: [7]}]"

    (node,) = parse_descriptor(text, "flow.yml", Host(cores=(0, 7))).nodes

    assert node.resources.cpu_affinity == (7,)
    assert parse_descriptor(text, "flow.yml").nodes == (node,)


def test_cores_of_this_computer_are_those_that_a_file_may_name(tmp_path: Path) -> None:
    flow = tmp_path / "flow.yml"
    flow.write_text("nodes: [{id: a, path: sh, cpu_affinity: [0]}]")
    far = tmp_path / "far.yml"
    far.write_text("nodes: [{id: a, path: sh, cpu_affinity: [0, 4095]}]")

    with pytest.raises(DescriptorProblems) as caught:
        read_descriptor(far)

    assert read_descriptor(flow).nodes[0].resources.cpu_affinity == (0,)
    assert str(caught.value).startswith(
        f"{far}:1:41: 'cpu_affinity' of node 'a': core 4095 does not exist; this computer has 0"
    )


@pytest.mark.parametrize(
    ("text", "cores"), [("0\n", (0,)), ("0-3\n", (0, 1, 2, 3)), ("0,2-3,6", (0, 2, 3, 6))]
)
def test_cores_as_the_kernel_spells_them(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cores(text) == cores


def test_version_1_may_be_written(parse: Parse) -> None:
    assert len(parse("version: 1\nnodes: [{id: a, path: a.py}]").nodes) == 1


@pytest.mark.parametrize(
    "nodes",
    [
        # Whatever comes first, or a file, can be read by both.
        "{id: a, module: dora_rt.nodes.webcam}, {id: b, module: dora_rt.nodes.webcam}",
        "{id: a, module: dora_rt.nodes.webcam, args: --source 0},"
        " {id: b, module: dora_rt.nodes.webcam, args: --source 1}",
        "{id: a, module: dora_rt.nodes.webcam, args: --source a.mp4},"
        " {id: b, module: dora_rt.nodes.webcam, args: --source a.mp4}",
        "{id: a, path: a.py, args: --source 0}, {id: b, path: b.py, args: --source 0}",
    ],
)
def test_nodes_that_share_no_camera_are_not_noted(parse: Parse, nodes: str) -> None:
    assert parse(f"nodes: [{nodes}]").notes == ()


def test_what_is_kept_of_the_lines_of_a_node(parse: Parse) -> None:
    quiet, operator, custom = parse(
        """\
        nodes:
          - {id: a, path: a.py, min_log_level: warn, max_log_size: 50MB, max_rotated_files: 2}
          - {id: b, operator: {python: b.py, max_log_size: "1K"}, min_log_level: debug}
          - {id: c, custom: {source: c.py, min_log_level: stdout}}
        """
    ).nodes

    assert quiet.logging == Logging(LogLevel.WARN, 50_000_000, 2)
    assert operator.logging == Logging(LogLevel.DEBUG, 1024, None)
    assert custom.logging == Logging()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            "[{id: a, path: a.py, min_log_level: loud}]",
            "1:44: 'min_log_level' of node 'a': expected one of stdout, trace, debug, info, warn, "
            "error, got string 'loud'",
        ),
        (
            "[{id: a, path: a.py, max_log_size: 5 XB}]",
            "1:43: 'max_log_size' of node 'a': unknown unit 'XB' in '5 XB'; "
            "use B, kB, MB, GB, KiB, MiB, GiB",
        ),
        (
            "[{id: a, path: a.py, max_rotated_files: 0}]",
            "1:48: 'max_rotated_files' of node 'a': expected a whole number from 1 to 100, got 0",
        ),
        (
            "[{id: a, operators: [{id: x, python: x.py, min_log_level: info},"
            " {id: y, python: y.py, min_log_level: warn}]}]",
            "1:95: 'min_log_level' of node 'a' has two values; its operators are one process; say "
            "it once, beside the 'id' of the node",
        ),
        (
            "[{id: a, operators: [{id: x, python: x.py}], send_stdout_as: lines}]",
            "1:69: 'send_stdout_as' of node 'a' does not say of which operator the output is; "
            "move it to one of the operators",
        ),
        (
            "[{id: a, operators: [{id: x, python: x.py, send_logs_as: l},"
            " {id: y, python: y.py, send_logs_as: l}]}]",
            "1:105: outputs 'a/x/l' and 'a/y/l' would have the same lines; operators of one "
            "process print to one place; remove one of them",
        ),
    ],
)
def test_lines_of_a_node_that_cannot_be_kept_so(refusal: Refusal, nodes: str, message: str) -> None:
    assert refusal(f"nodes: {nodes}") == [message]


def test_inputs_read_lines_and_logs_with_queues_for_many(parse: Parse) -> None:
    descriptor = parse(
        """\
        nodes:
          - {id: a, path: a.py, send_stdout_as: said, outputs: [x]}
          - id: b
            path: b.py
            inputs:
              all: dora/logs
              loud: {source: dora/logs/warn/a, queue_size: 3}
              said: a/said
              short: {source: a/said, queue_policy: latest}
              x: a/x
        """
    )

    talker, reader = descriptor.nodes
    assert [output.id for output in talker.outputs] == ["x", "said"]
    inputs = {entry.id: entry for entry in reader.inputs}
    assert inputs["all"].source == LogSource()
    assert inputs["loud"].source == LogSource(LogLevel.WARN, "a")
    sizes = {name: entry.queue_size for name, entry in inputs.items()}
    assert sizes == {"all": 100, "loud": 3, "said": 100, "short": 1, "x": 10}


def test_terminal_is_for_one_process(parse: Parse, refusal: Refusal) -> None:
    one_process = """\
        nodes:
          - {id: a, operator: {python: a.py}, runtime: both, stdin: terminal}
          - {id: b, operator: {python: b.py}, runtime: both, stdin: terminal}
        """

    two_processes = """\
        nodes:
          - {id: a, path: a.py, stdin: terminal}
          - {id: b, path: b.py, stdin: terminal}
        """

    dynamic = two_processes.replace("b.py", "dynamic")

    assert [node.resources.has_terminal for node in parse(one_process).nodes] == [True, True]
    assert [node.resources.has_terminal for node in parse(dynamic).nodes] == [True, True]
    assert refusal(two_processes) == [
        "3:25: nodes 'a' and 'b' both have 'stdin: terminal'; there is one terminal; keep one of "
        "them"
    ]
