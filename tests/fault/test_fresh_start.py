"""A forked node is a freshly started interpreter: one script, run in both ways, sees the same.

What differs is in `DIFFERENCES`, each with the reason why it has to.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from dora_rt.launcher.processes.fork_client import WarmStart
from tests.harness.flow import Flow
from tests.harness.ring import Reader, plan_of

# Whatever begins with PYTHON is read at the start of an interpreter only.
PLAIN = "env: {PYTHONNODEBUGRANGES: ''}"

DIFFERENCES = {
    "finders": "the first one hands over what the fork server has imported",
    "frames": "the frame of fork_server.py is below: nothing but the interpreter runs without one",
    "frozen objects": "the collector leaves alone what all nodes share",
    "threads": "OpenBLAS starts its threads at its first use after the fork, and not when loaded",
    "reducers": "numpy has told pickle already how its objects are pickled",
    "kernel's environ": "what /proc shows is the environment that the fork server began with",
}


@pytest.fixture(autouse=True)
def threads_of_openblas_are_those_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")


WORLD = """
import sys

world = {"modules at start": sorted(sys.modules)}
frame, frames = sys._getframe(), []
while frame is not None:
    frames.append(frame.f_code.co_filename.rpartition("/")[2])
    frame = frame.f_back
world["frames"] = frames
world["finders"] = [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path]
world["path hooks"] = [hook.__qualname__ for hook in sys.path_hooks]
for name in ("argv", "orig_argv", "path", "flags", "warnoptions", "_xoptions", "executable",
             "prefix", "exec_prefix", "base_prefix", "base_exec_prefix", "byteorder", "platform",
             "dont_write_bytecode", "pycache_prefix", "hash_info", "thread_info", "version"):
    world["sys." + name] = str(getattr(sys, name))
for name in ("getrecursionlimit", "getswitchinterval", "getdefaultencoding", "gettrace",
             "getfilesystemencoding", "getfilesystemencodeerrors", "getprofile",
             "get_asyncgen_hooks", "get_coroutine_origin_tracking_depth", "getdlopenflags"):
    world["sys." + name] = str(getattr(sys, name)())
for name in ("excepthook", "displayhook", "unraisablehook", "breakpointhook"):
    world[name] = getattr(sys, name) is getattr(sys, "__" + name + "__")
world["sys"] = sorted(vars(sys))
for stream in (sys.stdin, sys.stdout, sys.stderr):
    world[stream.name] = [stream.encoding, stream.errors, stream.line_buffering, stream.mode,
                          stream.write_through, stream.isatty(), stream.newlines,
                          type(stream).__name__, type(stream.buffer).__name__, stream.fileno(),
                          stream is getattr(sys, "__" + stream.name.strip("<>") + "__")]
world["builtins"] = [sorted(vars(__builtins__)), repr(__builtins__.__import__)]
import __main__
world["main"] = {key: str(value).partition(" at 0x")[0] for key, value in vars(__main__).items()
                 if key.startswith("__")}
world["main is this"] = [__main__.__dict__ is globals(), sys.modules["__main__"] is __main__,
                         __name__, getattr(__spec__, "name", None), "__path__" in globals()]

import warnings
world["filters at start"] = repr(warnings.filters)
import gc
world["frozen objects"] = gc.get_freeze_count() > 0
world["collector"] = [gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.callbacks)]
import atexit
world["atexit"] = atexit._ncallbacks()

import os
own = {"DORA_RT_NODE_CONFIG", "DORA_NODE_CONFIG", "PYTHONNODEBUGRANGES"}
world["environ"] = {key: value for key, value in os.environ.items()
                    if key not in own and not key.startswith("DORA_RT_")}
with open("/proc/self/environ", "rb") as file:
    world["kernel's environ"] = b"DORA_RT_FORK_SERVER=" in file.read()
mask = os.umask(0)
os.umask(mask)
world["process"] = [os.getcwd(), mask, os.getpriority(os.PRIO_PROCESS, 0),
                    os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), os.getuid(),
                    os.getgroups(), os.getppid(), sorted(os.sched_getaffinity(0)),
                    os.sched_getscheduler(0), os.cpu_count()]
# The first descriptors may be pipes or terminals of any number.
world["descriptors"] = sorted(
    [int(fd), os.path.dirname(os.readlink(f"/proc/self/fd/{fd}").split(":")[0]),
     os.get_inheritable(int(fd)), os.get_blocking(int(fd))]
    for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))
def read(name):
    with open("/proc/self/" + name, "rb") as file:
        return file.read().decode()
