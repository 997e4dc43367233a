"""The kinds of schedules that are explored."""

from __future__ import annotations

from tests.protocol.schedule import Kind

_WEAK = (0.4, 0.15)

CALM = Kind("calm")
CALM_WEAK = Kind("calm, weak memory", weak=_WEAK)
KILLS = Kind("kills", kills=(1, 1, 2, 3))
KILLS_WEAK = Kind("kills, weak memory", kills=(1, 2, 3), weak=_WEAK)
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

ALL = (
    CALM,
    CALM_WEAK,
    KILLS,
    KILLS_WEAK,
    WRITERS,
    CLOSES,
    INTERRUPTS,
    INTERRUPTS_KILLS,
    OBSERVERS,
    OBSERVERS_KILLS,
)
