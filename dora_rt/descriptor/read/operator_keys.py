"""Read an operator, of an `operator:` key or of an `operators:` list."""

from __future__ import annotations

import re

from dora_rt.descriptor.read.input_output_keys import read_inputs, read_outputs
from dora_rt.descriptor.tree.document import YamlMapping
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.home_folder import with_home
from dora_rt.descriptor.tree.keys import OPERATOR, PYTHON_SOURCE
from dora_rt.descriptor.tree.model import Operator
from dora_rt.descriptor.tree.problems import Problems, quote

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def read_operator(
    mapping: YamlMapping, operator_id: str | None, owner: str, problems: Problems
) -> tuple[Operator, bool]:
    """Read one operator; `owner` is `node` or `node/operator`.

    Returns:
        The operator, and whether its outputs are all that the file meant to declare.
    """
    fields = Fields(mapping, f"operator {quote(owner)}", problems)
    are_keys_known = fields.check_keys(OPERATOR)
    for key in ("name", "description"):
        fields.string(key)
    path, module = _read_code(fields, are_keys_known, problems)
    inputs = read_inputs(fields.get("inputs"), owner, problems)
    nproblems = len(problems)
    outputs = read_outputs(fields.get("outputs"), owner, problems)
    has_all_outputs = nproblems == len(problems) and (are_keys_known or fields.has("outputs"))
    place = fields.place_of("module" if path is None else "python")
    operator = Operator(operator_id, path, module, inputs, outputs, place)
    return operator, has_all_outputs


def read_module(fields: Fields, problems: Problems) -> str | None:
    """Read the `module:` of a node or an operator."""
    module = fields.text("module")
    if module is not None and not _MODULE.fullmatch(module):
        problems.add(
            fields.place_of("module"),
            f"'module' of {fields.owner}: {quote(module)} is not the name of a Python module",
            "write it as in an import statement, such as package.camera",
        )
        return None
    return module


def _read_code(
    fields: Fields, are_keys_known: bool, problems: Problems
) -> tuple[str | None, str | None]:
    if fields.has("python") and fields.has("module"):
        what = f"{fields.owner} has both 'python' and 'module'"
        problems.add(fields.key_place("module"), what, "keep one of them")
    elif fields.has("module"):
        return None, read_module(fields, problems)
    elif fields.has("python"):
        return _read_path(fields, problems), None
    elif are_keys_known and not any(fields.has(key) for key in OPERATOR.refused):
        what = f"{fields.owner} has nothing to run"
        problems.add(fields.place, what, "add 'python: file.py' or 'module: package.name'")
    return None, None


def _read_path(fields: Fields, problems: Problems) -> str | None:
    value = fields.get("python")
    if not isinstance(value, YamlMapping):
        path = fields.text("python")
        return None if path is None else with_home(path)
    nested = Fields(value, f"'python' of {fields.owner}", problems)
    if nested.check_keys(PYTHON_SOURCE) and not nested.has("source"):
        problems.add(value.place, f"{nested.owner} has no 'source'", "add 'source: file.py'")
    path = nested.text("source")
    return None if path is None else with_home(path)
