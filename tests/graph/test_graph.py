from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dora_rt.descriptor import read_descriptor
from dora_rt.graph.boxes_and_arrows import Arrow, Box, Graph, graph_of_descriptor
from dora_rt.graph.layout import Layout, Placed, lay_out
from dora_rt.graph.mermaid_dot import render_dot, render_mermaid
from dora_rt.graph.svg import render_html, render_svg
from dora_rt.live.rates import EdgeRate
from dora_rt.node_config import QueuePolicy
from dora_rt.run_status import NodeState
from dora_rt.units import latency

FLOW = """
nodes:
  - id: camera
    path: camera.py
    inputs: {tick: dora/timer/millis/33}
    outputs: [image]
  - id: vision
    operators:
      - {id: find, python: find.py, inputs: {frame: camera/image}, outputs: [box]}
      - {id: follow, python: follow.py, inputs: {box: vision/find/box}, outputs: [track]}
  - id: plot
    path: plot.py
    inputs:
      image: {source: camera/image, queue_policy: latest}
      track: vision/follow/track
"""


def test_arrow_of_a_latched_output_says_so(tmp_path: Path):
    file = tmp_path / "robot.yml"
    file.write_text(FLOW.replace("[image]", "[image: {latched: true}]"))
    for name in ("camera", "find", "follow", "plot"):
        (tmp_path / f"{name}.py").touch()

    notes = {
        arrow.target: arrow.note for arrow in graph_of_descriptor(read_descriptor(file, {})).arrows
    }

    assert notes["plot/image"] == "latest · latched"
    assert notes["vision/find/frame"] == "drop_oldest 10 · latched"
    assert notes["plot/track"] == "drop_oldest 10"


def test_requests_and_answers_go_from_node_to_node(tmp_path: Path):
    file = tmp_path / "robot.yml"
    file.write_text(
        """
nodes:
  - {id: maps, path: a.py, serves: {plan: call, drive: goal}}
  - {id: planner, path: a.py, calls: {ask: maps/plan, go: maps/drive}}
"""
    )
    (tmp_path / "a.py").touch()

    graph = graph_of_descriptor(read_descriptor(file, {}))

    assert {(one.source_box, one.name, one.target_box) for one in graph.arrows} == {
        ("maps", "plan.response/planner → ask.response", "planner"),
        ("maps", "drive.feedback/planner → go.feedback", "planner"),
        ("maps", "drive.result/planner → go.result", "planner"),
        ("planner", "ask.request → plan.request/planner", "maps"),
        ("planner", "go.goal → drive.goal/planner", "maps"),
        ("planner", "go.cancel → drive.cancel/planner", "maps"),
    }
    assert all(render(graph) for render in (render_mermaid, render_dot, render_svg, render_html))


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    file = tmp_path / "robot.yml"
    file.write_text(FLOW)
    for name in ("camera", "find", "follow", "plot"):
        (tmp_path / f"{name}.py").touch()
    return graph_of_descriptor(read_descriptor(file, {}))


def robot(*ways: str) -> Graph:
    ids = dict.fromkeys(end for way in ways for end in way.split(">"))
    return Graph(
        "robot",
        tuple(Box(box_id, box_id) for box_id in ids),
        tuple(
            Arrow(
                f"{way.split('>')[0]}/out", f"{way.split('>')[1]}/in{number}", 1, QueuePolicy.LATEST
            )
            for number, way in enumerate(ways)
        ),
    )


def placed(graph: Graph, *, is_down: bool = False) -> Layout:
    return lay_out(
        graph, [(100, 40)] * len(graph.boxes), [(80, 30)] * len(graph.arrows), is_down=is_down
    )


def overlap(one: Placed, other: Placed) -> bool:
    return (
        abs(one.x - other.x) < (one.width + other.width) / 2
        and abs(one.y - other.y) < (one.height + other.height) / 2
    )


