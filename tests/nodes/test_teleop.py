"""The teleop node: a pty as keyboard, a pipe as gamepad; letting go of any device is a stop."""

from __future__ import annotations

import http.client
import json
import logging
import os
import pty
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from dora_rt.nodes.teleop import drive_server, parse_options
from dora_rt.nodes.teleop.drive_server import DriverSeat, DriveServer, Word
from dora_rt.nodes.teleop.gamepad import Gamepad, Layout, PadState
from dora_rt.nodes.teleop.loop import Speeds
from dora_rt.nodes.teleop.pilot import STILL, Command, Motion, Pilot
from dora_rt.nodes.teleop.terminal_keys import Keyboard, KeyReader, TerminalError
from dora_rt.nodes.web_server import WebServerError

from tests.flows.test_keyboard import Terminal
from tests.harness.flow import Flow
from tests.harness.waiting import eventually
from tests.nodes.node_helpers import FakeTime

AHEAD = Motion(forward=1)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def pilot(time: FakeTime) -> Pilot:
    return Pilot(time.clock)


def test_device_that_says_nothing_more_drives_no_more(pilot: Pilot, time: FakeTime):
    pilot.steer("page", AHEAD, 0.4)
    time.sleep(0.39)
    assert pilot.command() == Command(AHEAD, "page")

    time.sleep(0.01)

    assert pilot.command() == Command(STILL, "")


def test_first_of_several_devices_drives(pilot: Pilot):
    pilot.steer("keyboard", Motion(turn=1), 1)
    pilot.steer("gamepad", AHEAD, 1)
    assert pilot.command().device == "gamepad"

    pilot.release("gamepad")

    assert pilot.command() == Command(Motion(turn=1), "keyboard")


def test_whoever_was_halted_must_let_go_before_it_drives_again(pilot: Pilot, time: FakeTime):
    pilot.steer("gamepad", AHEAD, 0.3)
    pilot.halt()
    for _ in range(10):
        pilot.steer("gamepad", AHEAD, 0.3)
        time.sleep(0.1)
        assert pilot.command().motion == STILL

    pilot.release("gamepad")
    pilot.steer("gamepad", AHEAD, 0.3)

    assert pilot.command().motion == AHEAD


def test_parts_are_bounded_and_what_is_no_number_is_still():
    assert Motion(7, -7, float("nan")).bounded() == Motion(1, -1, 0)
    np.testing.assert_array_equal(
        Speeds(0.5, 2).twist(Motion(1, -0.5, 0.25)), [0.5, -0.25, 0, 0, 0, 0.5]
    )


def test_key_holds_until_it_would_be_repeated_and_a_repeated_one_only_briefly(
    pilot: Pilot, time: FakeTime
):
    keys = KeyReader(pilot, 0.7, time.clock)
    keys.take("w")
    time.sleep(0.6)
    assert pilot.command().motion == Motion(forward=0.5)
    keys.take("w")
    for _ in range(10):
        time.sleep(0.03)
        keys.take("w")
    time.sleep(0.24)
    assert pilot.command().device == "keyboard"

    time.sleep(0.02)

    assert pilot.command().device == ""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("W", Motion(forward=0.5)),
        ("\x1b[A", Motion(forward=0.5)),
        ("\x1bOD", Motion(turn=0.5)),
        ("wwwd", Motion(turn=-0.5)),
        ("+w", Motion(forward=0.625)),
        ("w-", Motion(forward=0.4)),
        ("w ", STILL),
        ("x", STILL),
        ("\x1b[3~", STILL),
        ("\x1b", STILL),
        ("é", STILL),
    ],
)
def test_keys(pilot: Pilot, typed: str, expected: Motion):
    KeyReader(pilot, 0.7).take(typed)

    assert pilot.command().motion == expected


def test_any_other_key_is_a_stop(pilot: Pilot, time: FakeTime):
    keys = KeyReader(pilot, 0.7, time.clock)
    for stop in (" ", "x", "\x1b"):
        keys.take("w")
        assert pilot.command().device == "keyboard"
        keys.take(stop)
        assert pilot.command().device == ""
        time.sleep(2)


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """Give a terminal: the end at which somebody types, and its path."""
    ours, theirs = pty.openpty()
    yield ours, os.ttyname(theirs)
    for end in (ours, theirs):
        os.close(end)


