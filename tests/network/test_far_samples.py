"""Looking at samples of another machine: what crosses, and what is refused."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dora_rt.errors import CorruptSampleError
from dora_rt.event import Event
from dora_rt.live.far_sample import (
    LARGEST_NBYTES,
    TooLargeError,
    decode_value,
    encode_text,
    encode_value,
)
from dora_rt.network.far_samples import FarSamples
from dora_rt.picture import picture_of
from tests.harness.camera_flow import write_camera_flow
from tests.harness.flow import Flow
from tests.harness.verbs import started_run

SOURCE = "camera/image"


def crossed(event: Event, **changes: Any) -> Event:
    fields = {**encode_value(event), **changes}
    return decode_value(SOURCE, fields, dropped=2, offset_ns=100)


@pytest.mark.parametrize(
    "value",
    [b"", b"text", np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros((0, 6)), np.array(True)],
    ids=["empty", "bytes", "array", "no rows", "number"],
)
def test_sample_crosses_as_it_is(value: Any):
    event = Event(SOURCE, value, b'{"frame": 7}', seq=5, sent_ns=1000, origin_ns=900)

    there = crossed(event)

    assert type(there.value) is type(value)
    assert np.array_equal(there.value, value)
    assert (there.seq, there.dropped, there.metadata["frame"]) == (5, 2, 7)
    assert (there.sent_ns, there.origin_ns) == (900, 800), "in the clock of the reader"


def test_picture_crosses_as_jpeg_not_wider_than_a_screen():
    pixels = np.full((1080, 1920, 3), (200, 100, 50), np.uint8)
    event = Event(SOURCE, pixels, b'{"encoding": "rgb8", "width": 1920, "height": 1080}')

    there = crossed(event)

    picture = picture_of(there.value, there.metadata)
    assert picture.shape == (720, 1280, 3)
    assert np.abs(picture[300, 300].astype(int) - (50, 100, 200)).max() < 4
    assert len(there.value) < 100_000


def test_large_sample_that_is_no_picture_does_not_cross():
    event = Event(SOURCE, np.zeros(LARGEST_NBYTES, np.float32))

    with pytest.raises(TooLargeError, match="1,048,576 bytes is too large"):
        encode_value(event)
    with pytest.raises(TooLargeError, match="too many values"):
        encode_text(event, has_all=True)
    assert "float32" in encode_text(event, has_all=False)["line"]


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "O"},
        {"dtype": "nonsense"},
        {"shape": [2, 2]},
        {"shape": [-1, 10**30]},
        {"array": "é"},
        {"seq": "one"},
        {"metadata": None, "jpeg": "AAAA", "seq": None},
        {"jpeg": "AAAA", "metadata": "[]"},
    ],
    ids=str,
)
def test_what_is_no_sample_is_refused(changes: dict[str, Any]):
    with pytest.raises(CorruptSampleError, match="what came is no sample"):
        crossed(Event(SOURCE, np.zeros(3, np.float32)), **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, own_runs: Path) -> Iterator[str]:
    flow = Flow(tmp_path_factory.mktemp("watched"))
    write_camera_flow(flow)
    launcher = flow.start()
    yield started_run(launcher.pid)
    flow.close()


@pytest.fixture
def samples(run: str) -> Iterator[FarSamples]:
    samples = FarSamples(run)
    yield samples
    samples.close()


def ask(samples: FarSamples, **fields: Any) -> dict[str, Any]:
    answers: queue.Queue[dict[str, Any]] = queue.Queue()
    samples.submit({"source": SOURCE, "form": "value", "wait_s": 1, **fields}, answers.put)
    return answers.get(timeout=10)


@pytest.mark.programs
def test_each_answer_has_a_newer_sample_and_counts_those_between(samples: FarSamples):
    answers = [ask(samples)]
    for _ in range(5):
        answers.append(ask(samples, after=list(answers[-1]["at"])))

    for before, after in itertools.pairwise(answers):
        assert after["at"][1] == before["at"][1] + 1 + after["dropped"]
    event = decode_value(SOURCE, answers[-1]["sample"], dropped=0, offset_ns=0)
    assert event.value.shape == (6, 8, 3)
    assert (event.value == event.metadata["number"] % 200).all()


@pytest.mark.programs
def test_two_programs_look_at_one_output(samples: FarSamples):
    value, text = ask(samples), ask(samples, form="text")

    assert value["sample"]["shape"] == [6, 8, 3]
    assert text["sample"]["line"].startswith("camera/image #")


@pytest.mark.programs
def test_what_nobody_has_is_refused_by_name(samples: FarSamples):
    assert "there is no output 'camera/sound'" in ask(samples, source="camera/sound")["error"]
    assert "there is no form 'pickle'" in ask(samples, form="pickle")["error"]
    assert ask(samples, after={"a": 1}, wait_s="long")["sample"] is not None
