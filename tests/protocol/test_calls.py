"""Calls and goals in schedules of fixed seeds: processes die at any step, and none is stuck."""

from __future__ import annotations

from typing import Any

import pytest

from dora_rt.errors import CallRefused, ServerGone, ServerRestarted
from dora_rt.event import Change, Event, GoalRequest, Request
from dora_rt.node.calls import Calls
from dora_rt.node.goals import Goals
from dora_rt.node_config import CallConfig, ServiceKind
from tests.protocol.call_network import Life, Network, Program

CALLS = {
    ("a", "ask", "b"): ServiceKind.CALL,
    ("b", "back", "a"): ServiceKind.CALL,
    ("a", "go", "b"): ServiceKind.GOAL,
}
SEEDS = 300


class Account:
    """What came of all that was asked."""

    def __init__(self) -> None:
        self.answered = self.failed = self.refused = self.results = 0

    def ask(self, life: Life, name: str, value: bytes) -> bytes:
        """Ask until there is an answer, and check that it is that to this question."""
        while True:
            try:
                answer = life.calls.call(name, value, None, None)
            except CallRefused:
                self.refused += 1
                return b"refused " + value
            except ServerRestarted:
                self.failed += 1
                continue
            except ServerGone:
                return b"gone " + value
            self.answered += 1
            assert answer.value.endswith(value), (answer.value, value)
            return answer.value


def client(account: Account, *, has_function: bool) -> Program:
    def run(life: Life) -> None:
        if has_function:
            life.calls.serve("back", lambda request: b"<" + request.value)
        for number in range(4):
            account.ask(life, "ask", b"%d.%d" % (life.number, number))
            goal = life.calls.goals.give("go", b"%d" % number, None, None)
            if life.network.rng.random() < 0.3:
                goal.cancel()
            told = list(goal)
            assert goal.status in ("succeeded", "aborted", "canceled")
            account.results += 1
            if goal.status == "succeeded":
                # The newest feedback always comes, and before the result.
                feedback = [event.value for event in told[:-1]]
                assert feedback == sorted(feedback)
                assert feedback[-1] == b"3"
            assert told[-1].status == goal.status

    return run


def server(account: Account) -> Program:
    def run(life: Life) -> None:
        while (event := life.calls.wait(None)) is not None:
            if isinstance(event, Request):
                life.calls.reply(event, account.ask(life, "back", event.value), None)
            elif isinstance(event, GoalRequest):
                for number in range(4):
                    life.calls.goals.feedback(event, b"%d" % number, None)
                is_cancelled = life.calls.goals.is_cancelled(event)
                status = "canceled" if is_cancelled else "succeeded"
                life.calls.goals.finish(event, b"done", status, None)
            else:
                assert not isinstance(event, Event)

    return run


def explore(total: Account, kills: int, *, has_function: bool) -> int:
    """Run all schedules; return how many processes were killed."""
    killed = 0
    for seed in range(SEEDS):
        network = Network(seed, CALLS)
        try:
            network.run({"a": client(total, has_function=has_function), "b": server(total)}, kills)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        killed += network.kills
    return killed


@pytest.mark.parametrize("has_function", [True, False], ids=["function", "loop"])
@pytest.mark.parametrize("kills", [0, 1, 3])
def test_everything_that_is_asked_comes_to_an_end(kills: int, has_function: bool):
    total = Account()

    killed = explore(total, kills, has_function=has_function)

    assert total.results >= 4 * SEEDS
    assert (killed > 0) == (kills > 0)
    assert (total.failed > 0) == (kills > 0)
    if not kills:
        assert total.answered == (8 if has_function else 4) * SEEDS
        assert (total.refused > 0) != has_function


def forget_kept(self: Calls, key: str, end: CallConfig) -> None:
    self._waiting[key] = end.peer


def release_at_once(self: Goals, name: str, *, is_all: bool = False) -> list[Event | Change]:
    return release(self, name, is_all=True)


release = Goals._release


@pytest.mark.parametrize(
    ("owner", "name", "fault", "found"),
    [
        (Calls, "begin_waiting", forget_kept, "wait for each other"),
        (Calls, "_is_circle", lambda self, chain: False, "wait for each other"),
        (Calls, "_fail", lambda self, end, error: None, "wait for each other"),
        (Goals, "_abort", lambda self, end: [], "wait for each other"),
        (Goals, "_release", release_at_once, "assert"),
    ],
    ids=["kept requests", "circles", "dead servers", "dead goals", "early results"],
)
def test_schedules_find_a_fault_that_is_planted(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, fault: Any, found: str
):
    monkeypatch.setattr(owner, name, fault)

    with pytest.raises(AssertionError, match=found):
        explore(Account(), 3, has_function=False)
