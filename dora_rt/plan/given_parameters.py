"""Values of parameters that the start of a run gives beside the dataflow file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dora_rt.errors import ParameterRefusedError
from dora_rt.node_parameters import NodeParameters
from dora_rt.plan.plan import Plan
from dora_rt.spelling import closest


@dataclass(frozen=True, slots=True)
class GivenParameter:
    """One value.

    Attributes:
        where: where it stands, for errors.
        node, name: of which parameter it is.
        value: the value.
    """

    where: str
    node: str
    name: str
    value: Any


def give_parameters(plan: Plan, given: Sequence[GivenParameter]) -> Plan:
    """Return a plan whose nodes start with these values; later ones go before earlier ones.

    Raises:
        ParameterRefusedError: a value does not fit, or there is no such parameter.
    """
    by_node: dict[str, dict[str, Any]] = {}
    for one in given:
        named = _find(plan, one.node, one.where)
        with_place = f"{one.where}: "
        try:
            value = named.accept(one.name, one.value)
        except ParameterRefusedError as error:
            raise ParameterRefusedError(with_place + str(error)) from None
        by_node.setdefault(one.node, {})[one.name] = value
    processes = (
        replace(
            process,
            parameters=tuple(
                replace(named, given=tuple(by_node.get(named.node, {}).items()))
                for named in process.parameters
            ),
        )
        for process in plan.processes
    )
    return replace(plan, processes=tuple(processes)) if by_node else plan


def read_setting(
    plan: Plan, setting: str, elsewhere: Collection[str] = ()
) -> GivenParameter | None:
    """Read `NODE.NAME=VALUE`, as on a command line; None if the node is on another machine.

    Args:
        plan: of this machine.
        setting: the text.
        elsewhere: names of nodes on other machines, which check what is set for them.

    Raises:
        ParameterRefusedError: it is of another form, or the value does not fit.
    """
    where = f"--set {setting}"
    target, equals, text = setting.partition("=")
    # Names of nodes have dots themselves: the longest that there is.
    nodes = sorted((*_nodes(plan), *elsewhere), key=len, reverse=True)
    node = next((one for one in nodes if target.startswith(f"{one}.")), None)
    if not equals or "." not in target:
        raise ParameterRefusedError(f"{where}: expected NODE.NAME=VALUE")
    if node is None:
        _find(plan, target.rpartition(".")[0], where)
        raise AssertionError("there is no such node")
    if node in elsewhere:
        return None
    name = target[len(node) + 1 :]
    try:
        return GivenParameter(where, node, name, _find(plan, node, where).read(name, text))
    except ParameterRefusedError as error:
        raise ParameterRefusedError(f"{where}: {error}") from None


def _nodes(plan: Plan) -> Iterable[str]:
    return (named.node for process in plan.processes for named in process.parameters)


def _find(plan: Plan, node: str, where: str) -> NodeParameters:
    for process in plan.processes:
        for named in process.parameters:
            if named.node == node:
                return named
    match = closest(node, _nodes(plan))
    hint = f"did you mean {match!r}?" if match else f"there are: {', '.join(_nodes(plan))}"
    raise ParameterRefusedError(f"{where}: there is no node {node!r}; {hint}")
