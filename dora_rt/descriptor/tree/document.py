"""Read a dataflow file into a tree in which every value knows its place and its source text."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Union

import yaml

from dora_rt.descriptor.tree.model import Place
from dora_rt.descriptor.tree.problems import Problems, listing, quote
from dora_rt.descriptor.tree.yaml_errors import explain_yaml_error
from dora_rt.spelling import closest

MAX_NBYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_ALIASES = 1000
MAX_VALUES = 20_000

_YAML_SUFFIXES = (".yml", ".yaml")
_TAG_PREFIX = "tag:yaml.org,2002:"


class Kind(Enum):
    """The type of a scalar in YAML 1.1; the value is the word for it in an error."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    NULL = "null"
    DATE = "date"


# The tags that are missing here ('=' and '<<') are strings wherever they are allowed at all.
_KINDS = {
    "bool": Kind.BOOLEAN,
    "int": Kind.INTEGER,
    "float": Kind.FLOAT,
    "null": Kind.NULL,
    "timestamp": Kind.DATE,
}


@dataclass(frozen=True, slots=True)
class YamlScalar:
    """One word, number or text, as the file spells it.

    `is_expanded` tells that the environment had a part in it: then it is a string of which nobody
    can say whether it was meant to be a number.
    """

    text: str
    kind: Kind
    place: Place
    is_expanded: bool = False


