"""The fork server: one interpreter that has imported what every node needs, and becomes nodes.

Executed in a child of the launcher, and not imported; `fork_client` beside it talks to it:

    python -u fork_server.py LAUNCHER_PID SOCKET_FD PADDING

Each message on the socket is a JSON object behind its length, and brings descriptors. The first has
those that every node is to have, and the numbers that they have in the launcher. Each later one is
a request with two descriptors: where the node's output goes, and where its pid is to be told.
Nobody has threads when a request is served. The node is forked twice and its parent ends at once,
so that it becomes a child of the launcher (which is a subreaper at that moment) as one that was
started plainly; from then on the server has no part in it, and may die.

A node is to be what a freshly started interpreter is, as far as its program can see.
`tests/fault/test_fresh_start.py` compares, and lists what differs.
"""

import builtins
import sys

# Before any other import, be it one of __future__.
_FRESH = frozenset(sys.modules)
_imports: dict[str, set[str]] = {}
_under_way: list[str] = []
_import = builtins.__import__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def _recorded_import(
    name: str,
    globals: "Mapping[str, object] | None" = None,
    locals: "Mapping[str, object] | None" = None,
    fromlist: "Sequence[str] | None" = (),
    level: int = 0,
) -> object:
    """Import, and note what each module imports; before the first module that is worth a note."""
    importer = globals or {}
    own, base = str(importer.get("__name__")), name
    if level:
        package = str(importer.get("__package__") or own)
        base = ".".join([*package.split(".")[: 1 - level or None], *([name] if name else [])])
    if not getattr(importer.get("__spec__"), "_initializing", False) and _under_way:
        # By a function, for who is being imported and has called it.
        own = _under_way[-1]
    before = len(sys.modules)
    _under_way.append(base)
    try:
        module = _import(name, globals, locals, fromlist or (), level)
    finally:
        _under_way.pop()
    _imports.setdefault(own, set()).update([base, *(f"{base}.{part}" for part in fromlist or ())])
    if len(sys.modules) > before:
        # Also what came by `importlib`, or out of C.
        new = [*sys.modules][before:]
        _imports.setdefault(base if base in new else own, set()).update(new)
    return module


builtins.__import__ = _recorded_import  # type: ignore[assignment]

import warnings

with warnings.catch_warnings():
    _filters = len(warnings.filters)
    # What every node needs, and what takes the time.
    import dora_rt.node.node  # noqa: F401

    _filters_of_numpy = [*warnings.filters[: len(warnings.filters) - _filters]]

import array
import ctypes
import fcntl
import gc
import importlib.machinery
import io
import json
import os
import re
import runpy
import signal
import socket
import stat
import struct
import threading
import time
import types
from pathlib import Path
from typing import Any

from dora_rt.launcher.processes.hidden_modules import WarmModules
from dora_rt.launcher.processes.trampoline import apply_setting, end_with_launcher

builtins.__import__ = _import

MARK_VARIABLE = "DORA_RT_FORK_SERVER"
LENGTH = struct.Struct("=I")
_ARCHIVE = b"\0"  # no source has this byte
_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
# What a library reads when it is loaded, and a program therefore sets before: too late here.
_LIBRARY_VARIABLE = re.compile(rb"\b(?:(?:BLIS|GOTO|KMP|MKL|NPY|OMP|OPENBLAS)_[A-Z]|OPENSSL_CONF)")


def main() -> str | tuple[bytes, dict[str, Any]]:
    """Serve until the launcher hangs up; a node that is forked returns from here as well."""
    launcher, connection = int(sys.argv[1]), int(sys.argv[2])
    end_with_launcher(launcher)
    # Ignored, if the launcher was started with & by a script: the nodes shall be stopped by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The folder of this file is no place to import from.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    # What the kernel shows of the environment keeps it: so one can tell such processes.
    del os.environ[MARK_VARIABLE]
    command_line = CommandLine.find()
    command_line.show([sys.executable, "dora_rt", "fork", "server"], is_final=False)
    modules = WarmModules(_FRESH, _imports, _filters_of_numpy)
    # Here, and not in each node, which would write to what it shares.
    modules.hide()
    gc.collect()
    # Else the first collection of each node would write to, and so copy, what it shares.
    gc.freeze()
    with _equipped(socket.socket(fileno=connection)) as requests:
        request = _serve(requests)
    if request is None:
        # Nothing here is worth an orderly end, and the launcher waits for it.
        os._exit(0)
    return _become(request, launcher, command_line)


