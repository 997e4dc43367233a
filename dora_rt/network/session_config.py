"""The configuration of zenoh for a gateway: who dials whom, and what protects the links."""

from __future__ import annotations

import ipaddress

from dora_rt.errors import LaunchError
from dora_rt.network.gateway_plan import GatewayPlan, Security

# Noticed after two seconds, by eight signs of life: a robot has to stop soon, and a link of
# 20 Mbit/s that is full for 250 ms is no reason to give up.
_LEASE_MS = 2000
_SIGNS_OF_LIFE = 8
_RETRY = {"period_init_ms": 250, "period_max_ms": 1000, "period_increase_factor": 1.5}
# A connection that says nothing, or nothing sensible, is closed after this time.
_OPEN_TIMEOUT_MS = 5000
# zenoh gives up a session after this time of a full link. Less than one window is under way, so
# that it never comes to this; the lease ends a link that is cut.
_BLOCK_US = 60_000_000
# Of a message beside the samples: answers of the launcher, among them the status of a run.
_LEAST_MESSAGE_NBYTES = 16 << 20
_MESSAGE_HEAD_NBYTES = 1 << 20
# A router cannot know what its robots send: more than a picture of 8K.
_ROUTED_MESSAGE_NBYTES = 128 << 20
_MAX_ROBOTS = 10_000


class UnsafeLinkError(LaunchError):
    """An endpoint can be reached from other machines, and nothing protects it."""


def session_config(plan: GatewayPlan, *, first: str | None = None) -> dict[str, object]:
    """Return the values of JSON for each path of zenoh's configuration.

    Nothing is left at a default that opens a port or looks for others. A client dials only the
    endpoint that comes `first`. Raises UnsafeLinkError.
    """
    listened, dialled = endpoints_of(plan)
    if first is not None:
        dialled = (first, *(endpoint for endpoint in dialled if endpoint != first))
    protocol = check_endpoints((*listened, *dialled), plan.security)
    config: dict[str, object] = {
        **base_config(),
        "mode": "router" if listened else "client",
        "listen/endpoints": [f"{protocol}/{endpoint}" for endpoint in listened],
        "connect/endpoints": [f"{protocol}/{endpoint}" for endpoint in dialled],
        "transport/link/protocols": [protocol],
        "transport/link/rx/max_message_size": _largest_message(plan),
    }
    if protocol == "tls":
        # Of cryptography, which plain links do without.
        from dora_rt.network.access_rules import access_control

        config.update(tls_config(plan.security))
        config.update(access_control(plan))
    return config


def endpoints_of(plan: GatewayPlan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return where this machine listens, and whom it dials."""
    if plan.via:
        return (), plan.via
    listened: tuple[str, ...] = ()
    dialled: tuple[str, ...] = ()
    for machine in plan.machines:
        if machine.name == plan.machine:
            listened = machine.listen
            # Machines that listen are linked with each other once: the later one dials.
            if listened:
                break
        else:
            dialled += machine.listen
    return listened, dialled


def names_known_to(plan: GatewayPlan) -> tuple[str, ...]:
    """Return what the certificates of the other ends may be called."""
    from dora_rt.network.certificates import ROUTER_NAME, common_names

    if plan.via:
        return (ROUTER_NAME,)
    return tuple(
        name
        for machine in plan.machines
        if machine.name != plan.machine
        for name in common_names(machine.name, plan.robot)
    )


def router_config(
    listened: tuple[str, ...], dialled: tuple[str, ...], security: Security
) -> dict[str, object]:
    """Return the configuration of a router that is no machine of a dataflow, without its access
    rules: all machines dial it. Raises UnsafeLinkError.
    """
    protocol = check_endpoints((*listened, *dialled), security)
    return {
        **base_config(),
        "mode": "router",
        "listen/endpoints": [f"{protocol}/{endpoint}" for endpoint in listened],
        "connect/endpoints": [f"{protocol}/{endpoint}" for endpoint in dialled],
        "transport/link/protocols": [protocol],
        "transport/link/rx/max_message_size": _ROUTED_MESSAGE_NBYTES,
        "transport/unicast/max_sessions": _MAX_ROBOTS,
        **(tls_config(security) if protocol == "tls" else {}),
    }


def base_config() -> dict[str, object]:
    """Return what holds for every session of ours: found by nobody, quick to come back."""
    return {
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "scouting/delay": 0,
        # Forever: zenoh waits longer and longer between attempts of limited length. So `open` of a
        # client returns when a router answers, and not before.
        "connect/timeout_ms": -1,
        "connect/exit_on_failure": False,
        "connect/retry": _RETRY,
        # A port that is taken is told at once.
        "listen/timeout_ms": 0,
        "listen/exit_on_failure": True,
        "open/return_conditions/connect_scouted": False,
        "open/return_conditions/declares": False,
        "transport/link/tx/lease": _LEASE_MS,
        "transport/link/tx/keep_alive": _SIGNS_OF_LIFE,
        "transport/link/tx/queue/congestion_control/block/wait_before_close": _BLOCK_US,
        "transport/unicast/open_timeout": _OPEN_TIMEOUT_MS,
        "transport/unicast/accept_timeout": _OPEN_TIMEOUT_MS,
        # It goes around the link where two machines of a test share /dev/shm.
        "transport/shared_memory/enabled": False,
        "transport/unicast/compression/enabled": False,
        "adminspace/enabled": False,
        "plugins_loading/enabled": False,
        "timestamping/enabled": False,
    }


def tls_config(security: Security) -> dict[str, object]:
    """Return what makes both ends of each link show a certificate of our authority."""
    assert security.authority and security.certificate and security.private_key
    return {
        "transport/link/tls/root_ca_certificate": security.authority,
        "transport/link/tls/enable_mtls": True,
        "transport/link/tls/listen_certificate": security.certificate,
        "transport/link/tls/listen_private_key": security.private_key,
        "transport/link/tls/connect_certificate": security.certificate,
        "transport/link/tls/connect_private_key": security.private_key,
        # Robots change their addresses. The access rules ask for the name in the certificate,
        # which is that of a machine, at both ends.
        "transport/link/tls/verify_name_on_connect": False,
        "transport/link/tls/close_link_on_expiration": True,
    }


def check_endpoints(endpoints: tuple[str, ...], security: Security) -> str:
    """Return the protocol to use: `tls` with certificates, else `tcp`. Raises UnsafeLinkError."""
    if security.certificate:
        return "tls"
    for endpoint in endpoints:
        if not security.is_insecure and not is_loopback(endpoint):
            raise UnsafeLinkError(
                f"{endpoint} can be reached from other machines, and this machine has no "
                "certificate; run `dora-rt pair`, or write `insecure: true` into `machines:`"
            )
    return "tcp"


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint, `HOST:PORT`, can be reached from its own machine only."""
    host = endpoint.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # What a name means is for others to decide, and may change.
        return False


def _largest_message(plan: GatewayPlan) -> int:
    """Return what no message may exceed; a router passes on the streams of all."""
    largest = max((stream.max_nbytes for stream in plan.streams), default=0)
    return max(_LEAST_MESSAGE_NBYTES, largest + _MESSAGE_HEAD_NBYTES)
