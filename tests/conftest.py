"""What every test shares: a name space of its own, a time limit, and nothing left behind.

Any number of runs of the tests, and of dataflows, may go on at the same time on one machine: all
that a run of the tests makes and looks at is in its name space. Each worker of pytest-xdist is such
a run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_timeout
from _pytest.faulthandler import fault_handler_stderr_fd_key

from dora_rt.runs import NAMESPACE_VARIABLE, base_folder
from tests.harness import programs
from tests.harness.browser import open_browser
from tests.harness.flow import Flow
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.objects import namespace, own_objects
from tests.harness.processes import kill_started_processes, own_processes
from tests.harness.remains import check_objects, no_remains, run_directories

# How long the second way to end a test waits for the first.
GRACE_S = 30.0
_AGAIN_S = 10.0
_arm_again = pytest.StashKey[pytest_timeout.Settings]()


_own_folder = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for what in (programs.MARK_TEXT, "slow: takes many seconds by design; not in `make check`"):
        config.addinivalue_line("markers", what)
    os.environ[NAMESPACE_VARIABLE] = f"test{secrets.token_hex(4)}"
    if config.option.basetemp is None:
        # By itself pytest takes a folder beside those of other runs, and in the end removes old
        # ones: two that do so at the same time fail.
        folder = Path(tempfile.gettempdir()) / f"dora_rt-{namespace()}"
        config.option.basetemp = str(folder)
        config.stash[_own_folder] = folder
    # As on an ordinary machine: else each of a thousand processes compiles the package anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # No test computes with matrices, and the threads that OpenBLAS starts at the import of numpy
    # look for work for a while: half of what a short program takes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _stop_ignoring_signals()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    programs.mark(items)
    # The files with slow tests first: whoever gets one last lets the others wait.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with programs.watched(item):
        return (yield)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    # What failed may be worth a look.
    folder = session.config.stash.get(_own_folder, None)
    if folder is not None and exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(folder, ignore_errors=True)


def _stop_ignoring_signals() -> None:
    """Give the children of the tests the signals that a shell ignores in the background.

    `pytest &` in a script ignores SIGINT and SIGQUIT, and nohup SIGHUP. A child inherits what is
    ignored, but not a handler.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool:
    """End a test that takes too long, with all that it has started and may wait for."""

    def end(*_: object) -> None:
        __tracebackhide__ = True
        if not settings.disable_debugger_detection and pytest_timeout.is_debugging():
            return
        # Before the test is interrupted: what is in its way out waits for these.
        for pid, line in kill_started_processes().items():
            print(f"killed: {pid} {line}", file=sys.stderr)
        pytest_timeout.timeout_sigalrm(item, settings)

    item.stash[_arm_again] = settings
    signal.signal(signal.SIGALRM, end)
    # Again and again: a test, or a destructor, may swallow the exception.
    signal.setitimer(signal.ITIMER_REAL, settings.timeout, _AGAIN_S)
    # A call of C that goes on in spite of signals holds up the handler for ever.
    terminal = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(settings.timeout + GRACE_S, exit=True, file=terminal)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    signal.setitimer(signal.ITIMER_REAL, 0)
    faulthandler.cancel_dump_traceback_later()
    return True


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    # pytest-timeout has cancelled the limit, for a debugger; but teardown may hang as well.
    if isinstance(node, pytest.Item) and not node.config.getoption("usepdb"):
        settings = node.stash.get(_arm_again, None)
        if settings is not None:
            pytest_timeout_set_timer(node, settings)


@pytest.fixture(scope="session", autouse=True)
def own_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the runs of the tests, and what they reclaim, apart from those of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        runtime = tmp_path_factory.mktemp("runtime")
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        yield base_folder(os.environ)
        # And nothing of what several tests have looked at.
        assert not own_objects()
        assert not own_processes()
        assert not run_directories(base_folder(os.environ))
    # Where runs are without such a folder.
    with contextlib.suppress(FileNotFoundError):
        base_folder({NAMESPACE_VARIABLE: namespace()}).rmdir()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest, own_runs: Path) -> Iterator[None]:
    if programs.may_start(request.node):
        with no_remains(own_runs):
            yield
    else:
        objects = own_objects()
        yield
        check_objects(objects)


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    flow = Flow(tmp_path)
    yield flow
    flow.close()


@pytest.fixture(scope="module")
def shared_flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """Give a folder for one run that all tests of a module look at."""
    flow = Flow(tmp_path_factory.mktemp("flow"))
    yield flow
    flow.close()


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[IsolatedFlow]:
    isolated = IsolatedFlow(tmp_path)
    yield isolated
    isolated.close()


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Any]:
    """Give the browser that the tests of a module share: to start takes it seconds."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Any) -> Iterator[Any]:
    """Give a browser without pages; it keeps none of what the test opens."""
    yield shared_browser
    for context in shared_browser.contexts:
        context.close()


@pytest.fixture(scope="session")
def starts_programs() -> None:
    """Mark all tests that use the fixture which takes this one."""


@pytest.fixture(autouse=True)
def logs_of_failed_nodes_go_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
