"""F37: a recorder whose disk is full fails alone, and what it has written can be read.

And where else a disk may be full: under the run directory, under a report.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.replay.recording import Recording

from tests.harness.finished import Finished
from tests.harness.flow import Flow

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

FLOW = """
    nodes:
      - {id: source, path: source.py, inputs: {tick: dora/timer/millis/10}, outputs: [picture]}
      - {id: sink, path: sink.py, inputs: {picture: {source: source/picture, queue_policy: block}}}
"""
RECORDER = """
      - id: recorder
        module: dora_rt.nodes.record
        args: --file disk/full.mcap --pictures none
        inputs: {picture: {source: source/picture, queue_size: 60}}
"""
# The disk has been full for 30 samples when the source ends.
SOURCE = """
    import os
    from pathlib import Path
    import numpy as np
    from dora_rt import Node
    node = Node()
    after = 0
    for number, event in enumerate(node):
        # What is written once a second fits on the disk once, and not twice.
        node.send_output("picture", np.full(6000, number % 251, np.uint8))
        disk = os.statvfs("disk")
        after += Path("disk/full.mcap").exists() and disk.f_bfree == 0
        if after == 30:
            break
"""
SINK = """
    from dora_rt import Node
    for event in Node():
        pass
"""


def run_on_a_disk_of_1_mb(flow: Flow, command: list[str]) -> Finished:
    """Run it with a small disk at `disk`, and copy that to `kept` at the end."""
    for name in ("disk", "kept"):
        (flow.folder / name).mkdir()
    script = (
        'mount -t tmpfs -o size=1m tmpfs disk && { "$@"; code=$?; cp -r disk/. kept; exit $code; }'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command],
        cwd=flow.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def assert_readable(path: Path) -> None:
    """Assert that each sample is there, or counted as lost at the next one, until it breaks off."""
    assert path.stat().st_size >= 2**20 - 4096, "the disk was full"
    recording = Recording.open(path)
    assert not recording.is_whole
    samples = [recorded.sample for recorded in recording.read(["source/picture"])]
    assert recording.samples == {"source/picture": len(samples)}
    seqs = [sample.header["seq"] for sample in samples]
    assert len(seqs) + sum(sample.header["dropped"] for sample in samples) == seqs[-1] + 1
    for seq, sample in zip(seqs, samples, strict=True):
        assert (sample.value == np.full(6000, seq % 251)).all()


def test_recorder_on_a_full_disk_fails_alone_and_its_file_is_readable(flow: Flow):
    flow.write("flow.yml", FLOW + RECORDER)
    flow.write("source.py", SOURCE)
    flow.write("sink.py", SINK)

    done = run_on_a_disk_of_1_mb(flow, flow.command())

    assert done.exit_code == 1, done.out + done.err
    assert done.ending("recorder") == "failed: exit status 1"
    assert re.search(
        r"full\.mcap cannot be written any more: No space left on device; what was recorded "
        r"before can be replayed$",
        "\n".join(done.lines("recorder")),
    )
    assert (done.ending("source"), done.ending("sink")) == ("finished", "finished")
    edge = done.edge("source/picture", "sink/picture")
    assert (edge.delivered, edge.dropped) == (edge.sent, 0)
    assert_readable(flow.folder / "kept" / "full.mcap")


def test_command_that_records_a_file_names_the_full_disk_and_the_others_go_on(flow: Flow):
    file = flow.write("flow.yml", FLOW)
    flow.write("source.py", SOURCE)
    flow.write("sink.py", SINK)
    words = ["record", str(file), "-o", "disk/full.mcap", "--pictures", "none"]

    done = run_on_a_disk_of_1_mb(flow, [sys.executable, "-m", "dora_rt.cli", *words])

    assert done.exit_code == 1, done.out + done.err
    assert "No space left on device" in done.out
    assert (done.ending("source"), done.ending("sink")) == ("finished", "finished")
    assert_readable(flow.folder / "kept" / "full.mcap")


@pytest.mark.parametrize("free_nbytes", [0, 4096])
@pytest.mark.parametrize("options", [(), ("--trace", "kept/trace.json")])
def test_full_disk_under_the_run_directory_is_named_before_anything_starts(
    flow: Flow, free_nbytes: int, options: tuple[str, ...]
):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "print('started')\n")
    fill = f"head -c {2**20 - free_nbytes} /dev/zero > disk/fill; chmod 700 disk"
    runtime = flow.folder / "disk"
    command = ["sh", "-c", f'{fill}; XDG_RUNTIME_DIR={runtime} exec "$@"', "sh"]

    done = run_on_a_disk_of_1_mb(flow, [*command, *flow.command(*options)])

    assert done.exit_code == 3
    assert re.fullmatch(
        rf"dora-launch: cannot make {runtime}/dora_rt\S*: No space left on device; set "
        r"XDG_RUNTIME_DIR to a folder of your own\n",
        done.err,
    )
    assert "started" not in done.out
    assert not list((flow.folder / "kept").glob("dora_rt/*")), "nothing is left of it"


def test_full_disk_under_a_report_costs_the_report(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write(
        "a.py",
        "with open('disk/fill', 'wb', 0) as file:\n"
        "    try:\n"
        "        while True: file.write(bytes(4096))\n"
        "    except OSError as error: print(error.strerror)\n",
    )

    done = run_on_a_disk_of_1_mb(flow, flow.command("--report", "disk/report.json"))

    assert done.lines("a") == ["No space left on device"]
    assert "--report disk/report.json: No space left on device" in done.out
    assert done.ending("a") == "finished"
    assert done.exit_code == 0
