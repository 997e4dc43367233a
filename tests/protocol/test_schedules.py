"""The data plane in schedules of fixed seeds: 13 s of what `make prove` does for an hour."""

from __future__ import annotations

import os

import pytest

from dora_rt.compiled import IS_COMPILED, PURE_VARIABLE
from tests.protocol import kinds
from tests.protocol.__main__ import report
from tests.protocol.explore import explore
from tests.protocol.faults import FAULTS, Fault, planted
from tests.protocol.mixed import MixedImplementation

SEEDS = 300
"""Of each kind: 4,800 schedules, in 13 s of one core."""

# Of each of its kinds: a fault that is planted has to be found by then.
_SEEDS_OF_A_FAULT = 600

# Where there is compiled code, `make test` explores a third with it, a third without it, and a
# third where both meet; else all of them without it.
_SHARE = SEEDS // 3
if IS_COMPILED:
    _OWN_SEEDS = range(_SHARE)
elif PURE_VARIABLE in os.environ:
    _OWN_SEEDS = range(_SHARE, 2 * _SHARE)
else:
    _OWN_SEEDS = range(SEEDS)
_MIXED_SEEDS = range(2 * _SHARE, SEEDS)

FOUND_LATER = [
    # A reader took HEAD for new after it had found a sample dropped, and claimed one too early.
    (kinds.SLOW, 7_007_136),
    # An exception broke off the clearing up behind an exception that came out of a whole send.
    (kinds.INTERRUPTS, 1_100_002_998),
    (kinds.INTERRUPTS_KILLS, 1_090_003_660),
    # A reader said that it needed an earlier generation no more before it had counted it.
    (kinds.WRITERS, 90_001_270),
    # A reader that was closed while it looked for a sample was open again.
    (kinds.CLOSES, 110_000_334),
    # A reader took two more samples in step 9 while it had one in hand.
    (kinds.SLOW, 1_090_004_004),
    # One had two in hand in step 9, and the plan had a slot for one.
    (kinds.OBSERVERS_KILLS, 110_002_625),
    # One began to wait when the writer had counted a drop, and FLOOR did not say so yet.
    (kinds.INTERRUPTS, 120_006_699),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_violated_in_any_schedule(capsys: pytest.CaptureFixture[str]):
    explored = explore(kinds.ALL, _OWN_SEEDS)

    with capsys.disabled():
        print(f"\n{report(explored)}")
    assert not explored.violations, report(explored)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not IS_COMPILED, reason="there is no compiled code here")
@pytest.mark.parametrize("first", [0, 1])
def test_nothing_is_violated_where_compiled_code_meets_python_code(first: int):
    seeds = _MIXED_SEEDS[first::2]

    explored = explore(kinds.ALL, seeds, implementation=MixedImplementation(first))

    assert not explored.violations, report(explored)


@pytest.mark.parametrize(
    "kind, seed", FOUND_LATER, ids=lambda value: getattr(value, "name", str(value))
)
def test_schedule_that_long_runs_had_found_is_right_now(kind: kinds.Kind, seed: int):
    assert not explore([kind], [seed]).violations


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.number)
def test_schedules_find_the_fault_that_is_planted_again(fault: Fault):
    assert set(fault.kinds) <= set(kinds.ALL)
    if fault.is_in_plain_code and IS_COMPILED:
        pytest.skip("it is planted in Python code that compiled code takes the place of")

    with planted(fault):
        explored = explore(fault.kinds, range(_SEEDS_OF_A_FAULT), most_violations=1)

    assert explored.violations, f"{explored.schedules} schedules did not find {fault.what}"


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.name)
def test_one_seed_is_one_schedule(kind: kinds.Kind):
    first, second = explore([kind], [7]), explore([kind], [7])

    assert first.steps == second.steps > 100
    assert first.kills == second.kills
