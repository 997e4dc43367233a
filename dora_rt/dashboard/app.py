"""The dashboard's pages and its JSON."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from dora_rt.dashboard.run_poller import RunWatch
from dora_rt.graph.boxes_and_arrows import graph_of_status
from dora_rt.graph.svg import STYLE, render_svg
from dora_rt.run_status import ProcessStatus
from dora_rt.runs import Connection, RefusedError, find_runs
from dora_rt.terminal import harmless

_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": "index.html",
    **{f"/{name}": name for name in ("dashboard.css", "dashboard.js", "parameters.js")},
}
_PICTURE_PATIENCE_S = 1.0
_PICTURE_POLL_S = 0.015
_FAREWELL_POLL_S = 0.1
_LONGEST_BODY_NBYTES = 4096
_LONGEST_VALUE_NBYTES = 64 * 1024
_ACTIONS = ("stop", "restart")


class Runs:
    """The runs that the page may show: one, or all of this user; polled once shown."""

    def __init__(self, base: Path, only: str | None) -> None:
        self._base = base
        self._only = only
        self._lock = threading.Lock()
        self._watches: dict[str, RunWatch] = {}

    def alive(self) -> list[dict[str, Any]]:
        """Return the runs that are alive, and the ended ones that were shown before."""
        names = find_runs(self._base) if self._only is None else [self._only]
        found = []
        for name in dict.fromkeys((*names, *self._watches)):
            watch = self.find(name)
            if watch is not None:
                found.append(_describe(watch))
        return sorted(found, key=lambda run: run["began"])

    def known(self) -> Sequence[dict[str, Any]]:
        """Return the runs that were shown; none is asked."""
        with self._lock:
            watches = list(self._watches.values())
        return [_describe(watch) for watch in watches]

    def find(self, run: str) -> RunWatch | None:
        """Return a run and poll it from now on; None if there is no such run on this page."""
        if self._only is not None and run != self._only:
            return None
        with self._lock:
            watch = self._watches.get(run)
            if watch is None and run in find_runs(self._base):
                watch = RunWatch.open(self._base, run)
                if watch is not None:
                    self._watches[run] = watch
            return watch

    def ask(self, run: str, request: str, **fields: Any) -> dict[str, Any]:
        """Send a request to a run, or through it to another machine; return the answer.

        Raises:
            OSError: it has ended.
            RefusedError: it refuses.
        """
        connection = Connection.open(self._base, run)
        if connection is None:
            raise ConnectionError("the run has ended")
        with connection:
            return connection.ask(request, **fields)[0]

    def close(self) -> None:
        """Stop polling."""
        for watch in self._watches.values():
            watch.close()


def _describe(watch: RunWatch) -> dict[str, Any]:
    status = watch.status
    state = "ended" if watch.has_ended else status.state.value
    return {"run": watch.run, "file": status.file, "state": state, "began": status.began}


def make_app(
    runs: Runs, is_ending: Callable[[], bool] = lambda: False, *, ends_with_run: bool = False
) -> Starlette:
    """Make the application; `Access` decides about its users.

    Args:
        runs: the runs that it shows.
        is_ending: whether the server is about to end, and should say so to the open pages.
        ends_with_run: whether that happens because the run has ended.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # A page that is opened later shows the history as well.
        await asyncio.to_thread(runs.alive)
        yield
        await asyncio.to_thread(runs.close)

    run = "/api/runs/{run}"
    app = Starlette(
        routes=[
            *(Route(path, _file) for path in _FILES),
            Route("/graph.css", _graph_style),
            Route("/api/runs", _list_runs),
            Route("/api/farewell", _farewell),
            Route(f"{run}/status", _status),
            Route(f"{run}/graph.svg", _graph),
            Route(f"{run}/logs/{{node}}", _log),
            Route(f"{run}/pictures/{{source:path}}", _picture),
            *(Route(f"{run}/{action}", _act, methods=["POST"]) for action in _ACTIONS),
            Route(f"{run}/parameter", _set_parameter, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _say_error},
        lifespan=lifespan,
    )
    app.state.runs = runs
    app.state.is_ending = is_ending
    app.state.ends_with_run = ends_with_run
    return app


def _file(request: Request) -> Response:
    return FileResponse(_PAGE / _FILES[request.url.path])


def _graph_style(_: Request) -> Response:
    return Response(STYLE, media_type="text/css")


def _list_runs(request: Request) -> Response:
    return JSONResponse({"runs": request.app.state.runs.alive()})


async def _farewell(request: Request) -> Response:
    """Answer when the dashboard ends: a page can tell that from a network that is away."""
    while not request.app.state.is_ending():
        if await request.is_disconnected():
            break
        await asyncio.sleep(_FAREWELL_POLL_S)
    state = request.app.state
    return JSONResponse(
        {"runs": {run["run"]: _last_state(run, state) for run in state.runs.known()}}
    )


def _last_state(run: Mapping[str, Any], state: State) -> str:
    # Its launcher ends it after the last node, and does not answer any more by then.
    return "ended" if state.ends_with_run else str(run["state"])


def _status(request: Request) -> Response:
    return JSONResponse(_find(request).page_status(_number(request, "since")))


def _graph(request: Request) -> Response:
    graph = graph_of_status(_find(request).status)
    svg = render_svg(graph, is_down="down" in request.query_params, has_style=False)
    return Response(svg, media_type="image/svg+xml")


def _log(request: Request) -> Response:
    watch = _find(request)
    status = watch.status
    node = request.path_params["node"]
    # Only of names that the run itself gave is a path made.
    process = watch.find_process(node)
    if process is None:
        raise HTTPException(404, f"run {status.run} has no node {node!r}")
    offset = _number(request, "after")
    if status.network is not None and process.machine != status.network.machine:
        return _far_log(request.app.state.runs, watch, process, offset)
    try:
        text, offset = read_tail(Path(status.log_folder) / f"{process.name}.log", offset)
    except OSError:
        # It has printed nothing yet, or the run has ended and its files are gone.
        text = ""
    return JSONResponse({"text": text, "offset": offset})


def _far_log(runs: Runs, watch: RunWatch, process: ProcessStatus, after: int) -> Response:
    position = watch.far_positions.get((process.machine, process.name), after)
    begin = {"lines": _MOST_LINES} if position is None else {"after": {process.name: position}}
    try:
        answer = runs.ask(watch.run, "logs", machine=process.machine, nodes=[process.name], **begin)
        lines, position = answer["lines"][process.name], answer["positions"][process.name]
    except (OSError, RefusedError, KeyError, TypeError):
        # That machine is away, or the run has ended.
        return JSONResponse({"text": "", "offset": after})
    text = harmless("".join(f"{line}\n" for line in lines), has_colours=False)
    offset = watch.far_positions.put((process.machine, process.name), position)
    return JSONResponse({"text": text, "offset": offset})


async def _picture(request: Request) -> Response:
    watch = await asyncio.to_thread(_find, request)
    source = request.path_params["source"]
    feed = await asyncio.to_thread(watch.pictures.feed, source)
    if feed is None:
        raise HTTPException(404, f"run {watch.run} has no pictures at {source!r}")
    after = _number(request, "after")
    deadline_s = time.monotonic() + _PICTURE_PATIENCE_S
    while (shown := feed.take(after)) is None:
        if time.monotonic() > deadline_s or request.app.state.is_ending():
            return Response(status_code=204)
        await asyncio.sleep(_PICTURE_POLL_S)
    about = {
        "number": shown.number,
        "width": shown.picture.width,
        "height": shown.picture.height,
        "boxes": None,
        **(shown.found or {}),
        "lacks_boxes": shown.lacks_boxes,
        "latency_ms": round(shown.latency_ms, 1),
    }
    headers = {"Dora-Rt-Picture": json.dumps(about, separators=(",", ":"))}
    return Response(shown.picture.content, media_type=shown.picture.media_type, headers=headers)


async def _act(request: Request) -> Response:
    body = await _read_body(request, _LONGEST_BODY_NBYTES)
    try:
        node = json.loads(body or b"{}").get("node")
    except (ValueError, AttributeError, RecursionError):
        node = body
    if not isinstance(node, (str, type(None))):
        raise HTTPException(400, 'expected JSON such as {"node": "camera"}, or {} for the run')
    action = request.url.path.rpartition("/")[2]
    if action == "restart" and node is None:
        raise HTTPException(400, 'say which node to restart: {"node": "camera"}')
    await _ask(request, action, {} if node is None else {"node": node})
    return JSONResponse({"ok": True})


async def _set_parameter(request: Request) -> Response:
    """Set a parameter to `value`; without one, take back what was set."""
    body = await _read_body(request, _LONGEST_VALUE_NBYTES)
    try:
        given = json.loads(body)
        fields = {"node": str(given["node"]), "name": str(given["name"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        example = '{"node": "detector", "name": "threshold", "value": 0.5}'
        raise HTTPException(400, f"expected JSON such as {example}") from error
    if "value" in given:
        return JSONResponse(
            await _ask(request, "set_parameter", {**fields, "value": given["value"]})
        )
    return JSONResponse(await _ask(request, "delete_parameter", fields))


async def _read_body(request: Request, longest: int) -> bytes:
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > longest:
                raise HTTPException(413, f"a request has at most {longest} bytes")
    except ClientDisconnect as error:
        # The browser was too slow, or has left: it does not get this answer.
        raise HTTPException(408, "the request did not come whole") from error
    return body


async def _ask(request: Request, what: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    watch = await asyncio.to_thread(_find, request)
    node = fields.get("node")
    process = None if node is None else watch.find_process(node)
    network = watch.status.network
    if process is not None and network is not None and process.machine != network.machine:
        is_steered = what in _ACTIONS
        own = {"node": process.name} if is_steered else {}
        fields = {**fields, **own, "machine": str(process.machine)}
    runs: Runs = request.app.state.runs
    try:
        return await asyncio.to_thread(runs.ask, watch.run, what, **fields)
    except OSError as error:
        raise HTTPException(409, f"run {watch.run}: {error}") from error
    except RefusedError as error:
        raise HTTPException(409, str(error)) from error


def _find(request: Request) -> RunWatch:
    runs: Runs = request.app.state.runs
    run = request.path_params["run"]
    watch = runs.find(run)
    if watch is None:
        raise HTTPException(404, f"there is no run {run!r} here")
    return watch


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise HTTPException(400, f"{name}={text!r} is not a number")
    return int(text)


def _say_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    return JSONResponse({"error": error.detail}, error.status_code)


_MOST_NBYTES = 64 * 1024
_MOST_LINES = 500  # of a node on another machine, at first


def read_tail(path: Path, offset: int) -> tuple[str, int]:
    """Return the whole lines after `offset`, at most the last 64 KiB, and the next offset.

    A file that is shorter than `offset` was begun anew, and is read from its start. The text has
    neither colours nor control characters.

    Raises:
        OSError: there is no such file (any more).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        begin = offset if 0 <= offset <= end else 0
        is_cut = end - begin > _MOST_NBYTES
        if is_cut:
            begin = end - _MOST_NBYTES
        file.seek(begin)
        found = file.read(end - begin)
    whole = found[: found.rfind(b"\n") + 1]
    text = whole.partition(b"\n")[2] if is_cut else whole
    return harmless(text.decode("utf-8", "replace"), has_colours=False), begin + len(whole)
