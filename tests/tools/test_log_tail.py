"""What another machine reads of a log while its launcher writes on and rotates it."""

from __future__ import annotations

from pathlib import Path

from dora_rt.launcher.node_output.log_files import RotatingFile
from dora_rt.launcher.node_output.log_tail import PIECE_NBYTES, read_on, read_tail


def numbered(begin: int, end: int) -> list[str]:
    return [f"line {number:06}" for number in range(begin, end)]


def write(log: RotatingFile, lines: list[str]) -> None:
    for line in lines:
        log.append(f"{line}\n".encode())


def test_log_that_is_not_there_yet_is_read_from_its_beginning_later(tmp_path: Path):
    path = tmp_path / "node.log"

    lines, position = read_tail(path, 10)
    path.write_text("first\n")

    assert (lines, position) == ([], None)
    assert read_on(path, position)[0] == ["first"]


def test_tail_has_the_last_lines_and_no_half_one(tmp_path: Path):
    path = tmp_path / "node.log"
    path.write_text("one\ntwo\nthree\nfou")

    lines, position = read_tail(path, 2)
    with path.open("a") as file:
        file.write("r\nfive\n")

    assert lines == ["two", "three"]
    assert read_on(path, position)[0] == ["four", "five"]


def test_tail_goes_back_into_files_that_were_put_aside(tmp_path: Path):
    log = RotatingFile(tmp_path / "node.log", nbytes=120)
    write(log, numbered(0, 25))

    lines, _ = read_tail(log.path, 15)

    assert lines == numbered(10, 25)


def test_tail_is_one_piece_at_most(tmp_path: Path):
    path = tmp_path / "node.log"
    lines = numbered(0, 2 * PIECE_NBYTES // 12)
    path.write_text("".join(f"{line}\n" for line in lines))

    tail, _ = read_tail(path, 10**9)

    assert PIECE_NBYTES - 24 < 12 * len(tail) <= PIECE_NBYTES
    assert tail == lines[-len(tail) :]


def test_each_line_is_read_once_while_the_log_rotates(tmp_path: Path):
    log = RotatingFile(tmp_path / "node.log", nbytes=120)
    write(log, numbered(0, 3))
    seen, position = read_tail(log.path, 100)

    for begin in range(3, 60, 7):
        write(log, numbered(begin, begin + 7))
        while (found := read_on(log.path, position))[0]:
            seen += found[0]
            position = found[1]

    assert seen == numbered(0, 66)
    assert (tmp_path / "node.log.2").exists(), "it has rotated"


def test_what_was_put_away_meanwhile_is_left_out(tmp_path: Path):
    log = RotatingFile(tmp_path / "node.log", nbytes=120)
    write(log, numbered(0, 5))
    _, position = read_tail(log.path, 100)
    write(log, numbered(5, 100))

    lines, _ = read_on(log.path, position)

    assert lines[0] > "line 000060"
