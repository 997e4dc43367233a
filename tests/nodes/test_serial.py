"""The serial node, with a pty as the port: lines that are cut, garbled, unplugged."""

from __future__ import annotations

import json
import logging
import os
import pty
import sys
import threading
import tty
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.serial import parse_options
from dora_rt.nodes.serial.connection import Connection
from dora_rt.nodes.serial.device_lines import CommandError, DeviceLine, make_command
from dora_rt.nodes.serial.line_buffer import LineBuffer
from dora_rt.nodes.serial.loop import LineSender
from dora_rt.nodes.serial.serial_port import PortError, PortSettings, SerialPort
from hypothesis import given, settings
from hypothesis import strategies as st

from dora_rt.errors import ExtraMissingError
from dora_rt.testing import FakeNode
from tests.harness.flow import Flow
from tests.harness.waiting import eventually


class Board:
    """A device with a pty as its plug: `port` is the path that the user knows."""

    def __init__(self, port: Path) -> None:
        self.port = port
        self._ends: tuple[int, int] | None = None

    def plug_in(self) -> None:
        self._ends = ours, theirs = pty.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self.port.symlink_to(os.ttyname(theirs))

    def unplug(self) -> None:
        assert self._ends is not None
        self.port.unlink()
        for end in self._ends:
            os.close(end)
        self._ends = None

    def send(self, text: bytes) -> None:
        assert self._ends is not None
        os.write(self._ends[0], text)

    def received(self) -> bytes:
        assert self._ends is not None
        try:
            return os.read(self._ends[0], 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        if self._ends is not None:
            self.unplug()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path / "port")
    board.plug_in()
    yield board
    board.close()


class Reading:
    """A connection whose lines are kept."""

    def __init__(self, port: Path, max_line_nbytes: int = 100) -> None:
        pytest.importorskip("serial", reason="the extra [serial] is not installed")
        opens = partial(SerialPort.open, PortSettings(str(port), 115200))
        self.buffer = LineBuffer(max_line_nbytes)
        self.connection = Connection(opens, self.buffer)
        self.lines: list[str] = []
        self._thread = threading.Thread(
            target=self.connection.read_lines, args=[lambda text, _: self.lines.append(text)]
        )

    def __enter__(self) -> Reading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._thread.join()


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)), st.data())
def test_lines_are_the_same_however_their_bytes_come(lines: list[str], data: st.DataObject):
    whole = "".join(line + data.draw(st.sampled_from(["\n", "\r\n", "\r"])) for line in lines)
    rest = whole.encode()
    buffer = LineBuffer(1000)
    found: list[str] = []

    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += buffer.feed(rest[:size])
        rest = rest[size:]

    assert found == lines


def test_line_that_is_too_long_is_left_out_and_takes_no_memory():
    buffer = LineBuffer(16)

    found = buffer.feed(b"short\n")
    for _ in range(1000):
        found += buffer.feed(b"x" * 1000)
    found += buffer.feed(b"the end of it\nand on\n")

    assert found == ["short", "and on"]
    assert buffer.overlong == 1


def test_bytes_that_are_no_text_are_counted_but_not_the_half_line_at_the_start():
    buffer = LineBuffer(100)

    found = buffer.feed(b"\xf3\x00\x81half\nfirst\n\xff\xfe\x00\ntwo\x01\nlast\n")

    assert found == ["first", "last"]
    assert buffer.garbled == 2
    buffer.restart()
    assert buffer.feed(b"\xffcut\nagain\n") == ["again"]
    assert buffer.garbled == 2


@pytest.mark.parametrize(
    ("line", "output", "expected"),
    [
        ("hello", "line", b"hello"),
        ("hello", "values", None),
        ("0.5, -1;2e3\t4", "values", [0.5, -1, 2000, 4]),
        ("[[1, 2], [3, 4]]", "values", [[1, 2], [3, 4]]),
        ("[1, [2]]", "values", None),
        ('{"a": [1, 2], "b": 0.5}', "a", [1, 2]),
        ('{"a": [1, 2], "b": 0.5}', "b", [0.5]),
        ('{"a": [1, 2], "b": true}', "b", [1]),
        ('{"name": "left", "n": null}', "name", b"left"),
        ('{"name": "left", "n": null}', "n", None),
        ('{"at": {"x": 1}}', "at", b'{"x":1}'),
        ('{"at": {"x": 1}}', "json", b'{"at":{"x":1}}'),
        ('{"cut": [1, ', "json", None),
        ('{"cut": [1, ', "line", b'{"cut": [1, '),
        ("x:0.5, y:-1.25 Temp = 21.5 C", "y", [-1.25]),
        ("x:0.5, y:-1.25 Temp = 21.5 C", "Temp", [21.5]),
        ("at 12:30 all is well", "x", None),
        ("a:b:1 é.x_1-2 := 3", "b", [1]),
        ("a b : -2, 9x=+.5e1", "x", [5]),
        ("a b : -2, 9x=+.5e1", "b", [-2]),
        ("a" * 65_000, "x", None),
        ("a." * 32_000 + ": 1", "x", None),
        (":" + " " * 65_000, "x", None),
        ('{"a": "\\ud800"}', "json", b'{"a":"?"}'),
        ("[" * 5000, "json", None),
        ("[" + "9" * 5000 + "]", "values", None),
    ],
)
def test_line_gives_each_output_what_it_has_for_it(
    line: str, output: str, expected: bytes | list[float] | None
):
    found = DeviceLine(line).for_output(output)

    if isinstance(expected, list):
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (b"go", "json", b"go\n"),
        (b"go\n", "json", b"go\n"),
        (b"\x01\x02", "raw", b"\x01\x02"),
        (np.array([0.5, 0]), "json", b'{"twist":[0.5,0.0]}\n'),
        (np.array([0.5, np.nan, np.inf]), "json", b'{"twist":[0.5,null,null]}\n'),
        (np.array([[0.5, 1e-7]], np.float32), "csv", b"0.5,1.00000001e-07\n"),
        (np.array([1, 2], np.uint8), "raw", b"\x01\x02"),
    ],
)
def test_sample_is_written_as_the_device_reads_it(value: object, form: str, expected: bytes):
    assert make_command("twist", value, form) == expected


