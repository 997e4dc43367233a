"""The hash by which programs of ROS 2 know that they mean the same by a type: RIHS01, REP 2016."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .interface_text import Field, Message, Shape
from .interfaces import Interfaces

_PREFIX = "RIHS01_"
# Numbers of type_description_interfaces/FieldType; arrays and sequences are so much further on.
_NESTED = 1
_NUMBERS = {
    "int8": 2,
    "uint8": 3,
    "int16": 4,
    "uint16": 5,
    "int32": 6,
    "uint32": 7,
    "int64": 8,
    "uint64": 9,
    "float32": 10,
    "float64": 11,
    "bool": 15,
    "byte": 16,
    "string": 17,
    "wstring": 18,
}
_BOUNDED_STRINGS = {"string": 21, "wstring": 22}
_OFFSETS = {Shape.SINGLE: 0, Shape.ARRAY: 48, Shape.BOUNDED: 96, Shape.SEQUENCE: 144}


def type_hash(message: Message, interfaces: Interfaces) -> str:
    """Return the hash of a message; of a service or action, that of its `whole`.

    Raises:
        InterfaceError: a message in it is not known.
    """
    needed = sorted(interfaces.needed_by(message), key=lambda one: one.name)
    described = {
        "type_description": describe(message),
        "referenced_type_descriptions": [describe(one) for one in needed],
    }
    text = json.dumps(described, separators=(", ", ": "), ensure_ascii=False)
    return _PREFIX + hashlib.sha256(text.encode()).hexdigest()


def describe(message: Message) -> dict[str, Any]:
    """Return a type in the words of type_description_interfaces, without defaults."""
    # A struct of C has a member, and so has a message without fields.
    fields = message.fields or (Field("structure_needs_at_least_one_member", "uint8"),)
    return {"type_name": message.name, "fields": [_field(one) for one in fields]}


def _field(field: Field) -> dict[str, Any]:
    number = _NUMBERS.get(field.base, _NESTED)
    if field.string_bound:
        number = _BOUNDED_STRINGS[field.base]
    return {
        "name": field.name,
        "type": {
            "type_id": number + _OFFSETS[field.shape],
            "capacity": field.length,
            "string_capacity": field.string_bound,
            "nested_type_name": "" if field.is_primitive else field.base,
        },
    }
