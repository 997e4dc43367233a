"""Samples in MCAP files: written by the recorder, read by the replay and by mcap's own reader."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow
import pytest
from dora_rt.nodes.record.foxglove import showing
from dora_rt.nodes.record.loop import run as record
from dora_rt.nodes.record.recorder import Compression, PictureForm, Recorder
from dora_rt.nodes.recorded import ENCODING, RecordingError, decode, encode
from dora_rt.nodes.replay.loop import Pace
from dora_rt.nodes.replay.loop import run as replay
from dora_rt.nodes.replay.recording import Recording
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from mcap.reader import make_reader
from mcap.writer import Writer
from mcap_protobuf.decoder import DecoderFactory

from dora_rt.errors import ExtraMissingError
from dora_rt.event import Event
from dora_rt.testing import FakeNode, make_event
from dora_rt.transport.values.header import DTYPES
from tests.nodes.node_helpers import photo_on_its_side
from tests.pictures.no_pictures import NO_PICTURES

SECOND_NS = 10**9
VALUES: list[Any] = [
    b"",
    b"\x00 any bytes \xff",
    *(np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES),
    np.array(3.5, np.float32),
    np.zeros((0, 3), np.int16),
    np.full((1, 2, 1, 2, 1, 2, 1, 2), 7, np.uint64),
    pyarrow.array(["some", None, "text"]),
    pyarrow.array([{"x": 1}, {"x": 2}]),
]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and bool((one == other).all())
    return type(one) is type(other) and bool(one == other)


def event_of(value: Any, seq: int = 0, metadata: bytes = b"", **times: int) -> Event:
    times = {"sent_ns": seq * 10_000_000 + 5, "origin_ns": seq * 10_000_000 + 1, **times}
    return Event("input", value, metadata, seq=seq, **times)


@pytest.mark.parametrize(
    "value", VALUES, ids=lambda value: f"{getattr(value, 'dtype', type(value))}"
)
def test_every_value_that_can_be_sent_comes_back_the_same(value: Any):
    event = Event("x", value, b'{"a":[1,"\xc3\xa4"]}', seq=7, dropped=2, sent_ns=9, origin_ns=4)

    sample = decode(encode(event))

    assert same(value, sample.value)
    assert sample.metadata_json == b'{"a":[1,"\xc3\xa4"]}'
    header = sample.header
    assert [header[key] for key in ("seq", "dropped", "sent_ns", "origin_ns")] == [7, 2, 9, 4]


def test_recording_replays_all_it_was_given_with_the_times_between(tmp_path: Path):
    path = tmp_path / "all.mcap"
    events = [event_of(value, seq, b'{"n":%d}' % seq) for seq, value in enumerate(VALUES)]
    record(FakeNode(events), {"input": "camera/any"}, lambda: Recorder.open(path))

    node = FakeNode(input_ids=())
    replay(node, Recording.open(path), {"camera/any": "out"}, Pace(rate=0))

    assert [sent.output_id for sent in node.sent] == ["out"] * len(VALUES)
    assert all(same(value, sent.value) for value, sent in zip(VALUES, node.sent, strict=True))
    assert [sent.metadata["n"] for sent in node.sent] == list(range(len(VALUES)))
    captured = [sent.captured_ns for sent in node.sent]
    assert {after - before for before, after in itertools.pairwise(captured)} == {10_000_000}


def test_sample_whose_metadata_were_overwritten_is_lost_and_the_recording_goes_on(tmp_path: Path):
    path = tmp_path / "broken.mcap"
    events = [event_of(b"x", 0), event_of(b"y", 1, b"{"), event_of(b"z", 2, b'{"n":2}')]
    recorder = Recorder.open(path)
    record(FakeNode(events), {"input": "a/b"}, lambda: recorder)

    node = FakeNode(input_ids=())
    replay(node, Recording.open(path), {"a/b": "out"}, Pace(rate=0))

    assert [sent.value for sent in node.sent] == [b"x", b"z"]
    assert recorder.lost["a/b"] == 1


def test_replay_without_inputs_begins_when_the_flow_has_started(tmp_path: Path):
    path = tmp_path / "a.mcap"
    events = [event_of(b"x", seq, sent_ns=seq * 10_000_000) for seq in range(3)]
    record(FakeNode(events), {"input": "a/b"}, lambda: Recorder.open(path))
    now_ns = [5_000_000_000]

    class StartingNode(FakeNode):
        """Its flow starts after ten seconds, for which the first use of an output waits."""

        def loan(self, *arguments: Any, **options: Any) -> Any:
            now_ns[0] += 10_000_000_000
            return super().loan(*arguments, **options)

    node = StartingNode(input_ids=())
    began_ns = now_ns[0]
    replay(node, Recording.open(path), {"a/b": "b"}, Pace(rate=0), lambda: now_ns[0])

    assert now_ns[0] == began_ns + 10_000_000_000
    assert [now_ns[0] - sent.captured_ns for sent in node.sent] == [20_000_000, 10_000_000, 0]


def test_what_was_sent_before_the_recording_is_recorded_at_its_beginning(tmp_path: Path):
    path = tmp_path / "late.mcap"
    with Recorder.open(path) as recorder:
        recorder.add("maps/map", event_of(b"map", sent_ns=1), least_ns=5 * SECOND_NS)
        recorder.add("a/b", event_of(b"x", sent_ns=6 * SECOND_NS), least_ns=5 * SECOND_NS)

    recording = Recording.open(path)

    assert recording.end_ns - recording.begin_ns == SECOND_NS
    assert [one.source for one in recording.read(["a/b", "maps/map"])] == ["maps/map", "a/b"]


@pytest.mark.parametrize(
    ("start_s", "sent"), [(0.0, [b"old", b"map", b"x"]), (0.5, [b"map", b"x"])]
)
def test_part_of_a_recording_begins_with_what_was_latched_then(
    tmp_path: Path, start_s: float, sent: list[bytes]
):
    path = tmp_path / "latched.mcap"
    with Recorder.open(path) as recorder:
        for value, time_ns in ((b"old", 1), (b"map", 200_000_000)):
            recorder.add("maps/map", event_of(value, sent_ns=time_ns))
        recorder.add("maps/x", event_of(b"x", sent_ns=SECOND_NS))
    node = FakeNode(input_ids=())

    replay(
        node,
        Recording.open(path),
        {"maps/map": "map", "maps/x": "x"},
        Pace(rate=0, start_s=start_s),
        latched={"maps/map"},
    )

    assert [one.value for one in node.sent] == sent


@pytest.mark.parametrize("loops", [False, True])
def test_part_of_a_recording_may_have_nothing_but_what_was_latched(tmp_path: Path, loops: bool):
    path = tmp_path / "map.mcap"
    with Recorder.open(path) as recorder:
        recorder.add("maps/map", event_of(b"map", sent_ns=1))
        recorder.add("a/b", event_of(b"x", sent_ns=SECOND_NS))
    node = FakeNode(input_ids=())
    pace = Pace(rate=0, start_s=0.5, loops=loops)

    replay(node, Recording.open(path), {"maps/map": "map"}, pace, latched={"maps/map"})

    assert [one.value for one in node.sent] == [b"map"]


def test_replay_keeps_the_pace_or_a_multiple_of_it(tmp_path: Path):
    path = tmp_path / "pace.mcap"
    events = [event_of(b"x", seq, sent_ns=seq * 100_000_000) for seq in range(11)]
    record(FakeNode(events), {"input": "a/b"}, lambda: Recorder.open(path))
    now_ns = 0

    def clock() -> int:
        nonlocal now_ns
        now_ns += 20_000_000
        return now_ns

    node = FakeNode(input_ids=())
    times: list[int] = []
    node.send_output = lambda *_, **__: times.append(now_ns)  # type: ignore[method-assign]

    replay(
        node, Recording.open(path), {"a/b": "out"}, Pace(rate=2, start_s=0.25, end_s=0.85), clock
    )

    # Those of 0.3 s to 0.8 s after the beginning, in half the time; the clock steps by 20 ms.
    expected = [20 + 25 + step * 50 for step in range(6)]
    assert len(times) == 6
    for time_ns, due_ms in zip(times, expected, strict=True):
        assert 0 <= time_ns / 1e6 - due_ms <= 40


def test_outputs_are_merged_in_the_order_in_which_they_were_sent(tmp_path: Path):
    path = tmp_path / "merged.mcap"
    payload = np.random.default_rng(3).integers(0, 256, 1_500_000, np.uint8)
    with Recorder.open(path, compression=Compression.NONE) as recorder:
        for seq in range(12):  # chunks of 4 MiB: some samples lie behind later ones
            recorder.add("late/one", event_of(payload, seq, sent_ns=seq * 1000))
            recorder.add("early/one", event_of(b"x", seq, sent_ns=seq * 1000 - 1500))

    samples = list(Recording.open(path).read(["late/one", "early/one"]))

    times = [sample.sample.header["sent_ns"] for sample in samples]
    assert len(times) == 24
    assert times == sorted(times)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_recording_that_was_cut_is_readable_up_to_its_last_chunk(tmp_path: Path, kept: float):
    path = tmp_path / "cut.mcap"
    with Recorder.open(path) as recorder:
        for seq in range(20):
            recorder.add("a/b", event_of(np.full(1000, seq, np.uint16), seq))
            recorder.flush()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])

    recording = Recording.open(path)
    samples = list(recording.read(["a/b"]))

    assert not recording.is_whole
    # The index at the end is about a third of so small a file.
    assert len(samples) == recording.samples["a/b"] >= min(20, int(20 * kept * 0.9))
    assert [sample.sample.value[0] for sample in samples] == list(range(len(samples)))


def test_recording_cut_before_its_first_sample_has_none(tmp_path: Path):
    path = tmp_path / "cut.mcap"
    with Recorder.open(path) as recorder:
        recorder.add("a/b", event_of(b"x"))
    path.write_bytes(path.read_bytes()[:60])

    with pytest.raises(RecordingError, match=r"cut\.mcap has no sample"):
        Recording.open(path)


def test_damage_in_the_middle_is_told_and_not_replayed(tmp_path: Path):
    path = tmp_path / "damaged.mcap"
    with Recorder.open(path, compression=Compression.NONE) as recorder:
        recorder.add("a/b", event_of(b"0123456789" * 100))
    damaged = path.read_bytes().replace(b"0123456789" * 100, b"0123456789" * 99 + b"012345678X")
    path.write_bytes(damaged)

    with pytest.raises(RecordingError, match="is damaged in its middle"):
        list(Recording.open(path).read(["a/b"]))


def test_output_that_never_got_a_sample_is_no_fault_of_the_recording(tmp_path: Path):
    path = tmp_path / "quiet.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        spoken, _ = (
            writer.register_channel(topic=topic, message_encoding=ENCODING, schema_id=0)
            for topic in ("a/spoken", "a/quiet")
        )
        writer.add_message(spoken, log_time=1, data=b"x", publish_time=1)
        writer.finish()

    assert Recording.open(path).samples == {"a/spoken": 1}


def test_what_is_no_recording_is_said_to_be_none(tmp_path: Path):
    text = tmp_path / "text.mcap"
    text.write_text("this is no recording at all, but a text of some length")
    foreign = tmp_path / "foreign.mcap"
    with foreign.open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("other", "json", 0)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()

    with pytest.raises(RecordingError, match="is no MCAP file"):
        Recording.open(text)
    with pytest.raises(RecordingError, match="has no sample of a dataflow"):
        Recording.open(foreign)
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        Recording.open(tmp_path / "nothing.mcap")


def test_replay_of_what_was_not_recorded_says_what_was(tmp_path: Path):
    path = tmp_path / "a.mcap"
    record(FakeNode([event_of(b"x")]), {"input": "a/b"}, lambda: Recorder.open(path))
    recording = Recording.open(path)

    with pytest.raises(RecordingError, match=r"has nothing of camera/image; it has: a/b"):
        replay(FakeNode(input_ids=()), recording, {"camera/image": "image"}, Pace())
    with pytest.raises(RecordingError, match=r"nothing of a/b in this part of it: it is 0\.000 s"):
        replay(FakeNode(input_ids=()), recording, {"a/b": "b"}, Pace(start_s=2))


def test_file_that_exists_is_left_as_it_is(tmp_path: Path):
    path = tmp_path / "precious.mcap"
    path.write_text("precious")

    with pytest.raises(RecordingError, match="exists already, and is left as it is"):
        Recorder.open(path)

    assert path.read_text() == "precious"
    with Recorder.open(path, overwrites=True) as recorder:
        recorder.add("a/b", event_of(b"x"))
    assert Recording.open(path).samples == {"a/b": 1}


def test_full_disk_is_an_error_that_names_the_file():
    with pytest.raises(RecordingError, match="/dev/full cannot be written any more: No space left"):
        Recorder.open(Path("/dev/full"), overwrites=True)


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mcap.writer", None)

    with pytest.raises(ExtraMissingError, match=r"pip install 'dora_rt\[record\]'"):
        Recorder.open(tmp_path / "a.mcap")


def test_losses_are_counted_and_written(tmp_path: Path):
    path = tmp_path / "lossy.mcap"
    with Recorder.open(path) as recorder:
        recorder.add("a/b", Event("x", b"1", seq=0))
        recorder.add("a/b", Event("x", b"2", seq=4, dropped=3))

    assert "a/b: 2 samples, 3 lost" in recorder.summary()
    with path.open("rb") as file:
        losses = {one.name: one.metadata for one in make_reader(file).iter_metadata()}
    assert losses["dora_rt.losses"] == {"a/b": "3"}


PICTURE = cv2.GaussianBlur(
    np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8), (9, 9), 5
)
BOXES = np.array([[4, 5, 20, 30, 0.875, 1], [np.nan, 0, 1, 1, 0.5, 0]], np.float32)


@pytest.mark.parametrize("form", [PictureForm.JPEG, PictureForm.RAW, PictureForm.NONE])
def test_mcap_reader_finds_pictures_and_boxes_in_the_schemas_of_foxglove(
    tmp_path: Path, form: PictureForm
):
    path = tmp_path / "shown.mcap"
    jpeg = cv2.imencode(".jpg", PICTURE)[1].tobytes()
    times = {"sent_ns": 500, "origin_ns": 77}
    with Recorder.open(path, pictures=form) as recorder:
        recorder.add("cam/image", event_of(PICTURE, 3, b'{"encoding":"bgr8"}', **times))
        recorder.add("cam/rgb", event_of(PICTURE[:, :, ::-1].copy(), 3, b'{"encoding":"rgb8"}'))
        recorder.add("cam/file", event_of(jpeg, 3))
        recorder.add("det/bbox", event_of(BOXES, 3, b'{"labels":["cat","dog"]}', **times))
        recorder.add("other/numbers", event_of(np.zeros((4, 6), np.float32), 3))

    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        channels = {
            channel.topic: (channel, schema, message)
            for schema, channel, message in reader.iter_messages()
        }
        shown = {
            channel.topic: (schema.name, content)
            for schema, channel, _, content in reader.iter_decoded_messages(
                topics=[topic for topic in channels if topic.count("/") == 2]
            )
        }
    own = {topic for topic, (channel, *_) in channels.items() if channel.message_encoding[0] == "x"}
    assert own == {"cam/image", "cam/rgb", "cam/file", "det/bbox", "other/numbers"}
    assert {channels[topic][1].name for topic in own} == {"dora_rt.Sample"}
    assert b"payload" in channels["cam/image"][1].data
    assert channels["cam/image"][2].sequence == 3

    name, boxes = shown.pop("det/bbox/boxes")
    assert name == "foxglove.ImageAnnotations"
    assert [text.text for text in boxes.texts] == ["dog 0.88"]
    corners = [(point.x, point.y) for point in boxes.points[0].points]
    assert corners == [(4, 5), (20, 5), (20, 30), (4, 30)]
    if form is PictureForm.NONE:
        assert not shown
        return
    name, image = shown["cam/image/picture"]
    # Foxglove pairs them by it.
    assert image.timestamp.ToNanoseconds() == boxes.timestamp.ToNanoseconds()
    if form is PictureForm.RAW:
        assert (name, image.width, image.height) == ("foxglove.RawImage", 64, 48)
        assert (image.encoding, image.step) == ("bgr8", 192)
        assert image.data == PICTURE.tobytes()
    else:
        assert (name, image.format) == ("foxglove.CompressedImage", "jpeg")
        for topic in ("cam/image/picture", "cam/rgb/picture"):
            decoded = cv2.imdecode(np.frombuffer(shown[topic][1].data, np.uint8), 1)
            assert np.abs(decoded.astype(int) - PICTURE).mean() < 6
    assert shown["cam/file/picture"][1].data == jpeg


def test_masks_key_points_oriented_boxes_and_classes_are_annotations_of_foxglove(tmp_path: Path):
    path = tmp_path / "found.mcap"
    masks = np.zeros((48, 64), np.uint8)
    masks[10:20, 30:40] = 2
    points = np.zeros((1, 17, 3), np.float32)
    points[0, 11], points[0, 13] = [5, 6, 0.9], [5, 16, 0.8]
    oriented = np.array([[20, 30, 8, 4, np.pi / 2, 0.5, 1]], np.float32)
    classes = np.array([[1, 0.75], [0, 0.25]], np.float32)
    about = b'{"labels":["cat","dog"]}'
    found = {"masks": masks, "keypoints": points, "oriented": oriented, "classes": classes}
    with Recorder.open(path) as recorder:
        for name, value in found.items():
            event = event_of(value, 3, about, sent_ns=500, origin_ns=77)
            recorder.add(f"det/{name}", event)
        recorder.add("other/masks", event_of(np.zeros((2, 3, 4), np.float32), 3))

    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        topics = [f"det/{name}/annotations" for name in found]
        shown = {
            channel.topic.split("/")[1]: message
            for _, channel, _, message in reader.iter_decoded_messages(topics=topics)
        }
        everything = {channel.topic for _, channel, _ in reader.iter_messages()}

    assert shown.keys() == found.keys()
    assert "other/masks/annotations" not in everything
    assert len({message.timestamp.ToNanoseconds() for message in shown.values()}) == 1
    (outline,) = shown["masks"].points
    assert {(point.x, point.y) for point in outline.points} == {
        (30, 10),
        (39, 10),
        (39, 19),
        (30, 19),
    }
    assert outline.fill_color.a == pytest.approx(0.4)
    bones, joints = shown["keypoints"].points
    assert [(point.x, point.y) for point in bones.points] == [(5, 6), (5, 16)]
    assert len(joints.points) == 2
    (turned,) = shown["oriented"].points
    corners = [(point.x, point.y) for point in turned.points]
    np.testing.assert_allclose(corners, [(22, 26), (22, 34), (18, 34), (18, 26)], atol=1e-4)
    assert [text.text for text in shown["oriented"].texts] == ["dog 0.50"]
    assert [text.text for text in shown["classes"].texts] == ["dog 0.75", "cat 0.25"]


def shown_in(path: Path) -> dict[str, list[Any]]:
    """Read what Foxglove gets: by topic, the messages."""
    found: dict[str, list[Any]] = {}
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, _ in reader.iter_messages():
            found.setdefault(channel.topic, [])
        topics = [topic for topic in found if topic.count("/") == 2]
        for _, channel, _, content in reader.iter_decoded_messages(topics=topics):
            found[channel.topic].append(content)
    return {topic: found[topic] for topic in topics}


@pytest.mark.parametrize("form", [PictureForm.JPEG, PictureForm.RAW])
def test_foxglove_gets_every_form_of_a_picture_in_its_colours(tmp_path: Path, form: PictureForm):
    path = tmp_path / "shown.mcap"
    flat = b'"width":64,"height":48'
    sent = {
        "BGR8": (PICTURE, b'{"encoding":"BGR8"}'),
        "rgb8": (PICTURE[:, :, ::-1].copy(), b'{"encoding":"RGB8"}'),
        "rgba8": (cv2.cvtColor(PICTURE, cv2.COLOR_BGR2RGBA), b'{"encoding":"rgba8"}'),
        "bgra8": (cv2.cvtColor(PICTURE, cv2.COLOR_BGR2BGRA), b"{}"),
        "flat": (PICTURE.reshape(-1), b'{"encoding":"bgr8",' + flat + b"}"),
        "bytes": (PICTURE.tobytes(), b'{"encoding":"bgr8",' + flat + b"}"),
        "file": (cv2.imencode(".png", PICTURE)[1].tobytes(), b"{}"),
    }
    with Recorder.open(path, pictures=form) as recorder:
        for name, (value, metadata) in sent.items():
            recorder.add(f"cam/{name}", event_of(value, 3, metadata))

    shown = shown_in(path)

    assert shown.keys() == {f"cam/{name}/picture" for name in sent}
    for topic, (content,) in shown.items():
        if hasattr(content, "format"):
            decoded = cv2.imdecode(np.frombuffer(content.data, np.uint8), cv2.IMREAD_COLOR)
        else:
            pixels = np.frombuffer(content.data, np.uint8).reshape(48, 64, -1)
            order = [content.encoding.index(letter) for letter in "bgr"]
            decoded = pixels[:, :, order]
        assert np.abs(decoded.astype(int) - PICTURE).mean() < 6, topic


@pytest.mark.parametrize("name", NO_PICTURES)
@pytest.mark.parametrize("form", [PictureForm.JPEG, PictureForm.RAW])
def test_what_is_no_picture_is_recorded_and_costs_no_other_sample(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, form: PictureForm
):
    value = NO_PICTURES[name]
    if not isinstance(value, (bytes, np.ndarray, pyarrow.Array)):
        pytest.skip("no sender can send it")
    path = tmp_path / "shown.mcap"
    about = b'{"encoding":"bgr8"}'
    with Recorder.open(path, pictures=form) as recorder:
        for seq, one in enumerate((value, value, PICTURE, value, value, PICTURE)):
            recorder.add("cam/image", event_of(one, seq, about))
        summary = recorder.summary()

    assert len(shown_in(path)["cam/image/picture"]) == 2 or name == "PNG without its pixels"
    assert "cam/image: 6 samples, none lost" in summary
    assert len(caplog.messages) <= 1


def test_boxes_of_a_slow_detector_have_the_time_of_their_own_picture(tmp_path: Path):
    """Foxglove pairs them by it."""
    path = tmp_path / "shown.mcap"
    with Recorder.open(path) as recorder:
        for seq in range(90):
            recorder.add("cam/image", event_of(PICTURE, seq, b'{"encoding":"bgr8"}'))
            if seq >= 30 and seq % 30 == 0:
                found = np.array([[seq - 30, 5, 95, 30, 0.9, 0]], np.float32)
                times = {"sent_ns": seq * 10_000_000 + 9, "origin_ns": (seq - 30) * 10_000_000 + 1}
                recorder.add("det/bbox", event_of(found, seq // 30, b'{"labels":["x"]}', **times))

    shown = shown_in(path)

    times = [one.timestamp.ToNanoseconds() for one in shown["cam/image/picture"]]
    boxes = shown["det/bbox/boxes"]
    assert [times.index(one.timestamp.ToNanoseconds()) for one in boxes] == [0, 30]
    assert [one.points[0].points[0].x for one in boxes] == [0, 30]


@pytest.mark.programs
def test_commands_read_recordings_without_numpy():
    code = (
        "import sys; import dora_rt.nodes.record, dora_rt.nodes.replay, dora_rt.cli;"
        "print([name for name in ('numpy', 'cv2', 'mcap') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_photo_that_lies_on_its_side_is_upright_in_foxglove_as_its_boxes_are():
    event = make_event("image", photo_on_its_side(20, 30), metadata={"encoding": "jpeg"})

    shown = showing(event, PictureForm.JPEG, "cam/image")

    assert shown is not None
    message = CompressedImage.FromString(shown.make(event, 0))
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    assert cv2.imdecode(np.frombuffer(message.data, np.uint8), flags).shape == (30, 20, 3)
