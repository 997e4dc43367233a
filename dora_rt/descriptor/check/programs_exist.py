"""Check that the programs that a dataflow names are there; nothing is executed."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import stat
import warnings
from pathlib import Path

from dora_rt.descriptor.check import first_line
from dora_rt.descriptor.check.compiled_programs import OWN_NODES, is_compiled_for_dora
from dora_rt.descriptor.tree.home_folder import NO_HOME
from dora_rt.descriptor.tree.model import Descriptor, Operator, Program
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.spelling import closest

_MAX_SOURCE_NBYTES = 16 * 1024 * 1024


def check_files(
    descriptor: Descriptor,
    folder: Path,
    search_path: str | None,
    problems: Problems,
    *,
    is_built: bool,
) -> None:
    """Report programs, operator files and modules that do not exist or cannot run.

    Args:
        descriptor: what names them.
        folder: of the dataflow file.
        search_path: PATH, for commands.
        problems: where to report.
        is_built: False to pass over the nodes that have a `build:`.
    """
    # Of a node, of an operator of it, or of a module around it.
    labels = {build.label.partition("/")[0] for build in descriptor.builds}
    for node in descriptor.nodes:
        has_build = any(f"{node.id}.".startswith(f"{label}.") for label in labels)
        if has_build and not is_built:
            continue
        for part in (node.program, *node.operators):
            if part is None:
                continue
            try:
                if part.module is not None:
                    # Python looks there for it.
                    _check_module(part.module, folder / (node.resources.working_dir or ""))
                elif node.is_dynamic:
                    continue
                elif part.path is not None and isinstance(part, Program):
                    own_path = dict(node.env).get("PATH")
                    _check_program(part.path, folder, own_path or search_path)
                elif part.path is not None:
                    _check_python(part.path, folder)
            except MalformedError as error:
                owner = f"node {quote(node.id)}"
                if isinstance(part, Operator) and part.id is not None:
                    owner = f"operator {quote(f'{node.id}/{part.id}')}"
                hint = error.hint
                if has_build:
                    way_out = f"if its 'build' makes it: dora-rt build {descriptor.file}"
                    is_guess = hint.startswith("did you mean")
                    hint = f"{hint} Or, {way_out}" if is_guess else way_out
                problems.add(part.place, f"{owner}: {error.what}", hint)


def _check_program(path: str, folder: Path, search_path: str | None) -> None:
    # The plan decides in the same way: what ends in .py is always a file beside the dataflow.
    if path.endswith(".py"):
        _check_python(path, folder)
        return
    is_name = "/" not in path
    if is_name and not _is_file(folder / path):
        found = shutil.which(path, path=search_path)
        if found is not None:
            _check_not_compiled_for_dora(Path(found), path)
            _check_first_line(Path(found), path)
            return
        if not _is_folder(folder / path):
            raise MalformedError(
                f"no file {quote(path)} beside the dataflow file, and no command of that name",
                _nearest(path, folder, otherwise="is its package installed?"),
            )
    file = _existing_file(path, folder)
    if not os.access(file, os.X_OK):
        raise MalformedError(
            f"{quote(path)} is neither a .py file nor executable",
            f"run: chmod +x {shlex.quote(str(file))}",
        )
    _check_not_compiled_for_dora(file, path)
    _check_first_line(file, path)


def _check_first_line(file: Path, path: str) -> None:
    obstacle = first_line.find_obstacle(file)
    if obstacle is not None:
        raise MalformedError(f"{quote(path)} cannot be executed: {obstacle.what}", obstacle.hint)


def _check_not_compiled_for_dora(file: Path, path: str) -> None:
    # It would start, find no daemon of dora, and keep the others waiting until it has given up.
    if not is_compiled_for_dora(file):
        return
    own = OWN_NODES.get(file.name)
    raise MalformedError(
        f"{quote(path)} is a compiled program for dora (C, C++ or Rust)",
        "only Python programs take part; write it in Python, or let a node of yours start it "
        "and talk to it"
        if own is None
        else f"only Python programs take part; this node is here as well: module: {own}",
    )


def _check_python(path: str, folder: Path) -> None:
    _compile(_existing_file(path, folder), path)


def _check_module(module: str, folder: Path) -> None:
    # Only the first name: looking further means to import, and so to execute, the package.
    name = module.partition(".")[0]
    if _is_folder(folder / name) or _is_file(folder / f"{name}.py"):
        return
    try:
        is_found = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        is_found = False
    if not is_found:
        raise MalformedError(
            f"no module {quote(name)} in this Python",
            "install it, or run dora-launch in the environment that has it",
        )


def _existing_file(path: str, folder: Path) -> Path:
    file = folder / path
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        raise MalformedError(f"no such file: {quote(path)}", _nearest(path, folder)) from None
    except OSError as error:
        raise MalformedError(f"cannot read {quote(path)}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise MalformedError(f"{quote(path)} is a folder", "name a file in it")
    if not stat.S_ISREG(mode):
        raise MalformedError(f"{quote(path)} is not a regular file")
    return file


def _compile(file: Path, shown: str) -> None:
    try:
        with file.open("rb") as opened:
            source = opened.read(_MAX_SOURCE_NBYTES)
    except OSError as error:
        raise MalformedError(f"cannot read {quote(shown)}: {error.strerror}") from None
    try:
        with warnings.catch_warnings():
            # What Python thinks of the node's style is the node's business when it starts.
            warnings.simplefilter("ignore")
            compile(source, str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"{shown}:{error.lineno or 1}:{error.offset or 1}"
        raise MalformedError(f"syntax error in {place}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise MalformedError(f"{quote(shown)} is not Python: {error}") from None


def _nearest(path: str, folder: Path, *, otherwise: str = "") -> str:
    if path.startswith("~"):
        return NO_HOME
    if " " in path:
        return "if the rest are arguments, write them in 'args'"
    parent = Path(path).parent
    try:
        names = [str(parent / found.name) for found in (folder / parent).iterdir()]
    except (OSError, ValueError):
        names = []
    otherwise = otherwise or f"paths begin at {folder.absolute()}"
    # Strict, because the same ending already makes any two file names similar.
    match = closest(path.removeprefix("./"), names, similarity=0.75)
    return f"did you mean {quote(match)}?" if match is not None else otherwise


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
