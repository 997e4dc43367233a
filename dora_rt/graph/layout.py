"""The layout of a graph: boxes in layers, in the direction of the flow, and the way of each arrow.

Boxes stand in the even layers. Each arrow has a stop in every layer that it passes, and its label
is one of those stops, so no label covers anything. The order within a layer comes from sweeps over
the layers (each stop goes to the mean of its neighbours), the positions from a least-squares fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from dora_rt.graph.boxes_and_arrows import Arrow, Graph

Size = tuple[float, float]
Point = tuple[float, float]

_SWEEPS = 12
_GAP_ALONG = 34.0
_GAP_ACROSS = 18.0
_LANE = 10.0
_MARGIN = 12.0
_TIP = 2.0


@dataclass(frozen=True, slots=True)
class Placed:
    """The middle and the size of a box or a label, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Route:
    """The way of an arrow, from border to border, and the place of its label."""

    points: tuple[Point, ...]
    label: Placed


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture of `width` x `height` pixels; `routes` in the order of the graph's arrows."""

    width: float
    height: float
    boxes: dict[str, Placed]
    routes: tuple[Route, ...]
    is_down: bool


@dataclass(eq=False, slots=True)
class _Stop:
    """A box, or a stop of an arrow; `along` is in the direction of the flow."""

    layer: int
    along: float
    across: float
    place: float = 0.0
    before: list[_Stop] = field(default_factory=list)
    after: list[_Stop] = field(default_factory=list)
    line: list[_Stop] = field(default_factory=list)
    """Items that want to stand at the same height, so that a long arrow is straight."""


def lay_out(
    graph: Graph,
    box_sizes: Sequence[Size],
    label_sizes: Sequence[Size],
    *,
    is_down: bool,
) -> Layout:
    """Place everything.

    Args:
        graph: the boxes and arrows.
        box_sizes: width and height of each box.
        label_sizes: width and height of each arrow's label.
        is_down: whether the flow goes down the page, and not to the right.
    """
    turned: Callable[[float, float], Point] = (
        (lambda along, across: (across, along))
        if is_down
        else (lambda along, across: (along, across))
    )
    ids = [box.id for box in graph.boxes]
    ranks = _rank(ids, graph.arrows)
    boxes = {
        box_id: _Stop(2 * ranks[box_id], *turned(*size))
        for box_id, size in zip(ids, box_sizes, strict=True)
    }
    chains = [
        _chain(boxes, arrow, turned(*size))
        for arrow, size in zip(graph.arrows, label_sizes, strict=True)
    ]
    layers = _layers([*boxes.values(), *(stop for chain in chains for stop in chain.stops)])
    _order(layers)
    _place(layers)
    widths = [max((stop.along for stop in layer), default=0.0) for layer in layers]
    middles = _middles(widths)
    least = min((stop.place - stop.across / 2 for layer in layers for stop in layer), default=0.0)

    def placed(stop: _Stop) -> Placed:
        x, y = turned(middles[stop.layer], stop.place - least + _MARGIN)
        return Placed(x, y, *turned(stop.along, stop.across))

    ends = _ends(boxes, chains)
    routes = []
    for number, chain in enumerate(chains):
        points = [
            (along, place - least + _MARGIN)
            for along, place in _waypoints(chain, ends[number], middles, widths)
        ]
        if chain.is_reversed:
            points.reverse()
        label = placed(chain.label)
        width, height = label_sizes[number]
        routes.append(
            Route(
                tuple(turned(*point) for point in points), Placed(label.x, label.y, width, height)
            )
        )
    along = max((middles[s.layer] + s.along / 2 for layer in layers for s in layer), default=0.0)
    across = max((s.place + s.across / 2 for layer in layers for s in layer), default=0.0)
    width, height = turned(along + _MARGIN, across - least + 2 * _MARGIN)
    return Layout(
        width,
        height,
        {box_id: placed(stop) for box_id, stop in boxes.items()},
        tuple(routes),
        is_down,
    )


