"""Imports of operators: each finds the modules beside its own file, also where names repeat."""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

OPERATOR_PREFIX = "dora_rt_operator_"


class OperatorModules:
    """What operators of different folders import, each from its own.

    Python knows one module of a name. Where a name means different files, that of an operator is
    in `sys.modules` only as long as something in the operator's folder imports it.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        """Look after the folders of the operators of this process."""
        self._own: dict[str, dict[str, ModuleType]] = {folder: {} for folder in folders}
        self._apart: dict[str, frozenset[str]] = {}
        # Held by the thread that sees the modules of one operator.
        self._turn = threading.RLock()
        self._folder: str | None = None
        self._import, self._import_module = builtins.__import__, importlib.import_module

    def install(self) -> None:
        """Add the folders to the end of the path; operators search their own folder first."""
        sys.path += [folder for folder in self._own if folder not in sys.path]
        self._apart = {folder: _names_apart(folder, sys.path) for folder in self._own}
        if any(self._apart.values()):
            builtins.__import__ = self.import_name
            importlib.import_module = self.import_module

    def uninstall(self) -> None:
        """Restore the imports of Python."""
        builtins.__import__ = self._import
        importlib.import_module = self._import_module

    def import_name(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Do what `import` does, for a module with these globals."""
        importer = globals or {}
        top = (str(importer.get("__package__")) if level else name).partition(".")[0]
        with self._seen_from(importer, top):
            return self._import(name, globals, locals, fromlist or (), level)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """Do what `importlib.import_module` does, for the module that calls it."""
        top = (package or "" if name.startswith(".") else name).partition(".")[0]
        with self._seen_from(sys._getframe(1).f_globals, top):
            return self._import_module(name, package)

    @contextmanager
    def _seen_from(self, importer: Mapping[str, object], top: str) -> Iterator[None]:
        folder = self._folder_of(importer)
        if folder is None or top not in self._apart[folder]:
            yield
            return
        with self._turn:
            if self._folder == folder:
                yield
                return
            own, names, before = self._own[folder], self._apart[folder], self._folder
            others = _taken(names)
            sys.modules.update(own)
            sys.path.insert(0, folder)
            self._folder = folder
            try:
                yield
            finally:
                self._folder = before
                sys.path.remove(folder)
                own.update(_taken(names))
                sys.modules.update(others)

    def _folder_of(self, importer: Mapping[str, object]) -> str | None:
        """Return the operator's folder in which a module or its package is, else None."""
        file, name = importer.get("__file__"), str(importer.get("__name__"))
        if not isinstance(file, str):
            return None
        levels = 0 if name.startswith(OPERATOR_PREFIX) else name.count(".")
        for _ in range(1 + levels + ("__path__" in importer)):
            file = file.rpartition("/")[0]
        return file if file in self._own else None


def _taken(tops: frozenset[str]) -> dict[str, ModuleType]:
    """Remove these modules and their submodules from `sys.modules`, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] in tops]
    return {name: sys.modules.pop(name) for name in names}


def _names_apart(folder: str, path: Sequence[str]) -> frozenset[str]:
    """Name what means something else in a folder than where the path leads."""
    try:
        files = {file.name.partition(".")[0] for file in Path(folder).iterdir()}
    except OSError:
        return frozenset()
    # What all have imported already is one for all, as the standard library is.
    names = (files - sys.stdlib_module_names) - sys.modules.keys()
    return frozenset(
        name for name in names if name.isidentifier() and _is_apart(name, folder, path)
    )


def _is_apart(name: str, folder: str, path: Sequence[str]) -> bool:
    find = importlib.machinery.PathFinder.find_spec
    own, found = find(name, [folder]), find(name, path)
    if own is None or found is None:
        return False
    if own.origin is not None:
        return found.origin != own.origin
    # A folder without an __init__.py: it is nothing beside a module, and others are merged with it.
    parts = [*(found.submodule_search_locations or ())]
    return found.origin is None and parts != [*(own.submodule_search_locations or ())]
