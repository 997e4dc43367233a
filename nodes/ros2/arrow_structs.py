"""Messages of ROS 2 as structs of Arrow and back, with the names of their fields, as dora has them.

pyarrow is imported only when a message is to become one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dora_rt.errors import ExtraMissingError

from .interface_text import Field, Message, Shape
from .interfaces import Interfaces

_OTHER_NAMES = {"bool": "bool_", "byte": "uint8"}


def from_fields(values: dict[str, Any], message: Message, interfaces: Interfaces) -> Any:
    """Return a message as an array of Arrow with one struct.

    Raises:
        ExtraMissingError: pyarrow is not installed.
    """
    return _struct([values], message, interfaces, _import_pyarrow())


def to_fields(value: Any) -> dict[str, Any] | None:
    """Return the first struct of an array of Arrow as a dict; None if it is none.

    Lists of numbers become arrays of numpy without a copy: a picture has millions.
    """
    kind = getattr(value, "type", None)
    if kind is None or not hasattr(value, "to_pylist") or not str(kind).startswith("struct"):
        return None
    if len(value) < 1:
        return None
    return _fields(value, 0)


def _fields(structs: Any, index: int) -> dict[str, Any]:
    return {
        entry.name: _value(structs.field(number), index)
        for number, entry in enumerate(structs.type)
        if structs.field(number)[index].is_valid
    }


def _value(column: Any, index: int) -> Any:
    kind = str(column.type)
    if kind.startswith("struct"):
        return _fields(column, index)
    if kind.startswith(("list", "large_list", "fixed_size_list")):
        return _list(column[index].values)
    return column[index].as_py()


def _list(values: Any) -> Any:
    kind = str(values.type)
    if kind.startswith("struct"):
        return [_fields(values, index) for index in range(len(values))]
    if kind.startswith(("int", "uint", "float", "double", "halffloat")) and not values.null_count:
        return values.to_numpy(zero_copy_only=False)
    return values.to_pylist()


def _struct(many: list[dict[str, Any]], message: Message, interfaces: Interfaces, pa: Any) -> Any:
    names = [field.name for field in message.fields]
    columns = [
        _column([one[field.name] for one in many], field, interfaces, pa)
        for field in message.fields
    ]
    if not columns:
        return pa.array([{}] * len(many), pa.struct([]))
    return pa.StructArray.from_arrays(columns, names)


def _column(values: list[Any], field: Field, interfaces: Interfaces, pa: Any) -> Any:
    if field.shape is Shape.SINGLE:
        return _flat(values, field, interfaces, pa)
    ends = np.cumsum([0, *map(len, values)]).astype(np.int32)
    if field.is_primitive and field.base != "string":
        one = values[0] if len(values) == 1 else np.concatenate(values) if values else []
        inner = pa.array(np.asarray(one), _primitive(field, pa))
    else:
        inner = _flat([one for many in values for one in many], field, interfaces, pa)
    return pa.ListArray.from_arrays(pa.array(ends), inner)


def _flat(values: list[Any], field: Field, interfaces: Interfaces, pa: Any) -> Any:
    if not field.is_primitive:
        return _struct(values, interfaces.message(field.base), interfaces, pa)
    return pa.array(values, _primitive(field, pa))


def _primitive(field: Field, pa: Any) -> Any:
    return getattr(pa, _OTHER_NAMES.get(field.base, field.base))()


def _import_pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ExtraMissingError(
            "messages of this type become structs of Arrow: pip install 'dora_rt[arrow]', or write "
            f",json behind the route ({error})"
        ) from error
    return pyarrow