@dataclass(frozen=True, slots=True)
class _Chain:
    """An arrow in the direction of the layers; `first` is `last` if a node reads itself."""

    first: _Stop
    stops: list[_Stop]
    last: _Stop
    label: _Stop
    is_reversed: bool


def _rank(ids: Sequence[str], arrows: Sequence[Arrow]) -> dict[str, int]:
    """Return, for each box, the length of the longest way to it, as if no arrow led back."""
    after: dict[str, list[str]] = {box_id: [] for box_id in ids}
    for arrow in arrows:
        if arrow.source_box != arrow.target_box:
            after[arrow.source_box].append(arrow.target_box)
    backwards = _backwards(ids, after)
    ranks = dict.fromkeys(ids, 0)
    for _ in ids:
        for source in ids:
            for target in after[source]:
                if (source, target) not in backwards:
                    ranks[target] = max(ranks[target], ranks[source] + 1)
    return ranks


def _backwards(ids: Sequence[str], after: dict[str, list[str]]) -> set[tuple[str, str]]:
    """Return the arrows that close a circle, searched from the boxes without inputs."""
    fed = {target for targets in after.values() for target in targets}
    found: set[tuple[str, str]] = set()
    done: set[str] = set()
    for start in [*(box_id for box_id in ids if box_id not in fed), *ids]:
        if start in done:
            continue
        done.add(start)
        path = [start]
        ways = [iter(after[start])]
        while path:
            target = next(ways[-1], None)
            if target is None:
                path.pop()
                ways.pop()
            elif target in path:
                found.add((path[-1], target))
            elif target not in done:
                done.add(target)
                path.append(target)
                ways.append(iter(after[target]))
    return found


def _chain(boxes: dict[str, _Stop], arrow: Arrow, size: Size) -> _Chain:
    first, last = boxes[arrow.source_box], boxes[arrow.target_box]
    is_reversed = first.layer > last.layer
    if is_reversed:
        first, last = last, first
    if first is last:
        # With room for the way back, below the label.
        label = _Stop(first.layer + 1, size[0], size[1] + 4 * _LANE)
        _join(first, label)
        return _Chain(first, [label], last, label, False)
    middle = (first.layer + last.layer) // 2 | 1
    stops = [
        _Stop(layer, *size) if layer == middle else _Stop(layer, 0.0, _LANE)
        for layer in range(first.layer + 1, last.layer)
    ]
    way = [first, *stops, last]
    if len(stops) > 1:
        for stop in stops:
            stop.line = way
    for one, other in pairwise(way):
        _join(one, other)
    return _Chain(first, stops, last, stops[middle - first.layer - 1], is_reversed)


def _join(one: _Stop, other: _Stop) -> None:
    one.after.append(other)
    other.before.append(one)


def _layers(stops: Sequence[_Stop]) -> list[list[_Stop]]:
    count = max((stop.layer for stop in stops), default=-1) + 1
    return [[stop for stop in stops if stop.layer == layer] for layer in range(count)]


def _order(layers: list[list[_Stop]]) -> None:
    """Sort each layer so that few arrows cross; the best order of all sweeps stays."""
    best, least = [list(layer) for layer in layers], None
    for sweep in range(_SWEEPS):
        positions = {stop: place for layer in layers for place, stop in enumerate(layer)}
        crossings = _crossings(layers, positions)
        if least is None or crossings < least:
            best, least = [list(layer) for layer in layers], crossings
        if not crossings:
            break
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            means = {
                stop: _mean([positions[other] for other in near], positions[stop])
                for stop in layer
                for near in [stop.before if sweep % 2 == 0 else stop.after]
            }
            layer.sort(key=means.__getitem__)
            positions.update((stop, place) for place, stop in enumerate(layer))
    layers[:] = best


