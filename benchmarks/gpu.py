"""Measure detection on a GPU of NVIDIA: launched operator by operator, and as one CUDA graph.

python -m benchmarks.gpu
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dora_rt.nodes.execution_providers import CPU, CUDA
from dora_rt.nodes.object_detection import cache_dir
from dora_rt.nodes.object_detection.detector import load_detector
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.evaluation import mean_average_precision
from dora_rt.nodes.object_detection.letterbox import Letterbox
from dora_rt.nodes.object_detection.models import SCENE_MODEL_PATH, YOLOX_NANO, find_model
from dora_rt.nodes.object_detection.onnx_file import read_onnx_facts
from dora_rt.nodes.object_detection.onnxruntime_network import OnnxRuntimeNetwork
from dora_rt.nodes.object_detection.session_plan import GraphRefusedError, SessionPlan
from dora_rt.nodes.webcam.scene import Scene
from numpy.typing import NDArray

from benchmarks import gpu_driver
from benchmarks.machine import describe
from benchmarks.tables import Table
from benchmarks.timing import percentile

GRAPH = "CUDA graph"
PLAIN = "CUDA, run()"
PLANS: Mapping[str, SessionPlan] = {
    "processor, run()": SessionPlan(((CPU, {}),)),
    PLAIN: SessionPlan(((CUDA, {}), (CPU, {}))),
    "CUDA, fixed addresses": SessionPlan(((CUDA, {}), (CPU, {})), is_bound=True),
    GRAPH: SessionPlan(((CUDA, {"enable_cuda_graph": "1"}), (CPU, {})), is_bound=True),
}
"""What is compared; the last one is what the detection node does where it can."""

_PICTURES = 20
_ROUNDS = 10
_WARM_UP = 5
_SURE = 0.4
_LEAST_PRECISION = 0.98


class FailedError(Exception):
    """What should run does not, or gives other results."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compare the results, and print a table; give the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--model", default=YOLOX_NANO.name, help="ONNX file, or a name of the node")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="in which all take turns")
    options = parser.parse_args(arguments)
    if status := gpu_driver.main():
        return status
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        print(measure(_model(options.model), PLANS, ("cpu", "cuda"), options.rounds))
    except (ModelError, FailedError) as error:
        print(f"failed: {error}")
        return 1
    return 0


def measure(
    path: Path, plans: Mapping[str, SessionPlan], devices: Sequence[str], rounds: int
) -> str:
    """Return tables of what each way to run a model takes, all taking turns in each round.

    Args:
        path: of the model; its input has a fixed shape.
        plans: the ways, by name.
        devices: those of the node on which whole `detect` calls are measured, and their boxes
            compared.
        rounds: how many.

    Raises:
        FailedError: one does not run, or gives other results.
        ModelError: the model cannot be used.
    """
    pictures = list(_pictures())
    blobs = _blobs(path, pictures)
    facts = read_onnx_facts(path)
    networks = {name: _open(plan, name, path, blobs[0].shape) for name, plan in plans.items()}
    _check_replays(networks, blobs)
    detectors = [load_detector(path, "onnxruntime", device=device) for device in devices]
    first, *others = ([detector.detect(picture) for picture in pictures] for detector in detectors)
    compared = [compare_boxes(first, other) for other in others]
    calls: dict[str, Any] = {}
    for name, network in networks.items():
        calls[name] = [lambda b=blob, n=network: n.run(b, facts.output_names) for blob in blobs]
    for device, detector in zip(devices, detectors, strict=True):
        name = f"detect(), --device {device}"
        calls[name] = [lambda p=picture, d=detector: d.detect(p) for picture in pictures]
    times = _time(calls, rounds)
    machine = describe()
    head = (
        f"{path.name}, input {' x '.join(map(str, blobs[0].shape))}, {len(pictures)} pictures of"
        f" 640 x 480, {rounds} rounds; {machine['processor']}, onnxruntime"
        f" {importlib.import_module('onnxruntime').__version__}, Python {machine['python']}"
    )
    lines = [
        [name, *(f"{value:.2f}" for value in _shares(taken_ns))] for name, taken_ns in times.items()
    ]
    note = ""
    if {GRAPH, PLAIN} <= times.keys() and compared:
        share = _shares(times[GRAPH])[1] / _shares(times[PLAIN])[1]
        note = f"The graph takes {share:.2f} of the time of run() (aim: 0.5); {compared[-1]}."
    table = Table("Milliseconds for a picture", ["", "p10", "p50", "p99"], lines, note)
    return f"{head}\n\n{table}"


