"""Kernels with pages of 16 KiB (Raspberry Pi 5) and 64 KiB, and those whose words are too short."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

import pytest

from dora_rt.errors import SharedMemoryError
from dora_rt.plan import edges
from dora_rt.transport.primitives import shm
from dora_rt.transport.primitives.shm import Segment
from tests.harness.flow import Flow
from tests.harness.objects import new_run

KIB = 1024
FLOW = """
    nodes:
      - {id: source, path: source.py, outputs: [out]}
      - id: sink
        path: sink.py
        inputs: {out: {source: source/out, slot_bytes: 20000, queue_policy: block}}
"""


@pytest.fixture(params=[16 * KIB, 64 * KIB], ids=["16 KiB", "64 KiB"])
def page_nbytes(request: pytest.FixtureRequest) -> int:
    """A size that the pages of this kernel divide: what holds for it holds here."""
    if request.param % mmap.PAGESIZE:
        pytest.skip(f"pages of {mmap.PAGESIZE} bytes do not divide it")
    return request.param  # type: ignore[no-any-return]


def test_slots_are_whole_pages_of_any_size(page_nbytes: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mmap, "PAGESIZE", page_nbytes)

    assert edges._slot_nbytes([1, None]) == page_nbytes
    assert edges._slot_nbytes([page_nbytes, 10]) == 2 * page_nbytes


def test_flow_runs_with_such_pages_in_every_process(flow: Flow, page_nbytes: int):
    flow.write("flow.yml", FLOW)
    flow.write(
        "source.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        # The last ones do not fit, and make the pool grow.
        for nbytes in [1, 5000, 20000, 300000, 300001]:
            node.send_output("out", np.full(nbytes, 7, np.uint8))
        """,
    )
    flow.write(
        "sink.py",
        """
        import mmap
        from dora_rt import Node
        for event in Node():
            assert (event.value == 7).all()
            print(len(event.value), mmap.PAGESIZE)
        """,
    )
    site = flow.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import mmap\nmmap.PAGESIZE = {page_nbytes}\n")

    done = flow.run(env={"PYTHONPATH": str(site)})

    assert done.exit_code == 0, done.out + done.err
    sizes = [1, 5000, 20000, 300000, 300001]
    assert done.lines("sink") == [f"{nbytes} {page_nbytes}" for nbytes in sizes]


def test_no_module_takes_a_page_for_4096_bytes():
    package = Path(edges.__file__).parents[1]
    asked = re.compile(r"PAGESIZE|SC_PAGE_?SIZE")
    taken = [
        f"{path.relative_to(package)}:{number}"
        for path in package.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"(?i)page", line)
        and re.search(r"\b4096\b|4 KiB", line)
        and not asked.search(line)
    ]

    assert taken == []
    assert os.sysconf("SC_PAGE_SIZE") == mmap.PAGESIZE


def test_python_of_32_bits_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shm, "WORD_BITS", 32)
    name = f"/drt-{new_run()}-x"

    with pytest.raises(SharedMemoryError, match="this Python has 32 bits, and dora_rt needs 64"):
        Segment.create(name, 8)
    with pytest.raises(SharedMemoryError, match="Raspberry Pi OS 64-bit"):
        Segment.attach(name, writable=False)
