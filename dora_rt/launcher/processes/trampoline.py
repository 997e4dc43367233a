"""Tie a node to the life of its launcher, apply its resources, and become its program.

Executed in the child (the fork server does the same by its functions):

    python -I -S trampoline.py LAUNCHER_PID [KEY=VALUE]... -- PROGRAM ARGUMENT...

It is a program of its own because nothing but exec is safe between fork and exec; and it imports
next to nothing, because every node waits for it.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_SIGINT, _SIGKILL, _SIGPIPE, _SIGXFSZ = 2, 9, 13, 25
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
# Made once: the fork server has it ready for each node.
_LIBC = ctypes.CDLL(None)


def main() -> None:
    """Become the program."""
    end = sys.argv.index("--")
    launcher, *settings = sys.argv[1:end]
    program = sys.argv[end + 1 :]
    end_with_launcher(int(launcher))
    # Ignored, if the launcher was started with & by a script: the node shall be stopped by it.
    _reset(_SIGINT)
    for setting in settings:
        apply_setting(*setting.split("=", 1))
    # This interpreter ignores them, and what is ignored stays so in the next program.
    for number in (_SIGPIPE, _SIGXFSZ):
        _reset(number)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        _warn(f"cannot execute {program[0]}: {error.strerror}")
        os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)


def _reset(number: int) -> None:
    _LIBC.signal(number, None)


def end_with_launcher(launcher: int) -> None:
    """Let the kernel end this process when its launcher, its parent, ends."""
    # Also a node in a C call that keeps the GIL must not outlive its launcher, so it is the kernel
    # that ends it. It does so when the *thread* ends that started it: nodes start in the main one.
    _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != launcher:
        # It died before it could be asked for.
        os._exit(1)


def apply_setting(key: str, value: str) -> None:
    """Apply one resource setting to this process, or warn that it cannot be had."""
    try:
        if key == "nice":
            os.setpriority(os.PRIO_PROCESS, 0, int(value))
        elif key == "cpu_affinity":
            os.sched_setaffinity(0, [int(core) for core in value.split(",")])
        elif key == "priority":
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(value)))
        elif key == "memory_limit":
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (int(value), int(value)))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        _warn(f"warning: {key} {value} cannot be had here: {reason}; going on without it")


def _warn(text: str) -> None:
    sys.stderr.write(f"dora_rt: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
