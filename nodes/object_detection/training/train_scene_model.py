"""Train the scene model on frames that the synthetic camera draws, and export it to ONNX.

Run it from the root of the repository; it takes no input but the code:

    pip install -e '.[train,onnx]'
    python nodes/object_detection/training/train_scene_model.py

The scene's code is the data set: after a change of `nodes/webcam/scene*.py` that can be seen, train
again. The file in the repository comes from torch 2.13, TORCH_SEED and the defaults below. On two
cores of a Xeon (Sapphire Rapids), which others used at the same time:

    frames          9600, from 1200 scenes of 3 to 10 toys, seeds from 500000; 153 s to draw
    training        8 epochs, 854 s with the drawing
    file            232116 weights, 983816 bytes
    seeds from 1000000, 800 frames drawn like those of the training (3 to 10 toys, four sizes):
                    mAP50 0.970, mAP75 0.915, mAP90 0.697
    seeds from 1000000, 400 frames of 640 x 480 with 6 toys, through the node's own detector:
                    mAP50 0.982, mAP75 0.947; at confidence 0.3 precision 0.986, recall 0.965
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from dora_rt.nodes.object_detection.evaluation import mean_average_precision
from dora_rt.nodes.webcam.scene import SCENE_LABELS
from numpy.typing import NDArray
from scene_frames import EVALUATION_SEED, TRAINING_SEED, VALIDATION_SEED, Frames, render_frames
from scene_loss import scene_loss
from scene_network import INPUT_HEIGHT, INPUT_WIDTH, Exported, SceneNetwork
from torch import Tensor

logger = logging.getLogger("train_scene_model")

MODEL_PATH = Path(__file__).parents[1] / "scene_model.onnx"
TORCH_SEED = 20
BATCH = 32
PEAK_RATE = 3e-3
EMA_DECAY = 0.998


def main() -> None:
    """Render, train, export, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scenes", type=int, default=1200, help="scenes to train on, 8 frames each"
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--output", type=Path, default=MODEL_PATH)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    torch.manual_seed(TORCH_SEED)
    torch.set_num_threads(2)
    started = time.monotonic()
    training = render_frames(TRAINING_SEED, options.scenes)
    validation = render_frames(VALIDATION_SEED, 40)
    logger.info("%d frames in %.0f s", len(training.images), time.monotonic() - started)
    network = train(training, validation, options.epochs)
    export(network, options.output)
    logger.info("%s: %d bytes", options.output, options.output.stat().st_size)
    logger.info("trained in %.0f s", time.monotonic() - started)
    evaluation = render_frames(EVALUATION_SEED, 100)
    for iou in (0.5, 0.75, 0.9):
        precision = measure(network, evaluation, iou)
        logger.info("%d unseen frames: mAP%d %.4f", len(evaluation.images), iou * 100, precision)


def train(training: Frames, validation: Frames, epochs: int) -> SceneNetwork:
    """Return the running average of a network that was trained for some epochs."""
    network = SceneNetwork(len(SCENE_LABELS)).to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).eval()
    decayed = [weight for weight in network.parameters() if weight.ndim > 1]
    plain = [weight for weight in network.parameters() if weight.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    )
    rng = np.random.default_rng(TORCH_SEED)
    batches = len(training.images) // BATCH
    steps, step, losses = epochs * batches, 0, 0.0
    for epoch in range(epochs):
        started = time.monotonic()
        order = rng.permutation(len(training.images))
        for k in range(batches):
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, steps)
            images, boxes = _batch(training, order[k * BATCH : (k + 1) * BATCH], rng)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                raw = network(images)
            loss = scene_loss(network, raw.float(), boxes)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            step += 1
            _follow(average, network, min(EMA_DECAY, step / (step + 100)))
            losses += float(loss.detach())
            if step % 50 == 0:
                logger.info("step %d of %d: loss %.3f", step, steps, losses / 50)
                losses = 0.0
        precision = measure(average, validation, 0.5)
        seconds = time.monotonic() - started
        logger.info("epoch %d: validation mAP50 %.4f, %.0f s", epoch + 1, precision, seconds)
    return average


