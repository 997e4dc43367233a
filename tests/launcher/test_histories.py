"""Histories replayed through the supervisor's real loop, on a simulated machine."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.launcher.bed import (
    ALONE,
    CHAIN,
    Bed,
    alone,
    ask,
    endings,
    interrupt,
    kill,
)
from tests.launcher.machine import C_CALL, CRASH, DEAF, JOB, MISSING, PLAIN, Program


@dataclass(frozen=True)
class History:
    """What is given, what happens, and what the run has to become."""

    text: str
    programs: dict[str, Any]
    happens: tuple[tuple[Any, ...], ...]
    expected: tuple[str, ...]
    endings: dict[str, str]
    failures: tuple[str, ...] = ()
    stop_after_s: float | None = None


START = ("start source", "start filter", "start sink", "the flow starts")

HISTORIES = {
    "jobs end one after the other": History(
        CHAIN,
        {"source": JOB},
        (),
        (*START, "source ends 0", "filter ends 0", "sink ends 0"),
        {"source": "finished", "filter": "finished", "sink": "finished"},
    ),
    "a stop tells the source, and all others drain": History(
        CHAIN,
        {},
        ((2, interrupt),),
        (
            *(*START, "SIGINT", "the stop begins", "tell source"),
            *("source ends 0", "filter ends 0", "sink ends 0"),
        ),
        {"source": "stopped", "filter": "finished", "sink": "finished"},
    ),
    "stop_after counts from the start of the flow": History(
        ALONE,
        {"node": Program(ready_s=3.0)},
        (),
        ("start node", "the flow starts", "the stop begins", "tell node", "node ends 0"),
        {"node": "stopped"},
        stop_after_s=2.0,
    ),
    "a node that does not drain is told after its grace": History(
        CHAIN,
        {"sink": Program(drains_s=None)},
        ((2, interrupt),),
        (
            *(*START, "SIGINT", "the stop begins", "tell source"),
            *("source ends 0", "filter ends 0", "tell sink", "sink ends 0"),
        ),
        {"source": "stopped", "filter": "finished", "sink": "stopped"},
    ),
    "a node that reads no events is interrupted": History(
        ALONE,
        {"node": Program(reads_events=False)},
        ((1, interrupt),),
        (
            *("start node", "the flow starts", "SIGINT", "the stop begins", "tell node"),
            *("SIGINT to node", "node ends -2"),
        ),
        {"node": "stopped (SIGINT)"},
    ),
    "a deaf node climbs the whole ladder": History(
        ALONE,
        {"node": Program(stops_s=None, handlers={**DEAF})},
        ((1, interrupt),),
        (
            *("start node", "the flow starts", "SIGINT", "the stop begins", "tell node"),
            *("tell node", "SIGTERM to node", "tell node", "SIGKILL to node", "node ends -9"),
        ),
        {"node": "killed: it did not stop when told to, nor at SIGTERM"},
        ("node",),
    ),
    "the third Ctrl-C kills at once": History(
        ALONE,
        {"node": C_CALL},
        ((1, interrupt), (1.1, interrupt), (1.2, interrupt)),
        (
            *("start node", "the flow starts", "SIGINT", "the stop begins", "tell node"),
            *("SIGINT", "tell node", "SIGTERM to node"),
            *("SIGINT", "tell node", "SIGKILL to node", "node ends -9"),
        ),
        {"node": "killed: it did not stop when told to, nor at SIGTERM"},
        ("node",),
    ),
    "a second Ctrl-C spares a node that already cleans up": History(
        """
        nodes:
          - {id: busy, path: a, outputs: [out]}
          - {id: deaf, path: b, outputs: [out], stop_grace: 100}
        """,
        {
            "busy": Program(reads_events=False, handlers={signal.SIGINT: (2.0, 0)}),
            "deaf": C_CALL,
        },
        ((1, interrupt), (1.5, interrupt), (2.0, interrupt)),
        (
            *("start busy", "start deaf", "the flow starts", "SIGINT", "the stop begins"),
            *("tell busy", "SIGINT to busy", "tell deaf"),
            *("SIGINT", "tell deaf", "SIGTERM to deaf"),
            *("SIGINT", "tell busy", "SIGKILL to busy", "busy ends -9"),
            *("tell deaf", "SIGKILL to deaf", "deaf ends -9"),
        ),
        {
            "busy": "killed: it did not stop when told to, nor at SIGINT",
            "deaf": "killed: it did not stop when told to, nor at SIGTERM",
        },
        ("busy", "deaf"),
    ),
    "a killed node has failed, and its readers drain": History(
        CHAIN,
        {},
        ((1, kill, "source"),),
        (*START, "source ends -9", "filter ends 0", "sink ends 0"),
        {"source": "failed: SIGKILL (Killed)", "filter": "finished", "sink": "finished"},
        ("source",),
    ),
    "a crash is restarted once more, and the policy is given up": History(
        alone(restart="on-failure", max_restarts=2),
        {"node": CRASH},
        (),
        (
            *("start node", "node ends 1", "the flow starts"),
            *("start node", "node ends 1", "start node", "node ends 1"),
        ),
        {"node": "failed: exit status 1"},
        ("node",),
    ),
    "on-failure leaves a good end alone": History(
        alone(restart="on-failure"),
        {"node": JOB},
        (),
        ("start node", "the flow starts", "node ends 0"),
        {"node": "finished"},
    ),
    "always restarts a good end": History(
        alone(restart="always", max_restarts=1),
        {"node": JOB},
        (),
        ("start node", "the flow starts", "node ends 0", "start node", "node ends 0"),
        {"node": "finished"},
    ),
    "the stop cancels a restart that is pending": History(
        alone(restart="always", restart_delay=60, max_restart_delay=60),
        {"node": Program(ends_s=1, status=3)},
        ((5, interrupt),),
        ("start node", "the flow starts", "node ends 3", "SIGINT", "the stop begins"),
        {"node": "was waiting for its restart (failed: exit status 3)"},
    ),
    "the readers of a node that waits for its restart drain at the stop": History(
        """
        nodes:
          - {id: node, path: a, outputs: [out], restart: always, restart_delay: 20}
          - {id: sink, path: b, inputs: {in: node/out}}
        """,
        {"node": Program(ends_s=1)},
        ((2, interrupt),),
        (
            *("start node", "start sink", "the flow starts", "node ends 0", "SIGINT"),
            *("the stop begins", "sink ends 0"),
        ),
        {"node": "was waiting for its restart (finished)", "sink": "finished"},
    ),
    "no restart after the stop": History(
        alone(restart="always"),
        {},
        ((1, interrupt), (1.005, kill, "node")),
        ("start node", "the flow starts", "SIGINT", "the stop begins", "tell node", "node ends -9"),
        {"node": "failed: SIGKILL (Killed)"},
        ("node",),
    ),
    "a node that cannot be started again has failed, and the others go on": History(
        """
        nodes:
          - {id: node, path: a, outputs: [out], restart: always, max_restarts: 1}
          - {id: other, path: a, outputs: [out]}
        """,
        {"node": (Program(ends_s=1), MISSING), "other": Program(ends_s=9)},
        (),
        ("start node", "start other", "the flow starts", "node ends 0", "other ends 0"),
        {
            "node": "failed: cannot be started: a: No such file or directory",
            "other": "finished",
        },
        ("node",),
    ),
    "a node that is never ready is killed by its start-up time-out": History(
        alone(startup_timeout=5),
        {"node": Program(ready_s=None)},
        (),
        ("start node", "SIGKILL to node", "node ends -9", "the flow starts"),
        {"node": "killed: not ready within 5 s"},
        ("node",),
    ),
    "a node without a heartbeat is killed and restarted": History(
        alone(restart="on-failure", heartbeat_timeout=2),
        {"node": (Program(beats_until_s=3), JOB)},
        (),
        (
            *("start node", "the flow starts", "SIGKILL to node", "node ends -9"),
            *("start node", "node ends 0"),
        ),
        {"node": "finished"},
    ),
    "a restarted node has the whole time-out for its first heartbeat": History(
        alone(restart="on-failure", max_restarts=1, heartbeat_timeout=2, restart_delay=9),
        {"node": (CRASH, Program(beats_until_s=0, ends_s=1.5))},
        (),
        ("start node", "node ends 1", "the flow starts", "start node", "node ends 0"),
        {"node": "finished"},
    ),
    "a slow import is no missing heartbeat": History(
        alone(heartbeat_timeout=1),
        {"node": Program(ready_s=30, ends_s=31)},
        (),
        ("start node", "the flow starts", "node ends 0"),
        {"node": "finished"},
    ),
    "a node may ask to stop the dataflow": History(
        CHAIN,
        {"sink": Program(asks_stop_s=1)},
        (),
        (*START, "the stop begins", "tell source", "source ends 0", "filter ends 0", "sink ends 0"),
        {"source": "stopped", "filter": "finished", "sink": "finished"},
    ),
    "on_exit: stop_all ends the dataflow": History(
        """
        nodes:
          - {id: source, path: a, outputs: [out]}
          - {id: key, path: b, outputs: [out], on_exit: stop_all}
        """,
        {"key": Program(ends_s=1, status=1)},
        (),
        (
            *("start source", "start key", "the flow starts", "key ends 1"),
            *("the stop begins", "tell source", "source ends 0"),
        ),
        {"source": "stopped", "key": "failed: exit status 1"},
        ("key",),
    ),
    "on_exit waits for the last restart": History(
        alone(on_exit="stop_all", restart="on-failure", max_restarts=1),
        {"node": (CRASH, JOB)},
        (),
        (
            *("start node", "node ends 1", "the flow starts"),
            *("start node", "node ends 0", "the stop begins"),
        ),
        {"node": "finished"},
    ),
    "a node that sends after the stop is no failure": History(
        ALONE,
        {"node": Program(sends_after_stop=True)},
        ((1, interrupt),),
        (
            *("start node", "the flow starts", "SIGINT", "the stop begins", "tell node"),
            "node ends 1",
        ),
        {"node": "stopped (it sent after the stop)"},
    ),
    "a plain program is terminated": History(
        "nodes: [{id: node, path: a}]",
        {"node": PLAIN},
        ((1, interrupt),),
        (
            *("start node", "the flow starts", "SIGINT", "the stop begins", "tell node"),
            *("SIGTERM to node", "node ends -15"),
        ),
        {"node": "stopped (SIGTERM)"},
    ),
    "a shell ends, and its program is asked before the node is over": History(
        "nodes: [{id: node, path: a}]",
        {
            "node": Program(
                ready_s=None,
                handlers={signal.SIGINT: (0.0, 0)},
                children=(Program(ready_s=None, handlers={signal.SIGTERM: (1.0, 0)}),),
            )
        },
        ((1, interrupt),),
        (
            *("start node", "the flow starts", "SIGINT", "the stop begins", "tell node"),
            *("SIGINT to node", "node ends 0"),
        ),
        {"node": "stopped"},
    ),
    "what a node leaves in its group ends with it": History(
        "nodes: [{id: node, path: a}]",
        {"node": Program(ready_s=None, ends_s=1, children=(Program(handlers=DEAF),))},
        (),
        ("start node", "the flow starts", "node ends 0"),
        {"node": "finished"},
    ),
    "a node that is root is told of, drains, and is no failure": History(
        CHAIN,
        {"source": Program(becomes_root_s=1, reads_events=True)},
        ((2, interrupt),),
        (
            *(*START, "SIGINT", "the stop begins", "tell source"),
            *("source ends 0", "filter ends 0", "sink ends 0"),
        ),
        {"source": "stopped", "filter": "finished", "sink": "finished"},
    ),
    "a node that is root and deaf is left behind": History(
        ALONE,
        {"node": replace(C_CALL, becomes_root_s=0.5)},
        ((1, interrupt),),
        (
            *("start node", "the flow starts", "SIGINT", "the stop begins", "tell node"),
            *("tell node", "tell node"),
        ),
        {"node": "left behind: process 1000 belongs to root, and may not be signalled; it goes on"},
        ("node",),
    ),
    "a node that is stuck in a driver holds up the end until it dies": History(
        ALONE,
        {"node": replace(C_CALL, stuck_s=100)},
        ((1, interrupt),),
        (
            *("start node", "the flow starts", "SIGINT", "the stop begins", "tell node"),
            *("tell node", "SIGTERM to node", "tell node", "SIGKILL to node", "node ends -9"),
        ),
        {"node": "killed: it did not stop when told to, nor at SIGTERM"},
        ("node",),
    ),
    "a node is stopped by hand, and the run ends with the others": History(
        CHAIN,
        {},
        ((1, ask, "stop", "filter"), (2, interrupt)),
        (
            *(*START, "tell filter", "filter ends 0", "SIGINT", "the stop begins"),
            *("tell source", "sink ends 0", "source ends 0"),
        ),
        {"source": "stopped", "filter": "stopped", "sink": "finished"},
    ),
    "a node is restarted by hand": History(
        CHAIN,
        {},
        ((1, ask, "restart", "filter"), (2, interrupt)),
        (
            *(*START, "tell filter", "filter ends 0", "start filter"),
            *("SIGINT", "the stop begins", "tell source"),
            *("source ends 0", "filter ends 0", "sink ends 0"),
        ),
        {"source": "stopped", "filter": "finished", "sink": "finished"},
    ),
    "a failed node is restarted by hand": History(
        CHAIN,
        {"source": (Program(ends_s=1, status=2), JOB), "filter": Program(drains_s=5)},
        ((2, ask, "restart", "source"),),
        (
            *(*START, "source ends 2", "start source", "source ends 0"),
            *("filter ends 0", "sink ends 0"),
        ),
        {"source": "finished", "filter": "finished", "sink": "finished"},
        ("source",),
    ),
    "a node that is root is restarted and stopped by hand": History(
        alone(stop_grace=1),
        {"node": replace(C_CALL, becomes_root_s=0.5)},
        ((1, ask, "restart", "node"), (10, ask, "stop", "node")),
        (
            *("start node", "the flow starts", "tell node", "tell node", "tell node"),
            *("start node", "tell node", "tell node", "tell node"),
        ),
        {"node": "left behind: process 1001 belongs to root, and may not be signalled; it goes on"},
    ),
    "a node that is root and not ready in time has failed, and is restarted": History(
        alone(restart="on-failure", max_restarts=1, startup_timeout=1),
        {"node": Program(ready_s=None, becomes_root_s=0.5, handlers=DEAF)},
        (),
        ("start node", "the flow starts", "start node"),
        {
            "node": "left behind: not ready within 1 s; process 1001 belongs to root, and may "
            "not be signalled; it goes on"
        },
        ("node",),
    ),
    "a node that must be killed to be restarted by hand is no failure": History(
        alone(stop_grace=1),
        {"node": (C_CALL, Program())},
        ((1, ask, "restart", "node"), (20, interrupt)),
        (
            *("start node", "the flow starts", "tell node", "tell node", "SIGTERM to node"),
            *("tell node", "SIGKILL to node", "node ends -9", "start node"),
            *("SIGINT", "the stop begins", "tell node", "node ends 0"),
        ),
        {"node": "stopped"},
    ),
    "a node is stopped by hand between two restarts": History(
        """
        nodes:
          - {id: node, path: a, outputs: [out], restart: always, restart_delay: 60,
             max_restart_delay: 60}
          - {id: other, path: a, outputs: [out]}
        """,
        {"node": Program(ends_s=1, status=3), "other": Program(ends_s=300)},
        ((2, ask, "stop", "node"),),
        ("start node", "start other", "the flow starts", "node ends 3", "other ends 0"),
        {"node": "was waiting for its restart (failed: exit status 3)", "other": "finished"},
    ),
    "a node that must be killed to be stopped by hand is no failure": History(
        CHAIN,
        {"filter": C_CALL},
        ((1, ask, "stop", "filter"), (20, interrupt)),
        (
            *(*START, "tell filter", "tell filter", "SIGTERM to filter"),
            *("tell filter", "SIGKILL to filter", "filter ends -9", "SIGINT", "the stop begins"),
            *("tell source", "sink ends 0", "source ends 0"),
        ),
        {
            "source": "stopped",
            "filter": "killed: it did not stop when told to, nor at SIGTERM",
            "sink": "finished",
        },
    ),
    "the run is stopped by hand": History(
        ALONE,
        {},
        ((1, ask, "stop"),),
        ("start node", "the flow starts", "the stop begins", "tell node", "node ends 0"),
        {"node": "stopped"},
    ),
    "stopping a node that ends the dataflow": History(
        alone(on_exit="stop_all"),
        {},
        ((1, ask, "stop", "node"),),
        ("start node", "the flow starts", "tell node", "node ends 0", "the stop begins"),
        {"node": "stopped"},
    ),
    "a circle is stopped when nothing feeds it": History(
        """
        nodes:
          - {id: source, path: a, outputs: [out]}
          - {id: a, path: a, inputs: {in: source/out, back: b/out}, outputs: [out]}
          - {id: b, path: b, inputs: {in: a/out}, outputs: [out]}
        """,
        {"a": Program(), "b": Program()},
        ((1, interrupt),),
        (
            *("start source", "start a", "start b", "the flow starts", "SIGINT"),
            *("the stop begins", "tell source", "source ends 0", "tell a", "tell b"),
            *("a ends 0", "b ends 0"),
        ),
        {"source": "stopped", "a": "stopped", "b": "stopped"},
    ),
    "a node that falls during the start holds up nobody": History(
        CHAIN,
        {"source": CRASH, "sink": Program(ready_s=2)},
        (),
        (
            *("start source", "start filter", "start sink", "source ends 1"),
            *("filter ends 0", "the flow starts", "sink ends 0"),
        ),
        {"source": "failed: exit status 1", "filter": "finished", "sink": "finished"},
        ("source",),
    ),
    "a stop during the start opens the barrier": History(
        ALONE,
        {"node": Program(ready_s=10)},
        ((1, interrupt),),
        (
            *("start node", "SIGINT", "the stop begins", "the flow starts", "tell node"),
            *("SIGINT to node", "node ends -2"),
        ),
        {"node": "stopped (SIGINT)"},
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_history_becomes(name: str):
    history = HISTORIES[name]
    bed = Bed(history.text, history.programs, stop_after_s=history.stop_after_s)
    for seconds, action, *arguments in history.happens:
        bed.at(seconds, action, *arguments)

    outcome = bed.run()

    assert tuple(bed.events) == history.expected
    assert endings(outcome.report) == history.endings
    assert tuple(failure.name for failure in outcome.report.failures) == history.failures
