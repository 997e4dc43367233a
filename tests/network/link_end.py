"""One end of a link, as a gateway opens it: does what it is told line by line, and says what comes.

python -m tests.network.link_end PLAN_JSON [CONFIG_CHANGES_JSON]
"""

from __future__ import annotations

import json
import sys
import threading

from dora_rt.network.gateway_plan import GatewayPlan
from dora_rt.network.refusals import Refusals
from dora_rt.network.session_config import names_known_to, session_config
from dora_rt.network.zenoh_session import open_session, tell_refusals, watch_links

_lock = threading.Lock()


def say(*words: object) -> None:
    with _lock:
        print(*words, flush=True)


def main() -> None:
    plan = GatewayPlan.from_json(sys.argv[1])
    changes = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    names = names_known_to(plan) if plan.security.certificate else ()
    ports = [
        int(endpoint.rpartition(":")[2])
        for one in plan.machines
        if one.name == plan.machine
        for endpoint in one.listen
    ]
    refusals = Refusals(lambda text: say("TOLD", text), tuple(ports), names)
    tell_refusals(refusals)
    config = {
        path: value
        for path, value in {**session_config(plan), **changes}.items()
        if value is not None
    }
    session = open_session(config)
    keep: list[object] = [watch_links(session, refusals)]
    say("OPEN")
    for line in sys.stdin:
        act, _, rest = line.strip().partition(" ")
        if act == "put":
            key, _, text = rest.partition(" ")
            session.put(key, text)
        elif act == "subscribe":
            keep.append(
                session.declare_subscriber(
                    rest, lambda sample: say("GOT", sample.key_expr, sample.payload.to_string())
                )
            )
        elif act == "alive":
            keep.append(session.liveliness().declare_token(rest))
        elif act == "see":
            keep.append(
                session.liveliness().declare_subscriber(
                    rest, lambda sample: say("SEEN", sample.key_expr, sample.kind), history=True
                )
            )
        elif act == "links":
            say("LINKS", *(link.auth_identifier for link in session.info.links()))
        say("DONE", line.strip())


main()
