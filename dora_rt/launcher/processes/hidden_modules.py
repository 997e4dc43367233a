"""Modules that the fork server has imported: for a node they are not there until it imports them.

A program looks at `sys.modules`, has a module of its own under a name that a library uses too, or
sets `OMP_NUM_THREADS` before it imports numpy. All that is as in a fresh interpreter if a module
appears when it is imported, where the path of that moment finds it, with what it imports itself.
"""

from __future__ import annotations

import importlib.machinery
import itertools
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


class WarmModules:
    """A finder, the first on `sys.meta_path`, that hands over what was imported before."""

    def __init__(
        self, fresh: Iterable[str], imports: Mapping[str, set[str]], filters: Sequence[Any]
    ) -> None:
        """Look at what is imported.

        Args:
            fresh: the names that every program finds in `sys.modules`.
            imports: of each module the names of those that it imports.
            filters: of `warnings`, that numpy has made.
        """
        known = set(fresh)
        self._modules = {name: own for name, own in sys.modules.items() if name not in known}
        self._imports = {
            name: [*self._modules.keys() & {*imports.get(name, ()), name.rpartition(".")[0]}]
            for name in self._modules
        }
        # Once, before there are nodes, for what they all import.
        self._revealed: dict[str, dict[str, ModuleType]] = {}
        for name in ("numpy", "dora_rt.node.node"):
            self._revealed[name] = self._with_imported(name)
        self._tops = {name.partition(".")[0] for name in self._modules}
        self._searched: list[str] = []
        self._own: set[str] = set()
        self._filters = filters
        self._path, self._finders = sys.path.copy(), sys.meta_path.copy()
        self._environ = dict(os.environ)
        self._cores = len(os.sched_getaffinity(0))

    def hide(self) -> None:
        """Let this process look as if nothing had been imported."""
        for name in self._modules:
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module of ours, unless the path of now leads to another one of that name."""
        module = self._modules.get(name)
        if module is None or name in sys.modules:  # being reloaded
            return None
        own = getattr(module, "__spec__", None)
        if own is None or not self._is_found_as_before(name):
            found = self._find_otherwise(name, path, target)
            if found is None or own is None or found.origin != own.origin:
                return found
        loader: Any = _Handover(self, module, own)
        spec = importlib.machinery.ModuleSpec(name, loader, origin=own.origin)
        spec.submodule_search_locations = own.submodule_search_locations
        spec.has_location, spec.cached = own.has_location, own.cached
        return spec

    def _is_found_as_before(self, name: str) -> bool:
        """Whether a name still leads to the same module, without a look at its files."""
        front = len(sys.path) - len(self._path)
        return (
            sys.path[max(front, 0) :] == self._path
            and [finder for finder in sys.meta_path if finder is not self] == self._finders
            and name.partition(".")[0] not in self._own_names()
        )

    def _find_otherwise(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and (find_spec := getattr(finder, "find_spec", None)):
                spec: importlib.machinery.ModuleSpec | None = find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None

    def reveal(self, name: str) -> None:
        """Put beside a module, which has been imported just now, all that it imports."""
        is_first = "numpy" not in sys.modules or name == "numpy"
        own = self._own_names()
        for other, module in self._with_imported(name).items():
            if not own or other.partition(".")[0] not in own:
                sys.modules.setdefault(other, module)
        if is_first and sys.modules.get("numpy") is self._modules.get("numpy"):
            self._begin_numpy()

    def _with_imported(self, name: str) -> dict[str, ModuleType]:
        """Return a module and all that it imports, directly or not."""
        if name in self._revealed:
            return self._revealed[name]
        found: dict[str, ModuleType] = {}
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self._modules[name]
                waiting += self._imports[name]
        return found

    def _own_names(self) -> set[str]:
        """Return the names for which the program has files of its own, which must be found."""
        known = self._path
        path = [*itertools.takewhile(lambda entry: entry not in known, sys.path)]
        if path == self._searched:
            return self._own
        own = set()
        for entry in path:
            try:
                with os.scandir(entry or ".") as files:
                    names = {file.name.partition(".")[0] for file in files}
            except OSError:
                continue  # an archive, or nothing at all
            for name in names & self._tops:
                spec = importlib.machinery.PathFinder.find_spec(name, [entry])
                # Without an origin it is a folder, which counts only where there is no module.
                if spec is not None and spec.origin:
                    own.add(name)
        self._searched, self._own = path, own
        return own

    def _begin_numpy(self) -> None:
        """Do what numpy does at its import, and what depends on that moment."""
        if self._filters:
            (action, message, category, module, line), *others = self._filters
            filters: Any = warnings.filters
            filters[:0] = others
            # The last one so that `warnings` notices.
            text, where = (part.pattern if part else "" for part in (message, module))
            warnings.filterwarnings(action, text, category, where, line)
        if random := sys.modules.get("numpy.random"):
            # Else all nodes would draw the same numbers.
            random.seed()
        threads = _blas_threads(os.environ, len(os.sched_getaffinity(0)))
        if threads != _blas_threads(self._environ, self._cores):
            set_blas_threads(threads)


class _Handover:
    """The loader of a module that was loaded before."""

    def __init__(
        self, warm: WarmModules, module: ModuleType, spec: importlib.machinery.ModuleSpec
    ) -> None:
        self._warm, self._module, self._spec = warm, module, spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The machinery has put the spec of this handover there.
        module.__spec__ = self._spec
        self._warm.reveal(module.__name__)

    def __getattr__(self, name: str) -> Any:
        # Whoever asks for the source, or the code, gets it from who has it.
        return getattr(self._spec.loader, name)


def _blas_threads(environ: Mapping[str, str], cores: int) -> int:
    """Return the number of threads that OpenBLAS takes at its start, by its variables."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        text = environ.get(name, "").strip()
        digits = "".join(itertools.takewhile(str.isdigit, text))
        if digits and int(digits) > 0:
            return min(int(digits), cores)
    return cores


# As numpy's own wheels, Debian and conda name it.
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def set_blas_threads(count: int) -> bool:
    """Limit each OpenBLAS of this process to so many threads; return whether there is one."""
    # Not before a node needs it: a fresh interpreter has not imported it either.
    import ctypes

    is_set = False
    for path in _libraries():
        library = ctypes.CDLL(path)
        for name in _SETTERS:
            if hasattr(library, name):
                getattr(library, name)(count)
                is_set = True
                break
    return is_set


def _libraries() -> list[str]:
    paths = set()
    for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
        path = line.partition("/")[2]
        # Debian's alternatives hide it behind the name of the interface.
        if "blas" in path.rpartition("/")[2]:
            paths.add(f"/{path}")
    return sorted(paths)
