"""Read modules: files with nodes of their own, which a node of a dataflow stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dora_rt.descriptor.modules.parameters import read_parameters, substitute
from dora_rt.descriptor.tree.document import (
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
    parse_document,
    read_text,
)
from dora_rt.descriptor.tree.environment_variables import expand
from dora_rt.descriptor.tree.fields import Fields, is_nothing, name_and_options
from dora_rt.descriptor.tree.host import Host
from dora_rt.descriptor.tree.identifiers import read_name, read_unreserved_name
from dora_rt.descriptor.tree.keys import MODULE_FILE, MODULE_HEADER, MODULE_NODE
from dora_rt.descriptor.tree.problems import Problems, did_you_mean, listing, quote

MAX_LEVELS = 8
MAX_NODES = 2000
_SUFFIXES = (".yml", ".yaml")


@dataclass(slots=True)
class Level:
    """The nodes of one file, and the modules among them.

    Attributes:
        prefix: what stands before the ids of its nodes in the whole dataflow.
        folder: of the file.
        items: the nodes as they are written, those that stand for modules included.
        modules: by the ids of the nodes that stand for them.
    """

    prefix: str
    folder: Path
    items: list[YamlMapping] = field(default_factory=list)
    modules: dict[str, Module] = field(default_factory=dict)

    def ids(self) -> list[str]:
        """Return the ids of its nodes, as far as they have one."""
        found = [item.get("id") for item in self.items]
        return [value.text for value in found if isinstance(value, YamlScalar)]


@dataclass(slots=True)
class Module:
    """A module where a node stands for it.

    Attributes:
        node: that node.
        inputs: the names of its inputs, and whether each must be wired.
        outputs: by name, the name of that output in the whole dataflow.
        parameters: by name.
        build: what makes it ready to run.
        level: its nodes.
    """

    node: Fields
    inputs: Mapping[str, bool]
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    build: YamlScalar | None
    level: Level


def is_module_node(node: YamlMapping) -> bool:
    """Return whether a node stands for a module; `module:` may also name Python's."""
    value = node.get("module")
    return isinstance(value, YamlScalar) and value.text.endswith(_SUFFIXES)