@dataclass(frozen=True, slots=True)
class YamlSequence:
    """A list."""

    items: tuple[YamlValue, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class YamlMapping:
    """Keys and values in the order of the file; no key occurs twice."""

    entries: tuple[tuple[YamlScalar, YamlValue], ...]
    place: Place

    def get(self, key: str) -> YamlValue | None:
        """Return the value of a key, or None if the key is not there."""
        return next((value for name, value in self.entries if name.text == key), None)

    def with_entry(self, key: str, value: YamlValue, place: Place | None = None) -> YamlMapping:
        """Return this mapping with another value of a key, in its place or at the end."""
        name = YamlScalar(key, Kind.STRING, place or value.place)
        entries = tuple(
            (known, value if known.text == key else former) for known, former in self.entries
        )
        if self.get(key) is None:
            entries = (*entries, (name, value))
        return YamlMapping(entries, self.place)


YamlValue = Union[YamlScalar, YamlSequence, YamlMapping]  # noqa: UP007  # its members come first


def read_text(path: Path, problems: Problems) -> str:
    """Read the text of a dataflow file.

    Raises:
        DescriptorProblems: if that is not possible.
    """
    try:
        # Looked at first: opening a FIFO or a device may wait for ever, or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            what = "is a folder" if path.is_dir() else "is not a file"
            problems.stop(None, f"cannot read {path}: it {what}", _nearest_yaml(path) or "")
        with path.open("rb") as file:
            content = file.read(MAX_NBYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        problems.stop(None, f"cannot read {path}: {why or error}", _nearest_yaml(path) or "")
    try:
        # A file that is too large was cut anywhere, and is refused for its size.
        is_whole = len(content) <= MAX_NBYTES
        return content.decode("utf-8-sig", "strict" if is_whole else "replace")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        what = f"the file is not UTF-8 text (byte 0x{content[error.start]:02x})"
        problems.stop(Place(str(path), line, column), what, "save it as UTF-8")


def parse_document(text: str, file: str, problems: Problems) -> YamlMapping:
    """Parse the one document of a file; what makes its content ambiguous goes to `problems`.

    Raises:
        DescriptorProblems: with a single problem, if the text is not YAML, too complex, or
            not a mapping.
    """
    start = Place(file, 1, 1)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_NBYTES:
        problems.stop(start, f"file too complex: larger than {MAX_NBYTES // 1024} KiB")
    composer = _Composer(file, problems)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            composer.feed(event)
    except yaml.YAMLError as error:
        line, column, what, hint = explain_yaml_error(error, text)
        problems.stop(Place(file, line, column), what, hint)
    if composer.has_merge_keys:
        # Else keys that are missing because of them were reported as well.
        problems.raise_if_any()
    root = composer.root
    if root is None or (isinstance(root, YamlScalar) and root.kind is Kind.NULL):
        problems.stop(start, "file is empty: expected a mapping with 'nodes:'")
    if not isinstance(root, YamlMapping):
        problems.stop(root.place, f"expected a mapping with 'nodes:', got {describe(root)}")
    return root


def describe(value: YamlValue) -> str:
    """Return the type of a value in words, for the end of "expected ..., got"."""
    match value:
        case YamlScalar(text="", kind=Kind.NULL):
            return "nothing"
        case YamlScalar(text=text, kind=kind):
            return f"{kind.value} {quote(text)}"
        case YamlSequence():
            return "a list"
        case YamlMapping():
            return "a mapping"


def write_document(root: YamlMapping) -> str:
    """Return the YAML text of a tree; scalars keep their spelling."""
    text: str = yaml.serialize(_node(root), Dumper=yaml.SafeDumper, allow_unicode=True)
    return text.rstrip("\n") + "\n"


def _node(value: YamlValue) -> yaml.Node:
    match value:
        case YamlScalar(text=text, kind=Kind.STRING):
            # With the tag of a string it is quoted where YAML reads another type.
            return yaml.ScalarNode(f"{_TAG_PREFIX}str", text)
        case YamlScalar(text=text):
            tag: str = yaml.resolver.Resolver().resolve(  # type: ignore[no-untyped-call]
                yaml.ScalarNode, text, (True, False)
            )
            return yaml.ScalarNode(tag, text)
        case YamlSequence(items=items):
            return yaml.SequenceNode(f"{_TAG_PREFIX}seq", [_node(item) for item in items])
        case YamlMapping(entries=entries):
            pairs = [(_node(key), _node(item)) for key, item in entries]
            return yaml.MappingNode(f"{_TAG_PREFIX}map", pairs)


@dataclass(slots=True)
class _Frame:
    """A list or mapping whose end has not been read; a mapping's values follow their keys."""

    place: Place
    is_mapping: bool
    anchor: str | None
    children: list[YamlValue] = field(default_factory=list)
    nvalues: int = 1

    def close(self, problems: Problems) -> YamlValue:
        if not self.is_mapping:
            return YamlSequence(tuple(self.children), self.place)
        entries: dict[str, tuple[YamlScalar, YamlValue]] = {}
        pairs = zip(self.children[::2], self.children[1::2], strict=True)
        for key, value in pairs:
            if not isinstance(key, YamlScalar):
                problems.add(key.place, f"a key must be a word, got {describe(key)}")
            elif key.text in entries:
                first = entries[key.text][0].place.line
                problems.add(key.place, f"duplicate key {quote(key.text)} (first at line {first})")
            else:
                entries[key.text] = (key, value)
        return YamlMapping(tuple(entries.values()), self.place)


class _Composer:
    """Builds the tree from the parser's events, and counts while it does.

    yaml.compose recurses (3000 brackets are a RecursionError) and lets a few hundred bytes of
    aliases stand for billions of values, so the limits have to be here and not after it.
    """

    def __init__(self, file: str, problems: Problems) -> None:
        self.root: YamlValue | None = None
        self.has_merge_keys = False
        self._file = file
        self._problems = problems
        self._open: list[_Frame] = []
        self._anchored: dict[str, tuple[YamlValue, int]] = {}
        self._naliases = 0
        self._ndocuments = 0
        self._resolver = yaml.resolver.Resolver()

    def feed(self, event: yaml.Event) -> None:
        mark = event.start_mark
        assert mark is not None  # the parser marks every event; only hand-made ones have none
        place = Place(self._file, mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.AliasEvent):
            self._refuse_tag(event, place)
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(place)
            case yaml.AliasEvent():
                self._alias(event.anchor, place)
            case yaml.ScalarEvent():
                self._add(self._scalar(event, place), 1, event.anchor)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(place, isinstance(event, yaml.MappingStartEvent), event.anchor)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                frame = self._open.pop()
                self._add(frame.close(self._problems), frame.nvalues, frame.anchor)
            case _:
                pass

    def _refuse_tag(self, event: yaml.NodeEvent, place: Place) -> None:
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            shown = "!!" + tag.removeprefix(_TAG_PREFIX) if tag.startswith(_TAG_PREFIX) else tag
            self._problems.add(place, f"YAML tags are not allowed, got {quote(shown)}", "remove it")

    def _start_document(self, place: Place) -> None:
        self._ndocuments += 1
        if self._ndocuments > 1:
            self._problems.stop(
                place,
                "exactly one document expected, but a second one starts here",
                "remove the '---', or move what follows into a file of its own",
            )

    def _start(self, place: Place, is_mapping: bool, anchor: str | None) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._problems.stop(place, f"file too complex: nested deeper than {MAX_DEPTH} levels")
        self._open.append(_Frame(place, is_mapping, anchor))

    def _alias(self, anchor: str | None, place: Place) -> None:
        name = anchor or ""
        self._naliases += 1
        if self._naliases > MAX_ALIASES:
            self._problems.stop(place, f"file too complex: more than {MAX_ALIASES} aliases")
        if any(frame.anchor == name for frame in self._open):
            self._problems.stop(
                place, f"recursive alias '*{name}': it stands inside the value that it names"
            )
        if name not in self._anchored:
            self._problems.stop(place, f"alias '*{name}' refers to an anchor that does not exist")
        value, nvalues = self._anchored[name]
        self._add(value, nvalues, None)

    def _add(self, value: YamlValue, nvalues: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchored[anchor] = (value, nvalues)
        if not self._open:
            self.root = value
            return
        frame = self._open[-1]
        is_key = frame.is_mapping and len(frame.children) % 2 == 0
        if is_key and isinstance(value, YamlScalar) and value.text == "<<":
            self.has_merge_keys = True
            self._problems.add(
                value.place, "merge keys ('<<') are not supported", "write the keys out"
            )
        frame.children.append(value)
        frame.nvalues += nvalues
        if frame.nvalues > MAX_VALUES:
            self._problems.stop(
                frame.place,
                f"file too complex: more than {MAX_VALUES} values, aliases written out",
            )

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> YamlScalar:
        is_plain = event.style is None
        if not is_plain:
            return YamlScalar(event.value, Kind.STRING, place)
        tag: str = self._resolver.resolve(  # type: ignore[no-untyped-call]
            yaml.ScalarNode, event.value, (True, False)
        )
        kind = _KINDS.get(tag.removeprefix(_TAG_PREFIX), Kind.STRING)
        return YamlScalar(event.value, kind, place)


def _nearest_yaml(path: Path) -> str:
    try:
        folder = path if path.is_dir() else path.parent
        others = (found.name for found in folder.iterdir() if found.suffix in _YAML_SUFFIXES)
        names = sorted(name for name in others if name != path.name)
    except (OSError, ValueError):
        return ""
    match = closest(path.name, names, similarity=0.75)
    if match is not None:
        return f"did you mean {folder / match}?"
    return f"there is {listing(str(folder / name) for name in names)}" if names else ""
