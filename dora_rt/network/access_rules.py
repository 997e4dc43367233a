"""Which machine may send and read what: zenoh's access control, by the names in certificates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dora_rt.network.certificates import ROUTER_NAME, common_names
from dora_rt.network.gateway_plan import GatewayPlan
from dora_rt.network.key_space import ROOT, KeySpace, segment

_WRITES = ("put", "delete")
_DECLARES_WRITES = ("liveliness_token", "declare_queryable", "reply")
_READS = ("declare_subscriber", "liveliness_query", "declare_liveliness_subscriber", "query")
_ALL = (*_WRITES, *_DECLARES_WRITES, *_READS)


@dataclass(frozen=True, slots=True)
class Grant:
    """What those that show one of some names may do."""

    id: str
    names: tuple[str, ...]
    writes: tuple[str, ...]
    """Keys of what they may put."""
    tokens: tuple[str, ...]
    """Keys of what they may be alive as, and answer."""
    reads: tuple[str, ...]
    """Keys of what they may subscribe to and ask."""


def access_control(plan: GatewayPlan) -> dict[str, object]:
    """Return zenoh's access control for the gateway of one machine; all else is denied.

    A machine that dials this one may put what its nodes send, and nothing else. One that others
    dial, or a router, passes on what they send, so its own name cannot bound it.
    """
    keys = KeySpace.of(plan)
    grants = []
    if plan.via:
        grants.append(_relay(ROUTER_NAME, (ROUTER_NAME,), f"{keys.base}/**"))
    for machine in plan.machines:
        if machine.name == plan.machine or plan.via:
            continue
        names = common_names(machine.name, plan.robot)
        if machine.listen:
            grants.append(_relay(machine.name, names, f"{keys.base}/**"))
        else:
            grants.append(_machine(plan, machine.name, names))
    return _config(grants, outgoing=f"{keys.base}/**")


def router_access_control(fleet: str, names: Iterable[str]) -> dict[str, object]:
    """Return the access control of a router: each robot has its own part of the keys.

    Names of certificates are `MACHINE.ROBOT`: the machines of one robot never hear of another.
    One without a robot is that of an operator, who may reach all robots of the fleet; so are other
    routers of the fleet.
    """
    robots: dict[str, list[str]] = {}
    for name in names:
        robots.setdefault(name.partition(".")[2], []).append(name)
    everything = f"{ROOT}/{segment(fleet)}/**"
    grants = [_relay(ROUTER_NAME, (ROUTER_NAME, *robots.pop("", ())), everything)]
    grants += [
        _relay(robot, tuple(machines), f"{ROOT}/{segment(fleet)}/{segment(robot)}/**")
        for robot, machines in robots.items()
    ]
    return _config(grants, outgoing=None)


def _machine(plan: GatewayPlan, machine: str, names: tuple[str, ...]) -> Grant:
    keys = KeySpace.of(plan)
    leaving = [stream for stream in plan.streams if stream.sender == machine]
    coming = [stream for stream in plan.streams if stream.receiver == machine]
    own = segment(machine)
    return Grant(
        id=machine,
        names=names,
        writes=(
            *map(keys.sample, leaving),
            *map(keys.acknowledgement, coming),
            f"{keys.base}/{own}/tell/**",
        ),
        tokens=(f"{keys.base}/{own}/alive/*", f"{keys.base}/{own}/ask/**"),
        reads=(
            *map(keys.sample, coming),
            *map(keys.acknowledgement, leaving),
            f"{keys.base}/*/tell/{own}/**",
            keys.all_alive(),
            f"{keys.base}/*/ask/**",
        ),
    )


def _relay(id_: str, names: tuple[str, ...], keys: str) -> Grant:
    return Grant(id=id_, names=names, writes=(keys,), tokens=(keys,), reads=(keys,))


def _config(grants: list[Grant], *, outgoing: str | None) -> dict[str, object]:
    """Return the rules. `outgoing` may go to all that are known; None: what each may read."""
    rules: list[dict[str, object]] = []
    policies: list[dict[str, object]] = []
    for number, grant in enumerate(grants):
        parts = [
            ("writes", "ingress", _WRITES, grant.writes),
            ("tokens", "ingress", _DECLARES_WRITES, grant.tokens),
            ("reads", "ingress", _READS, grant.reads),
            ("outgoing", "egress", _ALL, grant.reads if outgoing is None else (outgoing,)),
        ]
        for part, flow, messages, keys in parts:
            rules.append(
                {
                    "id": f"{number} {part}",
                    "permission": "allow",
                    "flows": [flow],
                    "messages": list(messages),
                    "key_exprs": list(keys),
                }
            )
        policies.append(
            {
                "id": f"{number} {grant.id}",
                "rules": [f"{number} {part}" for part, *_ in parts],
                "subjects": [f"{number}"],
            }
        )
    return {
        "access_control": {
            "enabled": True,
            "default_permission": "deny",
            "rules": rules,
            "subjects": [
                {"id": f"{number}", "cert_common_names": list(grant.names)}
                for number, grant in enumerate(grants)
            ],
            "policies": policies,
        }
    }
