"""What nodes print, and names and paths, on their way to a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from dora_rt.terminal import harmless
from tests.harness.flow import Flow
from tests.harness.verbs import start, status, verb
from tests.harness.waiting import eventually

RED, RESET = "\x1b[31m", "\x1b[0m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \t tab and ünïcödé 🤖 עברית", "plain, \t tab and ünïcödé 🤖 עברית"),
        ("two\nlines\n", "two\nlines\n"),
        # The title of the window, the clipboard
        ("a\x1b]0;title\x07b", "a\\x1b]0;title\\x07b"),
        ("\x1b]52;c;cm0gLXJm\x1b\\", "\\x1b]52;c;cm0gLXJm\\x1b\\"),
        # Erase, move, ask for the position, another character set
        ("a\x1b[2J\x1b[H\x1b[6n\x1b(0b", "ab"),
        ("\x1b[?1049h", ""),
        ("\x1bc\x1b7", "\\x1bc\\x1b7"),
        # 8 bits
        ("\x9b2J\x90q\x9c", "\\u009b2J\\u0090q\\u009c"),
        ("a\rb\x08c\x00\x7f", "a\\x0db\\x08c\\x00\\x7f"),
        # The direction of writing
        ("user\u202e txt.exe\u2066", "user\\u202e txt.exe\\u2066"),
        ("a\u2028b", "a\\u2028b"),
        ("a\u061cb\u200eb\u200f", "a\\u061cb\\u200eb\\u200f"),
        # What is not seen
        ("pass\u200bword\u2060\ufeff\xad", "pass\\u200bword\\u2060\\ufeff\\u00ad"),
        ("a\u034f\u115f\u3164\ufff9", "a\\u034f\\u115f\\u3164\\ufff9"),
        ("ok\U000e0001\U000e0072\U000e006d", "ok\\U000e0001\\U000e0072\\U000e006d"),
        ("🤖\U000e0072\U000e0100", "🤖\\U000e0072\\U000e0100"),
        ("a\u200db\u200c🤖\u200d", "a\\u200db\\u200c🤖\\u200d"),
        ("🤖\u200d\u200d🤖", "🤖\\u200d\\u200d🤖"),
        ("a\ufe0fb\ufe01🤖\ufe0f\ufe0f", "a\\ufe0fb\\ufe01🤖\ufe0f\\ufe0f"),
        ("\u200d\u202e🤖\u200d\u202e🤖", "\\u200d\\u202e🤖\\u200d\\u202e🤖"),
        # What is: families, hearts, skin, key caps, Persian, Hindi
        (
            "👩\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 👍🏽 1\ufe0f\u20e3",
            "👩\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 👍🏽 1\ufe0f\u20e3",
        ),
        ("می\u200cخواهم क्\u200dष", "می\u200cخواهم क्\u200dष"),
        ("\udcff", "\\udcff"),
        # Colours end with their line
        (f"{RED}red{RESET} plain", f"{RED}red{RESET} plain"),
        (f"{RED}red\nnext", f"{RED}red{RESET}\nnext"),
        ("\x1b[1;38;5;8mgrey\x1b[m", "\x1b[1;38;5;8mgrey\x1b[m"),
        ("\x1b[38;2;8;8;8mrgb", f"\x1b[38;2;8;8;8mrgb{RESET}"),
        # What would hide text
        ("\x1b[8mhidden", "hidden"),
        ("\x1b[1;08mhidden", "hidden"),
        ("\x1b[38:5:1;5;8mhidden", "hidden"),
        ("\x1b[48:2::1:2:3;2;1;2;8mhidden", "hidden"),
        ("\x1b[38;5;8;8mhidden", "hidden"),
        ("\x1b[38:5:8mgrey", f"\x1b[38:5:8mgrey{RESET}"),
        # No part of a sequence becomes one by what is left out
        ("\x1b\x1b[2J[2J", "\\x1b[2J"),
        ("\x1b\x1b[31m]0;x", f"\\x1b{RED}]0;x{RESET}"),
    ],
)
def test_text_only_shows_itself(text: str, shown: str):
    assert harmless(text) == shown
    assert harmless(shown) == shown


def test_colours_are_left_out_where_there_are_none():
    assert harmless(f"{RED}red{RESET}\x1b[2J\x07", has_colours=False) == "red\\x07"


HOSTILE = "red \x1b[31mX\x1b]0;owned\x07 \x1b[2J \x9b2J \u202e"
SHOWN = "red \x1b[31mX\\x1b]0;owned\\x07  \\u009b2J \\u202e\x1b[0m"
EVIL = ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e")


def is_harmless(text: str) -> bool:
    own = text.replace("\x1b[2J", "", 1) if text.startswith("\x1b[2J") else text
    return not any(evil in own for evil in EVIL)


@pytest.mark.parametrize("has_terminal", [True, False], ids=["terminal", "pipe"])
def test_line_of_a_node_is_harmless_on_the_console_and_in_its_log(
    flow: Flow, tmp_path: Path, has_terminal: bool
):
    write_printer(flow, 'print("the end"); raise SystemExit(text)')
    command = flow.command("--log-dir", str(tmp_path / "logs"))

    if has_terminal:
        out = run_in_terminal(command)
    else:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        out = done.stdout + done.stderr

    # As it was printed, in a record of a log, as the last word; and all in the summary
    assert out.count(SHOWN) == 6, out
    assert is_harmless(out)
    log = (tmp_path / "logs/printer.log").read_text()
    assert SHOWN in log
    assert is_harmless(log)


def test_tools_show_harmless_lines_names_and_paths(flow: Flow):
    write_printer(flow, "for event in Node(): pass")
    evil = flow.folder / "flow\x1b]0;owned\x07\u202e.yml"
    (flow.folder / "flow.yml").rename(evil)
    launcher = flow.start(file=evil)
    eventually(lambda: bool(status_or_none()))
    shown_path = "flow\\x1b]0;owned\\x07\\u202e.yml"

    eventually(lambda: SHOWN in verb("logs").out)
    for words in [("ps",), ("top", "--once"), ("hz", "--once"), ("graph", status()["run"])]:
        done = verb(*words)
        assert is_harmless(done.out + done.err), words
        if words == ("ps",):
            assert shown_path in done.out
    with start("logs", "-f") as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline().endswith(f" {SHOWN}\n")
        verb("stop")
        out, err = logs.communicate(timeout=30)
    assert is_harmless(out + err)
    out, _ = launcher.communicate(timeout=30)
    assert shown_path in out
    assert is_harmless(out)
    for done in (verb("check", "none\x1b[2J.yml"), verb("ps\x1b]0;"), verb("stop", "\x9bx")):
        assert done.exit_code != 0
        assert is_harmless(done.out + done.err)


def test_error_that_quotes_a_path_is_harmless(flow: Flow):
    command = [sys.executable, "-m", "dora_rt", "none\x1b]0;x\x07\u202e.yml"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert "none\\x1b]0;x\\x07\\u202e.yml" in done.stderr
    assert is_harmless(done.stderr)
    assert done.returncode == 2


def test_output_of_a_build_is_harmless(flow: Flow):
    write_printer(flow, "")
    path = flow.folder / "flow.yml"
    path.write_text(path.read_text() + "    build: python hostile.py\n")
    flow.write("hostile.py", f"print({HOSTILE!r})\n")

    done = verb("build", str(path))

    assert SHOWN in done.out
    assert is_harmless(done.out)


def status_or_none() -> object:
    try:
        return status()
    except ValueError:
        return None


def write_printer(flow: Flow, end: str) -> None:
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: printer
            path: printer.py
            inputs: {tick: dora/timer/millis/20}
            env: {PYTHONIOENCODING: utf-8}
        """.replace("        ", ""),
    )
    flow.write(
        "printer.py",
        f"""
        import json
        from dora_rt import Node
        text = {HOSTILE!r}
        print(text)
        print(json.dumps({{"level": "info", "message": text}}))
        {end}
        """,
    )


def run_in_terminal(command: list[str]) -> str:
    control, terminal = pty.openpty()
    with subprocess.Popen(command, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        received = b""
        while True:
            try:
                received += os.read(control, 65536)
            except OSError:
                break
        process.wait(30)
    os.close(control)
    return received.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("variables", "has_colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, False),
    ],
    ids=["terminal", "dumb", "NO_COLOR"],
)
@pytest.mark.parametrize("command", ["dora_rt.cli build flow.yml", "dora_rt flow.yml"])
def test_every_console_has_colours_by_the_same_rule(
    flow: Flow, command: str, variables: dict[str, str], has_colour: bool
):
    flow.write("flow.yml", "nodes: [{id: alone, path: say.sh, build: echo built}]")
    flow.write("say.sh", "#!/bin/sh\necho built\n").chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    ours, theirs = pty.openpty()

    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        cwd=flow.folder,
        env={**environ, **variables},
        timeout=30,
    )
    os.close(theirs)
    shown = os.read(ours, 64 * 1024).decode()
    os.close(ours)

    assert done.returncode == 0, shown
    assert "built" in shown
    assert ("\x1b[" in shown) is has_colour, shown
