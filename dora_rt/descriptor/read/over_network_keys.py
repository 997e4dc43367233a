"""Read `over_network:`, how the samples of an input cross from another machine."""

from __future__ import annotations

from dora_rt.descriptor.tree.document import (
    Kind,
    YamlMapping,
    YamlScalar,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import Fields, is_nothing
from dora_rt.descriptor.tree.keys import OVER_NETWORK
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.descriptor.tree.quantities import parse_boolean, parse_integer
from dora_rt.network.gateway_plan import OverNetwork

_MAX_WIDTH = 65_500  # of a JPEG
_MAX_HZ = 10_000.0
_OF_JPEG = ("quality", "max_width", "decode")


def read_over_network(fields: Fields, problems: Problems) -> OverNetwork | None:
    """Read the key of an input; None if it is not there."""
    value = fields.get("over_network")
    default = OverNetwork()
    if value is None or is_nothing(value):
        return None
    owner = f"'over_network' of {fields.owner}"
    if not isinstance(value, YamlMapping):
        what = f"{owner}: expected a mapping such as {{compress: jpeg}}, got {describe(value)}"
        problems.add(value.place, what)
        return None
    own = Fields(value, owner, problems)
    own.check_keys(OVER_NETWORK)
    compress = own.parsed("compress", _parse_compression)
    quality = own.parsed("quality", lambda given: parse_integer(given, 1, 100))
    max_width = own.parsed("max_width", lambda given: parse_integer(given, 16, _MAX_WIDTH))
    decode = own.parsed("decode", parse_boolean)
    if compress is None and not own.has("compress"):
        for key in _OF_JPEG:
            if own.has(key):
                what = f"{quote(key)} of {owner} has no meaning without 'compress: jpeg'"
                problems.add(own.key_place(key), what, "add 'compress: jpeg'")
    return OverNetwork(
        compress=compress,
        quality=default.quality if quality is None else quality,
        max_width=max_width,
        max_hz=own.parsed("max_hz", _parse_hz),
        decode=default.decode if decode is None else decode,
    )


def _parse_compression(value: YamlValue) -> str:
    if not isinstance(value, YamlScalar) or value.text != "jpeg":
        got = quote(value.text) if isinstance(value, YamlScalar) else describe(value)
        raise MalformedError(f"expected jpeg, got {got}", "without it, samples cross as they are")
    return value.text


def _parse_hz(value: YamlValue) -> float:
    number = 0.0
    if isinstance(value, YamlScalar) and (
        value.kind in (Kind.INTEGER, Kind.FLOAT) or value.is_expanded
    ):
        try:
            number = float(value.text)
        except ValueError:
            number = 0.0
    if not 0 < number <= _MAX_HZ:
        raise MalformedError(
            f"expected samples per second, at most {_MAX_HZ:,.0f}, got {describe(value)}"
        )
    return number
