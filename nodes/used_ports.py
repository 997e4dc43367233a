"""Compare the wiring of a ready node with what it can use, at its start."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from dora_rt.errors import DoraRtError
from dora_rt.event import Event, MatchedEvents

if TYPE_CHECKING:
    # It brings numpy along, which commands that only read a recording do without.
    from dora_rt.interface import NodeLike

__all__ = ["WiringError", "singles", "wired"]

logger = logging.getLogger(__name__)

AnyNode = TypeVar("AnyNode", bound="NodeLike")


class WiringError(DoraRtError):
    """The dataflow file does not wire a ready node so that it can work."""


def wired(
    node: AnyNode,
    *,
    needs: Collection[str] = (),
    reads: Collection[str] | None = (),
    sends: Collection[str] = (),
    needs_any: bool = False,
) -> AnyNode:
    """Return the node, once its inputs and outputs are those that it can use.

    Inputs and outputs that it does not use are logged as warnings.

    Args:
        node: the node.
        needs: inputs without which it has nothing to do.
        reads: inputs that it uses if they are wired; None: any.
        sends: its outputs, of which the file must declare at least one.
        needs_any: whether it has nothing to do without inputs.

    Raises:
        WiringError: an input that it needs is not wired, or none of its outputs is declared.
    """
    try:
        if needs_any and not node.input_ids():
            raise WiringError(
                f"node '{node.id()}' has no inputs, and so nothing to do; in the dataflow file "
                "write at this node: inputs: {NAME: NODE/OUTPUT}"
            )
        _check(node, needs, reads, sends)
    except WiringError:
        node.close()
        raise
    return node


def singles(events: Iterable[Event]) -> Iterator[Event]:
    """Yield events one by one, also those that `sync` in the file has put together."""
    for event in events:
        if isinstance(event, MatchedEvents):
            yield from event.value.values()
        else:
            yield event


def _check(
    node: NodeLike,
    needs: Collection[str],
    reads: Collection[str] | None,
    sends: Collection[str],
) -> None:
    inputs, outputs, where = node.input_ids(), node.output_ids(), f"node '{node.id()}'"
    known = (*needs, *(reads or ()))
    unused = [] if reads is None else [name for name in inputs if name not in known]
    for name in needs:
        if name not in inputs:
            has = f"its inputs are: {_listing(inputs)}" if inputs else "it has no inputs"
            raise WiringError(
                f"{where} needs an input '{name}', and {has}; in the dataflow file write at this "
                f"node: inputs: {{{name}: NODE/OUTPUT}}"
            )
    if sends and not set(sends) & set(outputs):
        first = next(iter(sends))
        has = f"declares only: {_listing(outputs)}" if outputs else "declares no outputs"
        raise WiringError(
            f"{where} sends {_listing(sends)}, and {has}; in the dataflow file write at this node: "
            f"outputs: [{first}]"
        )
    for name in unused:
        can = f"reads only {_listing(known)}" if known else "reads no inputs"
        logger.warning("input '%s' is not used: this node %s", name, can)
    for name in outputs:
        if name not in sends:
            can = f"sends only {_listing(sends)}" if sends else "sends nothing"
            logger.warning("output '%s' stays empty: this node %s", name, can)


def _listing(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
