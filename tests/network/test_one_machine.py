"""A dataflow without `machines:` imports, starts and opens nothing of the network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.flow import Flow

pytestmark = pytest.mark.programs

# What is told about machines, as plain data, is part of a status and of a plan.
PLAIN = {"dora_rt.network", "dora_rt.network.gateway_plan", "dora_rt.network.network_status"}
NODE = """
    import json, sys
    from pathlib import Path
    from dora_rt import Node
    node = Node()
    sockets = [line for kind in ("tcp", "tcp6", "udp", "udp6")
               for line in Path(f"/proc/self/net/{kind}").read_text().splitlines()[1:]]
    inodes = {line.split()[9] for line in sockets}
    own = [path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    opened = [name for name in own if name.startswith("socket:") and name[8:-1] in inodes]
    for event in node:
        print(json.dumps({"modules": sorted(sys.modules), "opened": opened}), flush=True)
        break
"""
LAUNCHER = """
import atexit, json, runpy, sys
atexit.register(lambda: print("launcher", json.dumps({"modules": sorted(sys.modules)})))
sys.argv = ["dora-launch", *sys.argv[1:]]
runpy.run_module("dora_rt", run_name="__main__")
"""
YAML = "nodes: [{id: node, path: node.py, inputs: {tick: dora/timer/millis/10}}]"
MACHINES = 'machines: {robot: {listen: "127.0.0.1:7447"}, laptop: {}}\nmachine: robot\n'


def foreign(modules: list[str]) -> set[str]:
    network = {name for name in modules if name.split(".")[:2] == ["dora_rt", "network"]}
    return (network - PLAIN) | {name for name in modules if name.split(".")[0] == "zenoh"}


@pytest.mark.parametrize("machines", ["", MACHINES], ids=["without machines", "all of it here"])
def test_run_on_one_machine_has_nothing_of_the_network(flow: Flow, machines: str):
    flow.write("flow.yml", machines + YAML)
    flow.write("node.py", NODE)

    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, str(flow.folder / "flow.yml"), "--stop-after", "10s"],
        capture_output=True,
        text=True,
        timeout=30,
    )

    told = {
        line.split()[0]: json.loads(line[line.index("{") :])
        for line in done.stdout.splitlines()
        if "{" in line and line.split()[0] in ("node", "launcher")
    }
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: foreign(one["modules"]) for name, one in told.items()} == {
        "node": set(),
        "launcher": set(),
    }
    assert told["node"]["opened"] == []
    assert "dora.network" not in done.stdout


def test_file_with_machines_needs_no_extra_to_run_on_one(flow: Flow, tmp_path: Path):
    # As where `dora_rt[network]` was not installed.
    (tmp_path / "zenoh.py").write_text("raise ImportError('not installed')")
    (tmp_path / "cryptography.py").write_text("raise ImportError('not installed')")
    flow.write("flow.yml", MACHINES + YAML)
    flow.write("node.py", "from dora_rt import Node\nnext(iter(Node()))")

    done = flow.run("--stop-after", "10s", env={"PYTHONPATH": str(tmp_path)})

    assert done.exit_code == 0, done.err
