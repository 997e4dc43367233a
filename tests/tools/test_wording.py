"""Numbers in messages."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from dora_rt.units import counted, size
from tests.harness.verbs import verb


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "edge", "0 edges"),
        (1, "edge", "1 edge"),
        (1, "process", "1 process"),
        (1000, "process", "1,000 processes"),
    ],
)
def test_one_is_no_plural(number: int, noun: str, text: str):
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(None, "-"), (0, "0 B"), (4096, "4.0 KiB"), (2**20 // 2, "512.0 KiB"), (3 * 2**29, "1.5 GiB")],
)
def test_memory_is_shown_in_the_unit_that_fits(nbytes: int | None, text: str):
    assert size(nbytes) == text


@pytest.mark.programs
def test_check_and_doctor_speak_of_one_thing_as_one(tmp_path: Path):
    (tmp_path / "node.py").write_text("")
    path = tmp_path / "flow.yml"
    path.write_text(
        "nodes:\n"
        "  - {id: camera, path: node.py, outputs: [image]}\n"
        "  - {id: sink, path: node.py, inputs: {image: camera/image}}\n"
    )
    alone = tmp_path / "alone.yml"
    alone.write_text("nodes: [{id: alone, path: node.py}]\n")

    assert "is fine: 2 processes, 1 edge\n" in verb("check", str(path)).out
    assert ", and what 1 output without slot_bytes sends\n" in verb("check", str(path)).out
    checked = verb("check", str(alone)).out
    assert "is fine: 1 process, 0 edges\n" in checked
    assert "up to" not in checked
    assert f"{size(3 * mmap.PAGESIZE)} before the first sample" in verb("doctor", str(alone)).out
    assert '"1 node. ' in verb("graph", str(alone), "--format", "svg").out
