"""Random histories through the supervisor's real loop; what every run must hold, each of them does.

`Bed.check` has what is true of all runs: every started process is reaped or left behind, nothing
starts after the stop, the report adds up. A failure names its seed, which repeats it.
"""

from __future__ import annotations

import random
import signal
from collections import defaultdict
from itertools import pairwise

import pytest

from dora_rt.plan.plan import Plan
from tests.launcher.bed import Bed, FakeRequester, ask, attach, interrupt, kill, leave, vanish
from tests.launcher.machine import CRASH, DEAF, JOB, MISSING, PYTHON, Program

SEEDS = 300
POLICIES = ("never", "on-failure", "always")
SHAPES = ("chain", "star", "circle", "plain")
# The rungs as the history shows them; no node is pushed back.
RUNGS = ("SIGINT to ", "SIGTERM to ", "SIGKILL to ")


def random_text(chance: random.Random) -> str:
    shape = chance.choice(SHAPES)
    count = chance.randint(1, 5)
    nodes = []
    for number in range(count):
        keys = [f"id: n{number}", f"path: p{number}"]
        if shape != "plain":
            keys.append("outputs: [out]")
        inputs = []
        if number and shape != "plain":
            inputs.append(f"in: n{0 if shape == 'star' else number - 1}/out")
        if shape == "circle" and number == 1 and count > 2:
            inputs.append(f"back: n{count - 1}/out")
        if inputs:
            keys.append(f"inputs: {{{', '.join(inputs)}}}")
        keys.append(f"restart: {chance.choice(POLICIES)}")
        keys.append(f"max_restarts: {chance.choice((1, 3, 20))}")
        keys.append(f"restart_delay: {chance.choice((0, 0.1, 5))}")
        keys.append(f"stop_grace: {chance.choice((0.1, 1, 3))}")
        keys.append(f"startup_timeout: {chance.choice((1, 20))}")
        if chance.random() < 0.3:
            keys.append("heartbeat_timeout: 1")
        if chance.random() < 0.15:
            keys.append("on_exit: stop_all")
        nodes.append(f"{{{', '.join(keys)}}}")
    if chance.random() < 0.4:
        reads = "outputs: [out]" if shape == "plain" else "inputs: {in: n0/out}"
        policy = chance.choice(POLICIES)
        nodes.append(f"{{id: visitor, path: dynamic, {reads}, restart: {policy}}}")
    return f"nodes: [{', '.join(nodes)}]"


def random_program(chance: random.Random, *, is_first: bool = True) -> Program:
    if chance.random() < 0.15:
        return chance.choice((CRASH, JOB) if is_first else (CRASH, JOB, MISSING))
    ends = chance.random() < 0.3
    children: tuple[Program, ...] = ()
    if chance.random() < 0.25:
        handlers = chance.choice((PYTHON, DEAF, {}))
        children = (Program(ready_s=None, handlers=handlers, ends_s=chance.choice((None, 20.0))),)
    return Program(
        ready_s=chance.choice((None, 0.0, 0.1, 0.5, 2.0)),
        ends_s=chance.uniform(0, 10) if ends else None,
        status=chance.choice((0, 0, 1, -signal.SIGSEGV)),
        reads_events=chance.random() < 0.8,
        stops_s=chance.choice((None, 0.0, 0.1, 2.0)),
        drains_s=chance.choice((None, 0.0, 0.1)),
        handlers=chance.choice((PYTHON, PYTHON, DEAF, {}, {signal.SIGTERM: (0.5, 0)})),
        stuck_s=chance.choice((0.0, 0.0, 0.0, 7.0)),
        beats_until_s=chance.choice((None, None, 3.0)),
        becomes_root_s=chance.choice((None,) * 12 + (1.0,)),
        asks_stop_s=chance.choice((None,) * 12 + (4.0,)),
        sends_after_stop=chance.random() < 0.1,
        prints=((chance.uniform(0, 3), b"a line\nand a part"),) if chance.random() < 0.3 else (),
        children=children,
    )