def test_texts_of_arrow_are_lines_and_other_values_are_refused():
    arrow = pytest.importorskip("pyarrow")

    assert make_command("text", arrow.array(["on", "off"]), "json") == b"on\noff\n"
    with pytest.raises(CommandError, match="input 'text' carries struct<a: int64>; expected"):
        make_command("text", arrow.array([{"a": 1}]), "json")
    with pytest.raises(CommandError, match="expected bytes, or an array of numbers"):
        make_command("text", np.array([1j]), "csv")


def test_device_that_is_unplugged_is_waited_for_and_its_half_line_forgotten(
    board: Board, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    with Reading(board.port) as reading:
        eventually(lambda: reading.connection.opened == 1)
        board.send(b"one\ntw")
        eventually(lambda: reading.lines == ["one"])

        board.unplug()
        eventually(lambda: "waiting for it to come back" in caplog.text)
        eventually(lambda: "there is no such device" in caplog.text)
        reading.connection.write(b"lost\n")
        board.plug_in()
        eventually(lambda: reading.connection.opened == 2)
        board.send(b"three\n")
        eventually(lambda: reading.lines == ["one", "three"])
        reading.connection.write(b"heard\n")
        heard = b""
        while not heard:
            heard = board.received()

    assert heard == b"heard\n"
    assert reading.connection.summary() == "1 commands were not written"
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        f"{board.port}: open",
        f"{board.port}: the device is gone; waiting for it to come back",
        f"{board.port}: there is no such device; trying again until it is there",
        f"{board.port}: is back",
    ]


