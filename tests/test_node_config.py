"""The configuration of a process, from its plan to the text that crosses into it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from dora_rt.descriptor import parse_descriptor
from dora_rt.errors import VersionMismatchError
from dora_rt.node_config import (
    CONFIG_VERSION,
    Descriptors,
    NodeConfig,
    NodePlan,
    RunFacts,
    make_config,
    to_fields,
)
from dora_rt.plan.plan import Plan
from dora_rt.plan.planner import make_plan

FACTS = RunFacts("0123abcd", "/run/dataflow.json", trace_path="/run/trace", has_spans=True)


@pytest.fixture
def plan() -> Plan:
    text = """
    nodes:
      - id: pair
        operators:
          - {id: one, python: one.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
          - {id: two, python: two.py, inputs: {in: pair/one/out}, outputs: [out]}
      - {id: sink, path: sink.py, inputs: {a: pair/two/out, logs: dora/logs/info/pair}}
    """
    return make_plan(parse_descriptor(text, "flow.yml"), folder=Path("/"), interpreter="python")


def test_configuration_is_read_as_it_was_written(plan: Plan):
    for process in plan.processes:
        config = make_config(process.config, FACTS, Descriptors(5, 6, 7), restart_count=2)

        assert NodeConfig.from_json(config.to_json()) == config
        assert (config.run, config.status_fd, config.connection_fd) == ("0123abcd", 5, 7)
        assert config.restart_count == 2


def test_configuration_has_all_that_the_plan_decides(plan: Plan):
    for process in plan.processes:
        config = make_config(process.config, FACTS, Descriptors(5, 6), restart_count=0)

        names = [field.name for field in fields(NodePlan)]
        assert [getattr(config, name) for name in names] == [
            getattr(process.config, name) for name in names
        ]


def test_plan_crosses_to_a_program_that_attaches(plan: Plan):
    for process in plan.processes:
        text = json.dumps(to_fields(process.config))

        assert NodePlan.from_fields(json.loads(text)) == process.config


def test_configuration_of_another_version_is_refused(plan: Plan):
    config = make_config(plan.processes[0].config, FACTS, Descriptors(5, 6), restart_count=0)
    other = {**json.loads(config.to_json()), "version": CONFIG_VERSION + 1}

    with pytest.raises(VersionMismatchError, match=f"speaks version {CONFIG_VERSION + 1}"):
        NodeConfig.from_json(json.dumps(other))


def test_relay_is_a_process_as_any_other_that_makes_no_spans(plan: Plan):
    assert plan.relay is not None
    sink, relay = plan.processes[1], plan.processes[plan.relay]
    configs = {
        process.name: make_config(process.config, FACTS, Descriptors(5, 6), restart_count=0)
        for process in plan.processes
    }

    assert relay.argv[:4] == ("python", "-u", "-m", "dora_rt.node.log_relay")
    assert (relay.name, relay.upstream) == ("dora", frozenset({0, 1}))
    assert relay.folder == sink.folder
    assert (relay.config.is_relay, sink.config.is_relay) == (True, False)
    assert [configs[name].has_spans for name in ("pair", "sink", "dora")] == [True, True, False]
    assert configs["dora"].trace_path == configs["sink"].trace_path == "/run/trace"