def test_terminal_is_given_back_as_it_was(terminal: tuple[int, str]):
    ours, path = terminal
    before = termios.tcgetattr(ours)
    pilot = Pilot()

    keyboard = Keyboard.open(path, pilot, 5)
    during = termios.tcgetattr(ours)
    os.write(ours, b"w")
    eventually(lambda: pilot.command().device == "keyboard")
    keyboard.close()
    keyboard.close()

    assert not during[3] & (termios.ICANON | termios.ECHO)
    assert during[3] & termios.ISIG, "Ctrl-C still ends the run"
    assert termios.tcgetattr(ours) == before
    assert pilot.command().device == "", "a keyboard that is closed holds nothing"


def test_what_was_typed_before_the_node_was_there_does_not_drive(
    terminal: tuple[int, str], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    ours, path = terminal
    pilot = Pilot()
    os.write(ours, b"www")

    keyboard = Keyboard.open(path, pilot, 60)

    os.write(ours, b"+")
    eventually(lambda: "speed 62 %" in caplog.text)
    assert pilot.command().device == ""
    keyboard.close()


def test_terminal_that_goes_away_is_a_stop(caplog: pytest.LogCaptureFixture):
    ours, theirs = pty.openpty()
    pilot = Pilot()
    keyboard = Keyboard.open(os.ttyname(theirs), pilot, 60)
    os.write(ours, b"w")
    eventually(lambda: pilot.command().device == "keyboard")

    os.close(ours)

    eventually(lambda: pilot.command().device == "")
    os.close(theirs)
    keyboard.close()
    assert "is gone: no keys any more" in caplog.text


def test_what_is_no_terminal_is_refused(tmp_path: Path, pilot: Pilot):
    (tmp_path / "file").write_text("")

    with pytest.raises(TerminalError, match="file is no terminal"):
        Keyboard.open(str(tmp_path / "file"), pilot, 1)
    with pytest.raises(TerminalError, match="--terminal /dev/nothing: No such file"):
        Keyboard.open("/dev/nothing", pilot, 1)
    with pytest.raises(TerminalError, match="in the dataflow file write at it `stdin: terminal`"):
        Keyboard.open(None, pilot, 1)


def pad_event(kind: int, number: int, value: int, *, is_initial: bool = False) -> bytes:
    return struct.pack("<IhBB", 1, value, kind | (0x80 if is_initial else 0), number)


def test_gamepad_drives_only_while_its_button_is_held():
    state = PadState(Layout(dead_zone=0.1))

    state.take(pad_event(2, 1, -32767) + pad_event(2, 3, 16384) + pad_event(2, 0, 2000))
    assert state.motion() is None
    state.take(pad_event(1, 4, 1, is_initial=True))
    motion = state.motion()
    assert motion is not None
    assert motion.forward == 1
    assert motion.side == 0, "within the dead zone"
    assert motion.turn == pytest.approx(-0.444, abs=0.001)

    state.take(pad_event(1, 4, 0))
    assert state.motion() is None


def test_gamepad_that_is_unplugged_is_a_stop_and_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    # A pipe gives the same bytes as a joystick, and ends when its writer goes.
    path = tmp_path / "js0"
    os.mkfifo(path)
    pilot = Pilot()
    writer = os.open(path, os.O_RDWR)
    gamepad = Gamepad(str(path), Layout(), pilot)
    os.write(writer, pad_event(1, 4, 1) + pad_event(2, 1, -32767)[:3])
    os.write(writer, pad_event(2, 1, -32767)[3:])
    eventually(lambda: pilot.command() == Command(AHEAD, "gamepad"))

    path.unlink()
    os.close(writer)

    eventually(lambda: pilot.command().device == "")
    eventually(lambda: "it is gone; stopped, waiting for it to come back" in caplog.text)
    eventually(lambda: "No such file or directory; trying again" in caplog.text)
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    os.write(writer, pad_event(1, 4, 1) + pad_event(2, 1, 32767))
    eventually(lambda: pilot.command().motion == Motion(forward=-1))
    gamepad.close()
    gamepad.close()
    os.close(writer)
    assert pilot.command().device == ""


def word(number: int, motion: Motion, *, page: str = "a", ticket: int) -> Word:
    return Word(page, number, ticket, motion)


def test_word_that_was_too_long_on_its_way_does_not_drive(pilot: Pilot, time: FakeTime):
    seat = DriverSeat(pilot, clock=time.clock)
    ticket = seat.ticket()
    assert seat.hear(word(1, AHEAD, ticket=ticket)) == "driving"
    assert seat.hear(word(3, STILL, ticket=ticket)) == "free"

    assert seat.hear(word(2, AHEAD, ticket=ticket)) == "late", "it was overtaken by the stop"
    time.sleep(1.1)
    assert seat.hear(word(4, AHEAD, ticket=ticket)) == "late"
    assert seat.hear(word(5, AHEAD, ticket=seat.ticket() + 1000)) == "late"

    assert pilot.command().motion == STILL


def test_one_page_drives_until_it_lets_go_or_is_gone(pilot: Pilot, time: FakeTime):
    seat = DriverSeat(pilot, clock=time.clock)
    back = Motion(forward=-1)
    assert seat.hear(word(1, AHEAD, ticket=seat.ticket())) == "driving"

    assert seat.hear(word(1, back, page="b", ticket=seat.ticket())) == "taken"
    assert seat.hear(word(2, STILL, page="b", ticket=seat.ticket())) == "taken"
    assert pilot.command().motion == AHEAD
    time.sleep(0.4)
    assert seat.hear(word(3, back, page="b", ticket=seat.ticket())) == "driving"
    assert pilot.command().motion == back


class Page:
    """Asks the server without a browser."""

    def __init__(self, server: DriveServer) -> None:
        parts = urlsplit(server.url)
        self.port = parts.port
        self.token = parts.query.removeprefix("token=")

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def post(self, path: str, fields: Any) -> tuple[int, bytes]:
        return self.ask("POST", path, json.dumps(fields).encode(), X_Teleop_Token=self.token)


@pytest.fixture
def server() -> Iterator[tuple[Page, Pilot]]:
    pilot = Pilot()
    server = DriveServer.open("127.0.0.1", 0, DriverSeat(pilot))
    yield Page(server), pilot
    server.close()


def test_only_who_has_the_token_may_drive(server: tuple[Page, Pilot]):
    page, pilot = server
    _, answer = page.post("/drive", {"page": "a", "number": 0, "ticket": 0})
    ahead = {"page": "a", "number": 1, "ticket": json.loads(answer)["ticket"], "forward": 1}

    assert page.ask("GET", "/")[0] == 403
    assert page.ask("GET", "/?token=wrong")[0] == 403
    assert page.ask("POST", "/drive", json.dumps(ahead).encode())[0] == 403
    assert page.ask("POST", f"/drive?token={page.token}", json.dumps(ahead).encode())[0] == 403
    assert pilot.command().device == ""

    assert page.ask("GET", f"/?token={page.token}")[0] == 200
    status, answer = page.post("/drive", ahead)
    assert (status, json.loads(answer)["state"]) == (200, "driving")
    assert pilot.command() == Command(AHEAD, "page")
    page.post("/stop", {})
    assert pilot.command().device == ""


@pytest.mark.parametrize(
    "fields",
    [
        [],
        {},
        {"page": 1, "number": 1, "ticket": 1},
        {"page": "a", "number": "1", "ticket": 1},
        {"page": "a", "number": 1, "ticket": 1, "forward": "fast"},
        {"page": "a", "number": 1, "ticket": 1, "forward": None},
    ],
)
def test_nonsense_is_refused_and_does_not_drive(server: tuple[Page, Pilot], fields: Any):
    page, pilot = server

    status, answer = page.post("/drive", fields)

    assert status == 400, answer
    assert pilot.command().device == ""
    assert page.ask("POST", "/drive", b"x" * 2000, X_Teleop_Token=page.token)[0] == 413
    assert page.ask("POST", "/drive", b"[" * 900, X_Teleop_Token=page.token)[0] == 400
    huge = b'{"page": "a", "number": 1, "ticket": 1, "turn": 1%s}' % (b"0" * 400)
    assert page.ask("POST", "/drive", huge, X_Teleop_Token=page.token)[0] == 400
    assert page.post("/other", {})[0] == 404


def test_address_that_is_not_of_this_machine_is_refused(caplog: pytest.LogCaptureFixture):
    with pytest.raises(WebServerError, match=r"--host 203\.0\.113\.1 --port 8090: cannot serve"):
        DriveServer.open("203.0.113.1", 8090, DriverSeat(Pilot()))
    assert not caplog.text, "nobody can see it"


def test_address_that_others_can_open_is_warned_of(caplog: pytest.LogCaptureFixture):
    with closing(DriveServer.open("0.0.0.0", 0, DriverSeat(Pilot()))) as server:
        assert server.url.startswith("http://127.0.0.1:")
    assert caplog.messages == [
        "page: with its address, everybody in the network of 0.0.0.0 can drive"
    ]


def test_connections_that_ask_for_nothing_do_not_shut_the_page_out(
    monkeypatch: pytest.MonkeyPatch,
):
    # They are hung up on to let somebody in, and not when their time is over.
    monkeypatch.setattr(drive_server._Handler, "timeout", 100.0)
    with (
        closing(DriveServer.open("127.0.0.1", 0, DriverSeat(Pilot()))) as server,
        ExitStack() as stack,
    ):
        page = Page(server)
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", page.port)))

        assert page.ask("GET", f"/?token={page.token}")[0] == 200


def test_options_and_what_is_refused(capsys: pytest.CaptureFixture[str]):
    for words, expected in (
        (["--devices", "mouse"], "'mouse' is not some of gamepad, keyboard, page"),
        (["--axes", "1,2"], "'1,2' is not three numbers of axes"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parse_options(words, {})
        assert expected in capsys.readouterr().err
    home = parse_options(["--gamepad", "~/pad", "--terminal", "~/tty"], {})
    assert (home.gamepad, home.terminal) == (str(Path.home() / "pad"), str(Path.home() / "tty"))
    # What opens a port never comes from outside.
    outside = {"HOST": "0.0.0.0", "DORA_RT_TELEOP_HOST": "0.0.0.0", "DORA_RT_TELEOP_PORT": "1"}
    options = parse_options([], outside)
    assert (options.host, options.port) == ("127.0.0.1", 8090)


FLOW = """
    nodes:
      - id: teleop
        module: dora_rt.nodes.teleop
        args: ARGS
        outputs: [twist]
      - id: motor
        path: motor.py
        inputs: {twist: {source: teleop/twist, queue_size: 1000}}
"""
MOTOR = """
    from dora_rt import Node
    last = None
    for event in Node():
        speeds = [round(float(one), 3) + 0.0 for one in event.value]
        if speeds != last:
            last = speeds
            print("twist", *speeds, event.metadata["device"] or "nobody", flush=True)
"""


def test_flow_is_driven_by_keys_and_stops_when_they_are_let_go(
    flow: Flow, terminal: tuple[int, str]
):
    ours, path = terminal
    flow.write("flow.yml", FLOW.replace("ARGS", f"--devices keyboard --terminal {path}"))
    flow.write("motor.py", MOTOR)
    launcher = flow.start()
    assert launcher.stdout is not None
    lines = (line.partition("| ")[2].strip() for line in launcher.stdout if "| twist" in line)

    assert next(lines) == "twist 0.0 0.0 0.0 0.0 0.0 0.0 nobody"
    os.write(ours, b"w")
    assert next(lines) == "twist 0.25 0.0 0.0 0.0 0.0 0.0 keyboard"
    assert next(lines) == "twist 0.0 0.0 0.0 0.0 0.0 0.0 nobody"
    os.write(ours, b"\x1b[D")
    assert next(lines) == "twist 0.0 0.0 0.0 0.0 0.0 0.5 keyboard"
    os.write(ours, b" ")
    assert next(lines) == "twist 0.0 0.0 0.0 0.0 0.0 0.0 nobody"
    launcher.terminate()
    launcher.communicate(timeout=30)

    assert termios.tcgetattr(ours)[3] & termios.ECHO, "the terminal is as it was"


def test_keyboard_that_was_asked_for_and_is_not_there_is_told(
    flow: Flow, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    flow.write("flow.yml", FLOW.replace("ARGS", "--devices keyboard"))
    flow.write("motor.py", MOTOR)

    done = flow.run()

    assert done.exit_code == 1
    assert (
        "the node has no terminal; in the dataflow file write at it `stdin: terminal`" in done.out
    )


def test_keys_of_the_terminal_in_which_the_flow_was_started_drive_it(flow: Flow):
    text = FLOW.replace("ARGS", "--devices keyboard")
    flow.write(
        "flow.yml", text.replace("outputs: [twist]", "outputs: [twist]\n        stdin: terminal")
    )
    flow.write("motor.py", MOTOR)
    terminal = Terminal(*flow.command())
    try:
        before = terminal.modes
        eventually(lambda: terminal.shows("0.0 0.0 0.0 nobody"))

        terminal.type("s")

        eventually(lambda: terminal.shows("twist -0.25 0.0 0.0 0.0 0.0 0.0 keyboard"))
        terminal.type("\x03")
        terminal.exit_status()
        assert terminal.modes == before
    finally:
        terminal.close()