for name in ("cmdline", "comm", "oom_score_adj", "cgroup", "limits", "loginuid", "sessionid",
             "personality", "timerslack_ns", "coredump_filter", "autogroup", "uid_map"):
    if os.path.exists("/proc/self/" + name) and name != "autogroup":
        world["/proc/self/" + name] = read(name)
world["executable"] = os.readlink("/proc/self/exe")
status = dict(line.split(":", 1) for line in read("status").splitlines())
for name in ("Name", "Umask", "State", "TracerPid", "Uid", "Gid", "FDSize", "Groups", "SigPnd",
             "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd",
             "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed_list", "THP_enabled", "PPid"):
    world["status " + name] = status.get(name, "").strip()
import ctypes
number = ctypes.c_int()
for code, name in ((2, "signal at the parent's death"), (37, "subreaper")):
    ctypes.CDLL(None).prctl(code, ctypes.byref(number), 0, 0, 0)
    world[name] = number.value
world["dumpable"] = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)

import signal
world["signals"] = {number: str(signal.getsignal(number)).partition(" at 0x")[0]
                    for number in signal.valid_signals()}
world["blocked"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
world["timers"] = [signal.getitimer(timer) for timer in (0, 1, 2)] + [signal.set_wakeup_fd(-1)]
import resource
world["limits"] = {name: resource.getrlimit(getattr(resource, name))
                   for name in dir(resource) if name.startswith("RLIMIT_")}
import locale, time
world["locale"] = [locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(False),
                   locale.localeconv()]
world["time"] = [time.tzname, time.timezone, time.altzone, time.daylight,
                 time.strftime("%c %Z", time.localtime(1e9))]
world["modules of the standard library"] = sorted(sys.modules)

import threading
world["thread"] = [threading.active_count(), threading.main_thread() is threading.current_thread(),
                   threading.get_ident() == threading.main_thread().ident,
                   threading.get_native_id() == os.getpid() == threading.main_thread().native_id,
                   threading.excepthook is threading.__excepthook__, threading.stack_size(),
                   threading.main_thread().name, threading.gettrace() is None]
import asyncio, contextvars, decimal, faulthandler, json, linecache, logging, multiprocessing
import multiprocessing.resource_tracker, pickle, socket, ssl, tempfile, tracemalloc, uuid
world["modules of more of it"] = sorted(sys.modules)
world["policies"] = [type(asyncio.get_event_loop_policy()).__name__, asyncio.all_tasks.__name__,
                     multiprocessing.get_start_method(allow_none=True),
                     multiprocessing.resource_tracker._resource_tracker._pid,
                     len(multiprocessing.active_children()), multiprocessing.current_process().name,
                     multiprocessing.get_all_start_methods()]
world["switches"] = [faulthandler.is_enabled(), tracemalloc.is_tracing(),
                     socket.getdefaulttimeout(), str(decimal.getcontext()),
                     len(contextvars.copy_context())]
world["logging"] = [logging.root.level, logging.root.handlers, logging.root.disabled,
                    sorted(logging.root.manager.loggerDict), logging.raiseExceptions,
                    logging.root.manager.disable, repr(logging.lastResort)[:20]]
world["places"] = [tempfile.gettempdir(), ssl.get_default_verify_paths(), ssl.OPENSSL_VERSION,
                   ssl.HAS_TLSv1_3, uuid.getnode()]
world["lines read"] = sorted(linecache.cache)
world["reducers"] = sorted(map(str, pickle.dispatch_table))

import numpy
world["modules with numpy"] = sorted(sys.modules)
world["reducers with numpy"] = sorted(map(str, pickle.dispatch_table))
world["filters with numpy"] = repr(warnings.filters)
world["numpy"] = [numpy.geterr(), {**numpy.get_printoptions(), "override_repr": None},
                  numpy.getbufsize(), str(numpy.__spec__).partition(" at 0x")[0], numpy.__file__,
                  numpy.__loader__.get_filename("numpy")]
world["threads"] = int(dict(line.split(":", 1) for line in read("status").splitlines())["Threads"])
import importlib.util, inspect
world["sources"] = [inspect.getsource(json)[:40], inspect.getsourcefile(numpy.linalg),
                    importlib.util.find_spec("json").origin,
                    importlib.util.find_spec("no_such_module_here")]
from dora_rt import Node
world["modules with the node API"] = sorted(sys.modules)
node = Node()
world["modules of a node"] = sorted(sys.modules)
world["hooks of a node"] = [sys.excepthook.__module__, threading.excepthook.__module__]
status = dict(line.split(":", 1) for line in read("status").splitlines())
world["status of a node"] = status["SigCgt"]
world["atexit at the end"] = atexit._ncallbacks()
with open(sys.argv[1] + ".json", "w") as file:
    json.dump(world, file, default=str)
"""


@pytest.mark.parametrize("program", ["path: sub/node.py", "module: package_of_mine"])
def test_one_script_sees_the_same_forked_as_plain_but_for_what_is_listed(flow: Flow, program: str):
    for name in ("sub/node.py", "package_of_mine/__main__.py"):
        (flow.folder / name).parent.mkdir(exist_ok=True)
        (flow.folder / name).write_text(WORLD)
    (flow.folder / "package_of_mine/__init__.py").touch()
    folder = flow.folder
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: warm, {program}, args: [{folder}/world, 'b c']}}
          - {{id: other, {program}, args: [{folder}/other]}}
        """,
    )

    first = flow.run()
    warm = json.loads((folder / "world.json").read_text())
    flow.write("flow.yml", (folder / "flow.yml").read_text().replace("}", f", {PLAIN}}}", 1))
    second = flow.run()
    plain = json.loads((folder / "world.json").read_text())

    assert first.exit_code == second.exit_code == 0, first.out + second.out
    for world in (warm, plain):
        # Those of glibc, since there was a thread: 32 and 33, which no program may use.
        for name in ("status SigCgt", "status of a node"):
            world[name] = int(world[name], 16) & ~(3 << 31)
        # Of the launcher, which is another one.
        ppid = world["status PPid"]
        world["process"] = [*("ppid" if str(one) == ppid else one for one in world["process"])]
        del world["status PPid"]
    assert warm["kernel's environ"], "it began as a copy"
    assert warm.keys() == plain.keys()
    for key in warm:
        if key.startswith("modules"):
            only = {*warm[key]} ^ {*plain[key]}
            assert not only, f"{key}: {sorted(only)}"
    different = {key: (warm[key], plain[key]) for key in warm if warm[key] != plain[key]}
    unlisted = {key: pair for key, pair in different.items() if key not in DIFFERENCES}
    assert not unlisted
    assert different.keys() == DIFFERENCES.keys(), "all that is listed is still so"


