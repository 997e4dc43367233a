"""What dora_rt aims at with compiled code, beside what a run has found.

All but the times of single calls are ratios of medians within one run, so that another machine has
the same aims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks import imports, links
from benchmarks.contenders import (
    BARE,
    BARE_POLLING,
    DORA_RT,
    DORA_RT_POLLING,
    DORA_RT_SPINNING,
    ICEORYX2,
    ICEORYX2_POLLING,
    PYZMQ,
)
from benchmarks.fanout import READERS
from benchmarks.placement import ONE_CORE, TWO_CORES
from benchmarks.roundtrip import PRODUCED
from benchmarks.tables import Table
from benchmarks.timing import Row, over_rounds

_COMPILED = "compiled"


@dataclass(frozen=True, slots=True)
class Results:
    """All findings of a run."""

    rows: list[Row]

    def median(self, benchmark: str, key: str, **where: object) -> float:
        """Give the median over the rounds.

        Raises:
            LookupError: nothing of that kind was measured.
        """
        found = over_rounds(
            (
                row
                for row in self.rows
                if row["benchmark"] == benchmark
                and all(row.get(name) == value for name, value in where.items())
            ),
            key,
        )
        if found is None:
            raise LookupError(f"{benchmark}: no {key} of {where}")
        return found

    def round_trip_us(
        self, contender: str, size: str = "8 B", placement: str = TWO_CORES, key: str = "p50_us"
    ) -> float:
        """Give the median of a round trip."""
        where = {"contender": contender, "size": size, "way": PRODUCED, "placement": placement}
        return self.median("roundtrip", key, **where)

    def rate(self, contender: str, size: str) -> float:
        """Give lossless messages a second, on two cores."""
        where = {"contender": contender, "size": size, "placement": TWO_CORES}
        return self.median("throughput", "per_s", **where)

    def frame_cpu_us(self, contender: str) -> float:
        """Give the processor time of a frame of a 30 Hz stream, both sides together."""
        keys = ("writer_us", "reader_us")
        return sum(self.median("steady", key, contender=contender) for key in keys)

    def frame_latency_us(self, contender: str) -> float:
        """Give the latency of a frame of a 30 Hz stream."""
        return self.median("steady", "p50_us", contender=contender)

    def further_reader_us(self, contender: str) -> float:
        """Give what each reader after the first costs the writer."""
        where = {"contender": contender, "size": "8 B"}
        first, last = (
            self.median("fanout", "p50_us", readers=readers, **where)
            for readers in (READERS[0], READERS[-1])
        )
        return (last - first) / (READERS[-1] - READERS[0])

    def beyond_pure(self, what: str, key: str) -> float:
        """Give by how much compiled code has more of something, as the median over pairs."""
        found: list[dict[int, float]] = [{}, {}]
        for row in self.rows:
            if row["benchmark"] == imports.NAME and row["what"] == what:
                found[row["code"] == imports.COMPILED][row["round"]] = row[key]
        pure, compiled = found
        if not pure.keys() & compiled.keys():
            raise LookupError(f"{imports.NAME}: no {key} of {what}")
        return median(compiled[one] - pure[one] for one in pure.keys() & compiled.keys())

    def call_us(self, call: str) -> float:
        """Give what a call of the node API takes."""
        return self.median("hot_path", "p50_us", call=call, code=_COMPILED)


@dataclass(frozen=True, slots=True)
class Aim:
    """One aim: what is compared, the bound, and whether larger is better."""

    what: str
    bound: float
    find: Callable[[Results], float]
    is_least: bool = False
    unit: str = ""


def aims() -> list[Aim]:
    """Give all aims, in the order of the benchmarks."""
    return [*_round_trips(), *_rates(), *_streams(), *_calls(), *_costs(), *_links()]


def table(rows: list[Row]) -> Table:
    """Compare what was measured; what was not measured is left out."""
    results = Results(rows)
    lines = []
    for aim in aims():
        try:
            found = aim.find(results)
        except LookupError:
            continue
        is_met = found >= aim.bound if aim.is_least else found <= aim.bound
        bound = f"at {'least' if aim.is_least else 'most'} {aim.bound:g}{aim.unit}"
        lines.append([aim.what, bound, f"{found:.2f}{aim.unit}", "met" if is_met else "missed"])
    return Table("Aims, and what this run found", ["", "aim", "found", ""], lines)


def _round_trips() -> Iterator[Aim]:
    def ratio(
        ours: str, theirs: str, size: str = "8 B", placement: str = TWO_CORES
    ) -> Callable[[Results], float]:
        return lambda results: (
            results.round_trip_us(ours, size, placement)
            / results.round_trip_us(theirs, size, placement)
        )

    for placement, floor, peer in ((TWO_CORES, 1.25, 0.85), (ONE_CORE, 1.5, 0.7)):
        what = f"round trip of 8 B, asleep, {placement}"
        yield Aim(f"{what}, beside {BARE}", floor, ratio(DORA_RT, BARE, "8 B", placement))
        yield Aim(f"{what}, beside {ICEORYX2}", peer, ratio(DORA_RT, ICEORYX2, "8 B", placement))
    what = "round trip of 8 B, polling"
    yield Aim(f"{what}, beside {BARE_POLLING}", 2, ratio(DORA_RT_POLLING, BARE_POLLING))
    yield Aim(f"{what}, beside {ICEORYX2_POLLING}", 0.7, ratio(DORA_RT_POLLING, ICEORYX2_POLLING))
    yield Aim(
        f"round trip of 640x480x3, polling, beside {BARE_POLLING}",
        1.35,
        ratio(DORA_RT_POLLING, BARE_POLLING, "640x480x3"),
    )
    yield Aim(
        "round trip of 8 B as it comes, two cores, p99 beside p50",
        3,
        lambda results: (
            results.round_trip_us(DORA_RT_SPINNING, key="p99_us")
            / results.round_trip_us(DORA_RT_SPINNING)
        ),
    )


def _rates() -> Iterator[Aim]:
    def ratio(theirs: str, size: str) -> Callable[[Results], float]:
        return lambda results: results.rate(DORA_RT, size) / results.rate(theirs, size)

    what = "lossless messages of 8 B a second"
    for theirs, bound in ((BARE, 1), (ICEORYX2, 2), (PYZMQ, 1)):
        yield Aim(f"{what}, beside {theirs}", bound, ratio(theirs, "8 B"), is_least=True)
    yield Aim(
        f"lossless 1080p frames a second, beside {ICEORYX2}",
        1,
        ratio(ICEORYX2, "1080p"),
        is_least=True,
    )


def _streams() -> Iterator[Aim]:
    def ratio(of: Callable[[Results, str], float], theirs: str) -> Callable[[Results], float]:
        return lambda results: of(results, DORA_RT) / of(results, theirs)

    what = "1080p at 30 Hz"
    for theirs, cpu, latency in ((BARE, 1.1, 1.06), (ICEORYX2, 1, 1)):
        find = ratio(Results.frame_cpu_us, theirs)
        yield Aim(f"{what}, processor time, beside {theirs}", cpu, find)
        find = ratio(Results.frame_latency_us, theirs)
        yield Aim(f"{what}, latency, beside {theirs}", latency, find)


def _calls() -> Iterator[Aim]:
    yield Aim(
        f"each further reader, beyond one of {BARE}",
        1,
        lambda results: results.further_reader_us(DORA_RT) - results.further_reader_us(BARE),
        unit=" µs",
    )
    yield Aim(
        "a loan, opened and sent", 1.5, lambda results: results.call_us("loan, opened and sent"),
        unit=" µs",
    )  # fmt: skip
    yield Aim(
        "next(timeout=...) beside next()",
        1.1,
        lambda results: (
            results.call_us("next with bytes and a time-out") / results.call_us("next with bytes")
        ),
    )


def _costs() -> Iterator[Aim]:
    def beyond(what: str, key: str) -> Callable[[Results], float]:
        return lambda results: results.beyond_pure(what, key)

    yield Aim("import of a node, beyond pure", 1, beyond("import", "cpu_ms"), unit=" ms")
    yield Aim("memory (PSS) of a node, beyond pure", 1, beyond("node", "pss_mb"), unit=" MB")


def _links() -> Iterator[Aim]:
    def age(traffic: str) -> Callable[[Results], float]:
        return lambda results: results.median(
            links.NAME, "p50_ms", contender=DORA_RT, link=slow.title, traffic=traffic
        )

    slow = links.SCENARIOS[1]
    for traffic, bound_ms in zip(slow.traffic, (110, 45), strict=True):
        what = f"age of a {traffic.id} from another machine over {slow.title}"
        yield Aim(what, bound_ms, age(traffic.id), unit=" ms")
