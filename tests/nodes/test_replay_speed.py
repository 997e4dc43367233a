"""A recording at full speed: the times that its samples get."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from dora_rt.nodes.record.loop import run as record
from dora_rt.nodes.record.recorder import Recorder
from dora_rt.nodes.replay.loop import Pace
from dora_rt.nodes.replay.loop import run as replay
from dora_rt.nodes.replay.recording import Recording

from dora_rt.event import Event
from dora_rt.testing import FakeNode


@pytest.mark.parametrize("rounds", [1, 3])
def test_replay_at_full_speed_captures_nothing_in_the_future(tmp_path: Path, rounds: int):
    path = tmp_path / "long.mcap"
    # Ten seconds, captured a tenth of a second before they were sent.
    events = [
        Event("input", b"x", b"", seq=seq, sent_ns=seq * 10**9, origin_ns=seq * 10**9 - 10**8)
        for seq in range(1, 12)
    ]
    record(FakeNode(events), {"input": "a/b"}, lambda: Recorder.open(path))
    captured: list[int] = []

    class StrictNode(FakeNode):
        """Refuses what a true node refuses."""

        def send_output(self, *arguments: Any, **options: Any) -> None:
            assert options["captured_ns"] <= time.monotonic_ns()
            captured.append(options["captured_ns"])
            if len(captured) == rounds * len(events):
                self.stopped = True
            super().send_output(*arguments, **options)

    node = StrictNode(input_ids=())
    replay(node, Recording.open(path), {"a/b": "b"}, Pace(rate=0, loops=rounds > 1))

    assert len(set(captured)) == rounds * len(events)
    steps = [after - now for now, after in itertools.pairwise(captured[: len(events)])]
    assert steps == [10**9] * (len(events) - 1)