def test_wrong_speed_and_lines_without_an_end_are_told_once(
    board: Board, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    with Reading(board.port) as reading:
        eventually(lambda: reading.connection.opened == 1)
        board.send(b"\xf8\x9c\xe0\n" * 40)
        eventually(lambda: reading.buffer.garbled == 39)
        board.send(b"x" * 200 + b"\n" + b"good\n")
        eventually(lambda: reading.lines == ["good"])

    assert caplog.text.count("the last 10 lines are no text; is --baud the speed") == 1
    assert reading.connection.summary() == "39 lines were no text, 1 lines were too long"


def test_device_that_takes_nothing_does_not_hold_up_the_flow(
    board: Board, caplog: pytest.LogCaptureFixture
):
    with Reading(board.port) as reading:
        eventually(lambda: reading.connection.opened == 1)
        # More than a pty has room for.
        reading.connection.write(b"x" * 100_000)
        reading.connection.write(b"x" * 100_000)

    assert caplog.text.count("takes nothing since a second; what comes meanwhile is left out") == 1
    assert reading.connection.unwritten == 2


def test_command_that_the_device_took_a_part_of_does_not_spoil_the_next_one(board: Board):
    taken = bytearray()

    def has_taken(end: bytes) -> bool:
        taken.extend(board.received())
        return taken.endswith(end)

    with Reading(board.port) as reading:
        eventually(lambda: reading.connection.opened == 1)
        # More than a pty has room for, so a part of it stays there.
        reading.connection.write(b"x" * 100_000 + b"\n")
        eventually(lambda: has_taken(b"x"))

        reading.connection.write(b"stop\n")

        eventually(lambda: has_taken(b"x\nstop\n"))
        reading.connection.write(b"go\n")
        eventually(lambda: has_taken(b"x\nstop\ngo\n"))


def test_port_that_another_program_has_is_refused_with_the_reason(board: Board):
    pytest.importorskip("serial", reason="the extra [serial] is not installed")
    settings = PortSettings(str(board.port), 9600)
    first = SerialPort.open(settings)

    with pytest.raises(PortError, match="another program has it open"):
        SerialPort.open(settings)

    first.close()
    first.close()
    SerialPort.open(settings).close()


def test_file_that_is_no_port_is_refused(tmp_path: Path):
    pytest.importorskip("serial", reason="the extra [serial] is not installed")
    (tmp_path / "file").write_text("")

    with pytest.raises(PortError, match="file: "):
        SerialPort.open(PortSettings(str(tmp_path / "file"), 9600))
    with pytest.raises(PortError, match="nonsense://x: "):
        SerialPort.open(PortSettings("nonsense://x", 9600))


def test_output_that_never_gets_anything_is_told_with_the_fields_there_are(
    caplog: pytest.LogCaptureFixture,
):
    node = FakeNode(output_ids=("accel", "gyro"))
    sender = LineSender(node)

    for number in range(60):
        sender.send('{"accel": [1], "gyr0": [2]}', number)

    assert [sent.output_id for sent in node.sent] == ["accel"] * 60
    assert node.sent[7].captured_ns == 7
    assert node.sent[7].metadata == {"line": 7}
    (record,) = caplog.records
    assert "nothing for output 'gyro' in 50 lines; fields in them: accel, gyr0" in record.message


def test_without_pyserial_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "serial", None)

    with pytest.raises(ExtraMissingError, match=r"pip install 'dora_rt\[serial\]'"):
        SerialPort.open(PortSettings("/dev/null", 9600))


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]):
    for words, expected in (
        (["--baud", "fast"], "'fast' is not a whole number from 50"),
        (["--write", "xml"], "'xml' is not one of json, csv, raw"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parse_options(words, {})
        assert expected in capsys.readouterr().err


def test_flow_reads_numbers_from_a_device_and_writes_what_it_computes(flow: Flow, board: Board):
    pytest.importorskip("serial", reason="the extra [serial] is not installed")
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: device
            module: dora_rt.nodes.serial
            args: --port {board.port}
            inputs: {{sum: adder/sum}}
            outputs: [accel, line]
          - id: adder
            path: adder.py
            inputs: {{accel: device/accel}}
            outputs: [sum]
        """,
    )
    flow.write(
        "adder.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("sum", np.array([event.value.sum()]))
        """,
    )
    launcher = flow.start()
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if "port: open" in line:
            break
    answers = b""

    def ask(number: int) -> bytes:
        nonlocal answers
        board.send(b'{"accel": [%d, 1, 0.5]}\n' % number)
        eventually(lambda: has_answer())
        *lines, answers = answers.split(b"\n")
        return lines[-1]

    def has_answer() -> bool:
        nonlocal answers
        answers += board.received()
        return b"\n" in answers

    first = ask(1)
    board.unplug()
    for line in launcher.stdout:
        if "waiting for it to come back" in line:
            break
    board.plug_in()
    for line in launcher.stdout:
        if "port: is back" in line:
            break
    second = ask(2)
    launcher.terminate()
    out, err = launcher.communicate(timeout=30)

    assert json.loads(first) == {"sum": [2.5]}
    assert json.loads(second) == {"sum": [3.5]}
    assert launcher.returncode in (0, 143), out + err
    assert "2 lines read" in out


def test_flow_reads_a_device_that_nothing_is_written_to_until_it_is_stopped(
    flow: Flow, board: Board
):
    pytest.importorskip("serial", reason="the extra [serial] is not installed")
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: device
            module: dora_rt.nodes.serial
            args: --port {board.port}
            outputs: [line]
          - {{id: printer, path: printer.py, inputs: {{line: device/line}}}}
        """,
    )
    flow.write(
        "printer.py",
        """
        from dora_rt import Node
        for event in Node():
            print("got", event.value.decode(), flush=True)
        """,
    )
    launcher = flow.start()
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if "port: open" in line:
            break

    board.send(b"hello\n")

    assert any("got hello" in line for line in launcher.stdout)
    launcher.terminate()
    out, _ = launcher.communicate(timeout=30)
    assert "1 lines read" in out


EXAMPLE = Path(__file__).parents[2] / "examples" / "serial_imu"


def test_example_turns_what_an_imu_sends_into_angles_and_switches_its_led(flow: Flow):
    pytest.importorskip("serial", reason="the extra [serial] is not installed")
    for name in ("dataflow.yml", "board.py", "attitude.py"):
        (flow.folder / name).write_text((EXAMPLE / name).read_text())
    (flow.folder / "dataflow.yml").rename(flow.folder / "flow.yml")

    done = flow.run("--stop-after", "3s")

    assert done.exit_code == 0, done.out + done.err
    # The board rolls by 30 degrees, and is above 20 from 0.46 s to 1.54 s.
    assert "roll 20 degrees, pitch 0" in done.lines("attitude")
    assert 'told: {"led":[1]}' in done.lines("board")
    sent = done.edge("imu/accel", "attitude/accel")
    assert sent.sent > 150
    assert sent.dropped == 0