def export(network: SceneNetwork, path: Path) -> None:
    """Write the network as ONNX, with its class names."""
    example = torch.zeros(1, 3, INPUT_HEIGHT, INPUT_WIDTH)
    # The older exporter writes plain static graphs, which OpenCV's reader needs.
    torch.onnx.export(
        Exported(network).eval().to(memory_format=torch.contiguous_format),
        (example,),
        str(path),
        dynamo=False,
        opset_version=12,
        input_names=["images"],
        output_names=["output0"],
    )
    model = onnx.load(str(path))
    properties = {
        "names": str(dict(enumerate(SCENE_LABELS))),
        "imgsz": json.dumps([INPUT_HEIGHT, INPUT_WIDTH]),
        "task": "detect",
        "description": "dora_rt scene model, trained on test://scene",
        "license": "Apache-2.0",
    }
    onnx.helper.set_model_props(model, properties)
    for node in model.graph.node:
        # The exporter leaves the author's paths here.
        node.ClearField("doc_string")
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@torch.no_grad()
def measure(network: SceneNetwork, frames: Frames, iou: float) -> float:
    """Return the mean average precision on frames, in the pixels of the letterbox."""
    predictions, truths = [], []
    for start in range(0, len(frames.images), BATCH):
        images = _tensor(frames.images[start : start + BATCH])
        decoded = network.decode(network(images)).numpy()
        predictions.extend(_suppress(picture.T) for picture in decoded)
    for boxes in frames.boxes:
        real = boxes[boxes[:, 4] >= 0]
        truths.append(np.insert(real, 4, 1.0, axis=1))
    return mean_average_precision(predictions, truths, iou)


def _suppress(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the best of the boxes of one class that overlap each other."""
    kinds = rows[:, 4:].argmax(1)
    scores = rows[:, 4:].max(1)
    sure = scores > 0.05
    rows, kinds, scores = rows[sure], kinds[sure], scores[sure]
    corner = rows[:, :2] - rows[:, 2:4] / 2
    boxes = np.concatenate((corner, rows[:, 2:4]), 1)
    keep = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), kinds.tolist(), 0.05, 0.5)
    index = np.array(keep, int).reshape(-1)
    corners = np.concatenate((corner, corner + rows[:, 2:4]), 1)[index]
    return np.column_stack((corners, scores[index], kinds[index])).astype(np.float32)


def _rate(step: int, steps: int) -> float:
    warmup = 150
    if step < warmup:
        return PEAK_RATE * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return PEAK_RATE * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _batch(
    frames: Frames, index: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return a batch with mirrored, recoloured and relit frames."""
    images, boxes = frames.images[index].copy(), frames.boxes[index].copy()
    for image, targets in zip(images, boxes, strict=True):
        if rng.random() < 0.5:
            image[:] = image[:, ::-1]
            real = targets[:, 4] >= 0
            targets[real, 0], targets[real, 2] = (
                INPUT_WIDTH - targets[real, 2],
                INPUT_WIDTH - targets[real, 0],
            )
        if rng.random() < 0.5:
            image[:] = image[:, :, rng.permutation(3)]
    gains = torch.from_numpy(rng.uniform(0.75, 1.2, (len(images), 1, 1, 1)).astype(np.float32))
    return (_tensor(images) * gains).clamp(max=1), torch.from_numpy(boxes)


def _tensor(images: NDArray[np.uint8]) -> Tensor:
    rgb = torch.from_numpy(images).flip(3).permute(0, 3, 1, 2)
    return (rgb.float() / 255).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _follow(average: SceneNetwork, network: SceneNetwork, decay: float) -> None:
    for kept, current in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if kept.dtype.is_floating_point:
            kept.mul_(decay).add_(current, alpha=1 - decay)
        else:
            kept.copy_(current)


if __name__ == "__main__":
    main()
