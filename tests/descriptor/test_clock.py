"""`clock:` beside `nodes:`: which output it is, and what each process is told of it."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from dora_rt.descriptor import parse_descriptor, read_descriptor
from dora_rt.descriptor.tree.model import OutputSource
from dora_rt.graph.boxes_and_arrows import graph_of_descriptor
from dora_rt.node_config import (
    ClockConfig,
    Descriptors,
    NodeConfig,
    RunFacts,
    make_config,
)
from dora_rt.plan.plan import Plan, outline
from dora_rt.plan.planner import make_plan

FLOW = """
clock: sim/clock
nodes:
  - {id: sim, path: a.py, outputs: [clock, image], inputs: {step: dora/timer/millis/2}}
  - id: two
    path: b.py
    inputs: {image: sim/image, fast: dora/timer/millis/10, slow: dora/timer/secs/1}
  - {id: three, path: c.py, inputs: {beat: dora/timer/millis/10, other: dora/timer/hz/100}}
  - {id: four, path: d.py, inputs: {image: sim/image}}
"""


@pytest.fixture
def plan() -> Plan:
    descriptor = parse_descriptor(FLOW, "flow.yml")
    return make_plan(descriptor, folder=Path("/"), interpreter="python")


def test_only_the_process_of_the_clock_knows_whose_timers_follow_it(plan: Plan):
    clocks = [process.config.clock for process in plan.processes]

    listeners = (1, (10_000_000, 1_000_000_000)), (2, (10_000_000,))
    assert clocks == [ClockConfig("clock", listeners), *[ClockConfig()] * 3]
    follow = {
        entry.id: entry.follows_clock
        for process in plan.processes
        for entry in process.config.inputs
        if entry.period_ns is not None
    }
    assert follow == {"step": False, "fast": True, "slow": True, "beat": True, "other": True}


def test_what_a_process_is_told_of_the_clock_crosses_into_it(plan: Plan):
    for process in plan.processes:
        facts = RunFacts("0123abcd", "/run/dataflow.json")
        config = make_config(process.config, facts, Descriptors(5, 6), restart_count=0)

        assert NodeConfig.from_json(config.to_json()) == config


def test_clock_counts_as_read_and_check_and_graph_show_it(plan: Plan):
    descriptor = parse_descriptor(FLOW, "flow.yml")

    assert descriptor.notes == ()
    assert "  clock: sim/clock, which node.now() and the timers of the others follow" in outline(
        plan
    )
    notes = {box.id: box.notes for box in graph_of_descriptor(descriptor).boxes}
    assert notes["sim"] == ("a.py", "every 2 ms", "clock: clock")
    assert notes["four"] == ("d.py",)


def test_without_a_clock_nothing_is_planned_for_one():
    text = FLOW.replace("clock: sim/clock\n", "")
    plan = make_plan(parse_descriptor(text, "flow.yml"), folder=Path("/"), interpreter="python")

    assert plan.clock is None
    assert all(process.config.clock is None for process in plan.processes)
    assert not any(one.follows_clock for process in plan.processes for one in process.config.inputs)


def test_clock_may_be_an_output_of_a_module(tmp_path: Path):
    (tmp_path / "world.yml").write_text(
        dedent(
            """
            module: {name: world, outputs: [time]}
            nodes:
              - id: engine
                operators: [{id: op, python: op.py, inputs: {t: dora/timer/hz/9}, outputs: [time]}]
            """
        )
    )
    (tmp_path / "op.py").touch()
    file = tmp_path / "flow.yml"
    file.write_text("clock: left/time\nnodes:\n  - {id: left, module: world.yml}\n")

    assert read_descriptor(file, {}).clock == OutputSource("left.engine", "time", "op")


def test_operator_that_is_the_clock_sends_it_out_of_its_process_though_nobody_reads_it():
    text = """
    clock: pair/one/time
    nodes:
      - id: pair
        operators:
          - {id: one, python: a.py, inputs: {tick: dora/timer/hz/9}, outputs: [time]}
          - {id: two, python: a.py, inputs: {time: pair/one/time}}
    """
    plan = make_plan(parse_descriptor(text, "flow.yml"), folder=Path("/"), interpreter="python")

    (pair,) = plan.processes
    assert pair.config.clock == ClockConfig("pair/one/time")
    assert [output.id for output in pair.config.outputs] == ["pair/one/time"]
    route = pair.config.operators[0].routes[0]
    assert (route.external_id, len(route.links)) == ("pair/one/time", 1)


@pytest.mark.parametrize("is_simulated", ["true", "false"])
def test_clock_of_a_node_that_is_not_enabled_is_left_out(is_simulated: str):
    text = f"""
clock: sim/clock
nodes:
  - {{id: sim, path: a.py, enabled: {is_simulated}, outputs: [clock]}}
  - {{id: planner, path: b.py, inputs: {{tick: dora/timer/hz/1}}}}
"""

    descriptor = parse_descriptor(text, "flow.yml")

    if is_simulated == "true":
        assert (str(descriptor.clock), descriptor.notes) == ("sim/clock", ())
    else:
        note = "flow.yml:2:1: 'clock' is left out: node 'sim' is not enabled"
        assert (descriptor.clock, descriptor.notes) == (None, (note,))