FORKED = "import os; from pathlib import Path; " + (
    "FORKED = b'DORA_RT_FORK_SERVER=' in Path('/proc/self/environ').read_bytes()\n"
)


def run_pair(flow: Flow, *, warm: str = "", plain: str = PLAIN, path: str = "node.py") -> None:
    """Run a program forked, as node `warm`, and by an interpreter, as node `plain`."""
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: warm, path: {path}, {warm}}}
          - {{id: plain, path: {path}, {plain}}}
          - {{id: other, path: other.py}}
        """,
    )
    flow.write("other.py", "")


def lines_of_both(flow: Flow) -> list[str]:
    """Give what both have printed, which has to be the same."""
    done = flow.run()
    assert done.lines("warm") == done.lines("plain")
    assert done.ending("warm") == done.ending("plain")
    return done.lines("warm")


# Written so that only one who runs it knows the name.
HELPER = "import os\nos.environ['OMP' + '_NUM_THREADS'] = '1'\n"
THREADS = """
import ctypes
import numpy

numpy.ones((300, 300)) @ numpy.ones((300, 300))
counts = set()
for line in open("/proc/self/maps"):
    path = line.strip().partition("/")[2]
    if "openblas" in path:
        library = ctypes.CDLL("/" + path)
        for name in ("scipy_openblas_get_num_threads64_", "openblas_get_num_threads"):
            if hasattr(library, name):
                counts.add(getattr(library, name)())
