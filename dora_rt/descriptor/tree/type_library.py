"""The types that inputs and outputs may be annotated with: dora's standard ones, and the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dora_rt.descriptor.tree.document import (
    YamlMapping,
    YamlSequence,
    describe,
    parse_document,
    read_text,
)
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.keys import Vocabulary
from dora_rt.descriptor.tree.model import Place
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote

BYTES = "std/core/v1/Bytes"
TICK = "std/core/v1/UInt64"
FOLDER = "types"
_STANDARD = "std/"
_PACKAGE = Vocabulary(keys=("types",))
_TYPE = Vocabulary(keys=("arrow", "description", "params", "fields", "metadata"))
_FIELD = Vocabulary(keys=("name", "type", "nullable"))
_PARAMETERS = re.compile(r"\[(.*)\]", re.DOTALL)

# Fields by name for a struct; else the Arrow type.
_Shape = str | Mapping[str, str]

_CORE = (
    *("Float32", "Float64", "Int8", "Int16", "Int32", "Int64"),
    *("UInt8", "UInt16", "UInt32", "UInt64"),
)
_XYZ = dict.fromkeys("xyz", "Float64")
_SIZE = {"width": "UInt32", "height": "UInt32"}
_STANDARD_TYPES: Mapping[str, _Shape] = {
    **{f"std/core/v1/{name}": name for name in _CORE},
    "std/core/v1/String": "Utf8",
    BYTES: "LargeBinary",
    "std/core/v1/Bool": "Boolean",
    "std/math/v1/Vector3": _XYZ,
    "std/math/v1/Quaternion": {**_XYZ, "w": "Float64"},
    "std/math/v1/Pose": {"position": "Vector3", "orientation": "Quaternion"},
    "std/math/v1/Transform": {"translation": "Vector3", "rotation": "Quaternion"},
    "std/control/v1/Twist": {"linear": "Vector3", "angular": "Vector3"},
    "std/control/v1/JointState": {
        "names": "List<Utf8>",
        **dict.fromkeys(("positions", "velocities", "efforts"), "List<Float64>"),
    },
    "std/control/v1/Odometry": {"pose": "Pose", "twist": "Twist", "frame_id": "Utf8"},
    "std/media/v1/Image": {**_SIZE, "encoding": "Utf8", "data": "LargeBinary"},
    "std/media/v1/CompressedImage": "LargeBinary",
    "std/media/v1/PointCloud": {"points": "LargeBinary", **_SIZE},
    "std/media/v1/AudioFrame": {
        "sample_rate": "UInt32",
        "channels": "UInt32",
        "data": "LargeBinary",
    },
    "std/vision/v1/BoundingBox": {
        **dict.fromkeys(("x", "y", "width", "height", "confidence"), "Float32"),
        "label": "Utf8",
    },
    "std/vision/v1/Detection": {"boxes": "List<BoundingBox>"},
    "std/vision/v1/Segmentation": {
        **_SIZE,
        "num_classes": "UInt32",
        "mask": "LargeBinary",
        "class_names": "List<Utf8>",
    },
}


@dataclass(frozen=True, slots=True)
class TypeName:
    """The name of a type, such as `std/media/v1/Image[encoding=jpeg]`, taken apart."""

    base: str
    parameters: tuple[tuple[str, str], ...]

    def agrees_with(self, other: TypeName) -> bool:
        """Return whether two names mean one type."""
        own = dict(self.parameters)
        return all(own.get(key, value) == value for key, value in other.parameters)

    def __str__(self) -> str:
        parameters = ",".join(f"{key}={value}" for key, value in self.parameters)
        return f"{self.base}[{parameters}]" if parameters else self.base


def parse_type_name(text: str) -> TypeName:
    """Parse the name of a type.

    Raises:
        MalformedError: it is none.
    """
    base, bracket, rest = text.partition("[")
    match = _PARAMETERS.fullmatch(bracket + rest)
    if not base or (bracket and match is None):
        raise MalformedError(
            f"expected the name of a type, got {quote(text)}",
            "such as std/media/v1/Image, or std/media/v1/AudioFrame[sample_type=f32]",
        )
    parameters = []
    for part in match[1].split(",") if match else ():
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value):
            raise MalformedError(
                f"expected [name=value] behind the type in {quote(text)}",
                "several are separated by commas",
            )
        parameters.append((key, value))
    return TypeName(base, tuple(parameters))


class TypeLibrary:
    """All types that there are, by the base of their names."""

    def __init__(self, own_types: Mapping[str, _Shape] | None = None) -> None:
        self._types = {**_STANDARD_TYPES, **(own_types or {})}

    def names(self) -> list[str]:
        """Return all names."""
        return list(self._types)

    def has(self, name: TypeName) -> bool:
        """Return whether there is a type of this name."""
        return name.base in self._types

    def difference(self, given: TypeName, expected: TypeName) -> str:
        """Return how a struct differs from an expected one; empty if either is no struct."""
        have, want = self._types[given.base], self._types[expected.base]
        if isinstance(have, str) or isinstance(want, str):
            return ""
        for name, type_name in want.items():
            if name not in have:
                return f"it has no field {quote(name)}"
            if have[name] != type_name:
                return f"its field {quote(name)} is {have[name]} and not {type_name}"
        return ""


def read_type_library(folder: Path | None, problems: Problems) -> TypeLibrary:
    """Read the user's own types from the folder `types` beside the dataflow file, if there is one.

    The type `T` in `types/robot/v1.yml` is called `robot/v1/T`.
    """
    own: dict[str, _Shape] = {}
    root = None if folder is None else folder / FOLDER
    if root is not None and root.is_dir():
        paths = [path for path in root.rglob("*") if path.suffix in (".yml", ".yaml")]
        for path in sorted(paths):
            prefix = path.relative_to(root).with_suffix("").as_posix()
            _read_package(path, prefix, own, problems)
    return TypeLibrary(own)


def _read_package(path: Path, prefix: str, own: dict[str, _Shape], problems: Problems) -> None:
    if f"{prefix}/".startswith(_STANDARD):
        what = f"types of your own cannot be called {_STANDARD}..."
        problems.add(Place(str(path), 1, 1), what, f"use another folder in {FOLDER}/")
        return
    package = parse_document(read_text(path, problems), str(path), problems)
    fields = Fields(package, "a file of types", problems)
    fields.check_keys(_PACKAGE)
    types = fields.get("types")
    if not isinstance(types, YamlMapping):
        what = "expected 'types:' and below it a mapping from names to types"
        problems.add(fields.place_of("types"), what)
        return
    for key, value in types.entries:
        if not isinstance(value, YamlMapping):
            what = f"type {quote(key.text)}: expected a mapping with 'arrow:', got"
            problems.add(value.place, f"{what} {describe(value)}")
            continue
        own[f"{prefix}/{key.text}"] = _read_type(value, f"type {quote(key.text)}", problems)


def _read_type(mapping: YamlMapping, owner: str, problems: Problems) -> _Shape:
    fields = Fields(mapping, owner, problems)
    fields.check_keys(_TYPE)
    arrow = fields.text("arrow") or ""
    listed = fields.get("fields")
    if arrow != "Struct" or not isinstance(listed, YamlSequence):
        return arrow
    shape: dict[str, str] = {}
    for item in listed.items:
        if not isinstance(item, YamlMapping):
            what = f"'fields' of {owner}: expected '- {{name: ..., type: ...}}', got"
            problems.add(item.place, f"{what} {describe(item)}")
            continue
        field = Fields(item, f"a field of {owner}", problems)
        field.check_keys(_FIELD)
        name, type_name = field.text("name"), field.text("type")
        if name and type_name:
            shape[name] = type_name
    return shape
