"""A graph as SVG: one self-contained file that follows the reader's light or dark theme."""

from __future__ import annotations

from html import escape
from itertools import pairwise

from dora_rt.graph.boxes_and_arrows import Arrow, Box, Graph
from dora_rt.graph.labels import dropped_text, flow_text
from dora_rt.graph.layout import Layout, Placed, Point, Route, Size, lay_out
from dora_rt.units import counted

_BOX_LEAST = 96.0
_TITLE_CHARACTER = 8.2
_NOTE_CHARACTER = 6.9
_BOX_PADDING = 15.0
_TITLE_HEIGHT = 38.0
_NOTE_HEIGHT = 16.0
_LABEL_PADDING = 9.0
_LABEL_HEIGHT = 40.0
_LIVE_LABEL_WIDTH = 174.0
_MOST_CHARACTERS = 34

STYLE = """\
.graph { --ground: #f4f5f3; --surface: #ffffff; --text: #1c211f; --quiet: #5d6863;
  --line: #c4ccc7; --accent: #1f7a5c; --warn: #b3541e; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { .graph { --ground: #131615; --surface: #1c201e;
  --text: #eaeeec; --quiet: #96a29c; --line: #48524c; --accent: #52c79b; --warn: #f0975c;
  --bad: #ff8a80; } }
.graph { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  background: var(--ground); }
.graph text { fill: var(--text); text-anchor: middle; dominant-baseline: central; }
.graph .box rect { fill: var(--surface); stroke: var(--line); stroke-width: 1.5; }
.graph .box .title { font-size: 14px; font-weight: 650; }
.graph .note, .graph .label .value { fill: var(--quiet); font-size: 12px;
  font-variant-numeric: tabular-nums; }
.graph .way { fill: none; stroke: var(--line); stroke-width: 2; }
.graph .tip { fill: var(--line); }
.graph .local .way { stroke-dasharray: 5 4; }
.graph .label .dropped { fill: var(--warn); font-size: 12px; }
.graph .label rect { fill: var(--ground); }
.graph .box[data-state=running] rect { stroke: var(--accent); }
.graph .box[data-state=failed] rect { stroke: var(--bad); stroke-width: 2.5; }
.graph .box[data-state^=waiting] rect { stroke: var(--warn); stroke-width: 2.5; }
.graph .arrow[data-flow=flows] .way { stroke: var(--accent); }
.graph .arrow[data-flow=flows] .tip { fill: var(--accent); }
.graph .arrow[data-flow=drops] .way { stroke: var(--warn); }
.graph .arrow[data-flow=drops] .tip { fill: var(--warn); }
"""


def render_svg(graph: Graph, *, is_down: bool = False, has_style: bool = True) -> str:
    """Return the picture.

    Args:
        graph: what to draw.
        is_down: whether the flow goes down, for narrow pages, and not to the right.
        has_style: whether the colours are in it, or in the page around it.
    """
    layout = lay_out(
        graph,
        [_box_size(box) for box in graph.boxes],
        [_label_size(arrow, is_live=graph.is_live) for arrow in graph.arrows],
        is_down=is_down,
    )
    width, height = layout.width, layout.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="img" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'aria-label="{escape(_describe(graph))}">',
        f"<title>{escape(graph.title)}</title>",
    ]
    if has_style:
        parts.append(f"<style>\n{STYLE}</style>")
    # All ways first, so that none crosses out a label or a box.
    parts += [
        _way(arrow, route, layout) for arrow, route in zip(graph.arrows, layout.routes, strict=True)
    ]
    parts += [
        _label(arrow, route.label) for arrow, route in zip(graph.arrows, layout.routes, strict=True)
    ]
    parts += [_box(box, layout.boxes[box.id]) for box in graph.boxes]
    return "\n".join([*parts, "</svg>\n"])


def render_html(graph: Graph) -> str:
    """Return a page with the picture in it."""
    title = escape(graph.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>\n"
        "body { margin: 0; padding: 20px; font: 15px system-ui, sans-serif; background: #f4f5f3; "
        "color: #1c211f; }\n"
        "@media (prefers-color-scheme: dark) { body { background: #131615; color: #eaeeec; } }\n"
        "h1 { font-size: 17px; margin: 0 0 12px; }\nsvg { max-width: 100%; height: auto; }\n"
        f"</style>\n</head>\n<body>\n<h1>{title}</h1>\n{render_svg(graph)}</body>\n</html>\n"
    )


def _describe(graph: Graph) -> str:
    ways = [
        f"{arrow.source_box} sends {arrow.name} to {arrow.target_box}" for arrow in graph.arrows
    ]
    return f"{counted(len(graph.boxes), 'node')}. " + "; ".join(ways)


def _shortened(text: str) -> str:
    """Keep the end of a long text: the end of a path is the part that matters."""
    return text if len(text) <= _MOST_CHARACTERS else f"…{text[1 - _MOST_CHARACTERS :]}"


