"""The machines of a fleet that a router knows: they are alive under keys of their own."""

from __future__ import annotations

from dataclasses import dataclass

from dora_rt.errors import LaunchError
from dora_rt.network.certificates import ROUTER_NAME
from dora_rt.network.gateway_plan import Security
from dora_rt.network.key_space import ROOT, name_in, segment
from dora_rt.network.probe import trouble_with
from dora_rt.network.session_config import base_config, check_endpoints, tls_config
from dora_rt.network.zenoh_session import open_session

_ANSWER_S = 3.0
_KEY_PARTS = 7  # dora_rt, fleet, robot, flow, machine, `alive`, and the life of the gateway


@dataclass(frozen=True, slots=True, order=True)
class AliveMachine:
    """A machine whose gateway is linked to the router now."""

    robot: str
    flow: str
    machine: str


def list_machines(router: str, fleet: str, security: Security) -> list[AliveMachine]:
    """Ask a router which machines of a fleet are there.

    Args:
        router: as HOST:PORT.
        fleet: `fleet:` of their files.
        security: with the certificate of an operator, who may see all robots.

    Raises:
        LaunchError: the router cannot be reached, or refuses.
    """
    protocol = check_endpoints((router,), security)
    # First: opening a session waits for ever.
    trouble = trouble_with(router, security, (ROUTER_NAME,))
    if trouble is not None:
        raise LaunchError(f"router {router} cannot be asked: {trouble}")
    config: dict[str, object] = {
        **base_config(),
        "mode": "client",
        "listen/endpoints": [],
        "connect/endpoints": [f"{protocol}/{router}"],
        "transport/link/protocols": [protocol],
        **(tls_config(security) if protocol == "tls" else {}),
    }
    found = set()
    with open_session(config) as session:
        key = f"{ROOT}/{segment(fleet)}/*/*/*/alive/*"
        for reply in session.liveliness().get(key, timeout=_ANSWER_S):
            if reply.ok is None:
                continue
            parts = str(reply.ok.key_expr).split("/")
            if len(parts) == _KEY_PARTS:
                _, _, robot, flow, machine, _, _ = map(name_in, parts)
                found.add(AliveMachine(robot, flow, machine))
    return sorted(found)
