from __future__ import annotations

from collections.abc import Callable

import pytest

from dora_rt.descriptor.tree.model import Descriptor

Refusal = Callable[[str], list[str]]


def test_input_of_an_operator_is_named_with_its_operator(refusal: Refusal) -> None:
    messages = refusal("nodes: [{id: rt, operators: [{id: a, python: a.py, inputs: {x: b/c}}]}]")

    assert messages == [
        "1:64: input 'rt/a/x' reads 'b/c', but no node 'b' exists; the nodes are: rt"
    ]


def test_misspelt_outputs_key_is_one_problem_and_not_one_for_each_reader(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - {id: webcam, path: webcam.py, outptus: [image]}
          - {id: plot, path: plot.py, inputs: {image: webcam/image}}
        """
    )

    assert messages == ["2:35: unknown key 'outptus' in node 'webcam'; did you mean 'outputs'?"]


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


@pytest.mark.parametrize("policy", ["latest", "drop_oldest"])
def test_cycle_in_which_somebody_drops_is_none(
    parse: Callable[[str], Descriptor], policy: str
) -> None:
    descriptor = parse(flow("a>b", "b>a", "a>a", policy=policy))

    assert len(descriptor.nodes) == 2


def test_diamond_of_block_edges_is_no_cycle(parse: Callable[[str], Descriptor]) -> None:
    descriptor = parse(flow("a>b", "a>c", "b>d", "c>d"))

    assert len(descriptor.nodes) == 4


def test_operators_of_one_runtime_wait_as_one_process(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - {id: a, runtime: rt, operator: {python: a.py, outputs: [x]}}
          - {id: b, path: b.py, outputs: [x], inputs: {x: {source: a/x, queue_policy: block}}}
          - {id: c, runtime: rt, operator: {python: c.py,
             inputs: {x: {source: b/x, queue_policy: block}}}}
        """
    )

    assert messages == ["5:27: deadlock: rt → b → rt; make one edge latest or drop_oldest"]


def test_block_edge_between_operators_of_one_process_waits_for_nobody(
    parse: Callable[[str], Descriptor],
) -> None:
    descriptor = parse(
        """\
        nodes:
          - id: rt
            operators:
              - {id: a, python: a.py, outputs: [x],
                 inputs: {x: {source: rt/b/x, queue_policy: block}}}
              - {id: b, python: b.py, outputs: [x],
                 inputs: {x: {source: rt/a/x, queue_policy: block}}}
        """
    )

    assert len(descriptor.nodes[0].operators) == 2


def test_runtime_named_like_a_node_outside_of_it(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - {id: a, path: a.py}
          - {id: b, runtime: a, operator: {python: b.py}}
        """
    )

    assert messages == [
        "3:10: the runtime of node 'b' has the name of another node, 'a'; choose another name"
    ]


def test_nodes_of_one_runtime_cannot_have_different_environments(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - {id: a, runtime: rt, operator: {python: a.py}, env: {DEVICE: 0}}
          - {id: b, runtime: rt, operator: {python: b.py}, env: {DEVICE: 1}}
        """
    )

    assert messages == [
        "3:10: nodes 'a' and 'b' share runtime 'rt', which is one process, but set 'DEVICE' in "
        "'env' to different values; set it to the same value, or give them different runtimes"
    ]


def test_latest_with_a_longer_queue_contradicts_itself(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - {id: a, path: a.py, outputs: [x]}
          - {id: b, path: b.py, inputs: {x: {source: a/x, queue_policy: latest, queue_size: 3}}}
        """
    )

    assert messages == [
        "3:85: input 'b/x' has queue_policy 'latest', which keeps one sample, but queue_size 3; "
        "remove 'queue_size', or use drop_oldest"
    ]


def test_timer_takes_no_options_of_a_queue(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - id: b
            path: b.py
            inputs:
              tick: {source: dora/timer/secs/1, queue_policy: block}
        """
    )

    assert messages == [
        "5:41: 'queue_policy' has no meaning for input 'b/tick', which is a timer; remove it"
    ]


def test_every_problem_of_a_file_is_shown_in_one_run_in_its_order(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - id: webcam
            path: webcam.py
            inputs:
              tick: dora/timer/millis/0
            outputs: [image]
          - id: plot
            operator:
              python: plot.py
              inputs:
                image: webcam/imge
                bbox: {source: detection/bbox, queue_size: 0}
            inptus: {}
          - id: webcam
            path: on
        """
    )

    assert messages == [
        "5:13: input 'webcam/tick': timer 'dora/timer/millis/0' is out of range; "
        "its period must be between 100 micros (10000 hz) and 1 day (86400 secs)",
        "12:24: input 'plot/bbox' reads 'detection/bbox', but no node 'detection' exists; "
        "the nodes are: webcam, plot",
        "12:52: 'queue_size' of input 'plot/bbox': expected a whole number from 1 to 1024, got 0",
        "13:5: unknown key 'inptus' in node 'plot'; did you mean 'inputs'?",
        "14:9: duplicate node id 'webcam' (first at line 2)",
        "15:11: 'path' of node 'webcam': expected a string, got boolean 'on': quote it (\"on\")",
    ]
