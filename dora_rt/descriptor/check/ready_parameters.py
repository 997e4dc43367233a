"""The parameters of the ready nodes, which a dataflow file need not declare.

Their first values are those of the options that the node reads: from its arguments, its `env:`, or
the environment. What `parameters:` says goes before all of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dora_rt.descriptor.read.node_keys import ReadNode
from dora_rt.descriptor.tree.model import Node
from dora_rt.descriptor.tree.problems import Problems, did_you_mean, listing, quote
from dora_rt.errors import ParameterRefusedError
from dora_rt.node_parameters import Parameter, ParameterKind

_PREFIX = "dora_rt.nodes."
_QUALITY = Parameter("jpeg_quality", ParameterKind.WHOLE, 90, 1, 100, help="of JPEG pictures")
# By module. A test compares the names and the values with the options of the nodes.
READY_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "webcam": (
        Parameter("fps", ParameterKind.NUMBER, None, 0, 1000, help="pictures a second"),
        _QUALITY,
    ),
    "object_detection": (
        Parameter("confidence", ParameterKind.NUMBER, 0.3, 0, 1, help="least confidence of a box"),
        Parameter(
            "iou",
            ParameterKind.NUMBER,
            0.45,
            0,
            1,
            help="boxes of a class that overlap by more are one object",
        ),
    ),
    "transform": (_QUALITY,),
}


def declare_ready_parameters(
    read_nodes: Sequence[ReadNode], environ: Mapping[str, str] | None, problems: Problems
) -> list[ReadNode]:
    """Return the nodes, with the parameters of those that are ready nodes."""
    return [replace(each, node=_declare(each.node, environ or {}, problems)) for each in read_nodes]


def _declare(node: Node, environ: Mapping[str, str], problems: Problems) -> Node:
    if node.program is None or node.program.module is None:
        return node
    prefix, _, module = node.program.module.rpartition(".")
    known = READY_PARAMETERS.get(module) if f"{prefix}." == _PREFIX else None
    if known is None:
        return node
    by_name = {one.name: one for one in node.parameters or ()}
    for name in by_name.keys() - {one.name for one in known}:
        names = [one.name for one in known]
        problems.add(
            node.place,
            f"{module} has no parameter {quote(name)} ('parameters' of node {quote(node.id)})",
            did_you_mean(name, names) or f"it has: {listing(names)}",
        )
    found = []
    for one in known:
        written = by_name.get(one.name)
        if written is None:
            found.append(replace(one, value=_option(node, module, one, environ)))
            continue
        try:
            found.append(_narrowed(one, written))
        except ParameterRefusedError as error:
            where = f"parameter {quote(one.name)} of node {quote(node.id)}"
            problems.add(node.place, f"{where}: {error}")
    return replace(node, parameters=tuple(found))


def _narrowed(known: Parameter, written: Parameter) -> Parameter:
    """Return a parameter of a ready node with what the file says of it."""
    for limit in (written.minimum, written.maximum):
        if limit is not None:
            replace(known, kind=ParameterKind.NUMBER).accept(limit)
    return replace(
        known,
        value=known.accept(written.value),
        minimum=known.minimum if written.minimum is None else written.minimum,
        maximum=known.maximum if written.maximum is None else written.maximum,
        choices=written.choices,
        help=written.help or known.help,
    )


def _option(node: Node, module: str, parameter: Parameter, environ: Mapping[str, str]) -> object:
    """Return the value of the option of the same name; None if the node has to find it.

    A wrong one is the node's to refuse: it knows where it stands. All of them are numbers.
    """
    text = _argument(node, f"--{parameter.name.replace('_', '-')}")
    if text is None:
        variable = parameter.name.upper()
        own = dict(node.env)
        # As in nodes/options.py: the file decides, also by an empty value.
        outside = environ.get(f"DORA_RT_{module.upper()}_{variable}", "")
        text = own.get(variable, outside).strip() or None
    if text is None:
        return parameter.value
    try:
        # As the option reads it.
        return parameter.accept(float(text))
    except (ValueError, ParameterRefusedError):
        return None


def _argument(node: Node, flag: str) -> str | None:
    assert node.program is not None, "a ready node is a program"
    found = None
    words = node.program.args
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        # argparse takes the beginning of a flag for it, too, and the last one counts.
        if len(name) > len("--x") and flag.startswith(name):
            found = value if equals else "".join(words[position + 1 : position + 2])
    return found
