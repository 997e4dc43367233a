"""The notes of a model's exporter, and the names of classes in all their forms."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dora_rt.detections import plain_label

from .box_layout import Task
from .errors import ModelError

_TASK_ENDINGS = {
    "seg": Task.SEGMENT,
    "pose": Task.POSE,
    "obb": Task.ORIENTED,
    "cls": Task.CLASSIFY,
}
_TASK_ENDING = re.compile(r"-(seg|pose|obb|cls)\b")
_RTDETR = re.compile(r"rt-?detr|d-?fine|\bdeim", re.IGNORECASE)
_NAMES_KEYS = ("names", "labels", "classes", "class_names", "id2label")
_NAME_OF_YAML = re.compile(r"\s*(?:-\s+|['\"]?(\d+)['\"]?\s*:\s*)(.+?)\s*$")
_NUMBERED = re.compile(r"(\d+)\s*[:,;\s]\s*(\S.*)$")
_BYTE_ORDER_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True, slots=True)
class ModelNotes:
    """What the exporter of a model wrote into its file.

    Attributes:
        names: of the classes, by number; empty if it wrote none.
        task: None if it wrote none.
        description: its words, for example "Ultralytics YOLO11n model".
        input_size: height and width in pixels, for files that leave them open; None if unknown.
        stride: the input's sides are multiples of it, in pixels; 0 if unknown.
        keypoint_shape: number of key points and of numbers for each; (0, 0) if unknown.
        is_end_to_end: whether it says that boxes come out ready.
    """

    names: tuple[str, ...] = ()
    task: Task | None = None
    description: str = ""
    input_size: tuple[int, int] | None = None
    stride: int = 0
    keypoint_shape: tuple[int, int] = (0, 0)
    is_end_to_end: bool = False

    @property
    def is_rtdetr(self) -> bool:
        """Whether the description names a network of the RT-DETR family."""
        return _RTDETR.search(self.description) is not None


def read_notes(metadata: Mapping[str, str]) -> ModelNotes:
    """Read the metadata of a model's file; what is not understood is left out.

    Raises:
        ModelError: the file says that it is for a task that is not supported.
    """
    sizes = _whole_numbers(metadata.get("imgsz", ""))
    keypoints = _whole_numbers(metadata.get("kpt_shape", ""))
    strides = _whole_numbers(metadata.get("stride", ""))
    description = metadata.get("description", "")
    arguments = parse_literal(metadata.get("args", ""))
    has_nms = isinstance(arguments, dict) and bool(arguments.get("nms"))
    if len(sizes) == 1:
        sizes *= 2
    return ModelNotes(
        names=next(
            (names for key in _NAMES_KEYS if (names := parse_names(metadata.get(key, "")))), ()
        ),
        task=_task(metadata.get("task", "").strip().lower(), description),
        description=description,
        input_size=(sizes[0], sizes[1]) if len(sizes) == 2 else None,
        stride=max(strides, default=0),
        keypoint_shape=(keypoints[0], keypoints[1]) if len(keypoints) == 2 else (0, 0),
        is_end_to_end=has_nms or metadata.get("end2end", "").strip().lower() in ("true", "1"),
    )


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names in a text: a list or a dict by number, in JSON, Python or YAML; else none.

    A dict of names to numbers is one of numbers to names, turned round.
    """
    return _names_in(parse_literal(text))


def parse_literal(text: str) -> Any:
    """Return the value of a text in JSON or in Python's literals; None if it is neither."""
    text = text.strip().removeprefix("\ufeff")
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the names of classes from a file.

    One name a line, with a number before it or without; or a list or dict in JSON or Python; or
    YAML with the key `names`, as the file of a data set has it.

    Raises:
        OSError: it cannot be read.
        ModelError: it is no text, or has no names.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "")
    try:
        text = content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"'{path}' is no text in UTF-8 ({error}); save it as UTF-8") from error
    names = parse_names(text) or _names_of_yaml(text) or _names_of_lines(text)
    if not names:
        raise ModelError(f"'{path}' has no names; write the name of one class a line")
    return tuple(map(plain_label, names))


