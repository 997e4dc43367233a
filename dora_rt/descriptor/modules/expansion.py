"""Put the nodes of modules in the place of the nodes that stand for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dora_rt.descriptor.modules.module_files import Level, Module, ModuleLoader, is_module_node
from dora_rt.descriptor.tree.document import Kind, YamlMapping, YamlScalar, YamlSequence, YamlValue
from dora_rt.descriptor.tree.fields import is_nothing
from dora_rt.descriptor.tree.host import Host
from dora_rt.descriptor.tree.model import DYNAMIC, Build, Place
from dora_rt.descriptor.tree.problems import Problems, did_you_mean, listing, quote

_OWN_INPUT = "_mod"

# The inputs of a module by name, as the whole dataflow calls their sources; None: not wired.
_Wiring = Mapping[str, YamlValue | None]


def expand_modules(
    root: YamlMapping, host: Host, problems: Problems
) -> tuple[YamlMapping, tuple[Build, ...]]:
    """Write the modules of a dataflow out.

    Returns:
        The dataflow without modules, and what makes its modules ready to run.
    """
    nodes = root.get("nodes")
    if not isinstance(nodes, YamlSequence):
        return root, ()
    if not any(isinstance(item, YamlMapping) and is_module_node(item) for item in nodes.items):
        return root, ()
    folder = host.folder or Path()
    level = ModuleLoader(host.folder, host, problems).load_level(nodes, "", folder, ())
    writer = _Writer(folder, problems)
    items: list[YamlValue] = [one for one in nodes.items if not isinstance(one, YamlMapping)]
    items += writer.nodes(level, None, {})
    clock = writer.source(root.get("clock"), level)
    # Other problems may follow from those of a module.
    problems.raise_if_any()
    root = root if clock is None else root.with_entry("clock", clock)
    return root.with_entry("nodes", YamlSequence(tuple(items), nodes.place)), tuple(writer.builds)


def with_builds(root: YamlMapping, builds: Iterable[Build]) -> YamlMapping:
    """Return a dataflow whose modules were written out with their builds in it.

    The build of a module is put before that of its first node.
    """
    nodes = root.get("nodes")
    items = list(nodes.items) if isinstance(nodes, YamlSequence) else []
    for build in reversed(list(builds)):
        for position, item in enumerate(items):
            if not isinstance(item, YamlMapping):
                continue
            if _text(item.get("id")).startswith(f"{build.label}."):
                lines = [build.text.strip(), _text(item.get("build"))]
                text = "\n".join(filter(None, lines))
                items[position] = item.with_entry("build", _string(text, build.place))
                break
    return root.with_entry("nodes", YamlSequence(tuple(items), root.place))


class _Writer:
    """Writes the nodes of a level as the whole dataflow has them."""

    def __init__(self, folder: Path, problems: Problems) -> None:
        self.builds: list[Build] = []
        self._folder = folder
        self._problems = problems

    def nodes(
        self, level: Level, wiring: _Wiring | None, around: Mapping[str, str]
    ) -> list[YamlMapping]:
        """Write all nodes of a level.

        Args:
            level: the level.
            wiring: the inputs of the module that it is; None for the dataflow itself.
            around: the parameters of the modules around it, as variables.
        """
        nodes: list[YamlMapping] = []
        for item in level.items:
            node = self._with_inputs(item, level, wiring)
            if not is_module_node(item):
                nodes.append(node if wiring is None else _adapt(node, level, self._folder))
                continue
            module = level.modules.get(_text(item.get("id")))
            if module is not None:
                nodes += self._module(module, node, around)
        return nodes

    def source(self, value: YamlValue | None, level: Level) -> YamlValue | None:
        """Return a source that no input reads as the whole dataflow has it; None: there is none."""
        return None if value is None else self._resolve(value, level, None)

    def _module(
        self, module: Module, node: YamlMapping, around: Mapping[str, str]
    ) -> list[YamlMapping]:
        parameters = {**around, **module.parameters}
        if module.build is not None:
            label, env = module.level.prefix.removesuffix("."), tuple(parameters.items())
            self.builds.append(Build(label, module.build.text, env, module.build.place))
        given = node.get("inputs")
        entries = given.entries if isinstance(given, YamlMapping) else ()
        wiring: dict[str, YamlValue | None] = dict.fromkeys(module.inputs)
        for key, value in entries:
            if key.text not in module.inputs:
                hint = did_you_mean(key.text, module.inputs)
                names = listing(module.inputs) or "none"
                what = f"{module.node.owner}: its module has no input {quote(key.text)}"
                self._problems.add(key.place, what, hint or f"its inputs are: {names}")
            wiring[key.text] = value
        for name, is_required in module.inputs.items():
            if is_required and wiring[name] is None:
                what = f"{module.node.owner}: input {quote(name)} of its module is not wired"
                hint = f"add '{name}: <node>/<output>' to its inputs"
                self._problems.add(module.node.place_of("inputs"), what, hint)
        nodes = self.nodes(module.level, wiring, parameters)
        machine = node.get("machine")
        if machine is not None:
            nodes = [
                one if one.get("machine") is not None else one.with_entry("machine", machine)
                for one in nodes
            ]
        # From the inside to the outside: the key nearest to a node is the strongest.
        return [_with_env(one, module.parameters) for one in nodes]

    def _with_inputs(self, node: YamlMapping, level: Level, wiring: _Wiring | None) -> YamlMapping:
        """Resolve the sources of all inputs of a node, those of its operators included."""
        for key in ("operator", "custom"):
            part = node.get(key)
            if isinstance(part, YamlMapping):
                node = node.with_entry(key, self._with_inputs(part, level, wiring))
        operators = node.get("operators")
        if isinstance(operators, YamlSequence):
            items = (
                self._with_inputs(item, level, wiring) if isinstance(item, YamlMapping) else item
                for item in operators.items
            )
            node = node.with_entry("operators", YamlSequence(tuple(items), operators.place))
        node = self._with_calls(node, level, wiring)
        inputs = node.get("inputs")
        if not isinstance(inputs, YamlMapping):
            return node
        resolved = ((key, self._resolve(value, level, wiring)) for key, value in inputs.entries)
        entries = tuple((key, value) for key, value in resolved if value is not None)
        return node.with_entry("inputs", YamlMapping(entries, inputs.place))

    def _with_calls(self, node: YamlMapping, level: Level, wiring: _Wiring | None) -> YamlMapping:
        """Resolve the services that a node of a module calls: those of nodes beside it."""
        calls = node.get("calls")
        if wiring is None or not isinstance(calls, YamlMapping):
            return node
        entries = tuple(
            (key, _string(level.prefix + value.text, value.place))
            if isinstance(value, YamlScalar) and value.text.partition("/")[0] in level.ids()
            else (key, value)
            for key, value in calls.entries
        )
        return node.with_entry("calls", YamlMapping(entries, calls.place))

    def _resolve(self, value: YamlValue, level: Level, wiring: _Wiring | None) -> YamlValue | None:
        """Return an input as the whole dataflow has it; None if it is an optional one, unwired."""
        source = value.get("source") if isinstance(value, YamlMapping) else value
        if not isinstance(source, YamlScalar) or is_nothing(source):
            return value
        first, _, rest = source.text.partition("/")
        if wiring is not None and first == _OWN_INPUT:
            if rest in wiring:
                return _merge(value, wiring[rest])
            names = listing(wiring) or "none"
            what = f"{quote(source.text)}: the module has no input {quote(rest)}"
            self._problems.add(
                source.place, what, did_you_mean(rest, wiring) or f"its inputs are: {names}"
            )
            return None
        text = self._find(source, level, wiring)
        if text is None:
            return None
        named = YamlScalar(text, source.kind, source.place, source.is_expanded)
        return value.with_entry("source", named) if isinstance(value, YamlMapping) else named

    def _find(self, source: YamlScalar, level: Level, wiring: _Wiring | None) -> str | None:
        first, _, rest = source.text.partition("/")
        if first in level.modules:
            outputs = level.modules[first].outputs
            if rest in outputs:
                return outputs[rest]
            what = f"{quote(source.text)}: the module of node {quote(first)} has no such output"
            hint = did_you_mean(rest, outputs) or f"its outputs are: {listing(outputs) or 'none'}"
            self._problems.add(source.place, what, hint)
            return None
        if wiring is None:
            return source.text
        if first == "dora":
            *before, last = source.text.split("/")
            is_of_node = before[:2] == ["dora", "logs"] and len(before) == 3
            return f"{'/'.join(before)}/{level.prefix}{last}" if is_of_node else source.text
        if first in level.ids():
            return level.prefix + source.text
        what = f"{quote(source.text)}: the module has no node {quote(first)}"
        way_out = "it reads its own nodes, and _mod/<input> from outside"
        self._problems.add(source.place, what, did_you_mean(first, level.ids()) or way_out)
        return None


def _merge(inner: YamlValue, outer: YamlValue | None) -> YamlValue | None:
    """Return the source of the outer input with the options of both; inner ones are stronger."""
    if outer is None or not isinstance(inner, YamlMapping):
        return outer
    if not isinstance(outer, YamlMapping):
        return inner.with_entry("source", outer)
    for key, value in inner.entries:
        if key.text != "source":
            outer = outer.with_entry(key.text, value, key.place)
    return outer


def _adapt(node: YamlMapping, level: Level, folder: Path) -> YamlMapping:
    """Write a module's node for the dataflow around it: its names, and the paths of its files."""
    for key in ("id", "runtime"):
        value = node.get(key)
        if isinstance(value, YamlScalar):
            # A word such as 'on' is none that YAML knows any more.
            node = node.with_entry(key, _string(level.prefix + value.text, value.place))
    node = _with_paths(node, level, folder, ("path",))
    home = node.get("working_dir")
    if isinstance(home, YamlScalar) and home.text and not Path(home.text).is_absolute():
        path = str((level.folder / home.text).relative_to(folder))
        node = node.with_entry("working_dir", YamlScalar(path, home.kind, home.place))
    for key, path_key in (("custom", "source"), ("operator", "python")):
        part = node.get(key)
        if isinstance(part, YamlMapping):
            node = node.with_entry(key, _with_paths(part, level, folder, (path_key,)))
    operators = node.get("operators")
    if isinstance(operators, YamlSequence):
        items = (
            _with_paths(item, level, folder, ("python",)) if isinstance(item, YamlMapping) else item
            for item in operators.items
        )
        node = node.with_entry("operators", YamlSequence(tuple(items), operators.place))
    return node


