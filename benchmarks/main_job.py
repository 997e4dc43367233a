"""The main job: camera, detector, picture with boxes, as a dataflow and as one plain loop.

All use the same code of the ready nodes: the scene that the webcam node draws, the embedded model
on one thread, and the drawing of boxes on a copy of the picture, which nobody sees. The plain loop
does one after the other on both cores; the dataflow has the detector on one core, and camera and
picture on the other. `newest`: the camera runs as fast as it can, and the detector takes the newest
picture when it is ready. `every`: nothing is dropped, and so the camera waits.

The rate is that of boxes at the end of it, as a share of the detector's rate in a loop of nothing
but detection. The latency is from when the camera begins a picture to when its boxes are there.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import DORA_RT, DORA_RT_SPINNING
from benchmarks.contenders.dora_rt import launch_command, node_keys
from benchmarks.placement import placements
from benchmarks.processes import JobError
from benchmarks.session import Session, private_folder
from benchmarks.tables import Table, microseconds
from benchmarks.timing import Row, over_rounds, summarize

NAME = "main_job"
DETECTOR, PLAIN_LOOP = "detector alone", "plain loop"
_SEED = 11
_FRAMES_A_SECOND = 250
"""About what there is to do: it decides only how long it takes."""
_BUDGETS = 20
_WARM_UP = 30


def measure(session: Session) -> None:
    """Let the loops and the dataflows take turns."""
    if session.contenders((DORA_RT,)) == []:
        return
    frames = _WARM_UP + int(_BUDGETS * session.options.budget_s * _FRAMES_A_SECOND)
    flows = session.contenders((DORA_RT, DORA_RT_SPINNING))
    for number in range(session.options.rounds):
        turns = [(DETECTOR, False, ""), (PLAIN_LOOP, False, "")]
        turns += [
            (flow.name, flow.spins, policy) for flow in flows for policy in ("newest", "every")
        ]
        turn = number % len(turns)
        for name, spins, policy in turns[turn:] + turns[:turn]:
            name = f"{name}, {policy}" if policy else name
            session.say(f"round {number + 1}, {name}")
            try:
                row = (
                    _run_flow(session, frames, policy, spins=spins)
                    if policy
                    else _run_alone(session, name, frames)
                )
            except JobError as error:
                session.note(f"{NAME}, {name}: {error}")
            else:
                session.add(NAME, [row], round=number, contender=name)


def tables(rows: list[Row]) -> list[Table]:
    """Give one table."""
    names = list(dict.fromkeys(row["contender"] for row in rows))
    names.sort(key=lambda name: (name != DETECTOR, name != PLAIN_LOOP))
    of = {name: [row for row in rows if row["contender"] == name] for name in names}
    own = over_rounds(of.get(DETECTOR, []), "per_s")
    lines = []
    for name in names:
        rate = over_rounds(of[name], "per_s")
        share = f"{rate / own:.2f}" if rate and own else ""
        latency = [microseconds(over_rounds(of[name], key)) for key in ("p50_us", "p99_us")]
        lines.append([name, f"{rate:.0f}" if rate else "", share, *latency])
    head = ["", "boxes a second", "of the detector's own", "latency p50, µs", "p99"]
    return [Table("Camera, detection, picture: 640x480", head, lines)]


def _run_alone(session: Session, name: str, frames: int) -> Row:
    first = placements()[0]
    cores = (first.readers,) if name == DETECTOR else tuple({first.writer, first.readers})
    with private_folder() as folder:
        result = folder / "result.json"
        command = [sys.executable, "-m", "benchmarks.main_job", name, str(result), str(frames)]
        session.run_commands([command], folder, cores=cores)
        row: Row = json.loads(result.read_text())
        return row


def _run_flow(session: Session, frames: int, policy: str, *, spins: bool) -> Row:
    place = placements()[0]
    with private_folder() as folder:
        result = folder / "result.json"
        file = folder / "dataflow.yml"
        keys = node_keys(spins=spins)
        file.write_text(json.dumps(_make_dataflow(result, frames, policy, keys)))
        cores = tuple({place.writer, place.readers})
        session.run_commands([launch_command(file)], folder, cores=cores)
        row: Row = json.loads(result.read_text())
        return row


def _make_dataflow(result: Path, frames: int, policy: str, keys: dict[str, Any]) -> dict[str, Any]:
    place = placements()[0]
    every = {"queue_policy": "block", "queue_size": 2}
    image = every if policy == "every" else {"queue_policy": "latest"}
    shown = every if policy == "every" else {"queue_size": 4}
    # The newest of a camera that never waits is a share of its pictures only.
    pictures = frames if policy == "every" else 2 * frames
    scene = f"test://scene?seed={_SEED}&frames={pictures}"
    camera_core, detector_core = {"cpu_affinity": [place.writer]}, {"cpu_affinity": [place.readers]}
    return {
        "nodes": [
            {
                "id": "webcam",
                "module": "dora_rt.nodes.webcam",
                "args": ["--source", scene, "--fps", "0"],
                "outputs": ["image"],
                **camera_core,
                **keys,
            },
            {
                "id": "object_detection",
                "module": "dora_rt.nodes.object_detection",
                "args": ["--threads", "1"],
                "inputs": {"image": {"source": "webcam/image", **image}},
                "outputs": ["bbox"],
                **detector_core,
                **keys,
            },
            {
                "id": "plot",
                "module": "benchmarks.main_job",
                "args": ["plot", str(result), str(frames)],
                "inputs": {
                    "image": {"source": "webcam/image", **shown},
                    "bbox": {
                        "source": "object_detection/bbox",
                        **(every if policy == "every" else {}),
                    },
                },
                **camera_core,
                **keys,
            },
        ]
    }


def _detect_only(frames: int) -> Row:
    from dora_rt.nodes.object_detection.detector import load_detector
    from dora_rt.nodes.object_detection.models import SCENE_MODEL_PATH

    pictures = [np.empty((480, 640, 3), np.uint8) for _ in range(8)]
    scene = _scene()
    for number, picture in enumerate(pictures):
        scene.render(number, picture)
    detector = load_detector(SCENE_MODEL_PATH, threads=1)
    times = [(time.monotonic_ns(), time.monotonic_ns())]
    for number in range(frames):
        begin = time.monotonic_ns()
        detector.detect(pictures[number % len(pictures)])
        times.append((begin, time.monotonic_ns()))
    return _row(times)


def _plain_loop(frames: int) -> Row:
    from dora_rt.nodes.object_detection.detector import load_detector
    from dora_rt.nodes.object_detection.models import SCENE_MODEL_PATH
    from dora_rt.nodes.plot.drawing import draw_boxes, draw_status

    detector = load_detector(SCENE_MODEL_PATH, threads=1)
    scene = _scene()
    picture = np.empty((480, 640, 3), np.uint8)
    canvas = np.empty_like(picture)
    times = []
    for number in range(frames):
        begin = time.monotonic_ns()
        scene.render(number, picture)
        boxes = detector.detect(picture)
        times.append((begin, time.monotonic_ns()))
        np.copyto(canvas, picture)
        draw_boxes(canvas, boxes, detector.labels)
        draw_status(canvas, f"{len(boxes)} boxes")
    return _row(times)


class _Watched:
    """The plot node's node, which notes when boxes come and to which picture they belong."""

    def __init__(self, node: Any) -> None:
        self.times: list[tuple[int, int]] = []
        self._node = node

    def next(self, timeout: float | None = None) -> Any:
        event = self._node.next(timeout)
        if event is not None and event.id == "bbox":
            self.times.append((event.origin_ns, time.monotonic_ns()))
        return event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)


def _plot() -> Row:
    from dora_rt.nodes.plot.screens import HiddenScreen
    from dora_rt.nodes.plot.viewer import Viewer, run

    from dora_rt import Node

    node, screen = _Watched(Node()), HiddenScreen()
    run(node, Viewer(screen, [], expects_boxes=True), screen)
    return _row(node.times)


def _scene() -> Any:
    from dora_rt.nodes.webcam.scene import Scene, parse_scene

    options = parse_scene(f"test://scene?seed={_SEED}")
    return Scene(options.width, options.height, options.seed, options.objects)


def _row(times: list[tuple[int, int]]) -> Row:
    """Give rate and latency of (picture begun, boxes there), without the first ones."""
    steady = times[_WARM_UP:]
    seconds = (steady[-1][1] - steady[0][1]) / 1e9
    latencies = summarize([there - begun for begun, there in steady])
    return {"per_s": (len(steady) - 1) / seconds, **latencies}


def _main(what: str, result: Path, frames: int) -> None:
    row = {
        DETECTOR: lambda: _detect_only(frames),
        PLAIN_LOOP: lambda: _plain_loop(frames),
        "plot": _plot,
    }[what]()
    result.write_text(json.dumps(row))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