def _task(word: str, description: str) -> Task | None:
    if word:
        known = {task.value: task for task in Task}
        if word not in known:
            raise ModelError(
                f"its file says that it is for the task '{word}', which is not supported; those"
                f" that are: {', '.join(known)}"
            )
        return known[word]
    ending = _TASK_ENDING.search(description.lower())
    return None if ending is None else _TASK_ENDINGS[ending.group(1)]


def _names_in(value: Any) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(name, str | int) for name in value):
        return tuple(map(plain_label, value))
    if not isinstance(value, dict):
        return ()
    for key in _NAMES_KEYS:
        if inner := _names_in(value.get(key)):
            return inner
    by_number: dict[int, str] = {}
    for key, name in value.items():
        number = _number(key)
        if number is None and isinstance(name, int):
            number, name = name, key
        if number is None or not isinstance(name, str | int) or not 0 <= number < 100_000:
            return ()
        by_number[number] = plain_label(name)
    if not by_number:
        return ()
    return tuple(by_number.get(number, str(number)) for number in range(max(by_number) + 1))


def _number(key: Any) -> int | None:
    if isinstance(key, int):
        return key
    return int(key) if isinstance(key, str) and key.isascii() and key.isdigit() else None


def _names_of_yaml(text: str) -> tuple[str, ...]:
    """Return the names under the key `names`: flow style, or one below the other."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if not line.startswith("names:"):
            continue
        rest = line.partition(":")[2].partition(" #")[0].strip()
        if rest:
            whole = " ".join([rest, *(below.partition(" #")[0] for below in lines[at + 1 :])])
            closing = {"[": "]", "{": "}"}.get(rest[0])
            if closing is None:
                return ()
            inner = whole[: whole.find(closing) + 1]
            return parse_names(inner) or _names_of_flow(inner)
        names: list[tuple[str | None, str]] = []
        for below in lines[at + 1 :]:
            if not below.strip() or below.lstrip().startswith("#"):
                continue
            found = _NAME_OF_YAML.match(below.partition(" #")[0])
            if found is None:
                break
            names.append((found.group(1), found.group(2).strip("'\"")))
        return _by_number(names)
    return ()


def _names_of_flow(text: str) -> tuple[str, ...]:
    """Return the names of a list without quotes, as YAML allows it: [cat, dog], {0: cat}."""
    parts = [part.strip() for part in text[1:-1].split(",")]
    if not text.startswith("{"):
        return tuple(part.strip("'\"") for part in parts if part)
    pairs = [part.partition(":") for part in parts]
    return _by_number([(key.strip(" '\""), name.strip(" '\"")) for key, _, name in pairs if name])


def _by_number(names: Sequence[tuple[str | None, str]]) -> tuple[str, ...]:
    """Return names in their places by number; in their order where they have none."""
    numbered = {key: name for key, name in names if key is not None}
    in_order = tuple(name for _, name in names)
    return (_names_in(numbered) or in_order) if len(numbered) == len(names) else in_order


def _names_of_lines(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.match(line) for line in lines]
    numbers = [int(found.group(1)) for found in numbered if found is not None]
    # "0 person", "1 bicycle", ...: only if all are numbered in order, for names may begin so.
    if len(lines) > 1 and numbers == list(range(len(lines))):
        return tuple(found.group(2).strip() for found in numbered if found is not None)
    return tuple(lines)


def _whole_numbers(text: str) -> list[int]:
    value = parse_literal(text)
    values = value if isinstance(value, list | tuple) else [value]
    numbers = [int(one) for one in values if isinstance(one, int | float) and 0 < one < 1 << 16]
    return numbers if len(numbers) == len(values) else []
