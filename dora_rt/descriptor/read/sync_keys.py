"""Read `sync:`, which of a node's inputs are given together, as sets of the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from dora_rt.descriptor.tree.document import (
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import Fields, read_string
from dora_rt.descriptor.tree.keys import SYNC
from dora_rt.descriptor.tree.model import Input, Sync, TimerSource
from dora_rt.descriptor.tree.problems import Problems, listing, quote
from dora_rt.descriptor.tree.quantities import parse_integer

_EXACT = "exact"
_MAX_SLOP_MS = 60_000
_MAX_DEPTH = 100
_DEFAULT_DEPTH = 10


def read_sync(
    fields: Fields, inputs: Sequence[Input], problems: Problems
) -> tuple[Sync | None, tuple[Input, ...]]:
    """Read the key, and let the inputs that it names be held until their partners come.

    Returns:
        The value in the file, or None; and the inputs.
    """
    value = fields.get("sync")
    sync = None if value is None else _read(value, fields.owner, inputs, problems)
    if sync is None:
        return None, tuple(inputs)
    # One more than wait: the newest, which may complete a set.
    held = sync.depth + 1
    return sync, tuple(
        replace(entry, max_held=max(entry.max_held, held)) if entry.id in sync.input_ids else entry
        for entry in inputs
    )


def _read(value: YamlValue, owner: str, inputs: Sequence[Input], problems: Problems) -> Sync | None:
    what = f"'sync' of {owner}"
    candidates = tuple(entry.id for entry in inputs if not isinstance(entry.source, TimerSource))
    slop_ms, depth, chosen = 0, _DEFAULT_DEPTH, None
    if isinstance(value, YamlMapping):
        own = Fields(value, what, problems)
        own.check_keys(SYNC)
        slop_ms = own.parsed("slop_ms", partial(parse_integer, least=0, greatest=_MAX_SLOP_MS)) or 0
        depth = own.parsed("depth", partial(parse_integer, least=1, greatest=_MAX_DEPTH)) or depth
        chosen = _read_inputs(own, candidates, problems)
    elif not isinstance(value, YamlScalar) or value.text != _EXACT:
        got = quote(value.text) if isinstance(value, YamlScalar) else describe(value)
        problems.add(
            value.place, f"{what}: expected exact, or a mapping such as {{slop_ms: 20}}, got {got}"
        )
        return None
    names = candidates if chosen is None else chosen
    if len(names) < 2:
        problems.add(
            value.place,
            f"{what} needs two inputs or more to match, and has {listing(names) or 'none'}",
            "timers cannot be matched; remove 'sync' from a node with one input",
        )
        return None
    return Sync(names, slop_ms, depth)


def _read_inputs(
    own: Fields, candidates: tuple[str, ...], problems: Problems
) -> tuple[str, ...] | None:
    value = own.get("inputs")
    if value is None:
        return None
    if not isinstance(value, YamlSequence):
        what = f"'inputs' of {own.owner}: expected a list of inputs, got {describe(value)}"
        problems.add(value.place, what)
        return None
    names = []
    for item in value.items:
        name = read_string(item, f"'inputs' of {own.owner}", problems)
        if name is not None and name not in candidates:
            known = listing(candidates) or "none"
            what = f"'inputs' of {own.owner}: there is no input {quote(name)} to match"
            problems.add(item.place, what, f"inputs that other nodes write: {known}")
        elif name is not None and name not in names:
            names.append(name)
    return tuple(names)
