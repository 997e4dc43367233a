"""The user's options are understood, and the model fits them and the pictures."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.object_detection import cache_dir, parse_options
from dora_rt.nodes.object_detection import models as model_store
from dora_rt.nodes.object_detection.choice import Options, open_detector
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.models import YOLOX_NANO, PublishedModel

from tests.nodes.node_helpers import file_env
from tests.nodes.tiny_onnx import write_model


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Give options with an embedded model of three toys, and an empty cache."""
    names = {"names": "['cube', 'ball', 'ring']"}
    scene_model = tmp_path / "scene.onnx"
    write_model(scene_model, np.zeros((1, 7, 84), np.float32), metadata=names)
    defaults = parse_options([], {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    return replace(defaults, scene_model=scene_model)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedModel:
    """Put a small model with an address where nobody listens in the place of yolox_nano."""
    path = write_model(tmp_path / "published.onnx", np.zeros((1, 84, 85), np.float32))
    model = replace(
        YOLOX_NANO,
        url="http://127.0.0.1:9/yolox_nano.onnx",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        nbytes=path.stat().st_size,
    )
    monkeypatch.setitem(model_store.MODELS, model.name, model)  # type: ignore[arg-type]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return model


def test_frames_of_the_scene_get_the_embedded_model(options: Options) -> None:
    detector = open_detector(options, is_scene=True)

    assert detector.model_path == options.scene_model
    assert detector.labels == ("cube", "ball", "ring")


def test_real_frames_get_the_published_model_of_the_cache(
    options: Options, published: PublishedModel, tmp_path: Path
) -> None:
    options.cache_dir.mkdir(parents=True)
    (tmp_path / "published.onnx").rename(options.cache_dir / "yolox_nano.onnx")

    detector = open_detector(options, is_scene=False)

    assert detector.model_path == options.cache_dir / "yolox_nano.onnx"
    assert detector.labels[0] == "person"


def test_without_network_real_frames_get_the_embedded_model_and_a_warning(
    options: Options, published: PublishedModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    detector = open_detector(options, is_scene=False)

    assert detector.model_path == options.scene_model
    assert "cannot be reached" in caplog.text
    assert f"put it at {options.cache_dir / 'yolox_nano.onnx'}" in caplog.text
    assert "knows only the objects of the synthetic scene (cube, ball, ring)" in caplog.text


def test_without_network_and_embedded_model_there_is_an_error(
    options: Options, published: PublishedModel, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="cannot be reached"):
        open_detector(replace(options, scene_model=tmp_path / "gone.onnx"), is_scene=False)


def test_model_asked_for_by_name_is_never_replaced(
    options: Options, published: PublishedModel
) -> None:
    with pytest.raises(ModelError, match="cannot be reached"):
        open_detector(replace(options, model="yolox_nano"), is_scene=True)


def test_model_asked_for_by_path_is_taken_for_the_scene_too(
    options: Options, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write_model(tmp_path / "mine.onnx", np.zeros((1, 5, 84), np.float32))

    detector = open_detector(replace(options, model=str(path), backend="opencv"), is_scene=True)

    assert detector.model_path == path
    assert caplog.messages == [
        "detecting with mine.onnx: YOLOv8/YOLO11, input 64 x 64, 1 class, on opencv (CPU)"
    ]


def test_defaults_are_those_of_the_help() -> None:
    options = parse_options([], {"XDG_CACHE_HOME": "/caches"})

    assert options == Options(
        model="auto",
        backend="auto",
        device="auto",
        confidence=0.3,
        iou=0.45,
        threads=None,
        input_size=None,
        layout=None,
        task=None,
        labels=None,
        cache_dir=Path("/caches/dora_rt"),
    )


def test_env_of_the_file_sets_options_and_the_command_line_wins(tmp_path: Path) -> None:
    labels = tmp_path / "names.txt"
    labels.write_text("höker\nball\n\n")
    environ = file_env(
        MODEL="best.onnx",
        CONFIDENCE="0.5",
        BACKEND="opencv",
        DEVICE="cpu",
        THREADS="2",
        INPUT_SIZE="320",
        LABELS=str(labels),
    )

    options = parse_options(["--confidence", "0.6", "--iou=0.5"], environ)

    assert (options.model, options.backend, options.device) == ("best.onnx", "opencv", "cpu")
    assert (options.confidence, options.iou) == (0.6, 0.5)
    assert (options.threads, options.input_size) == (2, 320)
    assert options.labels == ("höker", "ball")


@pytest.mark.parametrize(
    "environ",
    [
        {"CONFIDENCE": "2"},
        {"BACKEND": "torch"},
        {"DEVICE": "gpu"},
        {"THREADS": "0"},
        {"INPUT_SIZE": "100"},
        {"LABELS": "/nowhere.txt"},
    ],
)
def test_wrong_option_ends_with_its_name(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options([], file_env(**environ))

    assert caught.value.code == 2
    assert next(iter(environ)) in capsys.readouterr().err


@pytest.mark.parametrize("cache_home", ["", "relative/folder"])
def test_cache_is_in_the_home_unless_an_absolute_one_is_set(cache_home: str) -> None:
    assert cache_dir({"XDG_CACHE_HOME": cache_home}) == Path.home() / ".cache" / "dora_rt"


@pytest.mark.programs
def test_module_started_by_hand_says_what_it_needs() -> None:
    environ = {name: text for name, text in os.environ.items() if not name.startswith("DORA_RT")}

    finished = subprocess.run(
        [sys.executable, "-m", "dora_rt.nodes.object_detection"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert finished.returncode == 1
    assert "dora-launch" in finished.stdout
    assert "Traceback" not in finished.stderr
