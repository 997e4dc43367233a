"""The loss of the network: task-aligned assignment, CIoU for boxes, BCE for scores."""

from __future__ import annotations

import math

import torch
from scene_network import SceneNetwork
from torch import Tensor
from torch.nn import functional

_CANDIDATES = 10
_BOX_WEIGHT = 7.5
_SCORE_WEIGHT = 0.5


def scene_loss(network: SceneNetwork, raw: Tensor, boxes: Tensor) -> Tensor:
    """Return the loss of raw predictions (B, 4 + C, A) against boxes (B, G, x1 y1 x2 y2 class)."""
    decoded = network.decode(raw).transpose(1, 2)
    middle, size = decoded[..., 0:2], decoded[..., 2:4]
    predicted = torch.cat((middle - size / 2, middle + size / 2), 2)
    assigned, targets = _assign(network, predicted.detach(), decoded[..., 4:].detach(), boxes)
    total = targets.sum().clamp(min=1)
    score = functional.binary_cross_entropy_with_logits(
        raw[:, 4:].transpose(1, 2), targets, reduction="sum"
    )
    positive = targets.amax(2) > 0
    wanted = boxes[..., :4].gather(1, assigned[..., None].expand(-1, -1, 4))[positive]
    weight = targets.amax(2)[positive]
    box = ((1 - box_ciou(predicted[positive], wanted)) * weight).sum()
    return (_BOX_WEIGHT * box + _SCORE_WEIGHT * score) / total


@torch.no_grad()
def _assign(
    network: SceneNetwork, predicted: Tensor, scores: Tensor, boxes: Tensor
) -> tuple[Tensor, Tensor]:
    """Give each cell the number of its true box, and the score it should have for each class."""
    real = boxes[..., 4] >= 0
    kinds = boxes[..., 4].clamp(min=0).long()
    points = (network.cells * network.scales).transpose(1, 2)[:, None]
    # A thin strip of a toy may hold no cell's middle: it gets the cells nearest to it.
    middle = (boxes[..., 0:2] + boxes[..., 2:4]) / 2
    reach = ((boxes[..., 2:4] - boxes[..., 0:2]) / 2).clamp(min=6.0)
    offset = (points - middle[:, :, None]).abs()
    inside = (offset < reach[:, :, None]).all(3) & real[..., None]

    overlap = box_iou(boxes[:, :, None, :4], predicted[:, None]).clamp(min=0)
    score = scores.transpose(1, 2).gather(1, kinds[..., None].expand(-1, -1, scores.shape[1]))
    alignment = score.sqrt() * overlap**6 * inside
    # The first steps have no overlap at all; nearness breaks the tie.
    rank = alignment + 1e-9 * inside / (1 + offset.sum(3))
    best = rank.topk(_CANDIDATES, 2)
    chosen = torch.zeros_like(inside).scatter_(2, best.indices, best.values > 0)

    # A cell that several boxes want goes to the one it overlaps most.
    claim = torch.where(chosen, overlap + 1e-6, torch.zeros_like(overlap))
    strongest, assigned = claim.max(1)
    positive = strongest > 0
    mine = torch.zeros_like(chosen).scatter_(1, assigned[:, None], positive[:, None])

    alignment = alignment * mine
    peak = alignment.amax(2, keepdim=True)
    reachable = (overlap * mine).amax(2, keepdim=True)
    quality = (alignment / (peak + 1e-12) * reachable).amax(1)
    # Never zero, so that a box that nobody overlaps yet still pulls.
    quality = torch.where(positive, quality.clamp(min=0.05), torch.zeros_like(quality))
    targets = torch.zeros_like(scores)
    targets.scatter_(2, kinds.gather(1, assigned)[..., None], quality[..., None])
    return assigned, targets


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of boxes x1 y1 x2 y2, broadcast against each other."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (first, second)]
    return common / (areas[0] + areas[1] - common + 1e-7)


def box_ciou(first: Tensor, second: Tensor) -> Tensor:
    """Return the complete IoU: less for distant middles and for different proportions."""
    hull = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    shift = (first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]) / 2
    sides = [boxes[:, 2:] - boxes[:, :2] for boxes in (first, second)]
    angles = [torch.atan(side[:, 0] / (side[:, 1] + 1e-7)) for side in sides]
    overlap = box_iou(first, second)
    shape = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    with torch.no_grad():
        weight = shape / (1 - overlap + shape + 1e-7)
    return overlap - shift.square().sum(1) / (hull.square().sum(1) + 1e-7) - weight * shape