def _model(name: str) -> Path:
    path: Path = SCENE_MODEL_PATH
    try:
        path = find_model(name, cache_dir(os.environ))
    except ModelError as error:
        if name != YOLOX_NANO.name:
            raise
        print(f"{error}. The embedded model is measured instead.")
    return path


def _pictures() -> list[NDArray[np.uint8]]:
    scene = Scene()
    pictures = []
    for number in range(_PICTURES):
        picture = np.empty((scene.height, scene.width, 3), np.uint8)
        scene.render(number * 7, picture)
        pictures.append(picture)
    return pictures


def _blobs(path: Path, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.floating]]:
    """Return the pictures as the detection node would put them into the network."""
    detector = load_detector(path, "onnxruntime", device="cpu")
    height, width = detector.input_size
    letterbox = Letterbox(
        height,
        width,
        is_rgb=detector.layout.is_rgb,
        scale=detector.layout.scale,
        dtype=read_onnx_facts(path).input_dtype,
    )
    blobs = []
    for picture in pictures:
        letterbox.fit(picture)
        blobs.append(letterbox.blob.copy())
    return blobs


def _open(plan: SessionPlan, name: str, path: Path, shape: tuple[int, ...]) -> OnnxRuntimeNetwork:
    facts = read_onnx_facts(path)
    try:
        network = OnnxRuntimeNetwork.open_as(plan, path, facts, shape, threads=None)
    except GraphRefusedError as error:
        raise FailedError(f"{name}: {error}") from error
    if network.provider != plan.first:
        raise FailedError(f"{name}: {plan.first} did not start; `dora-rt doctor` says why")
    return network


def _check_replays(
    networks: Mapping[str, OnnxRuntimeNetwork], blobs: Sequence[NDArray[np.floating]]
) -> None:
    for name, network in networks.items():
        for number, blob in enumerate(blobs):
            try:
                network.check_replay(blob)
            except GraphRefusedError as error:
                raise FailedError(f"{name}, picture {number}: {error}") from error


def compare_boxes(
    expected: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]
) -> str:
    """Return how many boxes were compared; those of two devices differ by rounding alone.

    Args:
        expected: of each picture, N x 6.
        found: the same on another device.

    Raises:
        FailedError: a box has no partner.
    """
    # A box at the threshold may be above it on one device, and below on the other.
    sure = [boxes[boxes[:, 4] > _SURE] for boxes in expected]
    count = sum(map(len, sure))
    if not count:
        return "no boxes to compare"
    precision = mean_average_precision(found, sure)
    if precision < _LEAST_PRECISION:
        raise FailedError(f"the boxes differ: a mean average precision of {precision:.3f}")
    return f"{count} {'box' if count == 1 else 'boxes'} compared"


def _time(calls: Mapping[str, Sequence[Any]], rounds: int) -> dict[str, list[int]]:
    times: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, each in calls.items():
            # Those before have used the caches.
            for call in each[:_WARM_UP]:
                call()
            for call in each:
                began_ns = time.monotonic_ns()
                call()
                times[name].append(time.monotonic_ns() - began_ns)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return times


def _shares(taken_ns: Sequence[int]) -> list[float]:
    ordered = sorted(taken_ns)
    return [percentile(ordered, share) / 1e6 for share in (0.1, 0.5, 0.99)]


if __name__ == "__main__":
    sys.exit(main())