def test_graph_of_a_file_has_nodes_operators_timers_and_queues(graph: Graph):
    assert [(box.id, box.notes) for box in graph.boxes] == [
        ("camera", ("camera.py", "every 33 ms")),
        ("vision/find", ("find.py",)),
        ("vision/follow", ("follow.py",)),
        ("plot", ("plot.py",)),
    ]
    assert [(arrow.name, arrow.note, arrow.is_local) for arrow in graph.arrows] == [
        ("image → frame", "drop_oldest 10", False),
        ("box", "drop_oldest 10", True),
        ("image", "latest", False),
        ("track", "drop_oldest 10", False),
    ]


@pytest.mark.parametrize("is_down", [False, True])
@pytest.mark.parametrize(
    "ways",
    [
        ("a>b",),
        ("a>b", "b>c", "a>c"),
        ("a>b", "b>c", "c>a"),
        ("a>a", "a>b", "b>b"),
        ("a>c", "b>c", "a>d", "b>d", "c>e", "d>e", "a>e", "e>b"),
        ("a>b", "a>b", "a>b", "c>d"),
    ],
)
def test_nothing_covers_anything_else_whatever_the_graph(ways: tuple[str, ...], is_down: bool):
    graph = robot(*ways)

    layout = placed(graph, is_down=is_down)

    things = [*layout.boxes.values(), *(route.label for route in layout.routes)]
    assert not [pair for pair in combinations(things, 2) if overlap(*pair)]
    for thing in things:
        assert thing.width / 2 <= thing.x <= layout.width - thing.width / 2
        assert thing.height / 2 <= thing.y <= layout.height - thing.height / 2


@pytest.mark.parametrize("ways", [("a>b", "b>c", "a>c"), ("a>b", "b>c", "c>a"), ("a>a",)])
def test_arrows_go_from_the_border_of_their_source_to_that_of_their_target(ways: tuple[str, ...]):
    graph = robot(*ways)

    layout = placed(graph)

    for arrow, route in zip(graph.arrows, layout.routes, strict=True):
        for box_id, (x, y) in (
            (arrow.source_box, route.points[0]),
            (arrow.target_box, route.points[-1]),
        ):
            box = layout.boxes[box_id]
            assert abs(abs(x - box.x) - box.width / 2) <= 2
            assert abs(y - box.y) < box.height / 2


def test_flow_goes_to_the_right_or_down_and_only_circles_lead_back():
    graph = robot("a>b", "b>c", "c>a")

    right, down = placed(graph), placed(graph, is_down=True)

    assert right.boxes["a"].x < right.boxes["b"].x < right.boxes["c"].x
    assert down.boxes["a"].y < down.boxes["b"].y < down.boxes["c"].y


def test_two_parallel_ways_do_not_cross():
    layout = placed(robot("a>d", "b>c", "a>d", "b>c"))

    is_a_above = layout.boxes["a"].y < layout.boxes["b"].y
    assert is_a_above == (layout.boxes["d"].y < layout.boxes["c"].y)


def test_graph_without_nodes_is_an_empty_picture():
    assert ElementTree.fromstring(render_svg(Graph("nothing"))).get("width") == "12"


