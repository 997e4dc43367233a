"""One machine of each of many robots, in one process: fleet.py MACHINE PORT CERTIFICATES ROBOTS."""

from __future__ import annotations

import dataclasses
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dora_rt.network.key_space import KeySpace
from dora_rt.network.session_config import session_config
from dora_rt.network.zenoh_session import open_session
from tests.network.conftest import Authority, two_machines


def main() -> None:
    machine, port, folder, count = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    authority = Authority(folder)
    lock = threading.Lock()
    got = {"all": 0, "foreign": 0}
    kept: list[object] = []

    def join(robot: str) -> tuple[object, str]:
        plan = two_machines(port, machine, authority.security(f"{machine}.{robot}"))
        plan = dataclasses.replace(plan, robot=robot, via=(f"127.0.0.1:{port}",))
        session = open_session(session_config(plan))
        key = KeySpace.of(plan).sample(plan.streams[0])
        if machine == "laptop":

            def take(sample: object) -> None:
                with lock:
                    got["all"] += 1
                    got["foreign"] += sample.payload.to_string() != robot  # type: ignore[attr-defined]
                    if got["all"] % 500 == 0:
                        print(f"GOT {got['all']} foreign {got['foreign']}", flush=True)

            kept.append(session.declare_subscriber(key, take))
            return session, key
        return (session, session.declare_publisher(key)), robot

    with ThreadPoolExecutor(10) as pool:
        joined = list(pool.map(join, [f"r{number}" for number in range(int(count))]))
    print(f"OPEN {len(joined)}", flush=True)
    for line in sys.stdin:
        _, _, times = line.strip().partition(" ")
        for _ in range(int(times)):
            for (_, publisher), robot in joined:  # type: ignore[misc]
                publisher.put(robot)
        print(f"DONE {line.strip()}", flush=True)


main()