def random_bed(seed: int) -> Bed:
    chance = random.Random(seed)
    text = random_text(chance)
    names = [f"n{number}" for number in range(text.count("id: n"))]
    programs = {
        name: [random_program(chance, is_first=not turn) for turn in range(3)] for name in names
    }
    stop_after_s = chance.choice((None, 6.0))
    bed = Bed(text, programs, stop_after_s=stop_after_s, seed=seed)
    visitors = [FakeRequester(number) for number in range(3)]
    for _ in range(chance.randint(0, 8)):
        at_s = chance.choice((0.0, 0.1, 1.0, chance.uniform(0, 12)))
        name, visitor = chance.choice(names), chance.choice(visitors)
        happens = chance.choice(
            (
                lambda bed, name=name: kill(bed, name),
                lambda bed, name=name: ask(bed, "stop", name),
                lambda bed, name=name: ask(bed, "restart", name),
                lambda bed, visitor=visitor: attach(bed, visitor, "visitor"),
                lambda bed, visitor=visitor: leave(bed, visitor, "visitor"),
                lambda bed, visitor=visitor: vanish(bed, visitor),
            )
        )
        bed.at(at_s, happens)
    for _ in range(chance.choice((1, 1, 2, 3))):
        bed.at(chance.uniform(0, 15), interrupt)
    # In the end somebody means it.
    return bed.at(200, interrupt).at(300, interrupt).at(400, interrupt)


@pytest.mark.parametrize("tens", range(SEEDS // 10))
def test_every_random_history_holds_what_all_runs_hold(tens: int):
    for seed in range(10 * tens, 10 * tens + 10):
        bed = random_bed(seed)
        try:
            bed.run()
            check_ladder(bed)
            check_order(bed, bed.plan)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def check_ladder(bed: Bed) -> None:
    """Hold that each process climbs, is signalled at its deadlines, and is killed at most once."""
    graces = {process.name: process.supervision.stop_grace_s for process in bed.plan.processes}
    hurried = len(bed.when("SIGINT")) > 1
    climbed: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for at_s, event in bed.history:
        if event.startswith("start "):
            climbed[event.removeprefix("start ")] = []
        for rung, prefix in enumerate(RUNGS):
            if event.startswith(prefix):
                climbed[event.removeprefix(prefix)].append((at_s, rung))
                check_climb(climbed[event.removeprefix(prefix)])
    if hurried:
        return
    for name, rungs in climbed.items():
        for (earlier_s, _), (later_s, _) in pairwise(rungs):
            assert later_s - earlier_s >= graces[name] - 0.001, (name, rungs)


def check_climb(rungs: list[tuple[float, int]]) -> None:
    numbers = [rung for _, rung in rungs]
    assert numbers == sorted(numbers), rungs
    # Only another Ctrl-C repeats a signal, and only SIGKILL.
    assert numbers.count(0) <= 1, rungs
    assert numbers.count(1) <= 1, rungs


def check_order(bed: Bed, plan: Plan) -> None:
    """Hold that no node is told to stop before its grace while a source of it still runs."""
    stops = bed.when("the stop begins")
    if not stops:
        return
    running: set[int] = set()
    numbers = {process.name: process.config.number for process in plan.processes}
    has_hurried = 0
    for at_s, event in bed.history:
        words = event.split()
        has_hurried += event == "SIGINT" and at_s >= stops[0]
        if words[0] == "start":
            running.add(numbers[words[1]])
        elif words[0] in numbers and words[1] == "ends":
            running.discard(numbers[words[0]])
        elif words[0] == "tell" and at_s > stops[0] and has_hurried < 2:
            process = plan.processes[numbers[words[1]]]
            grace_s = process.supervision.stop_grace_s
            fed = (process.upstream - process.circle.members) & running
            # One that has ended is told for what it had started, which still runs.
            has_ended = process.config.number not in running
            if fed and not has_ended and not process.is_dynamic:
                first = next(one for one in bed.when(event) if one > stops[0])
                assert first >= stops[0] + grace_s - 0.001 or bed.when(event)[0] <= stops[0], event
