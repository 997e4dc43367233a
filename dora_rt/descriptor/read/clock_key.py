"""Read `clock:`: the output that tells the time of the whole dataflow."""

from __future__ import annotations

from dora_rt.descriptor.read.input_source import parse_source
from dora_rt.descriptor.tree.document import YamlMapping
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.model import ClockSource, OutputSource
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote


def read_clock(document: YamlMapping, problems: Problems) -> ClockSource | None:
    """Read the clock of a dataflow; None if it has none, or something that is none."""
    fields = Fields(document, "the dataflow", problems)
    text = fields.text("clock")
    if text is None:
        return None
    place = fields.place_of("clock")
    try:
        source = parse_source(text)
    except MalformedError as error:
        problems.add(place, f"'clock' of the dataflow: {error.what}", error.hint)
        return None
    if not isinstance(source, OutputSource):
        what = f"'clock' of the dataflow: expected <node>/<output>, got {quote(text)}"
        problems.add(place, what, "such as simulator/clock; without 'clock' timers are real time")
        return None
    return ClockSource(source, place)
