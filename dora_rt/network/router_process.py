"""A router that all machines can dial: robots behind NAT meet their laptops there."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

from dora_rt.errors import LaunchError
from dora_rt.network.gateway_plan import Security
from dora_rt.network.listening import check_listening
from dora_rt.network.refusals import Refusals
from dora_rt.network.session_config import router_config


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """Everything that a router is told."""

    listened: tuple[str, ...]
    dialled: tuple[str, ...]
    """Other routers of the fleet."""
    fleet: str
    names: tuple[str, ...]
    """Of certificates: `MACHINE.ROBOT`, or of an operator."""
    security: Security


def full_config(options: RouterOptions) -> dict[str, object]:
    """Return the configuration of zenoh. Raises LaunchError."""
    config = router_config(options.listened, options.dialled, options.security)
    if options.security.certificate:
        from dora_rt.network.access_rules import router_access_control

        config.update(router_access_control(options.fleet, options.names))
    return config


def nested(config: dict[str, object]) -> str:
    """Return a configuration as a file for zenohd."""
    tree: dict[str, object] = {}
    for path, value in config.items():
        *folders, last = path.split("/")
        place = tree
        for folder in folders:
            inner = place.setdefault(folder, {})
            assert isinstance(inner, dict)
            place = inner
        place[last] = value
    return json.dumps(tree, indent=2)


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names of certificates in a file, one a line. Raises LaunchError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise LaunchError(f"{path}: cannot be read: {error}") from error
    return tuple(name for line in lines if (name := line.partition("#")[0].strip()))


def serve(options: RouterOptions) -> None:
    """Route until SIGINT or SIGTERM, and say who comes and goes. Raises LaunchError."""
    from dora_rt.network.zenoh_session import open_session, tell_refusals, watch_links

    check_listening(options.listened, waits=False)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    watch = _Watch(options)
    tell_refusals(watch.refusals)
    with open_session(full_config(options)) as session:
        _say(f"router listens on {', '.join(options.listened)}")
        listener = watch_links(session, watch)
        while not over.wait(1):
            pass
        listener.undeclare()
    _say("router stops")


class _Watch:
    """Says who comes and goes."""

    def __init__(self, options: RouterOptions) -> None:
        from dora_rt.network.certificates import ROUTER_NAME

        ports = tuple(int(endpoint.rpartition(":")[2]) for endpoint in options.listened)
        self.refusals = Refusals(_say, ports, names=frozenset((*options.names, ROUTER_NAME)))
        self._names: dict[str, str] = {}

    def link_opened(self, zid: str, name: str | None, remote: str) -> None:
        self.refusals.link_opened(zid, name, remote)
        if name is None or name in set(self.refusals.names):
            self._names[remote] = name or "a machine"
            _say(f"{self._names[remote]} is here ({_address(remote)})")

    def link_closed(self, remote: str) -> None:
        self.refusals.link_closed(remote)
        if (name := self._names.pop(remote, None)) is not None:
            _say(f"{name} is gone ({_address(remote)})")


def _address(locator: str) -> str:
    return locator.rpartition("/")[2]


def _say(sentence: str) -> None:
    print(sentence, flush=True)
