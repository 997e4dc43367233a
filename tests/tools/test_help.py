"""What somebody sees who does not know the commands yet."""

from __future__ import annotations

import pytest

from dora_rt.cli.dora_rt import VERBS
from tests.harness.flow import Flow
from tests.harness.verbs import statuses, verb
from tests.harness.waiting import eventually


@pytest.mark.parametrize("name", VERBS)
def test_help_fits_the_terminal(name: str):
    # What is typed as it stands is not broken.
    too_wide = {"service": 90}

    done = verb(name, "--help", env={"COLUMNS": "80"})

    widest = max(done.out.splitlines(), key=len)
    assert len(widest) <= too_wide.get(name, 80), widest


def test_command_without_a_verb_lists_the_verbs():
    done = verb()

    assert done.exit_code == 2
    listed = [line.split()[0] for line in done.out.splitlines() if line.startswith("    ")]
    assert set(VERBS) <= set(listed)


@pytest.mark.parametrize(
    ("word", "way_out"),
    [
        ("run", "`dora-launch FILE`"),
        ("launch", "`dora-launch FILE`"),
        ("start", "`dora-launch FILE`"),
        ("list", "`dora-rt ps`"),
        ("topic", "`dora-rt echo NODE/OUTPUT`"),
        ("down", "`dora-rt stop`"),
        ("bag", "`dora-rt record`"),
    ],
)
def test_word_of_another_framework_leads_to_ours(word: str, way_out: str):
    done = verb(word, "dataflow.yml")

    assert done.exit_code == 2
    assert way_out in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.programs
def test_outputs_are_listed_for_the_tab_key_and_a_stop_says_what_it_did(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {t: dora/timer/hz/9}, outputs: [image, depth]}
          - {id: sink, path: source.py, inputs: {image: source/image, depth: source/depth}}
        """,
    )
    flow.write("source.py", "from dora_rt import Node\nfor event in Node(): pass")
    flow.start()
    eventually(lambda: [one["state"] for one in statuses()] == ["running"])

    assert verb("ps", "--outputs").out.split() == ["source/image", "source/depth"]
    script = verb("completion", "bash").out
    lines = {line.split(")")[0].strip(): line for line in script.splitlines() if "free=" in line}
    for name in ("echo", "view", "hz", "bw"):
        assert "ps --outputs" in lines[name], name
    for name in ("echo", "view"):
        assert "ps -q" not in lines[name], name
    for name in ("stop", "restart", "logs", "top", "dashboard"):
        assert "ps -q" in lines[name], name
    assert verb("stop", "sink").out == "node sink has stopped\n"
    run = statuses()[0]["run"]
    assert verb("stop").out == f"run {run} has stopped\n"