def _box_notes(box: Box) -> list[str]:
    notes = [_shortened(note) for note in box.notes]
    if box.machine is not None:
        notes.insert(0, _shortened(f"on {box.machine}"))
    # The state always has a line, so that the layout stays the same when it changes.
    return notes if box.state is None else [box.state.value, *notes]


def _box_size(box: Box) -> Size:
    notes = _box_notes(box)
    widest = max(
        [len(_shortened(box.id)) * _TITLE_CHARACTER] + [_NOTE_CHARACTER * len(n) for n in notes]
    )
    if box.state is not None:
        widest = max(widest, _NOTE_CHARACTER * len("waiting to be restarted"))
    return (
        max(widest + 2 * _BOX_PADDING, _BOX_LEAST),
        _TITLE_HEIGHT + _NOTE_HEIGHT * len(notes) + (4.0 if notes else 0.0),
    )


def _label_size(arrow: Arrow, *, is_live: bool) -> Size:
    name = _TITLE_CHARACTER * len(_shortened(arrow.name))
    note = _NOTE_CHARACTER * len(_flow_text(arrow))
    least = _LIVE_LABEL_WIDTH if is_live else 0.0
    return max(name, note, least) + 2 * _LABEL_PADDING, _LABEL_HEIGHT


def _way(arrow: Arrow, route: Route, layout: Layout) -> str:
    points = route.points
    way = [f"M{_at(points[0])}", *(_bend(*ends, layout) for ends in pairwise(points))]
    kind = "arrow local" if arrow.is_local else "arrow"
    return (
        f'<g class="{kind}"{_key(arrow)}{_flow(arrow)}><path class="way" d="{"".join(way)}"/>'
        f'<path class="tip" d="{_tip(points[-2], points[-1], layout)}"/></g>'
    )


def _key(arrow: Arrow) -> str:
    return f' data-edge="{escape(arrow.source)} {escape(arrow.target)}"'


def _flow(arrow: Arrow) -> str:
    if arrow.measured is None:
        return ""
    flow = "drops" if arrow.measured.drops_hz else "flows" if arrow.measured.rate_hz else "stands"
    return f' data-flow="{flow}"'


def _bend(start: Point, end: Point, layout: Layout) -> str:
    """Go on to a point, leaving and arriving in the direction of the flow."""
    (x, y), (to_x, to_y) = start, end
    if layout.is_down:
        if x == to_x:
            return f"L{_at(end)}"
        half = (y + to_y) / 2
        return f"C{_at((x, half))} {_at((to_x, half))} {_at(end)}"
    if y == to_y:
        return f"L{_at(end)}"
    half = (x + to_x) / 2
    return f"C{_at((half, y))} {_at((half, to_y))} {_at(end)}"


def _tip(before: Point, end: Point, layout: Layout) -> str:
    (from_x, from_y), (x, y) = before, end
    if layout.is_down:
        back = 9.0 if y < from_y else -9.0
        return f"M{_at((x - 4.5, y + back))}L{_at(end)}L{_at((x + 4.5, y + back))}Z"
    back = 9.0 if x < from_x else -9.0
    return f"M{_at((x + back, y - 4.5))}L{_at(end)}L{_at((x + back, y + 4.5))}Z"


def _label(arrow: Arrow, place: Placed) -> str:
    top = place.y - place.height / 2
    dropped = "" if arrow.measured is None else dropped_text(arrow.measured)
    return (
        f'<g class="label"{_key(arrow)}><rect x="{place.x - place.width / 2:.1f}" y="{top:.1f}" '
        f'width="{place.width:.1f}" height="{place.height:.1f}" rx="6"/>'
        f'<text x="{place.x:.1f}" y="{top + 11:.1f}">{escape(_shortened(arrow.name))}'
        f'<tspan class="dropped" dx="6">{dropped}</tspan></text>'
        f'<text class="value" x="{place.x:.1f}" y="{top + 29:.1f}">{escape(_flow_text(arrow))}'
        "</text></g>"
    )


def _flow_text(arrow: Arrow) -> str:
    return arrow.note if arrow.measured is None else flow_text(arrow.measured)


def _box(box: Box, place: Placed) -> str:
    left, top = place.x - place.width / 2, place.y - place.height / 2
    state = "" if box.state is None else f' data-state="{escape(box.state.value)}"'
    lines = [
        f'<text class="note" x="{place.x:.1f}" y="{top + 39 + _NOTE_HEIGHT * line:.1f}">'
        f"{escape(note)}</text>"
        for line, note in enumerate(_box_notes(box))
    ]
    return (
        f'<g class="box" data-process="{escape(box.process)}"{state}>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{place.width:.1f}" '
        f'height="{place.height:.1f}" rx="9"/>'
        f'<text class="title" x="{place.x:.1f}" y="{top + 20:.1f}">'
        f"{escape(_shortened(box.id))}</text>{''.join(lines)}</g>"
    )


def _at(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f} "
