"""The fork server: one interpreter that has imported what every node needs, and becomes nodes.

Executed in a child of the launcher, and not imported; `dora_rt.control.warm_start` talks to it:

    python -u fork_server.py LAUNCHER_PID SOCKET_FD PADDING

Each message on the socket is a JSON object behind its length, and brings descriptors. The first has
those that every node is to have, and the numbers that they have in the launcher. Each later one is
a request with two descriptors: where the node's output goes, and where its pid is to be told.
Nobody has threads when a request is served. The node is forked twice and its parent ends at once,
so that it becomes a child of the launcher (which is a subreaper at that moment) as one that was
started plainly; from then on the server has no part in it, and may die.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import gc
import importlib.machinery
import io
import json
import os
import runpy
import signal
import socket
import struct
import sys
import types
from pathlib import Path
from typing import Any, NoReturn

# What every node needs, and what takes the time.
import dora_rt.node  # noqa: F401
from dora_rt.control.trampoline import apply_setting, end_with_launcher

MARK_VARIABLE = "DORA_RT_FORK_SERVER"
LENGTH = struct.Struct("=I")


def main() -> None:
    """Serve until the launcher hangs up; the nodes that are forked return from here as well."""
    launcher, connection = int(sys.argv[1]), int(sys.argv[2])
    end_with_launcher(launcher)
    # Ignored, if the launcher was started with & by a script: the nodes shall be stopped by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The folder of this file is no place to import from.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    # What the kernel shows of the environment keeps it: so one can tell such processes.
    del os.environ[MARK_VARIABLE]
    show_as([sys.executable, "dora_rt", "fork", "server"])
    gc.collect()
    # Else the first collection of each node would write to, and so copy, what it shares.
    gc.freeze()
    with _equipped(socket.socket(fileno=connection)) as requests:
        request = _serve(requests)
    if request is None:
        # Nothing here is worth an orderly end, and the launcher waits for it.
        os._exit(0)
    _become(request, launcher)


def _equipped(requests: socket.socket) -> socket.socket:
    """Take what every node is to have, and give the socket, which may have to make room for it."""
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
    """Give a request in the process that is to answer it; None when there are no more."""
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


def _become(request: dict[str, Any], launcher: int) -> None:
    """Be the node: what `subprocess`, the trampoline and `python -u` do for one started plainly."""
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
    argv = request["argv"]
    show_as([sys.executable, "-u", *argv])
    for key, value in request["settings"]:
        apply_setting(key, value)
    if "numpy.random" in sys.modules:
        # Else all nodes would draw the same numbers.
        sys.modules["numpy.random"].seed()
    try:
        if argv[0] == "-m":
            _run_module(argv[1], argv[1:])
        else:
            _run_script(argv[0], argv)
    except SystemExit:
        raise
    except BaseException as error:
        # The frames of this file and of what it calls are not the user's.
        _report(error)


def _run_script(path: str, argv: list[str]) -> None:
    sys.argv = argv
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: {error}", file=sys.stderr)
        sys.exit(2)
    script = Path(path)
    _put_first(str((script.resolve() if script.is_symlink() else script).parent))
    module = types.ModuleType("__main__")
    module.__dict__.update(
        __file__=path,
        __builtins__=__builtins__,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
        __cached__=None,
    )
    sys.modules["__main__"] = module
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)


def _run_module(name: str, argv: list[str]) -> None:
    sys.argv = argv
    _put_first(str(Path.cwd()))
    sys.modules["__main__"] = types.ModuleType("__main__")
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _put_first(folder: str) -> None:
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, folder)


def _report(error: BaseException) -> NoReturn:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename in (
        __file__,
        "<frozen runpy>",
        runpy.__file__,
    ):
        traceback = traceback.tb_next
    error.__traceback__ = traceback
    sys.excepthook(type(error), error, traceback)
    sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)


def show_as(argv: list[str]) -> None:
    """Let `ps` and `pkill -f` find this process by a command line: overwrite the present one."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # arg_start and arg_end are fields 48 and 49 (proc(5)); the second, which may have blanks,
        # is the last in parentheses, and field 3 follows it.
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        room = end - start
        line = b"\0".join(os.fsencode(argument) for argument in argv)[: room - 1]
        if 0 < start < end:
            ctypes.memmove(start, line.ljust(room, b"\0"), room)


if __name__ == "__main__":
    main()
