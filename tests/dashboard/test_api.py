from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from dora_rt.runs import Connection, base_folder, find_runs
from tests.dashboard.conftest import Dashboard, find_url, write_flow
from tests.harness.flow import Flow
from tests.harness.waiting import eventually

pytest.importorskip("starlette", reason="the extra [web] is not installed")
pytest.importorskip("uvicorn", reason="the extra [web] is not installed")
from dora_rt.dashboard.http_protocol import MAX_CONNECTIONS

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def running(own_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A run that no test changes."""
    flow = Flow(tmp_path_factory.mktemp("flow"))
    write_flow(flow)
    launcher = flow.start()
    run = wait_for_run(flow)
    yield run
    flow.close()
    assert launcher.returncode == 130


@pytest.fixture(scope="module")
def dashboard(running: str) -> Iterator[Dashboard]:
    dashboard = Dashboard.start()
    api = f"/api/runs/{running}"
    eventually(lambda: bool(dashboard.ask(f"{api}/status").fields["pictures"]))
    yield dashboard
    assert dashboard.close() == 0


def wait_for_run(flow: Flow) -> str:
    base = base_folder(os.environ)
    found: list[str] = []

    def is_running() -> bool:
        for run in find_runs(base):
            connection = Connection.open(base, run)
            if connection is None:
                continue
            with connection:
                status, _ = connection.ask("status")
            if status["file"].startswith(str(flow.folder)) and status["state"] == "running":
                found.append(run)
        return bool(found)

    eventually(is_running)
    return found[0]


def test_status_has_the_rates_and_latencies_of_the_edges(dashboard: Dashboard, running: str):
    path = f"/api/runs/{running}/status"
    eventually(lambda: dashboard.ask(path).fields["at"] >= 3)

    status = dashboard.ask(path).fields

    edges = {(edge["source"], edge["target"]): edge for edge in status["edges"]}
    edge = edges["camera/image", "detector/image"]
    assert 25 < edge["rate_hz"] < 75
    assert 0 < edge["p50_ns"] <= edge["p99_ns"] < 1e9
    assert edge["p50_ns"] < edge["age_p50_ns"] <= edge["age_p99_ns"] < 1e9
    assert [process["state"] for process in status["processes"]] == ["running"] * 3
    assert len(status["points"]) == status["at"]
    assert len(status["points"][0]) == len(status["edges"])


def test_status_sends_only_the_points_that_the_page_does_not_have(
    dashboard: Dashboard, running: str
):
    path = f"/api/runs/{running}/status"
    first = dashboard.ask(path).fields

    second = dashboard.ask(f"{path}?since={first['at']}").fields

    assert len(second["points"]) == second["at"] - first["at"]


def test_runs_lists_the_run(dashboard: Dashboard, running: str):
    runs = dashboard.ask("/api/runs").fields["runs"]

    assert [(run["run"], run["state"]) for run in runs] == [(running, "running")]


def test_graph_is_a_picture_without_a_style_of_its_own(dashboard: Dashboard, running: str):
    answer = dashboard.ask(f"/api/runs/{running}/graph.svg?down")

    assert answer.headers["content-type"] == "image/svg+xml"
    drawing = ElementTree.fromstring(answer.body)
    boxes = [part.get("data-process") for part in drawing.iter() if part.get("class") == "box"]
    assert boxes == ["camera", "detector", "sink"]
    assert b"<style" not in answer.body


def test_picture_comes_with_the_boxes_that_were_found_in_it(dashboard: Dashboard, running: str):
    status = dashboard.ask(f"/api/runs/{running}/status").fields
    assert status["pictures"] == ["camera/image"]

    answer = dashboard.ask(f"/api/runs/{running}/pictures/camera/image")

    about = json.loads(answer.headers["dora-rt-picture"])
    assert (about["width"], about["height"]) == (64, 48)
    assert about["boxes"] == [
        {"corners": [4, 8, 30, 40], "confidence": 0.9, "class": 1, "label": "cat"}
    ]
    picture = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (48, 64, 3)
    assert abs(int(picture.mean()) - 90) < 3


def test_next_picture_is_another_one(dashboard: Dashboard, running: str):
    path = f"/api/runs/{running}/pictures/camera/image"
    first = json.loads(dashboard.ask(path).headers["dora-rt-picture"])

    second = dashboard.ask(f"{path}?after={first['number']}")

    assert json.loads(second.headers["dora-rt-picture"])["number"] > first["number"]


def test_output_that_is_no_picture_is_not_found(dashboard: Dashboard, running: str):
    answer = dashboard.ask(f"/api/runs/{running}/pictures/camera/speed")

    assert answer.status == 404
    assert "has no pictures at 'camera/speed'" in answer.fields["error"]


def test_log_comes_without_colours_and_only_once(dashboard: Dashboard, running: str):
    path = f"/api/runs/{running}/logs/camera"

    first = dashboard.ask(path).fields

    assert first["text"].endswith(" the camera looks\n")
    assert "\x1b" not in first["text"]
    assert dashboard.ask(f"{path}?after={first['offset']}").fields["text"] == ""


@pytest.mark.parametrize("node", ["nobody", "..%2f..%2fmanifest", "%00"])
def test_log_of_what_is_no_node_is_refused(dashboard: Dashboard, running: str, node: str):
    assert dashboard.ask(f"/api/runs/{running}/logs/{node}").status == 404


@pytest.mark.parametrize("run", ["00000000", "..", "x%0a"])
def test_unknown_run_is_not_found(dashboard: Dashboard, run: str):
    assert dashboard.ask(f"/api/runs/{run}/status").status == 404


def test_number_that_is_none_is_refused(dashboard: Dashboard, running: str):
    answer = dashboard.ask(f"/api/runs/{running}/status?since=-1")

    assert (answer.status, answer.fields) == (400, {"error": "since='-1' is not a number"})


@pytest.mark.parametrize("path", ["/", "/dashboard.css", "/dashboard.js", "/graph.css"])
def test_page_is_whole_and_loads_nothing_from_elsewhere(dashboard: Dashboard, path: str):
    answer = dashboard.ask(path)

    assert answer.status == 200
    text = answer.body.decode().replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in text and "https://" not in text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_foreign_host_names_are_refused(dashboard: Dashboard):
    answer = dashboard.ask("/api/runs", Host=f"evil.example:{dashboard.port}")

    assert answer.status == 403
    assert b"for this machine only" in answer.body


@pytest.mark.parametrize(
    "origin",
    [{}, {"Origin": "null"}, {"Origin": "http://evil.example"}, {"Origin": "http://127.0.0.1:1"}],
)
def test_other_pages_cannot_press_buttons(
    dashboard: Dashboard, running: str, origin: dict[str, str]
):
    answer = dashboard.ask(f"/api/runs/{running}/stop", method="POST", body="{}", **origin)

    assert answer.status == 403
    assert dashboard.ask(f"/api/runs/{running}/status").fields["state"] == "running"


@pytest.mark.parametrize(
    ("verb", "body"), [("stop", "[]"), ("stop", '{"node": 3}'), ("restart", "{}"), ("stop", "{")]
)
def test_requests_that_make_no_sense_change_nothing(
    dashboard: Dashboard, running: str, verb: str, body: str
):
    origin = f"http://{dashboard.host}"
    path = f"/api/runs/{running}/{verb}"

    answer = dashboard.ask(path, method="POST", body=body, Origin=origin)

    assert (answer.status, "error" in answer.fields) == (400, True)


def test_node_that_does_not_exist_is_named_in_the_error(dashboard: Dashboard, running: str):
    answer = dashboard.act(f"/api/runs/{running}/restart", node="nobody")

    assert answer.status == 409
    assert "nobody" in answer.fields["error"]


def test_buttons_are_no_get(dashboard: Dashboard, running: str):
    assert dashboard.ask(f"/api/runs/{running}/stop").status == 405


@pytest.mark.parametrize("place", [(), ("--host", "0.0.0.0")], ids=["this machine", "network"])
def test_token_is_needed_once(running: str, place: tuple[str, ...]):
    dashboard = Dashboard.start(running, *place)
    origin = f"http://{dashboard.host}"

    paths = ("/", "/api/runs", "/?token=x", "/dashboard.js")
    refused = [dashboard.ask(path, Cookie="").status for path in paths]
    stopped = dashboard.ask(
        f"/api/runs/{running}/stop", method="POST", body="{}", Cookie="", Origin=origin
    )
    welcome = dashboard.ask(f"/?token={dashboard.token}", Cookie="")
    cookie = welcome.headers["set-cookie"].partition(";")[0]
    inside = dashboard.ask("/api/runs", Cookie=cookie)
    program = dashboard.ask(f"/api/runs?token={dashboard.token}", Cookie="")

    assert len(dashboard.token) >= 20
    assert refused == [403, 403, 403, 403]
    assert stopped.status == 403
    assert (welcome.status, welcome.headers["location"]) == (303, "/")
    assert "HttpOnly" in welcome.headers["set-cookie"]
    assert [run["run"] for run in inside.fields["runs"]] == [running]
    assert program.status == 200
    assert dashboard.close() == 0


def test_without_token_all_users_of_this_machine_get_in_and_no_other_machine(running: str):
    dashboard = Dashboard.start(running, "--no-token")

    assert dashboard.token == ""
    assert dashboard.ask("/api/runs", Cookie="").status == 200
    assert dashboard.close() == 0
    done = subprocess.run(
        [sys.executable, "-m", "dora_rt.cli", "dashboard", "--no-token", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "--no-token: other machines can reach 0.0.0.0, so a token is needed" in done.stderr


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Host", "["),
        ("Host", "a]b"),
        ("Host", "[::1"),
        ("Origin", "http://["),
        ("Origin", "http://a]b"),
    ],
)
def test_address_that_is_none_is_refused(
    dashboard: Dashboard, running: str, header: str, value: str
):
    path = f"/api/runs/{running}/stop"

    answer = dashboard.ask(path, method="POST", body="{}", **{header: value})

    assert (answer.status, answer.body) == (400, b"the header Host or Origin is no address\n")


def test_those_who_only_connect_do_not_shut_out_who_asks(dashboard: Dashboard):
    assert dashboard.process is not None
    descriptors = Path(f"/proc/{dashboard.process.pid}/fd")
    with ExitStack() as stack:
        for _ in range(4 * MAX_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", dashboard.port), timeout=30)
            stack.enter_context(connection)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")

        assert dashboard.ask("/api/runs").status == 200
        assert len(list(descriptors.iterdir())) < MAX_CONNECTIONS + 40


def test_body_that_never_comes_whole_does_not_hold_a_connection(running: str):
    program = """
import sys
from dora_rt.dashboard import http_protocol
from dora_rt.cli import main
http_protocol.REQUEST_S = 0.5
main(["dashboard", "--port", "0"])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    dashboard = Dashboard(find_url(process.stdout.readline()), process)
    head = (
        f"POST /api/runs/{running}/restart HTTP/1.1\r\nHost: {dashboard.host}\r\n"
        f"Cookie: dora_rt_{dashboard.port}={dashboard.token}\r\n"
        f"Origin: http://{dashboard.host}\r\nContent-Length: 20\r\n\r\n"
    )

    with socket.create_connection(("127.0.0.1", dashboard.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"{")
        try:
            ended = connection.recv(100)
        except ConnectionResetError:
            ended = b""

    assert ended == b""
    assert dashboard.ask("/api/runs").status == 200
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"POST /api/runs/x/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_garbage_is_answered_and_fills_no_console(running: str, garbage: bytes):
    process = subprocess.Popen(
        [sys.executable, "-m", "dora_rt.cli", "dashboard", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    dashboard = Dashboard(find_url(process.stdout.readline()), process)

    with socket.create_connection(("127.0.0.1", dashboard.port), timeout=10) as connection:
        connection.sendall(garbage)
        assert connection.recv(12).startswith(b"HTTP/1.1 4")

    assert dashboard.ask("/api/runs").status == 200
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out, said) == (0, "", "")


def test_graph_of_the_run_has_live_numbers(running: str):
    done = subprocess.run(
        [sys.executable, "-m", "dora_rt.cli", "graph", running],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert done.returncode == 0, done.stderr
    assert 'n0["camera<br>running<br>every 20 ms"]' in done.stdout
    assert " Hz · " in done.stdout


def test_address_of_another_machine_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "dora_rt.cli", "dashboard", "--host", "192.0.2.1"],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert done.returncode == 3
    assert "--host 192.0.2.1 --port 8088: cannot serve there" in done.stderr


def test_dashboard_of_a_launcher_acts_and_ends_with_the_run(flow: Flow):
    launcher = flow.start("--dashboard", "--dashboard-port", "0")
    assert launcher.stdout is not None
    url = next(line for line in launcher.stdout if line.startswith("dashboard:"))
    dashboard = Dashboard(find_url(url))
    assert dashboard.ask("/api/runs", Cookie="").status == 403
    (run,) = [entry["run"] for entry in dashboard.ask("/api/runs").fields["runs"]]
    api = f"/api/runs/{run}"

    def node(name: str) -> dict[str, object]:
        processes = dashboard.ask(f"{api}/status").fields["processes"]
        return next(process for process in processes if process["name"] == name)

    eventually(lambda: node("detector")["state"] == "running")
    os.kill(int(str(node("detector")["pid"])), signal.SIGKILL)
    eventually(lambda: node("detector")["state"] == "waiting to be restarted")
    eventually(lambda: node("detector")["state"] == "running")
    assert node("detector")["restarts"] == 1
    # Of a writer that was started again, the boxes are found again too.
    picture = f"{api}/pictures/camera/image"
    eventually(lambda: '"cat"' in dashboard.ask(picture).headers.get("dora-rt-picture", ""))
    before = node("sink")["pid"]
    assert dashboard.act(f"{api}/restart", node="sink").status == 200
    eventually(lambda: node("sink")["pid"] not in (before, None))
    assert dashboard.act(f"{api}/stop").status == 200
    launcher.communicate(timeout=30)

    with pytest.raises(ConnectionRefusedError):
        dashboard.ask("/")


def test_dashboard_that_was_killed_does_not_disturb_the_run(flow: Flow):
    launcher = flow.start("--dashboard-port", "0")
    assert launcher.stdout is not None
    next(line for line in launcher.stdout if line.startswith("dashboard:"))
    run = wait_for_run(flow)
    (pid,) = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if is_dashboard_of(folder, launcher.pid)
    ]

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: not is_dashboard_of(Path(f"/proc/{pid}"), launcher.pid))
    with Connection.open(base_folder(os.environ), run) as connection:  # type: ignore[union-attr]
        sent = connection.ask("status")[0]["outputs"][0]["sent"]
        eventually(lambda: connection.ask("status")[0]["outputs"][0]["sent"] > sent + 5)
        connection.ask("stop")
    launcher.communicate(timeout=30)
    assert launcher.returncode == 0


def is_dashboard_of(folder: Path, launcher_pid: int) -> bool:
    try:
        line = (folder / "cmdline").read_bytes()
        parent = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"\0dashboard\0" in line and parent == launcher_pid
