"""What dora_rt aims at, beside what a run has reached: ratios within that one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders import BARE, DORA_RS, DORA_RT, DORA_RT_SPINNING
from benchmarks.floors import COPY, COPY_IN_TURN
from benchmarks.placement import ONE_CORE, TWO_CORES
from benchmarks.roundtrip import IN_PLACE, PRODUCED
from benchmarks.tables import Table
from benchmarks.timing import Row, over_rounds


@dataclass(frozen=True, slots=True)
class Results:
    """All findings of a run."""

    rows: list[Row]

    def median(self, benchmark: str, key: str, **where: object) -> float:
        """Give the median of the rounds.

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
        self, contender: str, size: str = "8 B", way: str = PRODUCED, placement: str = TWO_CORES
    ) -> float:
        """Give the median of a round trip."""
        where = {"contender": contender, "size": size, "way": way, "placement": placement}
        return self.median("roundtrip", "p50_us", **where)


@dataclass(frozen=True, slots=True)
class Goal:
    """One aim: what is compared, the value aimed at, and whether larger is better."""

    what: str
    aim: float
    value: Callable[[Results], float]
    is_least: bool = False
    unit: str = "x"


def goals() -> list[Goal]:
    """Give all aims, in the order of the benchmarks."""
    return [
        *(goal for placement in (TWO_CORES, ONE_CORE) for goal in _round_trip_goals(placement)),
        *_large_goals(),
        *_rate_goals(),
        *_stream_goals(),
        *_run_goals(),
    ]


def table(rows: list[Row]) -> Table:
    """Compare what was measured; what was not measured is left out."""
    results = Results(rows)
    lines = []
    for goal in goals():
        try:
            value = goal.value(results)
        except LookupError:
            continue
        reached = value >= goal.aim if goal.is_least else value <= goal.aim
        bound = "at least" if goal.is_least else "at most"
        cells = [f"{bound} {_text(goal.aim, goal.unit)}", _text(value, goal.unit)]
        lines.append([goal.what, *cells, "yes" if reached else "no"])
    return Table("Aims, and what this run reached", ["", "aim", "measured", "reached"], lines)


def _round_trip_goals(placement: str) -> list[Goal]:
    def ratio(over: str, under: str) -> Callable[[Results], float]:
        return lambda results: (
            results.round_trip_us(over, placement=placement)
            / results.round_trip_us(under, placement=placement)
        )

    where = f"8 B round trip, {placement}"
    found = [
        Goal(f"{where}: dora_rt / bare semaphores", 1.5, ratio(DORA_RT, BARE)),
        Goal(f"{where}: dora-rs / dora_rt", 3, ratio(DORA_RS, DORA_RT), is_least=True),
    ]
    found += [
        Goal(f"{where}: {other} / dora_rt", 1, ratio(other, DORA_RT), is_least=True)
        for other in ("iceoryx2", "pyzmq", "zenoh, shared memory", "ROS 2 rclpy, tuned")
    ]
    if placement == TWO_CORES:  # who spins on one core waits for its time to be over
        spinning = ratio(DORA_RT_SPINNING, "iceoryx2, busy polling")
        found.append(Goal(f"{where}: spinning / iceoryx2 polling", 3, spinning))
        text = f"{where}: dora-rs / dora_rt (spinning)"
        found.append(Goal(text, 20, ratio(DORA_RS, DORA_RT_SPINNING), is_least=True))
    return found


def _large_goals() -> list[Goal]:
    def produced(results: Results) -> float:
        copy = results.round_trip_us(COPY, "1080p")
        return results.round_trip_us(DORA_RT, "1080p") / (copy + results.round_trip_us(DORA_RT))

    def in_place(results: Results) -> float:
        return results.round_trip_us(DORA_RT, "40 MiB", IN_PLACE) / results.round_trip_us(DORA_RT)

    return [
        Goal("1080p produced / (copy + 8 B round trip)", 1.3, produced),
        Goal("40 MiB in place / 8 B round trip", 2, in_place),
    ]