def _equipped(requests: socket.socket) -> socket.socket:
    """Take the descriptors of every node, and return the socket, which may have moved for them."""
    head, descriptors = _receive_head(requests)
    if len(head) < LENGTH.size:
        return requests
    text = requests.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL)
    numbers = json.loads(text)["descriptors"]
    free = max(numbers, default=2) + 1
    with requests:
        moved = socket.socket(fileno=fcntl.fcntl(requests, fcntl.F_DUPFD_CLOEXEC, free))
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, free) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(aside, numbers, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    return moved


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Return a request in the process that answers it; None when there are no more."""
    while True:
        head, descriptors = _receive_head(requests)
        if len(head) < LENGTH.size:
            return None
        text = requests.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL)
        output, answer = descriptors
        hold_read, hold_write = os.pipe()
        middle = os.fork()
        if not middle:
            if os.fork():
                os._exit(0)
            os.close(hold_write)
            # Closed at the other end once the process between has ended.
            os.read(hold_read, 1)
            os.close(hold_read)
            return {**json.loads(text), "output": output, "answer": answer}
        os.close(hold_read)
        os.waitpid(middle, 0)
        for descriptor in (hold_write, output, answer):
            os.close(descriptor)


def _receive_head(requests: socket.socket) -> tuple[bytes, list[int]]:
    descriptors = array.array("i")
    space = socket.CMSG_SPACE(2 * descriptors.itemsize)
    head, ancillary, _, _ = requests.recvmsg(LENGTH.size, space)
    for _, _, data in ancillary:
        descriptors.frombytes(data[: len(data) // descriptors.itemsize * descriptors.itemsize])
    return head, descriptors.tolist()


def _become(
    request: dict[str, Any], launcher: int, command_line: "CommandLine"
) -> str | tuple[bytes, dict[str, Any]]:
    """Be the node: what `subprocess`, the trampoline and `python -u` do for one started plainly.

    Returns:
        The module that is the program, or the source of the script and its namespace.
    """
    os.setsid()
    end_with_launcher(launcher)
    # As soon as it can be signalled as a group: whatever ends it from now on, its launcher knows.
    os.write(request["answer"], str(os.getpid()).encode())
    os.close(request["answer"])
    for descriptor in (1, 2):
        os.dup2(request["output"], descriptor)
    os.close(request["output"])
    os.chdir(request["folder"])
    os.environ.update(request["variables"])
    # An interpreter does so at its start, and `TZ` may be among the variables.
    time.tzset()
    if set_native_id := getattr(threading.main_thread(), "_set_native_id", None):
        # Before Python 3.13 a fork leaves it as it was.
        set_native_id()
    argv = request["argv"]
    sys.orig_argv = [sys.executable, "-u", *argv]
    command_line.show(sys.orig_argv, is_final=True)
    for key, value in request["settings"]:
        apply_setting(key, value)
    source = None if argv[0] == "-m" else _read_script(argv[0])
    main_module = types.ModuleType("__main__")
    main_module.__dict__.update(
        __builtins__=builtins, __loader__=importlib.machinery.BuiltinImporter
    )
    if sys.version_info < (3, 14):
        main_module.__annotations__ = {}
    sys.modules["__main__"] = main_module
    if source is None:
        sys.argv = ["-m", *argv[2:]]
        _put_first(str(Path.cwd()))
        return str(argv[1])
    sys.argv = argv
    _put_first(_folder_of(argv[0]))
    main_module.__dict__.update(
        __file__=argv[0],
        __cached__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", argv[0]),
    )
    return source, main_module.__dict__


def _folder_of(path: str) -> str:
    # Not by pathlib if it can be helped: it costs more than all the rest of this.
    if stat.S_ISLNK(os.lstat(path).st_mode):
        return str(Path(path).resolve().parent)
    return path.rpartition("/")[0] or str(Path.cwd())


def _read_script(path: str) -> bytes:
    """Return the source of a script, or become a fresh interpreter if it needs one."""
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError:
        # A folder with a __main__.py; or nothing, which the interpreter says in its own words.
        source = _ARCHIVE
    if _ARCHIVE in source or _LIBRARY_VARIABLE.search(source):
        # This interpreter ignores them, and what is ignored stays so in the next program.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execv(sys.executable, sys.orig_argv)
    return source


def _put_first(folder: str) -> None:
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, folder)


class CommandLine:
    """What `ps` and `pkill -f` find this process by, overwritten by something else.

    Its place in memory is that of the server in all nodes, and looked up once.
    """

    def __init__(self, fields: dict[int, int]) -> None:
        """Overwrite the range that these fields of proc(5) name; do nothing without them."""
        self._fields = fields
        libc = ctypes.CDLL(None)
        self._sbrk, self._prctl = libc.sbrk, libc.prctl
        self._sbrk.restype = ctypes.c_void_p

    @classmethod
    def find(cls) -> "CommandLine":
        """Find the command line of this process."""
        try:
            text = Path("/proc/self/stat").read_bytes()
        except OSError:
            return cls({})
        # The second field may have blanks, and is the last in parentheses.
        words = text.rpartition(b")")[2].split()
        return cls({number: int(word) for number, word in enumerate(words[1:], 4)})

    def show(self, argv: list[str], *, is_final: bool) -> None:
        """Show `argv`, as far as there is room; `is_final`: nothing else will be shown."""
        start, end = self._fields.get(48, 0), self._fields.get(49, 0)  # arg_start, arg_end
        if not 0 < start < end:
            return
        line = b"\0".join(os.fsencode(argument) for argument in argv)[: end - start - 1] + b"\0"
        ctypes.memmove(start, line.ljust(end - start, b"\0"), end - start)
        if is_final:
            self._end_at(start + len(line))

    def _end_at(self, end: int) -> None:
        # Else whoever splits the line at its zeros finds a thousand empty arguments. Kernels
        # without CONFIG_CHECKPOINT_RESTORE refuse.
        fields = self._fields
        # struct prctl_mm_map: start_code, end_code, start_data, end_data, start_brk, brk,
        # start_stack, arg_start, arg_end, env_start, env_end; neither another auxiliary vector nor
        # another executable.
        places = [*(fields[number] for number in (26, 27, 45, 46, 47)), self._sbrk(0), fields[28]]
        places += [fields[48], end, fields[50], fields[51]]
        layout = struct.pack("=12QII", *places, 0, 0, 0xFFFFFFFF)
        size, nothing = ctypes.c_ulong(len(layout)), ctypes.c_ulong(0)
        self._prctl(_PR_SET_MM, _PR_SET_MM_MAP, layout, size, nothing)


def _show_without_own_frames() -> None:
    """Let the interpreter show an uncaught exception as it does for a plain program."""
    hook = sys.excepthook

    def show(
        kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None
    ) -> None:
        sys.excepthook = hook
        while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
            traceback = traceback.tb_next
        error.__traceback__ = traceback
        hook(kind, error, traceback)

    sys.excepthook = show


if __name__ == "__main__":
    _program = main()
    # Here, and in no function, so that hardly anything is below the frames of the program.
    try:
        if isinstance(_program, str):
            # Again: for the program, too, it is there.
            import runpy

            runpy._run_module_as_main(_program)  # type: ignore[attr-defined]
        else:
            exec(compile(_program[0], sys.argv[0], "exec", dont_inherit=True), _program[1])
    except SystemExit:
        raise
    except BaseException:
        _show_without_own_frames()
        raise
