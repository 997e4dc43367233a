"""A session of zenoh with our configuration, whose refusals are told."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Protocol

from dora_rt.errors import ExtraMissingError, LaunchError
from dora_rt.network.refusals import LOG_FILTER, Refusals, capture_output
from dora_rt.network.socket_options import tune_socket

try:
    import zenoh
except ImportError as error:
    raise ExtraMissingError(
        "several machines need the package eclipse-zenoh; run: pip install 'dora_rt[network]'"
    ) from error

_PLACE = re.compile(r" at /[^\s:]+:\d+")


def tell_refusals(refusals: Refusals) -> None:
    """Have what zenoh logs in this process read. Once, before the first session, in a program.

    It takes over file descriptor 1; print() goes where it went.
    """
    capture_output(refusals.take_line)
    zenoh.init_log_from_env_or(LOG_FILTER)


def open_session(config: Mapping[str, object]) -> zenoh.Session:
    """Open a session. A client's waits until a router answers: open it in a thread.

    Raises LaunchError: a port is taken, or a file cannot be read.
    """
    settings = zenoh.Config()
    for path, value in config.items():
        settings.insert_json5(path, json.dumps(value))
    try:
        return zenoh.open(settings)
    except zenoh.ZError as error:
        # It names places in the source of zenoh, whoever built it, and closes no bracket then.
        text = _PLACE.sub("", str(error)).rstrip(". ")
        raise LaunchError(f"the link between machines cannot be opened: {text}") from error


def watch_links(session: zenoh.Session, watch: LinkWatch) -> zenoh.LinkEventsListener:
    """Tune the links that there are, and each that comes, and tell of those that come and go.

    Keep what is returned.
    """

    def take(event: zenoh.LinkEvent) -> None:
        link = event.link
        if event.kind == zenoh.SampleKind.PUT:
            tune_socket(str(link.src), str(link.dst))
            watch.link_opened(str(link.zid), link.auth_identifier, str(link.dst))
        else:
            watch.link_closed(str(link.dst))

    return session.info.declare_link_events_listener(take, history=True)


class LinkWatch(Protocol):
    """What hears of links."""

    def link_opened(self, zid: str, name: str | None, remote: str) -> None:
        """Take a new link: the name in the certificate at its far end, and its address there."""

    def link_closed(self, remote: str) -> None:
        """Take the end of a link."""