def _crossings(layers: Sequence[Sequence[_Stop]], positions: dict[_Stop, int]) -> int:
    count = 0
    for layer in layers:
        ways = [(positions[one], positions[other]) for one in layer for other in one.after]
        for number, (start, end) in enumerate(ways):
            count += sum(
                (start - other_start) * (end - other_end) < 0
                for other_start, other_end in ways[:number]
            )
    return count


def _place(layers: Sequence[Sequence[_Stop]]) -> None:
    for layer in layers:
        _fit(layer, [0.0] * len(layer))
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wishes = [
                _mean(
                    [other.place for other in stop.line or (*stop.before, *stop.after)], stop.place
                )
                for stop in layer
            ]
            _fit(layer, wishes)


def _fit(layer: Sequence[_Stop], wishes: Sequence[float]) -> None:
    """Place a layer as near to the wishes as the order and the gaps allow (least squares).

    With the sizes before each stop taken off, it is an isotonic regression: neighbours that want to
    pass each other become a block, which stands at the mean of its wishes.
    """
    offsets: list[float] = []
    edge = 0.0
    for stop in layer:
        offsets.append(edge + stop.across / 2)
        edge += stop.across + _GAP_ACROSS
    blocks: list[tuple[float, int]] = []
    for wish, offset in zip(wishes, offsets, strict=True):
        total, count = wish - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            earlier, more = blocks.pop()
            total, count = total + earlier, count + more
        blocks.append((total, count))
    values = [total / count for total, count in blocks for _ in range(count)]
    for stop, value, offset in zip(layer, values, offsets, strict=True):
        stop.place = value + offset


def _middles(widths: Sequence[float]) -> list[float]:
    edges = accumulate((width + _GAP_ALONG for width in widths), initial=_MARGIN)
    return [edge + width / 2 for edge, width in zip(edges, widths, strict=False)]


def _ends(boxes: dict[str, _Stop], chains: Sequence[_Chain]) -> list[tuple[float, float]]:
    """Spread the ends of the arrows over the sides of their boxes, in the order of the ways."""
    ends = [[chain.first.place, chain.last.place] for chain in chains]
    for box in boxes.values():
        leaving = [
            (chain.stops[0].place, number, 0)
            for number, chain in enumerate(chains)
            if chain.first is box
        ]
        entering = [
            (chain.stops[-1].place, number, 1)
            for number, chain in enumerate(chains)
            if chain.last is box and chain.first is not box
        ]
        # A node that reads itself gets its arrow back on the side where it left.
        returning = [
            (chain.label.place + chain.label.across / 2, number, 1)
            for number, chain in enumerate(chains)
            if chain.first is box and chain.last is box
        ]
        for side in (sorted([*leaving, *returning]), sorted(entering)):
            for position, (_, number, end) in enumerate(side):
                share = (position + 1) / (len(side) + 1) - 0.5
                ends[number][end] = box.place + share * box.across
    return [(first, last) for first, last in ends]


def _waypoints(
    chain: _Chain,
    ends: tuple[float, float],
    middles: Sequence[float],
    widths: Sequence[float],
) -> list[Point]:
    """Return the way: straight through each layer, so that it bends only in the gaps between."""
    start = middles[chain.first.layer] + chain.first.along / 2
    if chain.first is chain.last:
        half, out = chain.label.along / 2, chain.label.place
        near, far = (middles[chain.label.layer] + side * half for side in (-1, 1))
        back = out + chain.label.across / 2 - _LANE
        there = [(start, ends[0]), (near, out), (far, out)]
        return [*there, (far, back), (near, back), (start + _TIP, ends[1])]
    way = [(start + (_TIP if chain.is_reversed else 0.0), ends[0])]
    for stop in chain.stops:
        half = widths[stop.layer] / 2
        way += [(middles[stop.layer] - half, stop.place), (middles[stop.layer] + half, stop.place)]
    end = middles[chain.last.layer] - chain.last.along / 2
    return [*way, (end - (0.0 if chain.is_reversed else _TIP), ends[1])]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
