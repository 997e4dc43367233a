"""Numbers on the command line that nobody can mean."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dora_rt.cli.dora_rt import VERBS
from tests.harness.verbs import verb

pytestmark = pytest.mark.programs

HUGE = "9" * 20
LONG = "9" * 5000


@pytest.mark.parametrize(
    "words",
    [
        *(f"logs -n {text}" for text in ("-1", "1.5", "nan", HUGE, LONG, "²", "٣")),
        *(f"view a/b --port {text}" for text in ("-1", "65536", HUGE, LONG, "nan", "²")),
        *(f"dashboard --port {text}" for text in ("-1", "65536", HUGE, LONG, "nan", "²")),
        *(f"record flow.yml --queue {text}" for text in ("-1", "0", HUGE, LONG, "nan")),
        *(f"top --interval {text}" for text in ("-1", "0", "inf", "nan", HUGE, "1e999")),
        *(
            f"record flow.yml --stop-after {text}"
            for text in ("-1", "0s", "nan", "inf", "876001h", f"{HUGE}s", LONG)
        ),
        *(f"replay a.mcap --rate {text}" for text in ("-1", "nan", "inf", LONG)),
        *(f"replay a.mcap --start {text}" for text in ("-1", "nan", "inf", LONG)),
        *(f"replay a.mcap --end {text}" for text in ("-1", "nan", "inf", LONG)),
    ],
    ids=lambda words: words[:40],
)
def test_absurd_number_is_refused_by_its_option(words: str):
    done = verb(*words.split())

    assert done.exit_code == 2
    flag = words.split()[-2]
    assert f"{flag}" in done.err.splitlines()[-1], done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        *(f"--dashboard-port {text}" for text in ("-1", "65536", HUGE, LONG, "nan")),
        *(f"--stop-after {text}" for text in ("-1", "nan", "876001h", f"{HUGE}s", LONG)),
    ],
    ids=lambda words: words[:40],
)
def test_absurd_number_is_refused_before_anything_is_started(words: str):
    command = [sys.executable, "-m", "dora_rt", "no_such_file.yml", *words.split()]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert done.returncode == 2
    assert f"argument {words.split()[0]}: " in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_most_that_can_be_meant_is_taken():
    done = verb("logs", "-n", "0999999999")

    assert done.err.startswith("dora-rt: no dataflow of this user is running")


@pytest.mark.parametrize(
    ("home", "word", "module"),
    [
        ("dora_rt.__main__", "flow.yml", "dora_rt.cli.dora_launch"),
        ("dora_rt.__main__", "flow.yml", "dora_rt.launcher.processes.early_start"),
        ("dora_rt.__main__", "flow.yml", "dora_rt.launcher.supervision.supervisor"),
        ("dora_rt.cli", "watch", "dora_rt.cli.dora_rt"),
        ("dora_rt.cli", "watch", "dora_rt.cli.watch"),
        ("dora_rt.cli", "watch", "dora_rt.cli.imported_files"),
    ],
)
def test_ctrl_c_during_the_imports_ends_the_command_without_a_word(
    home: str, word: str, module: str
):
    program = f"""
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from {home} import main
sys.argv[1:] = [{word!r}]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(("verb_", "most"), [("ps", 30), ("top", 31), ("stop", 30)])
def test_verb_imports_what_it_needs_and_no_other_verb(verb_: str, most: int):
    program = f"""
import sys
from dora_rt.cli import main
try:
    main([{verb_!r}])
except SystemExit:
    print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )

    modules = done.stdout.splitlines()[-1].split()
    own = [name for name in modules if name.split(".")[0] == "dora_rt"]
    assert f"dora_rt.cli.{verb_}" in own
    assert len(own) <= most, own
    unneeded = {"dora_rt.descriptor", "dora_rt.launcher.launch", "dora_rt.opencv", "numpy"}
    assert not unneeded & {*modules}


def test_every_verb_is_where_the_table_says_and_in_the_help():
    shown = verb("--help").out

    for name, (_, summary) in VERBS.items():
        assert name in shown
        assert summary in shown
        assert f"usage: dora-rt {name} [-h]" in verb(name, "--help").out


def test_version_is_shown_whatever_follows_it():
    done = verb("--version", "extra")

    assert (done.exit_code, done.out.split()[0]) == (0, "dora_rt")
