"""What docs/from-dora-file.md claims: everything is in it, and what is the same has a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/from-dora-file.md").read_text()
VERDICTS = ("same", "different", "not here")
# As dora 1.1 lists them when it meets one that it does not know.
KEYS = {
    "The dataflow": (
        "nodes deploy debug health_check_interval strict_types exit_when_nodes_finish type_rules "
        "env"
    ),
    "Nodes": (
        "id name description path path_sha256 args env ros2 outputs output_types "
        "output_framing inputs input_types output_metadata pattern send_stdout_as send_logs_as "
        "min_log_level max_log_size max_rotated_files build git hub branch tag rev "
        "restart_policy shared_memory_pool_size max_restarts restart_delay max_restart_delay "
        "restart_window health_check_timeout finish_grace_secs module params cpu_affinity "
        "deploy startup_timeout"
    ),
    "Inputs": "source queue_size queue_policy input_timeout dora/timer dora/logs",
    "Operators": (
        "operator operators python conda_env shared-library build inputs outputs input_types "
        "output_types send_stdout_as send_logs_as min_log_level max_log_size max_rotated_files"
    ),
    "Modules": "module inputs_optional _mod params build",
    "Command line": (
        "run up down cluster build start stop restart clean list logs inspect top topic node "
        "param record replay trace doctor status new graph expand validate system hub completion "
        "self"
    ),
}
# As `dora COMMAND --help` lists them; those that begin with `--` are options.
PARTS = {
    "run": "--uv --stop-after --log-level --log-format --log-filter --allow-shell-nodes --debug "
    "--locked --write-lockfile --lockfile --hub-override --env --exit-when-nodes-finish",
    "build": "--uv --strict-types --parallel --locked --offline",
    "validate": "--strict-types --node-manifest",
    "start": "--name --attach --detach --hot-reload",
    "stop": "--all --grace-duration --force",
    "logs": "--tail --follow --since --until --level --log-format --log-filter --grep",
    "topic": "list echo hz info pub",
    "node": "list info add remove replace connect disconnect restart stop",
    "param": "list get set delete",
    "record": "--output --topics --queue-size --output-yaml --proxy",
    "replay": "--replace --speed --loop --output-yaml",
    "expand": "--module",
}


def rows(heading: str) -> list[list[str]]:
    """Give the cells of the rows below a heading."""
    section = PAGE[PAGE.index(f"\n## {heading}\n") + 4 :].split("\n## ", 1)[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()]
    return [row for row in cells if len(row) == 4 and row[1] not in ("here", "---")]


@pytest.mark.parametrize("heading", KEYS)
def test_everything_has_a_row(heading: str) -> None:
    named = " ".join(row[0] for row in rows(heading))
    prefix = "dora " if heading == "Command line" else ""

    missing = [key for key in KEYS[heading].split() if not re.search(rf"`{prefix}{key}\b", named)]

    assert not missing


@pytest.mark.parametrize("heading", KEYS)
def test_what_is_the_same_names_a_test_that_exists(heading: str) -> None:
    for what, verdict, _, shown_by in rows(heading):
        assert verdict in VERDICTS, what
        names = re.findall(r"`([\w/]+\.py)::(\w+)`", shown_by)
        assert bool(names) == (verdict == "same"), f"{what} is {verdict}"
        for file, name in names:
            text = (ROOT / "tests" / file).read_text()
            assert f"\ndef {name}(" in text, f"{what}: there is no {file}::{name}"


@pytest.mark.parametrize("command", PARTS)
def test_every_part_of_a_command_is_in_a_row_of_it(command: str) -> None:
    texts = [" ".join(row) for row in rows("Command line")]
    of_command = " ".join(text for text in texts if re.search(rf"`(dora )?{command}\b", text))

    missing = [part for part in PARTS[command].split() if not re.search(rf"{part}\b", of_command)]

    assert not missing