print(counts, FORKED)
"""
CORES = len(os.sched_getaffinity(0))


@pytest.mark.skipif(CORES < 2, reason="with one core OpenBLAS has one thread whatever it is told")
def test_threads_of_openblas_are_those_that_were_asked_for_before_numpy(flow: Flow):
    affinity = f"cpu_affinity: [{min(os.sched_getaffinity(0))}]"
    cases = {
        "nothing": ("", "", CORES, True),
        "script": ("os.environ['OMP_NUM_THREADS'] = '1'\n", "", 1, False),
        "helper": ("import settings\n", "", 1, True),
        "too-late": ("import numpy, settings\n", "", CORES, True),
        "affinity": ("", affinity, 1, True),
    }
    flow.write("settings.py", HELPER)
    lines = ["nodes:"]
    expected = {}
    for name, (first, keys, threads, is_forked) in cases.items():
        flow.write(f"{name}.py", FORKED + first + THREADS)
        plain = ", ".join(filter(None, [PLAIN, keys]))
        lines.append(f"  - {{id: {name}, path: {name}.py, {keys}}}")
        lines.append(f"  - {{id: plain-{name}, path: {name}.py, {plain}}}")
        expected[name] = [f"{{{threads}}} {is_forked}"]
        expected[f"plain-{name}"] = [f"{{{threads}}} False"]
    flow.write("flow.yml", "\n".join(lines))

    done = flow.run()

    printed = {name: done.lines(name) for name in expected}
    if printed["nothing"][0].startswith("set()"):
        pytest.skip("this numpy has another BLAS")
    assert printed == expected


def test_clock_of_a_node_is_that_of_its_time_zone(flow: Flow):
    flow.write(
        "node.py",
        FORKED + "import time, datetime\n"
        "print(time.tzname[0], datetime.datetime.fromtimestamp(1_700_000_000), FORKED)\n",
    )
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: tokyo, path: node.py, env: {TZ: Asia/Tokyo}}
          - {id: new-york, path: node.py, env: {TZ: EST5EDT}}
        """,
    )

    done = flow.run()

    assert done.lines("tokyo") == ["JST 2023-11-15 07:13:20 True"]
    assert done.lines("new-york") == ["EST 2023-11-14 17:13:20 True"]


