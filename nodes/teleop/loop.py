"""The loop of the teleop node: what is driven goes out again and again, and at each change."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import NodeClosedError

from ..next_event import next_event
from .pilot import Command, Motion, Pilot

if TYPE_CHECKING:
    from dora_rt.interface import NodeLike

logger = logging.getLogger(__name__)

TWIST_OUTPUT = "twist"
_LOOK_UP_S = 0.5
_CLOSING_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Speeds:
    """The greatest speeds: metres and radians a second."""

    linear: float
    angular: float

    def twist(self, motion: Motion) -> NDArray[np.float64]:
        """Return vx, vy, vz, wx, wy, wz: x is forward, y to the left, z up, as in ROS (REP 103)."""
        forward, side = motion.forward * self.linear, motion.side * self.linear
        return np.array([forward, side, 0.0, 0.0, 0.0, motion.turn * self.angular])


class TwistSender:
    """Send what the pilot says, in a thread, so that a release need not wait for the next turn."""

    def __init__(self, node: NodeLike, pilot: Pilot, speeds: Speeds, rate_hz: float) -> None:
        self._node = node
        self._pilot = pilot
        self._speeds = speeds
        self._period_s = 1 / rate_hz
        self._is_closing = threading.Event()
        self._failure: Exception | None = None
        self.sent = 0
        self._thread = threading.Thread(target=self._work, name="twist", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Send no more; may be called twice."""
        self._is_closing.set()
        self._thread.join(_CLOSING_TIMEOUT_S)

    def _work(self) -> None:
        count = 0
        driver = ""
        try:
            while not self._is_closing.is_set():
                command = self._pilot.command()
                self._send(command)
                if command.device != driver:
                    driver = command.device
                    logger.info("%s", f"{driver} drives" if driver else "stopped")
                count = self._pilot.wait(count, self._period_s)
        except NodeClosedError:
            logger.debug("told to stop while sending")
        except Exception as error:
            # For the main thread, which ends the node by it.
            self._failure = error

    def _send(self, command: Command) -> None:
        metadata = {"device": command.device, "is_driving": bool(command.device)}
        self._node.send_output(TWIST_OUTPUT, self._speeds.twist(command.motion), metadata)
        self.sent += 1


def run(node: NodeLike, sender: TwistSender) -> None:
    """Let the sender send until the node's inputs or the dataflow end.

    Raises:
        DoraRtError: of the thread that sends.
    """
    try:
        while True:
            sender.check()
            try:
                if next_event(node, _LOOK_UP_S) is None:
                    break
            except TimeoutError:
                continue
    finally:
        sender.close()
    sender.check()
    logger.info("%d twists sent", sender.sent)
