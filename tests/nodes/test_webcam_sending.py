from __future__ import annotations

from contextlib import contextmanager

import cv2
import numpy as np
from dora_rt.nodes.webcam.frame import Frame, FrameLostError, SizeChangedError
from dora_rt.nodes.webcam.sending import Encoding, FrameSender, run

from dora_rt.errors import NodeClosedError
from dora_rt.event import Event
from dora_rt.testing import FakeNode
from tests.nodes.node_helpers import FakeTime, picture


class FakeSource:
    """Gives prepared frames; None is a frame that does not come in time."""

    def __init__(self, frames) -> None:
        self._frames = list(frames)
        self.was_newest: list[bool] = []

    @property
    def is_finished(self) -> bool:
        return not self._frames

    @contextmanager
    def frame(self, timeout_s, *, newest):
        self.was_newest.append(newest)
        yield self._frames.pop(0)

    def close(self) -> None:
        pass


def make_frame(number, fill=lambda out: out.fill(200), shape=(48, 64, 3), **metadata) -> Frame:
    return Frame(number, 1000 + number, shape, fill, metadata)


def send(frames, node=None, encoding=Encoding.RAW):
    node = node or FakeNode()
    run(node, FakeSource(frames), FrameSender(node, encoding))
    return node.sent


def test_raw_frame_is_an_array_with_its_metadata_and_capture_time():
    (sent,) = send([make_frame(7, scene_seed=3)])

    assert sent.output_id == "image"
    assert sent.value.shape == (48, 64, 3)
    assert (sent.value == 200).all()
    assert sent.captured_ns == 1007
    assert sent.metadata == {
        "encoding": "bgr8",
        "width": 64,
        "height": 48,
        "frame": 7,
        "scene_seed": 3,
    }


def test_jpeg_frame_is_bytes_that_decode_to_the_picture():
    (sent,) = send([make_frame(0)], encoding=Encoding.JPEG)

    decoded = cv2.imdecode(np.frombuffer(sent.value, np.uint8), cv2.IMREAD_COLOR)
    assert isinstance(sent.value, bytes)
    assert sent.metadata["encoding"] == "jpeg"
    assert (sent.metadata["width"], sent.metadata["height"]) == (64, 48)
    assert np.abs(decoded.astype(int) - 200).max() <= 2


def test_jpeg_quality_decides_the_size():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (48, 64, 3), np.uint8)
    frame = make_frame(0, lambda out: np.copyto(out, pixels))
    sizes = []
    for quality in (10, 95):
        node = FakeNode()
        FrameSender(node, Encoding.JPEG, quality).send(frame)
        sizes.append(len(node.sent[0].value))

    assert sizes[0] * 2 < sizes[1]


def change_size(out):
    raise SizeChangedError(picture(32, 24, 5))


def test_frame_of_another_size_is_sent_with_that_size_and_announced(caplog):
    sent = send([make_frame(3, change_size)])

    assert [one.value.shape for one in sent] == [(24, 32, 3)]
    assert (sent[0].metadata["width"], sent[0].metadata["height"]) == (32, 24)
    assert sent[0].captured_ns == 1003
    assert caplog.messages == ["frame 3: the size changed from 64x48 to 32x24"]


def test_jpeg_of_another_size_is_sent_with_that_size(caplog):
    (sent,) = send([make_frame(3, change_size)], encoding=Encoding.JPEG)

    assert (sent.metadata["width"], sent.metadata["height"]) == (32, 24)


def test_lost_frame_is_not_sent_and_the_next_one_is():
    def lose(out):
        raise FrameLostError("gone")

    sent = send([make_frame(0, lose), make_frame(1)])

    assert [one.metadata["frame"] for one in sent] == [1]


def test_lost_frames_are_counted():
    def lose(out):
        raise FrameLostError("gone")

    sender = FrameSender(FakeNode(), Encoding.RAW)
    for frame in (make_frame(0), make_frame(1, lose), make_frame(2, lose)):
        sender.send(frame)

    assert sender.summary() == "sent 1 frame; 2 more could not be decoded"


def test_source_is_asked_only_after_the_flow_has_started():
    asked = []

    class StartingNode(FakeNode):
        def loan(self, *args, **options):
            asked.append("loan")
            return super().loan(*args, **options)

    class NotingSource(FakeSource):
        @contextmanager
        def frame(self, timeout_s, *, newest):
            asked.append("frame")
            with super().frame(timeout_s, newest=newest) as frame:
                yield frame

    node = StartingNode(input_ids=())
    run(node, NotingSource([make_frame(0)]), FrameSender(node, Encoding.RAW))

    assert asked == ["loan", "frame", "loan"]


def test_each_event_sends_one_frame_the_newest():
    node = FakeNode([Event("tick", b""), Event("tick", b"")])
    source = FakeSource([make_frame(n) for n in range(5)])

    run(node, source, FrameSender(node, Encoding.RAW))

    assert [one.metadata["frame"] for one in node.sent] == [0, 1]
    assert source.was_newest == [True, True]


def test_event_without_a_frame_in_time_sends_nothing():
    node = FakeNode([Event("tick", b""), Event("tick", b"")])

    sent = send([None, make_frame(1), make_frame(2)], node)

    assert [one.metadata["frame"] for one in sent] == [1]


def test_node_without_inputs_sends_every_frame_until_the_source_ends():
    node = FakeNode(input_ids=())

    sent = send([make_frame(0), None, make_frame(1), make_frame(2)], node)

    assert [one.metadata["frame"] for one in sent] == [0, 1, 2]


def test_node_without_inputs_ends_when_it_is_told_to_stop():
    node = FakeNode(input_ids=())
    frames = [make_frame(n) for n in range(5)]

    def stop(out):
        node.stopped = True

    frames[1] = make_frame(1, stop)
    sent = send(frames, node)

    assert [one.metadata["frame"] for one in sent] == [0, 1]


def test_stop_while_sending_ends_the_loop_quietly():
    class StoppedNode(FakeNode):
        def loan(self, *args, **options):
            raise NodeClosedError("told to stop")

    assert send([make_frame(0), make_frame(1)], StoppedNode()) == []


def test_summary_tells_frames_and_mean_rate():
    time = FakeTime()
    sender = FrameSender(FakeNode(), Encoding.RAW, clock=time.clock)
    for n in range(31):
        sender.send(make_frame(n))
        time.now_ns += 100_000_000

    assert sender.summary() == "sent 31 frames in 3.0 s, 10.0 fps"
    assert FrameSender(FakeNode(), Encoding.RAW).summary() == "sent 0 frames"