def _with_paths(
    mapping: YamlMapping, level: Level, folder: Path, keys: tuple[str, ...]
) -> YamlMapping:
    for key in keys:
        value = mapping.get(key)
        if isinstance(value, YamlMapping):
            # python: {source: file.py}
            mapping = mapping.with_entry(key, _with_paths(value, level, folder, ("source",)))
        elif isinstance(value, YamlScalar) and _is_file(value.text, level.folder):
            path = str((level.folder / value.text).relative_to(folder))
            mapping = mapping.with_entry(key, YamlScalar(path, value.kind, value.place))
    return mapping


def _is_file(path: str, folder: Path) -> bool:
    """Return whether a path of a module's node is that of a file, and not a command on PATH."""
    if path == DYNAMIC or "://" in path or Path(path).is_absolute():
        return False
    return path.endswith(".py") or "/" in path or (folder / path).is_file()


def _with_env(node: YamlMapping, variables: Mapping[str, str]) -> YamlMapping:
    if not variables:
        return node
    env = node.get("env")
    if env is not None and not isinstance(env, YamlMapping) and not is_nothing(env):
        return node
    mapping = env if isinstance(env, YamlMapping) else YamlMapping((), node.place)
    for name, text in variables.items():
        if mapping.get(name) is None:
            mapping = mapping.with_entry(name, _string(text, mapping.place))
    return node.with_entry("env", mapping)


def _string(text: str, place: Place) -> YamlScalar:
    return YamlScalar(text, Kind.STRING, place, is_expanded=True)


def _text(value: YamlValue | None) -> str:
    return value.text if isinstance(value, YamlScalar) else ""