class ModuleLoader:
    """Reads the modules of one dataflow file; nothing outside of the file's folder."""

    def __init__(self, folder: Path | None, host: Host, problems: Problems) -> None:
        self._folder = folder
        self._host = host
        self._problems = problems
        self._nnodes = 0

    def load_level(
        self, items: YamlValue | None, prefix: str, folder: Path, chain: tuple[Path, ...]
    ) -> Level:
        """Read the modules among nodes; `chain` has the files that led here."""
        level = Level(prefix, folder)
        for item in items.items if isinstance(items, YamlSequence) else ():
            if not isinstance(item, YamlMapping):
                continue
            self._nnodes += 1
            if self._nnodes > MAX_NODES:
                what = f"file too complex: more than {MAX_NODES} nodes, modules written out"
                self._problems.stop(item.place, what)
            level.items.append(item)
            if is_module_node(item):
                node_id = self._read_id(item)
                module = self._load(item, level, chain) if node_id else None
                if node_id and module is not None:
                    level.modules[node_id] = module
        ids = level.ids()
        for node_id, module in level.modules.items():
            if ids.count(node_id) > 1:
                what = f"duplicate node id {quote(prefix + node_id)}"
                self._problems.add(module.node.place_of("id"), what, "choose another name")
        return level

    def _read_id(self, node: YamlMapping) -> str | None:
        value = node.get("id")
        if value is None:
            self._problems.add(node.place, "this node has no 'id'", "add 'id: <name>'")
            return None
        return read_unreserved_name(value, "node id", self._problems)

    def _load(self, node: YamlMapping, around: Level, chain: tuple[Path, ...]) -> Module | None:
        label = around.prefix + _text(node.get("id"))
        fields = Fields(node, f"node {quote(label)}", self._problems)
        fields.check_keys(MODULE_NODE)
        parameters = read_parameters(fields, self._problems)
        path = self._find(fields, around.folder, chain)
        if path is None:
            return None
        root = parse_document(read_text(path, self._problems), str(path), self._problems)
        nodes = root.get("nodes")
        if isinstance(nodes, YamlSequence):
            root = root.with_entry("nodes", substitute(nodes, parameters, self._problems))
        if self._host.environ is not None:
            root = expand(root, self._host.environ, self._problems)
        file = Fields(root, f"module {quote(path.name)}", self._problems)
        file.check_keys(MODULE_FILE)
        if not isinstance(root.get("nodes"), YamlSequence):
            self._problems.add(root.place, f"{file.owner} has no list of nodes", "add 'nodes:'")
        level = self.load_level(root.get("nodes"), f"{label}.", path.parent, (*chain, path))
        build = file.get("build")
        return Module(
            fields,
            *self._read_header(file, level),
            parameters,
            build if isinstance(build, YamlScalar) and not is_nothing(build) else None,
            level,
        )

    def _find(self, fields: Fields, folder: Path, chain: tuple[Path, ...]) -> Path | None:
        text, place = fields.text("module") or "", fields.place_of("module")
        what = f"'module' of {fields.owner}"
        if self._folder is None:
            self._problems.add(place, f"{what}: {quote(text)} is not looked for without a folder")
            return None
        path = (folder / text).resolve()
        if Path(text).is_absolute() or not path.is_relative_to(self._folder):
            hint = f"modules are in {self._folder} or below, and named from where the file is"
            self._problems.add(place, f"{what}: {quote(text)} is outside", hint)
        elif not path.is_file():
            names = [
                str(found.relative_to(folder))
                for found in folder.rglob("*")
                if found.suffix in _SUFFIXES
            ]
            hint = did_you_mean(text, names) or f"paths begin at {folder}"
            self._problems.add(place, f"{what}: no such file: {quote(text)}", hint)
        elif path in chain:
            circle = " -> ".join(one.name for one in (*chain[chain.index(path) :], path))
            self._problems.add(place, f"{what}: a module cannot contain itself: {circle}")
        elif len(chain) > MAX_LEVELS:
            self._problems.add(place, f"{what}: modules in modules, more than {MAX_LEVELS} levels")
        else:
            return path
        return None

    def _read_header(
        self, file: Fields, level: Level
    ) -> tuple[Mapping[str, bool], Mapping[str, str]]:
        value = file.get("module")
        if not isinstance(value, YamlMapping):
            what = f"{file.owner} does not say what it is"
            hint = "add 'module: {name: ..., inputs: [...], outputs: [...]}'"
            self._problems.add(file.place_of("module"), what, hint)
            return {}, {}
        header = Fields(value, f"'module' of {file.owner}", self._problems)
        header.check_keys(MODULE_HEADER)
        if not header.has("name"):
            self._problems.add(value.place, f"{header.owner} has no 'name'", "add 'name: ...'")
        inputs = dict.fromkeys(self._names(header, "inputs"), True)
        inputs |= dict.fromkeys(self._names(header, "inputs_optional"), False)
        outputs = {}
        for name in self._names(header, "outputs"):
            sources = list(_sources_of(name, level))
            # A reader of a missing one gets no problem of its own.
            outputs[name] = sources[0] if sources else name
            if len(sources) == 1:
                continue
            if sources:
                what = f"{len(sources)} of its nodes have an output of that name"
                hint = f"rename all but one of: {listing(sources)}"
            else:
                what = "none of its nodes has an output of that name"
                hint = f"its nodes are: {listing(level.ids())}"
            owner = f"output {quote(name)} of {file.owner}"
            self._problems.add(header.place_of("outputs"), f"{owner}: {what}", hint)
        return inputs, outputs

    def _names(self, header: Fields, key: str) -> list[str]:
        value = header.get(key)
        if value is None or is_nothing(value):
            return []
        if not isinstance(value, YamlSequence):
            what = f"{quote(key)} of {header.owner}: expected a list of names"
            self._problems.add(value.place, f"{what}, got {describe(value)}")
            return []
        names = [
            read_name(item, f"name in {quote(key)}", self._problems, is_port=True)
            for item in value.items
        ]
        return [name for name in names if name]


def _sources_of(name: str, level: Level) -> Iterator[str]:
    """Return the names in the whole dataflow of the outputs of this name of a module's nodes."""
    for item in level.items:
        node_id = _text(item.get("id"))
        if is_module_node(item):
            module = level.modules.get(node_id)
            if module is not None and name in module.outputs:
                yield module.outputs[name]
            continue
        for part in (item, item.get("operator"), item.get("custom")):
            if _has_output(part, name):
                yield f"{level.prefix}{node_id}/{name}"
        operators = item.get("operators")
        for operator in operators.items if isinstance(operators, YamlSequence) else ():
            if isinstance(operator, YamlMapping) and _has_output(operator, name):
                yield f"{level.prefix}{node_id}/{_text(operator.get('id'))}/{name}"


def _has_output(part: YamlValue | None, name: str) -> bool:
    outputs = part.get("outputs") if isinstance(part, YamlMapping) else None
    items = outputs.items if isinstance(outputs, YamlSequence) else ()
    return any(_text(name_and_options(item)[0]) == name for item in items)


def _text(value: YamlValue | None) -> str:
    return value.text if isinstance(value, YamlScalar) else ""