def test_variables_that_are_read_at_the_start_make_an_interpreter(flow: Flow):
    flow.write("node.py", FORKED + "print(FORKED)\n")
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: warm, path: node.py}
          - {id: other, path: node.py}
          - {id: locale, path: node.py, env: {LC_ALL: C.UTF-8}}
          - {id: language, path: node.py, env: {LANG: C}}
          - {id: openssl, path: node.py, env: {OPENSSL_CONF: /dev/null}}
        """,
    )

    done = flow.run()

    # Two of them, since for one alone there is no fork server.
    assert done.lines("warm") == done.lines("other") == ["True"]
    for name in ("locale", "language", "openssl"):
        assert done.lines(name) == ["False"], name


def test_program_that_starts_itself_anew_by_its_command_line_does(flow: Flow):
    flow.write(
        "node.py",
        """
        import os, subprocess, sys
        if os.environ.get("AGAIN") is None:
            done = subprocess.run(
                [sys.executable, *sys.orig_argv[1:]], env={**os.environ, "AGAIN": "1"},
                capture_output=True, text=True,
            )
            print(done.returncode, done.stdout, done.stderr)
        else:
            print("here again", sys.argv[1:], end="")
        """,
    )
    run_pair(flow, warm="args: [a, b c]", plain=f"args: [a, b c], {PLAIN}")

    assert lines_of_both(flow) == ["0 here again ['a', 'b c']"]


def test_file_beside_a_script_comes_before_a_module_of_the_same_name(flow: Flow):
    # The fork server has both, and numpy the second.
    flow.write("selectors.py", "NAME = 'mine'\n")
    flow.write("textwrap.py", "NAME = 'mine, too'\n")
    flow.write(
        "node.py",
        FORKED + "import sys\nprint('textwrap' in sys.modules)\nimport selectors, textwrap\n"
        "print(selectors.NAME, textwrap.NAME, FORKED)\n",
    )
    run_pair(flow)

    done = flow.run()

    assert done.lines("warm") == ["False", "mine mine, too True"]
    assert done.lines("plain") == ["False", "mine mine, too False"]


def test_file_beside_a_script_is_found_although_a_library_needs_the_other(flow: Flow):
    # Started by an interpreter, numpy would find this one, and fail.
    flow.write("textwrap.py", "NAME = 'mine'\n")
    flow.write(
        "node.py", FORKED + "from dora_rt import Node\nimport textwrap\nprint(textwrap.NAME)\n"
    )
    run_pair(flow)

    assert flow.run().lines("warm") == ["mine"]


def test_modules_of_one_name_beside_two_nodes_belong_to_each(flow: Flow):
    for name in "ab":
        (flow.folder / name).mkdir()
        flow.write(f"{name}/helper.py", f"NAME = 'helper of {name}'\n")
        flow.write(f"{name}/node.py", "import helper\nprint(helper.NAME)\n")
    flow.write("flow.yml", "nodes: [{id: a, path: a/node.py}, {id: b, path: b/node.py}]\n")

    done = flow.run()

    assert [*done.lines("a"), *done.lines("b")] == ["helper of a", "helper of b"]


# What programs do with modules; each line prints the same, and has something of what is imported.
MODULES = """
    import importlib, importlib.util, pickle, sys
    print("numpy" in sys.modules, "cv2" in sys.modules, "json" in sys.modules)
    print(importlib.util.find_spec("numpy").name, "numpy" in sys.modules)
    sys.modules["platform"] = "patched"
    import platform
    print(platform)
    import numpy as np, json
    print(importlib.reload(json) is json, json.__spec__.name, type(json.__spec__.loader).__name__)
    print(pickle.loads(pickle.dumps(np.float32(1))), sys.modules["json.decoder"].__name__)
    del sys.modules["json"]
    import json as other
    print(other.dumps(1), sys.modules["json"] is other)
    import textwrap
    print(sorted(name for name in sys.modules if name.startswith("dora_rt"))[:1])
    try:
        import no_such_module
    except ModuleNotFoundError as error:
        print(error)
    import threading
    threads = [threading.Thread(target=lambda: importlib.import_module("socket")) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(sys.modules["socket"].__name__)
"""


def test_modules_can_be_looked_for_replaced_reloaded_and_removed(flow: Flow):
    flow.write("node.py", MODULES)
    run_pair(flow)

    lines = lines_of_both(flow)

    assert lines[:3] == ["False False False", "numpy False", "patched"]
    assert lines[-1] == "socket"


def test_archive_is_run_as_an_interpreter_runs_it(flow: Flow):
    with zipfile.ZipFile(flow.folder / "node.py", "w") as archive:
        archive.writestr(
            "__main__.py", "import sys\nprint(sys.argv[1:], __name__, sys.path[0] == sys.argv[0])\n"
        )
    (pid, printed) = started(flow.folder / "node.py", "a")

    assert printed == b"['a'] __main__ True\n"
    assert pid is not None


def test_script_that_is_gone_is_told_in_the_words_of_the_interpreter(flow: Flow):
    pid, printed = started(flow.folder / "node.py")

    assert f"can't open file '{flow.folder}/node.py'" in printed.decode()
    assert pid is not None


def started(script: Path, *arguments: str) -> tuple[int | None, bytes]:
    """Start a script by a fork server, and give its pid and what it printed."""
    (process, *_) = plan_of(Reader()).processes
    argv = (sys.executable, "-u", str(script), *arguments)
    plan = replace(process, argv=argv, folder=str(script.parent))
    server = WarmStart(dict(os.environ), ())
    read_end, write_end = os.pipe()
    pid = server.start(plan, {}, [], write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as output:
        printed = output.read()
    if pid is not None:
        os.waitpid(pid, 0)
    server.close()
    return pid, printed


@pytest.mark.parametrize("how", ["raise KeyboardInterrupt", "os.kill(os.getpid(), 2)"])
def test_keyboard_interrupt_ends_a_node_by_that_signal(flow: Flow, how: str):
    flow.write("node.py", f"import atexit, os\natexit.register(print, 'at the end')\n{how}\n")
    run_pair(flow)

    lines = lines_of_both(flow)

    assert lines[-1] == "at the end"
    assert "fork_server" not in "".join(lines)


def test_hook_of_the_program_is_called_with_frames_of_the_program_only(flow: Flow):
    flow.write(
        "node.py",
        """
        import sys, traceback
        def hook(kind, error, trace):
            print(kind.__name__, [frame.name for frame in traceback.extract_tb(trace)])
            print(error.__traceback__ is trace, sys.excepthook is hook)
        sys.excepthook = hook
        def fail():
            1 / 0
        fail()
        """,
    )
    run_pair(flow)

    assert lines_of_both(flow) == ["ZeroDivisionError ['<module>', 'fail']", "True True"]


def test_nothing_random_is_shared_by_nodes(flow: Flow):
    flow.write(
        "node.py",
        """
        import os, random, secrets, ssl, tempfile, uuid
        import numpy as np
        print(random.random(), np.random.random(), np.random.default_rng().random(), uuid.uuid4(),
              uuid.uuid1(), secrets.token_hex(), ssl.RAND_bytes(8).hex(), os.urandom(8).hex(),
              tempfile.mktemp())
        """,
    )
    flow.write("flow.yml", "nodes: [{id: a, path: node.py}, {id: b, path: node.py}]\n")

    done = flow.run()

    numbers = [done.lines(name)[0].split() for name in "ab"]
    assert len(numbers[0]) == 9
    assert all(one != other for one, other in zip(*numbers, strict=True))