def test_svg_is_xml_and_says_what_it_shows_also_of_hostile_names():
    graph = Graph(
        '<script>"&',
        (Box("a<b", "a<b", ('"&</text>',)), Box("c", "c", state=NodeState.RUNNING)),
        (Arrow("a<b/x", "c/<y>", 1, QueuePolicy.LATEST),),
    )

    drawing = ElementTree.fromstring(render_svg(graph))

    assert "a<b sends x → <y> to c" in drawing.attrib["aria-label"]
    texts = ["".join(text.itertext()) for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["x → <y>", "latest", "a<b", '"&</text>', "c", "running"]
    assert "<script>" not in render_html(graph)


@pytest.mark.parametrize(
    ("timer", "words"),
    [
        ("dora/timer/hz/30", "30 Hz"),
        ("dora/timer/hz/7", "7 Hz"),
        ("dora/timer/millis/33", "every 33 ms"),
        ("dora/timer/secs/2", "every 2 s"),
        ("dora/timer/hz/10", "every 100 ms"),
    ],
)
def test_beat_is_said_as_a_rate_where_its_period_is_no_round_number(
    tmp_path: Path, timer: str, words: str
):
    file = tmp_path / "robot.yml"
    file.write_text(FLOW.replace("dora/timer/millis/33", timer))
    for name in ("camera", "find", "follow", "plot"):
        (tmp_path / f"{name}.py").touch()

    graph = graph_of_descriptor(read_descriptor(file, {}))

    assert graph.boxes[0].notes == ("camera.py", words)


def test_mermaid_and_dot_have_every_box_and_arrow(graph: Graph):
    assert render_mermaid(graph).splitlines()[1:] == [
        "flowchart LR",
        '    n0["camera<br>camera.py<br>every 33 ms"]',
        '    n1["vision/find<br>find.py"]',
        '    n2["vision/follow<br>follow.py"]',
        '    n3["plot<br>plot.py"]',
        '    n0 -->|"image → frame<br>drop_oldest 10"| n1',
        '    n1 -.->|"box<br>drop_oldest 10"| n2',
        '    n0 -->|"image<br>latest"| n3',
        '    n2 -->|"track<br>drop_oldest 10"| n3',
    ]
    dot = render_dot(graph)
    assert '"camera" -> "plot" [label="image\\nlatest"]' in dot
    assert '"vision/find" -> "vision/follow" [label="box\\ndrop_oldest 10" style=dashed]' in dot


def test_mermaid_and_dot_cannot_be_broken_out_of():
    graph = Graph('x"\ny', (Box('a"]', 'a"]'),), ())

    assert 'n0["a#34;#93;"]' in render_mermaid(graph)
    assert render_mermaid(graph).startswith('%% x" y\n')
    assert '"a\\"]" [label="a\\"]"]' in render_dot(graph)


def test_what_nodes_print_comes_from_a_box_of_its_own(tmp_path: Path):
    file = tmp_path / "flow.yml"
    file.write_text(
        "nodes: [{id: a, path: a.py}, {id: b, path: b.py, inputs: {said: dora/logs/info/a}}]"
    )
    for name in "ab":
        (tmp_path / f"{name}.py").touch()

    graph = graph_of_descriptor(read_descriptor(file, {}))

    assert [box.id for box in graph.boxes] == ["a", "b", "dora"]
    assert [(arrow.source_box, arrow.name) for arrow in graph.arrows] == [
        ("dora", "logs/info/a → said")
    ]
    assert ElementTree.fromstring(render_svg(graph)).tag.endswith("svg")


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [(164e3, "164 us"), (3.44e6, "3.4 ms"), (213e6, "213 ms"), (1.25e9, "1.2 s")],
)
def test_durations_have_two_or_three_digits(duration_ns: float, text: str):
    assert latency(duration_ns) == text


def test_arrow_says_what_was_measured():
    edge = EdgeRate(
        "a/x",
        "b/x",
        queue_size=1,
        waiting=0,
        delivered=300,
        dropped=12,
        rate_hz=29.97,
        drops_hz=0.0,
        bytes_per_s=0.0,
        p50_ns=164e3,
        age_p50_ns=None,
        age_p99_ns=None,
        p99_ns=3.4e6,
    )

    arrow = Arrow("a/x", "b/x", 1, QueuePolicy.LATEST, measured=edge)

    assert arrow.note == "30.0 Hz · 164 us / 3.4 ms · 12 dropped"
    assert 'data-flow="flows"' in render_svg(
        Graph("x", (Box("a", "a"), Box("b", "b")), (arrow,), is_live=True)
    )


def graph_verb(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dora_rt.cli", "graph", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
    )


@pytest.mark.programs
def test_verb_writes_the_format_of_the_suffix(tmp_path: Path):
    (tmp_path / "a.py").touch()
    file = tmp_path / "flow.yml"
    file.write_text("nodes: [{id: a, path: a.py}]")

    done = graph_verb(file, "-o", tmp_path / "graph.svg")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ElementTree.parse(tmp_path / "graph.svg").getroot().tag.endswith("svg")


@pytest.mark.programs
def test_verb_names_the_suffixes_that_it_knows(tmp_path: Path):
    done = graph_verb(tmp_path / "flow.yml", "-o", tmp_path / "graph.png")

    assert done.returncode == 2
    assert "no format has the suffix '.png'; expected one of .mmd" in done.stderr
