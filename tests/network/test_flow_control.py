"""What a gateway tells of start and stop, and when both ends know the last accounts."""

from __future__ import annotations

from typing import Any

from dora_rt.network.flow_control import FlowControl
from dora_rt.network.gateway_plan import GatewayPlan, MachinePlan
from dora_rt.network.peer import Change, Peer

_SECOND_NS = 1_000_000_000


class Bed:
    """The control of `robot`, and what it has told the others."""

    def __init__(self, *machines: MachinePlan, own: MachinePlan = MachinePlan("robot")) -> None:  # noqa: B008
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.peers = {one.name: Peer(one, life=1, run="r", file_sha256="f") for one in machines}
        plan = GatewayPlan(
            machine=own.name,
            machines=(own, *machines),
            streams=(),
            flow="flow",
            fleet="fleet",
            robot="r1",
            file_sha256="f",
        )
        self.control = FlowControl(plan, self.peers, lambda name, told: self._tell(name, told))

    def _tell(self, name: str, told: dict[str, Any]) -> None:
        self.told.append((name, told))

    def connect(self, name: str) -> None:
        mine = self.peers[name]
        other = Peer(MachinePlan("robot"), life=2, run="l", file_sha256="f")
        other.hear_hello(mine.hello(), 0)
        for change in mine.hear_hello(other.hello(), 0):
            self.control.note(name, change)

    def may_start(self) -> bool:
        return bool(self.control.news(0)["may_start"])


def test_start_waits_for_all_machines_that_are_not_optional() -> None:
    bed = Bed(MachinePlan("laptop"), MachinePlan("scope", is_optional=True))
    assert not bed.may_start()

    bed.connect("laptop")
    assert not bed.may_start()
    bed.control.hear("laptop", {"is_ready": True})

    assert bed.may_start()


def test_machine_that_comes_late_hears_that_this_one_is_ready() -> None:
    bed = Bed(MachinePlan("laptop"))
    bed.control.hear_launcher({"is_ready": True})
    assert bed.told == []

    bed.connect("laptop")

    assert bed.told == [("laptop", {"is_ready": True})]


def test_stop_here_stops_the_others_and_is_not_told_back() -> None:
    bed = Bed(MachinePlan("laptop"), MachinePlan("box"))
    bed.connect("laptop")
    bed.connect("box")

    bed.control.hear_launcher({"is_stopping": "SIGINT"})
    assert bed.told == [("laptop", {"stop": "SIGINT"}), ("box", {"stop": "SIGINT"})]

    other = Bed(MachinePlan("laptop"))
    other.connect("laptop")
    other.control.hear("laptop", {"stop": "SIGINT"})
    assert other.control.news(0)["stop"] == "laptop: SIGINT"
    other.control.hear_launcher({"is_stopping": "laptop: SIGINT"})
    assert other.told == []


def test_stop_of_an_optional_machine_stops_nobody_else() -> None:
    bed = Bed(MachinePlan("laptop"), own=MachinePlan("robot", is_optional=True))
    bed.connect("laptop")

    bed.control.hear_launcher({"is_stopping": "SIGINT"})

    assert bed.told == []


def test_machine_that_is_lost_for_too_long_has_failed() -> None:
    bed = Bed(MachinePlan("laptop", timeout_s=3))
    bed.connect("laptop")
    peer = bed.peers["laptop"]
    for change in peer.hear_gone(peer.life, _SECOND_NS):
        bed.control.note("laptop", change)

    assert bed.control.news(3 * _SECOND_NS)["failed"] == {}
    assert list(bed.control.news(5 * _SECOND_NS)["failed"]) == ["laptop"]


def test_end_waits_until_each_has_heard_the_last_accounts_of_the_other() -> None:
    bed = Bed(MachinePlan("laptop"))
    assert bed.control.all_are_final
    bed.connect("laptop")
    counts = {"leaving": {}, "coming": {}}
    peer = bed.peers["laptop"]

    peer.hear_counts({"counts": counts, "is_final": True, "heard_final": False})
    assert not bed.control.all_are_final
    peer.hear_counts({"counts": counts, "is_final": True, "heard_final": True})

    assert bed.control.all_are_final
    assert Change.ENDED in peer.hear_gone(peer.life, 1)
