"""Find objects in pictures: pictures in at `image`, boxes out at `bbox`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dora_rt.errors import DoraRtError

from ..options import add_option, file_path, number, one_of, whole_number, with_home
from ..used_ports import wired
from .choice import AUTO, Options, open_detector
from .detector import DEFAULT_INPUT_SIZE
from .loop import BBOX_OUTPUT, IMAGE_INPUT, run
from .models import MODELS
from .networks import BACKENDS, DEVICES

__all__ = ["main"]

logger = logging.getLogger(__name__)

_MODEL = f"""\
an ONNX file (YOLOX, YOLOv5, YOLOv8, YOLO11, YOLOv10, YOLO26); or {", ".join(MODELS)}, downloaded
once; or {AUTO}: the embedded model for the webcam node's synthetic scene, and yolox_nano for
everything else, if it can be had"""

_EPILOG = """\
The input `image` is H x W x 3 uint8 BGR, H x W grey or H x W x 4 BGRA, or a JPEG or PNG file as
bytes. Each is answered by one `bbox`, N x 6 float32: x1, y1, x2, y2 in pixels of the picture,
confidence, class. Its metadata: labels (the names of all classes), width, height, model, detect_ms.

examples:
  --model best.onnx --confidence 0.5         your own model; its class names are in the file
  --model best.onnx --labels names.txt       or are not
  --backend onnxruntime --device cuda        on an Nvidia GPU, with onnxruntime-gpu installed
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the detection node until its inputs end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    # Imported here: the detector can also be used without a dataflow, and without shared memory.
    from dora_rt import Node

    try:
        with wired(Node(), needs=[IMAGE_INPUT], sends=[BBOX_OUTPUT]) as node:
            run(node, lambda is_scene: open_detector(options, is_scene=is_scene))
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Options:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = argparse.ArgumentParser(
        prog="python -m dora_rt.nodes.object_detection",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    text = "height and width in pixels of the model's input, where its file leaves them open"
    add_option(parser, environ, "--input-size", _input_size, DEFAULT_INPUT_SIZE, text)
    text = "text file with the names of the classes, one a line; else those in the model"
    add_option(parser, environ, "--labels", _labels, None, text)
    options = parser.parse_args(argv)
    return Options(
        model=options.model,
        backend=options.backend,
        device=options.device,
        confidence=options.confidence,
        iou=options.iou,
        threads=options.threads,
        input_size=options.input_size,
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


def _labels(text: str) -> tuple[str, ...]:
    try:
        lines = file_path(text).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"cannot read '{text}': {error}") from error
    return tuple(line.strip() for line in lines if line.strip())
