"""Read a file with values of parameters, as `dora-rt param save` writes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dora_rt.descriptor.read.parameter_keys import parse_any
from dora_rt.descriptor.tree.document import YamlMapping, describe, parse_document, read_text
from dora_rt.descriptor.tree.model import Place
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote


def read_parameter_file(path: Path) -> list[tuple[Place, str, str, Any]]:
    """Return each value with its place, its node and its name.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems of the file.
    """
    problems = Problems()
    root = parse_document(read_text(path, problems), str(path), problems)
    found = []
    for node, named in root.entries:
        if not isinstance(named, YamlMapping):
            what = f"{quote(node.text)}: expected the parameters of a node, such as 'fps: 30'"
            problems.add(named.place, f"{what}, got {describe(named)}")
            continue
        for name, value in named.entries:
            try:
                found.append((value.place, node.text, name.text, parse_any(value)))
            except MalformedError as error:
                what = f"parameter {quote(name.text)} of node {quote(node.text)}: {error.what}"
                problems.add(value.place, what, error.hint)
    problems.raise_if_any()
    return found
