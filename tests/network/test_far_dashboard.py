"""The dashboard of one machine shows and steers the nodes of the other, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.conftest import Dashboard
from tests.harness.remains import no_remains
from tests.harness.waiting import eventually
from tests.network.two_machines import TwoMachines

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(own_runs: Path) -> Iterator[None]:
    """See to it for the whole module, whose tests share runs that restart their nodes."""
    with no_remains(own_runs):
        yield


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, own_runs: Path) -> Iterator[TwoMachines]:
    machines = TwoMachines(tmp_path_factory.mktemp("machines"))
    machines.start_all()
    yield machines
    machines.close()


@pytest.fixture(scope="module")
def page(machines: TwoMachines) -> Iterator[Dashboard]:
    """Give the dashboard of the laptop."""
    environ = machines.environ("laptop")
    before = {name: os.environ.get(name) for name in environ}
    os.environ.update(environ)
    try:
        page = Dashboard.start()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
    yield page
    assert page.close() == 0


def run_of(page: Dashboard) -> str:
    runs: list[str] = []
    eventually(lambda: bool(runs.extend(_runs(page)) or runs))
    return f"/api/runs/{runs[0]}"


def _runs(page: Dashboard) -> list[str]:
    return [run["run"] for run in page.ask("/api/runs").fields["runs"]]


def processes(page: Dashboard, run: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in page.ask(f"{run}/status").fields["processes"]}


def test_page_has_the_nodes_and_edges_of_both_machines(page: Dashboard):
    run = run_of(page)

    eventually(lambda: "camera" in processes(page, run))
    status = page.ask(f"{run}/status").fields

    where = {one["name"]: one["machine"] for one in status["processes"]}
    assert where == {
        "sink": "laptop",
        "dora.network": "laptop",
        "camera": "robot",
        "dora.network (robot)": "robot",
    }
    (edge,) = status["edges"]
    assert (edge["source"], edge["target"]) == ("camera/image", "sink/image")
    graph = page.ask(f"{run}/graph.svg").body.decode()
    assert "on robot" in graph
    assert "on laptop" in graph


def test_picture_of_the_other_machine_is_shown(page: Dashboard):
    run = run_of(page)

    eventually(lambda: "camera/view" in page.ask(f"{run}/status").fields["pictures"])
    answer = page.ask(f"{run}/pictures/camera/view")

    assert answer.status == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.body.startswith(b"\xff\xd8")


def test_log_of_the_other_machine_is_read_and_read_on(page: Dashboard):
    run = run_of(page)
    eventually(lambda: "camera" in processes(page, run))
    first = page.ask(f"{run}/logs/camera").fields
    rest = page.ask(f"{run}/logs/camera?after={first['offset']}").fields

    assert "camera begins\n" in first["text"]
    assert rest["text"] == ""

    assert page.act(f"{run}/restart", node="camera").status == 200
    after = rest["offset"]
    eventually(
        lambda: "camera begins" in page.ask(f"{run}/logs/camera?after={after}").fields["text"],
    )


def test_node_of_the_other_machine_is_stopped_and_restarted(page: Dashboard):
    run = run_of(page)
    eventually(lambda: "camera" in processes(page, run))

    assert page.act(f"{run}/stop", node="camera").status == 200
    eventually(lambda: processes(page, run)["camera"]["state"] == "stopped by hand")
    assert page.act(f"{run}/restart", node="camera").status == 200

    eventually(lambda: processes(page, run)["camera"]["state"] == "running")
