"""Two gateways find each other, and notice each other's ends and restarts."""

from __future__ import annotations

import random

from dora_rt.network.gateway_plan import MachinePlan
from dora_rt.network.network_status import MachineState
from dora_rt.network.peer import SILENCE_NS, Change, Peer
from dora_rt.network.wire import WIRE_VERSION

_SECOND_NS = 1_000_000_000


def pair(robot_file: str = "f", laptop_file: str = "f") -> tuple[Peer, Peer]:
    """Return the laptop as the robot sees it, and the robot as the laptop does."""
    laptop = Peer(MachinePlan("laptop"), life=1, run="r", file_sha256=robot_file)
    return laptop, Peer(MachinePlan("robot"), life=2, run="l", file_sha256=laptop_file)


def are_connected_in_the_end(seed: int) -> bool:
    """Let two gateways speak over a link that loses half of it, and then of a good one."""
    chance = random.Random(seed)
    ends = pair()
    now_ns = 0

    for step in range(80):
        now_ns += _SECOND_NS // 2
        is_quiet = step > 40
        for end, other in (ends, ends[::-1]):
            if not is_quiet and chance.random() < 0.1:
                end.hear_gone(end.life, now_ns)
            if end.hello_due(now_ns) and (is_quiet or chance.random() < 0.5):
                told = end.hello()
                changes = other.hear_hello(told, now_ns)
                if (changes or other.needs_answer(told)) and (is_quiet or chance.random() < 0.5):
                    end.hear_hello(other.hello(), now_ns)
        for end in ends:
            if is_quiet:
                end.hear(now_ns)

    return all(end.is_connected for end in ends)


def test_gateways_are_connected_in_the_end_whatever_is_lost() -> None:
    assert [seed for seed in range(200) if not are_connected_in_the_end(seed)] == []


def connected() -> tuple[Peer, Peer]:
    laptop, robot = pair()
    robot.hear_hello(laptop.hello(), 0)
    laptop.hear_hello(robot.hello(), 0)
    robot.hear_hello(laptop.hello(), 0)
    assert laptop.is_connected
    assert robot.is_connected
    return laptop, robot


def test_machine_with_another_file_is_refused() -> None:
    laptop, robot = pair(laptop_file="g")

    changes = laptop.hear_hello(robot.hello(), 0)

    assert changes == [Change.REFUSED]
    status = laptop.status(0)
    assert status.state is MachineState.REFUSED
    assert "dora-rt deploy laptop" in (status.why or "")


def test_machines_that_refuse_each_other_do_not_answer_for_ever() -> None:
    ends = pair(laptop_file="g")
    answers = 0

    told = ends[0].hello()
    while answers < 10:
        end = ends[1 - answers % 2]
        end.hear_hello(told, 0)
        if not end.needs_answer(told):
            break
        told = end.hello()
        answers += 1

    assert answers < 4


def test_machine_with_another_dora_rt_is_refused() -> None:
    laptop, robot = pair()

    laptop.hear_hello({**robot.hello(), "version": WIRE_VERSION + 1}, 0)

    assert "install the same dora_rt" in (laptop.status(0).why or "")


def test_silent_machine_is_lost() -> None:
    laptop, _ = connected()

    assert laptop.look(SILENCE_NS) == []
    assert laptop.look(SILENCE_NS + 1) == [Change.LOST]
    assert laptop.status(SILENCE_NS + 1).state is MachineState.LOST


def test_restart_of_the_other_gateway_is_a_loss_and_a_return() -> None:
    laptop, _ = connected()
    again = Peer(MachinePlan("robot"), life=3, run="l", file_sha256="f")

    assert laptop.hear_hello(again.hello(), 1) == [Change.LOST]
    again.hear_hello(laptop.hello(), 1)
    assert laptop.hear_hello(again.hello(), 1) == [Change.CONNECTED]
    assert not laptop.is_new_run


def test_restart_of_the_other_launcher_is_a_new_run() -> None:
    laptop, _ = connected()
    again = Peer(MachinePlan("robot"), life=3, run="l2", file_sha256="f")
    laptop.hear_gone(laptop.life, 1)

    laptop.hear_hello(again.hello(), 1)

    assert laptop.is_new_run


def test_second_launcher_of_a_machine_waits_until_the_first_one_is_gone() -> None:
    laptop, _ = connected()
    second = Peer(MachinePlan("robot"), life=3, run="l2", file_sha256="f")

    assert laptop.note_rival(second.hello())
    assert laptop.hear_hello(second.hello(), 1) == []
    assert not laptop.note_rival(second.hello())
    second.hear_hello(laptop.hello(), 1)
    assert not second.needs_answer(laptop.hello())  # or the two would talk without a break
    assert second.hear_hello(laptop.hello(), SILENCE_NS + 2) == [Change.REFUSED]
    assert "another launcher" in (second.status(0).why or "")
    assert laptop.is_connected

    laptop.hear_gone(laptop.life, 2)
    assert laptop.hear_hello(second.hello(), 2) == []
    assert second.hear_hello(laptop.hello(), 2) == [Change.CONNECTED]
    assert laptop.hear_hello(second.hello(), 2) == [Change.CONNECTED]


def test_first_launcher_of_a_machine_is_lost_by_silence_though_a_second_one_speaks() -> None:
    laptop, _ = connected()
    second = Peer(MachinePlan("robot"), life=3, run="l2", file_sha256="f")

    laptop.hear_hello(second.hello(), SILENCE_NS)

    assert laptop.look(SILENCE_NS + 1) == [Change.LOST]


def test_late_word_of_an_earlier_life_changes_nothing() -> None:
    laptop, _ = connected()

    assert laptop.hear_gone(99, 1) == []
    assert laptop.is_connected


def test_machine_that_has_told_its_last_accounts_has_ended_when_its_link_goes() -> None:
    laptop, _ = connected()
    counts = {"leaving": {}, "coming": {}}

    assert laptop.hear_counts({"counts": counts, "is_final": True, "heard_final": False})
    assert not laptop.hear_counts({"counts": counts, "is_final": True, "heard_final": False})
    assert laptop.hear_counts({"counts": counts, "is_final": True, "heard_final": True})

    assert laptop.hear_gone(laptop.life, 1) == [Change.ENDED]
    assert laptop.status(1).state is MachineState.ENDED
