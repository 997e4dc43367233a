"""The kinds of schedules that are explored."""

from __future__ import annotations

from dora_rt.node_config import QueuePolicy
from tests.protocol.schedule import Kind

_WEAK = (0.4, 0.15)

CALM = Kind("calm")
CALM_WEAK = Kind("calm, weak memory", weak=_WEAK)
SLOW = Kind(
    "slow readers",
    policies=(QueuePolicy.DROP_OLDEST, QueuePolicy.DROP_OLDEST, QueuePolicy.LATEST),
    slow=1.0,
    most_samples=16,
)
KILLS = Kind("kills", kills=(1, 1, 2, 3))
KILLS_WEAK = Kind("kills, weak memory", kills=(1, 2, 3), weak=_WEAK)
# Told of at once and started late: so the writer goes on for long with a reader that is away.
READERS = Kind(
    "readers killed again and again",
    kills=(2, 3),
    victims=(1, 2),
    readers=(1,),
    posthumous=0.8,
    reaping=(0,),
    starting=(60, 150),
    most_queue=2,
    most_samples=16,
    answers=0.0,
    threads=0.0,
    loans=0.0,
    views=0.3,
    weak=(0.0, 0.4, 0.8),
)
WRITERS = Kind(
    "writers killed again and again", kills=(2, 3, 4), victims=(0,), slow=0.6, most_samples=4
)
CLOSES = Kind("closed inputs and kills", kills=(0, 1, 2), closes=0.5, weak=(0.0, 0.0, 0.3))
INTERRUPTS = Kind("exceptions of signal handlers", interrupts=(1, 2, 3))
INTERRUPTS_KILLS = Kind(
    "such exceptions and kills", interrupts=(1, 2), kills=(0, 1, 2), weak=(0.0, 0.0, 0.3)
)
OBSERVERS = Kind("observers, weak memory", observers=1.0, weak=_WEAK)
OBSERVERS_KILLS = Kind("observers and kills", observers=1.0, kills=(0, 1))
# A writer that is idle in its inbox sends nothing more that would make up for what is missing.
LATCHED = Kind("latched", kills=(0, 1, 2), is_latched=True, late=0.7, answers=0.8)
LATCHED_WEAK = Kind(
    "latched, weak memory", kills=(0, 1, 2), is_latched=True, late=0.5, answers=0.8, weak=_WEAK
)
LATCHED_READERS = Kind(
    "latched, readers killed again and again",
    kills=(2, 3),
    victims=(1, 2),
    is_latched=True,
    posthumous=0.5,
    answers=0.8,
    threads=0.0,
    most_samples=16,
)
LATCHED_INTERRUPTS = Kind(
    "latched, exceptions of signal handlers",
    interrupts=(1, 2),
    kills=(0, 1),
    is_latched=True,
    late=0.5,
    answers=0.8,
)

ALL = (
    CALM,
    CALM_WEAK,
    SLOW,
    KILLS,
    KILLS_WEAK,
    READERS,
    WRITERS,
    CLOSES,
    INTERRUPTS,
    INTERRUPTS_KILLS,
    OBSERVERS,
    OBSERVERS_KILLS,
    LATCHED,
    LATCHED_WEAK,
    LATCHED_READERS,
    LATCHED_INTERRUPTS,
)
