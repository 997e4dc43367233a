"""Choose and load the model that fits the first picture."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from .box_layout import Layout, Task
from .detector import Detector, load_detector
from .errors import ModelError
from .models import SCENE_MODEL_PATH, YOLOX_NANO, find_model

AUTO = "auto"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the node; see its `--help` for each."""

    model: str
    backend: str
    device: str
    confidence: float
    iou: float
    threads: int | None
    input_size: int | None
    layout: Layout | None
    task: Task | None
    labels: tuple[str, ...] | None
    cache_dir: Path
    scene_model: Path = SCENE_MODEL_PATH


def open_detector(options: Options, *, is_scene: bool) -> Detector:
    """Load the model that was asked for, or the one that fits the pictures.

    Args:
        options: those of the node.
        is_scene: whether the pictures are those of the webcam node's synthetic scene.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    detector = load_detector(
        _choose_model(options, is_scene),
        options.backend,
        labels=options.labels,
        confidence=options.confidence,
        iou=options.iou,
        device=options.device,
        threads=options.threads,
        input_size=options.input_size,
        layout=options.layout,
        task=options.task,
    )
    height, width = detector.input_size
    _logger.info(
        "detecting with %s: %s, input %d x %d, %s, on %s (%s)",
        detector.model_path.name,
        detector.reading,
        width,
        height,
        _count(detector.labels),
        detector.backend,
        detector.provider,
    )
    if options.model == AUTO and detector.model_path == options.scene_model and not is_scene:
        _logger.warning(
            "%s knows only the objects of the synthetic scene (%s); what it reports of other"
            " pictures means nothing",
            detector.model_path.name,
            ", ".join(detector.labels),
        )
    return detector


def _count(labels: tuple[str, ...]) -> str:
    if not labels:
        return "classes without names"
    return "1 class" if len(labels) == 1 else f"{len(labels)} classes"


def _choose_model(options: Options, is_scene: bool) -> Path:
    if options.model != AUTO:
        return find_model(options.model, options.cache_dir)
    if is_scene:
        return options.scene_model
    try:
        return find_model(YOLOX_NANO.name, options.cache_dir)
    except ModelError as error:
        if not options.scene_model.is_file():
            raise
        _logger.warning("%s. Until then the embedded model is used", error)
        return options.scene_model
