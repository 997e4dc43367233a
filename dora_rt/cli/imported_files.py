"""The files that a node is made of: its script or module, and what that imports beside it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from dora_rt.run_status import OperatorProgram, Program

_LIBRARIES = {"site-packages", "dist-packages"}


def source_files(program: Program) -> set[Path]:
    """List the files of a program, as a run describes it; nothing of it is imported."""
    folder = Path(program.folder)
    found: set[Path] = set()
    begins = [_Module.of_operator(operator, folder) for operator in program.operators]
    # The command of operators is their runtime, which is not the user's code.
    begins = begins or [_Module.of_command(program.argv, folder)]
    for begin in begins:
        if begin is not None:
            _collect(begin, found)
    return found


class _Module:
    """A file, the folders in which its imports are looked for, and its package, if it has one."""

    def __init__(self, path: Path, roots: Sequence[Path], package: Path | None = None) -> None:
        self.path = path
        self.roots = roots
        self.package = package

    @classmethod
    def of_command(cls, argv: Sequence[str], folder: Path) -> _Module | None:
        words = list(argv)
        if len(words) >= 3 and words[1:3] == ["-u", "-m"]:
            return cls.of_name(words[3], folder) if len(words) > 3 else None
        if len(words) >= 3 and words[1] == "-u":
            path = folder / words[2]
            return cls(path, [path.parent])
        return cls(folder / words[0], []) if words else None

    @classmethod
    def of_operator(cls, operator: OperatorProgram, folder: Path) -> _Module | None:
        if operator.path is not None:
            path = folder / operator.path
            return cls(path, [path.parent, folder])
        return cls.of_name(str(operator.module), folder)

    @classmethod
    def of_name(cls, name: str, folder: Path) -> _Module | None:
        """Find a module as `python -m` does in a folder; None if it is not the user's code."""
        top, *rest = name.split(".")
        spec = _own_spec(top, [folder]) or _installed_spec(top)
        package = None
        for part in rest:
            if spec is None or not spec.submodule_search_locations:
                return None
            package = Path(next(iter(spec.submodule_search_locations)))
            spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
        if spec is not None and spec.submodule_search_locations and rest:
            package = Path(next(iter(spec.submodule_search_locations)))
            spec = PathFinder.find_spec("__main__", [str(package)]) or spec
        path = _file_of(spec)
        return None if path is None else cls(path, [folder], package)


def _collect(module: _Module, found: set[Path]) -> None:
    if module.path in found or not module.path.is_file():
        return
    if _LIBRARIES & set(module.path.parts):
        return
    found.add(module.path)
    if module.path.suffix == ".py":
        for imported in _imports(module):
            _collect(imported, found)


def _imports(module: _Module) -> Iterator[_Module]:
    """Yield the modules that a file imports from its own folder or package."""
    try:
        tree = ast.parse(module.path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # half written: what it imports is seen once it is whole
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield from _resolve(alias.name.split("."), module.roots, module.roots)
        elif isinstance(statement, ast.ImportFrom):
            words = statement.module.split(".") if statement.module else []
            places = module.roots
            if statement.level:
                base = module.package or module.path.parent
                places = [base, *base.parents][statement.level - 1 : statement.level]
            for alias in statement.names:
                # What is imported may be a module itself, or something in one.
                yield from _resolve([*words, alias.name], places, module.roots)


def _resolve(
    words: Sequence[str], places: Sequence[Path], roots: Sequence[Path]
) -> Iterator[_Module]:
    """Yield the files on the way to a dotted name, each package's `__init__.py` included."""
    package: Path | None = None
    for word in words:
        spec = _own_spec(word, places)
        path = _file_of(spec)
        if spec is None:
            return
        if spec.submodule_search_locations:
            package = Path(next(iter(spec.submodule_search_locations)))
            places = [package]
        if path is not None:
            yield _Module(path, roots, package or path.parent)


def _own_spec(name: str, places: Sequence[Path]) -> ModuleSpec | None:
    return PathFinder.find_spec(name, [str(place) for place in places])


def _installed_spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _file_of(spec: ModuleSpec | None) -> Path | None:
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