def _rate_goals() -> list[Goal]:
    def rate(results: Results, contender: str, size: str) -> float:
        where = {"contender": contender, "size": size}
        return results.median("throughput", "per_s", placement=TWO_CORES, **where)

    return [
        Goal(
            "8 B messages a second, lossless: dora_rt as it comes",
            150_000,
            lambda results: rate(results, DORA_RT_SPINNING, "8 B"),
            is_least=True,
            unit="",
        ),
        Goal(
            "8 B messages a second: dora_rt / dora-rs",
            10,
            lambda results: rate(results, DORA_RT, "8 B") / rate(results, DORA_RS, "8 B"),
            is_least=True,
        ),
        Goal(
            "1080p frames a second: dora_rt / copies into ten frames in turn",
            0.8,
            lambda results: rate(results, DORA_RT, "1080p") / rate(results, COPY_IN_TURN, "1080p"),
            is_least=True,
        ),
    ]


def _stream_goals() -> list[Goal]:
    def each_reader_us(results: Results) -> float:
        one, eight = (
            results.median("fanout", "p50_us", contender=DORA_RT, size="8 B", readers=readers)
            for readers in (1, 8)
        )
        return (eight - one) / 7

    def slowed_percent(results: Results) -> float:
        fast, slow = (
            results.median("slow_reader", "p50_us", contender=DORA_RT, is_slow=is_slow)
            for is_slow in (False, True)
        )
        return 100 * (slow / fast - 1)

    def cpu_us(results: Results, contender: str) -> float:
        keys = ("writer_us", "reader_us")
        return sum(results.median("steady", key, contender=contender) for key in keys)

    def latency_us(results: Results, contender: str) -> float:
        return results.median("steady", "p50_us", contender=contender)

    return [
        Goal("each further reader costs the writer", 3, each_reader_us, unit="µs"),
        Goal("a slow reader makes sending longer by", 10, slowed_percent, unit="%"),
        Goal(
            "1080p at 30 Hz, processor time: dora_rt / bare",
            1.2,
            lambda results: cpu_us(results, DORA_RT) / cpu_us(results, BARE),
        ),
        Goal(
            "1080p at 30 Hz, latency: dora_rt / bare",
            1.15,
            lambda results: latency_us(results, DORA_RT) / latency_us(results, BARE),
        ),
    ]


def _run_goals() -> list[Goal]:
    def of_ten(key: str) -> Callable[[Results], float]:
        return lambda results: results.median("footprint", key, contender=DORA_RT)

    def first_s(nodes: int, key: str) -> Callable[[Results], float]:
        return lambda results: results.median("startup", key, contender=DORA_RT, nodes=nodes)

    def share(results: Results, name: str, other: str) -> float:
        return results.median("main_job", "per_s", contender=name) / results.median(
            "main_job", "per_s", contender=other
        )

    flow = f"{DORA_RT}, newest"
    return [
        Goal("idle dataflow of 10 nodes, share of a core", 0.5, of_ten("cpu_percent"), unit="%"),
        Goal("threads of a plain node", 1, of_ten("threads"), unit=""),
        Goal("memory of a plain node (RSS)", 45, of_ten("node_rss_mb"), unit="MB"),
        Goal("first message of 2 nodes after", 0.4, first_s(2, "first_s"), unit="s"),
        Goal("first message through 100 nodes after", 3, first_s(100, "last_s"), unit="s"),
        Goal(
            "main job: boxes a second / detector alone",
            0.95,
            lambda results: share(results, flow, "detector alone"),
            is_least=True,
        ),
        Goal(
            "main job: boxes a second / plain loop",
            1,
            lambda results: share(results, flow, "plain loop"),
            is_least=True,
        ),
    ]


def _text(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{number} {unit}".strip()
