"""Find objects in pictures: pictures in at `image`, boxes, masks, key points or classes out."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dora_rt.errors import DoraRtError

from ..options import NodeParser, add_option, file_path, number, one_of, whole_number, with_home
from ..used_ports import wired
from .box_layout import Layout, Task
from .choice import AUTO, Options, open_detector
from .errors import ModelError
from .loop import BBOX_OUTPUT, IMAGE_INPUT, OTHER_OUTPUTS, run
from .model_notes import read_labels
from .models import MODELS
from .networks import BACKENDS
from .session_plan import DEVICES

__all__ = ["main"]

logger = logging.getLogger(__name__)

_MODEL = f"""\
an ONNX file (YOLOX, YOLOv5 to YOLO26, RT-DETR, D-FINE); or {", ".join(MODELS)}, downloaded
once; or {AUTO}: the embedded model for the webcam node's synthetic scene, and yolox_nano for
everything else, if it can be had"""

_EPILOG = """\
The input `image` is H x W x 3 uint8 BGR, H x W grey or H x W x 4 BGRA, or a JPEG or PNG file as
bytes. Each is answered by one `bbox`, N x 6 float32: x1, y1, x2, y2 in pixels of the picture,
confidence, class. Its metadata: labels (the names of all classes), width, height, model, detect_ms.

Models that find more send it where the dataflow file lists the output, with the same metadata:
  masks       segmentation: H x W uint8 or uint16, 0 or the number of the box in bbox plus 1
  keypoints   pose: N x K x 3 float32: x, y, confidence of K points for each box
  oriented    oriented boxes: N x 7 float32: cx, cy, w, h, angle in radians, confidence, class
  classes     classification: K x 2 float32: class, confidence, the best first

examples:
  --model best.onnx --confidence 0.5         your own model; its class names are in the file
  --model best.onnx --labels names.txt       or are not
  --model best.onnx --layout yolov6          its layout cannot be told from the file
  --backend onnxruntime --device cuda        on an Nvidia GPU, with onnxruntime-gpu installed
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the detection node until its inputs end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    # Imported here: the detector can also be used without a dataflow, and without shared memory.
    from dora_rt import Node

    try:
        # Before Node(): the flow waits until the node is ready, and a model that cannot be used
        # ends it at its start. Only the first picture tells which one `auto` is.
        detector = None if options.model == AUTO else open_detector(options, is_scene=False)
        with wired(Node(), needs=[IMAGE_INPUT], sends=[BBOX_OUTPUT, *OTHER_OUTPUTS]) as node:
            run(node, lambda is_scene: detector or open_detector(options, is_scene=is_scene))
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Options:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("object_detection", __doc__, _EPILOG)
    add_option(parser, environ, "--model", with_home, AUTO, _MODEL)
    text = "least confidence of a box, 0 to 1"
    add_option(parser, environ, "--confidence", number(0, 1), 0.3, text)
    text = "boxes of one class that overlap by more than this are one object, 0 to 1"
    add_option(parser, environ, "--iou", number(0, 1), 0.45, text)
    text = f"what runs the model: {', '.join(BACKENDS)} (onnxruntime where it is installed)"
    add_option(parser, environ, "--backend", one_of(*BACKENDS), "auto", text)
    text = f"where onnxruntime runs it: {', '.join(DEVICES)}"
    add_option(parser, environ, "--device", one_of(*DEVICES), "auto", text)
    text = "processor threads to use; as many as there are cores if not given"
    add_option(parser, environ, "--threads", whole_number(1, 256), None, text)
    text = """height and width in pixels of the model's input, where its file leaves them open;
    else those in its metadata, else 640"""
    add_option(parser, environ, "--input-size", _input_size, None, text)
    text = """file with the names of the classes: one a line, JSON, or the YAML of a data set; else
    those in the model"""
    add_option(parser, environ, "--labels", _labels, None, text)
    layouts = ", ".join(layout.value for layout in Layout)
    text = f"how the model writes its boxes, where its file does not show it: {layouts}"
    add_option(parser, environ, "--layout", _layout, None, text)
    tasks = ", ".join(task.value for task in Task)
    text = f"what the model finds, where its file does not say it: {tasks}"
    add_option(parser, environ, "--task", _task, None, text)
    options = parser.parse_args(argv)
    return Options(
        model=options.model,
        backend=options.backend,
        device=options.device,
        confidence=options.confidence,
        iou=options.iou,
        threads=options.threads,
        input_size=options.input_size,
        layout=options.layout,
        task=options.task,
        labels=options.labels,
        cache_dir=cache_dir(environ),
    )


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Return the directory of downloaded models.

    As in https://specifications.freedesktop.org/basedir-spec/latest/, which has relative paths
    ignored.
    """
    cache_home = Path(environ.get("XDG_CACHE_HOME", ""))
    if not cache_home.is_absolute():
        cache_home = Path.home() / ".cache"
    return cache_home / "dora_rt"


def _input_size(text: str) -> int:
    size = whole_number(32, 16384)(text)
    if size % 32:
        raise argparse.ArgumentTypeError(f"'{text}' is not a multiple of 32")
    return size


def _layout(text: str) -> Layout:
    return Layout(one_of(*(layout.value for layout in Layout))(text))


def _task(text: str) -> Task:
    return Task(one_of(*(task.value for task in Task))(text))


def _labels(text: str) -> tuple[str, ...]:
    try:
        return read_labels(file_path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read '{text}': {error}") from error
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
