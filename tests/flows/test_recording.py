"""Recording running dataflows, and running dataflows on recordings."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
from dora_rt.nodes.recorded import RecordingError
from dora_rt.nodes.replay.recording import Recording

from tests.harness.camera_flow import SOURCE, write_camera_flow
from tests.harness.finished import Edge
from tests.harness.flow import Flow
from tests.harness.verbs import COMMAND, started_run, status_of, verb, verb_apart
from tests.harness.waiting import eventually

DETECTION = """
    nodes:
      - id: webcam
        module: dora_rt.nodes.webcam
        args: --source test://scene?seed=11&frames=15
        outputs: [image]
      - id: object_detection
        module: dora_rt.nodes.object_detection
        inputs: {image: {source: webcam/image, queue_policy: block}}
        outputs: [bbox]
      - id: probe
        path: probe.py
        inputs:
          image: {source: webcam/image, queue_policy: block}
          bbox: {source: object_detection/bbox, queue_policy: block}
"""
PROBE = """
    import hashlib, json, os
    from dora_rt import Node
    pictures, found = [], []
    for event in Node():
        if event.id == "image":
            digest = hashlib.sha256(event.value.tobytes()).hexdigest()
            metadata = {key: value for key, value in event.metadata.items()}
            pictures.append([event.origin_ns, digest, event.value.shape, metadata])
        else:
            found.append([event.origin_ns, event.value.tolist(), event.metadata["labels"]])
    # By which picture they belong to, and not by time, which is another one in a replay.
    numbers = {picture[0]: number for number, picture in enumerate(pictures)}
    pairs = [[numbers[origin_ns], *rest] for origin_ns, *rest in found]
    with open("probe.json", "w") as file:
        json.dump([[rest for _, *rest in pictures], pairs], file)
"""


def test_detector_finds_the_same_boxes_in_a_recording_as_it_did_live(flow: Flow):
    file = flow.write("flow.yml", DETECTION)
    flow.write("probe.py", PROBE)
    recording = flow.folder / "out" / "scene.mcap"

    live = verb_apart("record", str(file), "-o", str(recording))
    assert live.exit_code == 0, live.out + live.err
    seen_live = json.loads((flow.folder / "probe.json").read_text())
    (flow.folder / "probe.json").unlink()
    replayed = verb_apart("replay", str(recording))

    assert replayed.exit_code == 0, replayed.out + replayed.err
    assert "webcam is replayed from" in replayed.out
    assert replayed.edge("webcam/image", "object_detection/image") == Edge(15, 15, 0)
    assert any("webcam/image: 15 samples, none lost" in line for line in live.lines("recorder"))
    pictures, boxes = seen_live
    assert len(pictures) == len(boxes) == 15
    assert all(len(found) >= 5 for _, found, _ in boxes), "the toys of the scene"
    assert json.loads((flow.folder / "probe.json").read_text()) == seen_live

    again = verb("record", str(file), "-o", str(recording))
    assert again.exit_code == 1
    assert "exists already, and is left as it is" in again.err
    wrong = verb("replay", str(recording), "--nodes", "camera")
    assert wrong.exit_code == 2
    assert "nothing of node camera was recorded; the recording has: webcam/image" in wrong.err


def test_recording_of_a_run_that_is_killed_has_all_but_the_last_second_and_no_node_can_tell(
    flow: Flow,
):
    write_camera_flow(flow)
    launcher = flow.start()
    run = started_run(launcher.pid)
    killed, whole, hung_up = (flow.folder / f"{name}.mcap" for name in ("killed", "whole", "hup"))

    recorder = subprocess.Popen([*COMMAND, "record", run, "-o", str(killed)])
    eventually(lambda: count(killed) > 50)
    recorder.kill()
    recorder.wait()
    recorder = subprocess.Popen([*COMMAND, "record", run, "-o", str(hung_up)])
    eventually(hung_up.exists)
    recorder.send_signal(signal.SIGHUP)
    assert recorder.wait(30) == 0
    done = verb_apart(
        "record", run[:5], "-o", str(whole), "--only", "camera/*", "--stop-after", "500ms"
    )
    status = status_of(run)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)

    assert not Recording.open(killed).is_whole
    assert count(killed) > 50
    assert_complete(killed)
    assert done.exit_code == 0, done.err
    assert "camera/image: " in done.out
    assert Recording.open(whole).is_whole
    assert Recording.open(hung_up).is_whole
    assert_complete(whole)
    assert Recording.open(whole).about["dataflow"] == str(flow.folder / "flow.yml")
    assert status["edges"][0]["dropped"] == 0


def count(path: Path) -> int:
    try:
        return sum(Recording.open(path).samples.values())
    except RecordingError:
        return 0


def assert_complete(path: Path) -> None:
    """Assert that every sample is there, or counted as lost at the next one, and none is torn."""
    recording = Recording.open(path)
    assert set(recording.samples) == {
        f"camera/{name}" for name in ("image", "text", "numbers", "bbox")
    }
    for source in recording.samples:
        samples = [recorded.sample for recorded in recording.read([source])]
        seqs = [sample.header["seq"] for sample in samples]
        missed = sum(sample.header["dropped"] for sample in samples)
        assert len(seqs) + missed == seqs[-1] - seqs[0] + 1
        assert seqs == sorted(set(seqs))
        if source == "camera/image":
            for sample in samples:
                number = json.loads(sample.metadata_json)["number"]
                assert (sample.value == np.full((6, 8, 3), number % 200)).all()


def test_sources_stay_together_in_a_replay_that_begins_again_at_its_end(flow: Flow):
    flow.write("camera.py", SOURCE + "        if number == 20: break\n")
    flow.write(
        "sink.py",
        """
        import json
        from dora_rt import Node
        node = Node()
        seen = []
        for event in node:
            seen.append([event.id, event.metadata["number"], event.origin_ns])
            if len(seen) == 100:
                node.stop_dataflow()
        json.dump(seen, open("seen.json", "w"))
        """,
    )
    file = flow.write(
        "flow.yml",
        """
        nodes:
          - id: camera
            path: camera.py
            inputs: {tick: dora/timer/millis/10}
            outputs: [image, text, numbers, bbox]
          - id: other
            path: camera.py
            inputs: {tick: dora/timer/millis/10}
            outputs: [image, text, numbers, bbox]
          - {id: sink, path: sink.py, inputs: {camera: camera/image, other: other/image}}
        """,
    )
    recorded = flow.folder / "two.mcap"

    live = verb_apart("record", str(file), "-o", str(recorded), "--only", "*/image")
    assert live.exit_code == 0, live.out + live.err
    live_ns = origins(json.loads((flow.folder / "seen.json").read_text()))
    looped = verb_apart("replay", str(recorded), "--loop", "--stop-after", "20s")

    assert looped.exit_code == 0, looped.out + looped.err
    assert looped.edge("camera/image", "sink/camera").sent >= 42
    seen = json.loads((flow.folder / "seen.json").read_text())
    first, second = origins(seen[:42]), origins(seen[42:84])
    for number in range(21):
        between = live_ns["camera", number] - live_ns["other", number]
        for one in (first, second):
            assert one["camera", number] - one["other", number] == between
    rounds = {second[key] - first[key] for key in first}
    assert len(rounds) == 1, "all of a round is as much later"


def origins(seen: list[tuple[str, int, int]]) -> dict[tuple[str, int], int]:
    return {(input_id, number): origin_ns for input_id, number, origin_ns in seen}
