"""The picture of a run: round trips over the size of the message."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from benchmarks import roundtrip
from benchmarks.timing import Row, over_rounds

_MISSING = "the plot needs matplotlib (pip install -e '.[bench]')"
_OURS = "dora_rt"


def missing() -> str | None:
    """Say why there can be no plot; None if there can."""
    return None if importlib.util.find_spec("matplotlib") else _MISSING


def draw(rows: list[Row], file: Path) -> None:
    """Draw the round trips of a run into a PNG file: a panel for each placement and way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row["benchmark"] == roundtrip.NAME]
    panels = [
        (placement, way)
        for placement in dict.fromkeys(row["placement"] for row in rows)
        for way in (roundtrip.PRODUCED, roundtrip.IN_PLACE)
    ]
    names = list(dict.fromkeys(row["contender"] for row in rows))
    colours = dict(zip(names, pyplot.get_cmap("tab20").colors, strict=False))
    figure, axes = pyplot.subplots(
        2, max(len(panels) // 2, 1), figsize=(15, 11), sharex=True, sharey=True, squeeze=False
    )
    for (placement, way), axis in zip(panels, axes.T.flat, strict=False):
        for name in names:
            _line(axis, name, colours[name], _medians(rows, name, placement, way))
        axis.set_title(f"Round trip, {way}, {placement}")
        axis.set_yscale("log")
        axis.set_xticks(range(len(roundtrip.SIZES)), roundtrip.SIZES)
        axis.set_ylabel("p50 in µs")
        axis.grid(visible=True, which="major", alpha=0.3)
    handles: dict[str, object] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=5, frameon=False)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(file, dpi=80)
    pyplot.close(figure)


def _medians(rows: list[Row], name: str, placement: str, way: str) -> list[float | None]:
    mine = [
        row
        for row in rows
        if row["contender"] == name and row["placement"] == placement and row["way"] == way
    ]
    return [
        over_rounds((row for row in mine if row["size"] == size), "p50_us")
        for size in roundtrip.SIZES
    ]


def _line(axis: object, name: str, colour: object, medians: list[float | None]) -> None:
    points = [(x, y) for x, y in enumerate(medians) if y is not None]
    if points:
        is_ours = name.startswith(_OURS)
        axis.plot(  # type: ignore[attr-defined]
            *zip(*points, strict=True),
            label=name,
            color=colour,
            marker="o" if is_ours else ".",
            linewidth=3 if is_ours else 1.2,
        )
