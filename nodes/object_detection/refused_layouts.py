"""Name the layouts that are not supported, with the way out of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .box_layout import STRIDES, STRIDES_P6, Layout, Outputs
from .model_notes import ModelNotes

_YOLO_EXPORT = "yolo export model=best.pt format=onnx"
_LEAST_DISTANCES = 32  # NanoDet: 4 sides of 8 bins


def refusal(outputs: Outputs, notes: ModelNotes) -> str:
    """Return one sentence about outputs that no reading fits: what they are, and what to do."""
    if (text := recognise(outputs)) is not None:
        return text
    about = f" (its file says: {notes.description})" if notes.description else ""
    return (
        f"the outputs {_spell(outputs)} belong to no supported layout{about}; for an input of"
        f" {outputs.width} x {outputs.height} and C classes these are {_known(outputs)}; export"
        " the model as one of them"
    )


def recognise(outputs: Outputs) -> str | None:
    """Return what unsupported outputs are, as far as names and shapes tell; None if they do not."""
    return certain_refusal(outputs) or _by_shapes(outputs)


def certain_refusal(outputs: Outputs) -> str | None:
    """Return what outputs are that would fit a supported layout, but are of another one."""
    if (text := _by_names(outputs)) is not None:
        return text
    shapes = outputs.shapes
    # [1, N, 4] and [1, N, C] in either order; masks have four dimensions.
    are_apart = len(shapes) > 1 and all(len(shape) == 3 for shape in shapes[:2])
    if are_apart and 4 in (shapes[0][2], shapes[1][2]):
        return (
            f"the outputs {_spell(outputs)} are boxes and scores apart (YOLO-NAS, DAMO-YOLO,"
            " PP-YOLOE, PicoDet), which is not supported; export the model as one of the YOLO"
            " layouts"
        )
    return None


def has_same_rows(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether labels, boxes and scores have a row each for the same boxes."""
    rows = shapes["boxes"][:2]
    return all(shapes[name] in (rows, (*rows, 1)) for name in ("labels", "scores"))


def _by_names(outputs: Outputs) -> str | None:
    names = {name.lower() for name in outputs.names}
    shapes = dict(zip(outputs.names, outputs.shapes, strict=True))
    has_rows = {"labels", "boxes", "scores"} <= shapes.keys() and len(shapes["boxes"]) == 3
    if has_rows and not has_same_rows(shapes):
        return (
            f"the outputs {_spell(outputs)} have different numbers of labels, boxes and scores;"
            " expected one of each for a box: [1, N], [1, N, 4], [1, N]"
        )
    for wanted, text in _NAMED:
        if wanted(names):
            return f"the outputs {_spell(outputs)} are {text}"
    return None


def _is_nanodet_heads(names: set[str]) -> bool:
    return any(name.startswith(("cls_pred_stride_", "dis_pred_stride_")) for name in names)


def _has(*wanted: str) -> Callable[[set[str]], bool]:
    return lambda names: set(wanted) <= names


_UNSUPPORTED = "which is not supported; export the model as one of the YOLO layouts instead"
_NAMED: tuple[tuple[Callable[[set[str]], bool], str], ...] = (
    (_is_nanodet_heads, f"those of NanoDet, {_UNSUPPORTED}"),
    (
        _has("num_dets", "det_boxes", "det_scores", "det_classes"),
        "those of TensorRT's EfficientNMS plugin; export without it (without --end2end, or"
        " with nms=False)",
    ),
    (
        _has("num_detections", "detection_boxes"),
        f"those of TensorFlow's object detection (SSD, EfficientDet), {_UNSUPPORTED}",
    ),
    (
        _has("logits", "pred_boxes"),
        "those of a DETR of Hugging Face; if it is RT-DETR or D-FINE, which take pixels from 0"
        f" to 1, say --layout {Layout.RTDETR_LOGITS.value}; DETR, Conditional and Deformable"
        " DETR, which take other colours, are not supported",
    ),
    (
        _has("dets", "labels"),
        "those of RF-DETR or of MMDetection (RTMDet and others), which take colours that the file"
        f" does not name: {_UNSUPPORTED}",
    ),
    (
        _has("boxes", "labels", "scores"),
        f"those of torchvision's Faster R-CNN, RetinaNet or SSD, {_UNSUPPORTED}",
    ),
    (_has("boxes", "confs"), f"those of YOLOv4 of Darknet, {_UNSUPPORTED}"),
    (
        _has("hm", "wh"),
        f"the heat maps of CenterNet, {_UNSUPPORTED}",
    ),
    (
        lambda names: any(name.startswith(("kps_", "kps8")) for name in names),
        f"those of a face detector such as YuNet or SCRFD, {_UNSUPPORTED}",
    ),
)


def _by_shapes(outputs: Outputs) -> str | None:
    shapes = outputs.shapes
    first = shapes[0]
    spelled = _spell(outputs)
    if all(len(shape) == 5 for shape in shapes) or (len(first) == 5 and first[1] == 3):
        return (
            f"the outputs {spelled} are the raw heads of YOLOv5 or YOLOv7: export with their last"
            " step (YOLOv7: export.py --grid; YOLOv5: export.py --include onnx)"
        )
    if len(first) == 4 and len(shapes) >= 3:
        return (
            f"the outputs {spelled} are the raw heads of a network without its last step; export"
            f" it whole ({_YOLO_EXPORT})"
        )
    if len(first) == 4:
        return (
            f"the output {spelled} is a map of the whole picture (semantic segmentation, depth"
            " or heat), which is not supported: a detector gives boxes"
        )
    if len(first) == 2 and first[1] > 7:
        return (
            f"the output {spelled} is that of a classifier, or of no detector; if it is a"
            f" classifier say --layout {Layout.CLASSIFY.value} (ultralytics: pixels from 0 to 1)"
            f" or --layout {Layout.CLASSIFY_IMAGENET.value} (torchvision, timm, YOLOv5: the"
            " colours of ImageNet)"
        )
    if len(first) == 3 and first[1] in _nanodet_cells(outputs) and first[2] > _LEAST_DISTANCES:
        return f"the output {spelled} is that of NanoDet, {_UNSUPPORTED}"
    return None


def _nanodet_cells(outputs: Outputs) -> set[int]:
    """Return the numbers of cells of NanoDet, which rounds up where YOLO rounds down."""
    return {
        sum(-(-outputs.height // stride) * -(-outputs.width // stride) for stride in strides)
        for strides in (STRIDES, STRIDES_P6)
    }


def _known(outputs: Outputs) -> str:
    cells = sum((outputs.height // stride) * (outputs.width // stride) for stride in STRIDES)
    return (
        f"[1, {cells}, 5+C] (YOLOX, YOLOv6), [1, {3 * cells}, 5+C] (YOLOv5, YOLOv7),"
        " [1, 4+C, N] (YOLOv8, YOLO11), [1, N, 6] (end-to-end: YOLOv10, YOLO26),"
        " [1, N, 4+C] (RT-DETR), and labels, boxes and scores (D-FINE, RT-DETR)"
    )


def _spell(outputs: Outputs) -> str:
    named = zip(outputs.names, outputs.shapes, strict=True)
    spelled = [f"{name} {list(shape)}" for name, shape in named]
    more = f" and {len(spelled) - 6} more" if len(spelled) > 6 else ""
    return ", ".join(spelled[:6]) + more
