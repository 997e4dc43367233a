"""Modules that the fork server has imported: for a node they are not there until it imports them.

A program looks at `sys.modules`, has a module of its own under a name that a library uses too, or
sets `OMP_NUM_THREADS` before it imports numpy. All that is as in a fresh interpreter if a module
appears when it is imported, where the path of that moment finds it, and with what it imports itself.
"""

from __future__ import annotations

import importlib.machinery
import itertools
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
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
        self._imports = imports
        self._filters = filters
        self._path = frozenset(sys.path)
        self._environ = dict(os.environ)
        self._cores = len(os.sched_getaffinity(0))

    def hide(self) -> None:
        """Let this process look as if nothing had been imported."""
        for name in self._modules:
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]

    def get(self, name: str) -> ModuleType | None:
        """Give a module, hidden or not."""
        return self._modules.get(name)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module of ours, unless the path of now leads to another one of that name."""
        module = self._modules.get(name)
        if module is None or name in sys.modules:  # being reloaded
            return None
        spec = self._find_otherwise(name, path, target)
        own = getattr(module, "__spec__", None)
        if spec is None or own is None or spec.origin != own.origin:
            return spec
        spec.loader = _Handover(self, module, spec.loader)
        return spec

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
        names = self._with_imported(name)
        before = [*itertools.takewhile(lambda entry: entry not in self._path, sys.path)]
        find = importlib.machinery.PathFinder.find_spec
        tops = {name.partition(".")[0] for name in names & self._modules.keys()}
        # Files of the program with the names of such modules are still to be found.
        specs = {top: find(top, before) for top in tops} if before else {}
        # Without an origin it is a folder, which counts only where there is no module.
        own = {top for top, spec in specs.items() if spec is not None and spec.origin}
        is_first = "numpy" not in sys.modules or name == "numpy"
        for other, module in self._modules.items():
            if other in names and other.partition(".")[0] not in own:
                sys.modules.setdefault(other, module)
        if is_first and sys.modules.get("numpy") is self._modules.get("numpy"):
            self._begin_numpy()

    def _with_imported(self, name: str) -> set[str]:
        """Give the names of a module and of all that it imports, and so on."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                parent = name.rpartition(".")[0]
                waiting += [*self._imports.get(name, ()), *([parent] if parent else [])]
        return found

    def _begin_numpy(self) -> None:
        """Do what numpy does at its import, and what depends on when and where that is."""
        for action, message, category, module, line in reversed(self._filters):
            text, where = (part and part.pattern for part in (message, module))
            warnings.filterwarnings(action, text or "", category, where or "", line)
        threads = _blas_threads(os.environ, len(os.sched_getaffinity(0)))
        if threads != _blas_threads(self._environ, self._cores):
            from dora_rt.control.blas import set_blas_threads

            set_blas_threads(threads)


class _Handover:
    """The loader of a module that was loaded before."""

    def __init__(self, warm: WarmModules, module: ModuleType, loader: Any) -> None:
        self._warm, self._module, self._loader = warm, module, loader
        self._spec = module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The machinery has put the spec of this handover there.
        module.__spec__ = self._spec
        self._warm.reveal(module.__name__)

    def __getattr__(self, name: str) -> Any:
        # Whoever asks for the source, or the code, gets it from who has it.
        return getattr(self._loader, name)


def _blas_threads(environ: Mapping[str, str], cores: int) -> int:
    """Tell how many threads OpenBLAS takes when it is loaded; as it reads its variables."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        text = environ.get(name, "").strip()
        digits = "".join(itertools.takewhile(str.isdigit, text))
        if digits and int(digits) > 0:
            return min(int(digits), cores)
    return cores
