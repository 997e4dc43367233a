"""The kinds of schedules that are explored."""

from __future__ import annotations

from tests.protocol.schedule import Kind

WEAK = (0.4, 0.15)

CALM = Kind("calm")
CALM_WEAK = Kind("calm, weak memory", weak=WEAK)
KILLS = Kind("kills", kills=(1, 1, 2, 3))
KILLS_WEAK = Kind("kills, weak memory", kills=(1, 2, 3), weak=WEAK)
CLOSES = Kind("closed inputs and kills", kills=(0, 1, 2), closes=0.5)
INTERRUPTS = Kind("interrupts", interrupts=(1, 2, 3))
INTERRUPTS_KILLS = Kind("interrupts and kills", interrupts=(1, 2), kills=(0, 1))
OBSERVERS = Kind("observers, weak memory", observers=1.0, weak=WEAK)
OBSERVERS_KILLS = Kind("observers", observers=1.0, kills=(0, 1))

ALL = (CALM, CALM_WEAK, KILLS, KILLS_WEAK, CLOSES, INTERRUPTS, INTERRUPTS_KILLS, OBSERVERS, OBSERVERS_KILLS)
