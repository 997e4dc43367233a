"""What `dora-rt top` shows in a terminal of a given size, and its keys."""

from __future__ import annotations

import contextlib
import os
import pty
import struct
import subprocess
import termios
from fcntl import ioctl

import pytest

from dora_rt.cli.top_screen import Table, View, draw, read_keys
from tests.harness.flow import Flow
from tests.harness.verbs import COMMAND, statuses
from tests.harness.waiting import eventually

EDGE_TITLES = ("edge", "Hz", "bandwidth", "queue", "dropped", "p50", "p99", "age p50", "age p99")


def nodes(number: int) -> Table:
    return Table(
        "nodes",
        ("node", "state", "CPU"),
        [(f"node{index}", "failed" if index == 1 else "running", "1 %") for index in range(number)],
        numbers=(2,),
        orders={"CPU": list(range(number))},
        alarms=frozenset({1}),
    )


def edges(number: int) -> Table:
    numbers = ("30.0", "26.4 MiB/s", "0/10", "0", "164 us", "3.4 ms", "12.5 ms", "31.5 ms")
    return Table(
        "edges",
        EDGE_TITLES,
        [(f"webcam/image{index} -> object_detection/image", *numbers) for index in range(number)],
        numbers=range(1, 9),
        spare=(2, 5, 7, 3),
    )


def shown(*tables: Table, view: View | None = None, columns: int = 80, rows: int = 24) -> list[str]:
    lines = draw("run 9c08", tables, view or View(), columns, rows, has_colours=False)
    assert len(lines) <= rows
    assert max(map(len, lines)) <= columns
    return lines


def test_narrow_terminal_leaves_columns_out_and_names_them():
    *lines, footer = shown(nodes(2), edges(2))

    (titles,) = [line for line in lines if line.startswith("edge")]
    assert titles.split() == ["edge", "Hz", "queue", "dropped", "p99", "age", "p99"]
    assert footer.endswith("hidden: bandwidth, p50, age p50")
    assert "webcam/image0 -> object_detection/image" in "\n".join(lines)


def test_wide_terminal_has_all_columns():
    *lines, footer = shown(nodes(2), edges(2), columns=140)

    assert "bandwidth" in "\n".join(lines)
    assert footer == "q quit  s sort"


def test_name_that_does_not_fit_is_cut_in_its_middle():
    lines = shown(edges(1), columns=50)

    assert lines[2].startswith("webcam/im…on/image ")
    assert lines[2].endswith("31.5 ms")


def test_many_nodes_leave_room_for_edges_and_the_last_line_says_what_is_hidden():
    lines = shown(nodes(30), edges(40))

    assert sum("running" in line or "failed" in line for line in lines) >= 9
    assert sum("object_detection" in line for line in lines) >= 9
    assert "*nodes 1-9/30  edges 1-10/40" in lines[-1]


def test_few_nodes_leave_their_room_to_the_edges():
    lines = shown(nodes(3), edges(40))

    assert sum("object_detection" in line for line in lines) == 16


def test_keys_scroll_the_table_that_tab_has_chosen():
    view, tables = View(), (nodes(30), edges(40))
    shown(*tables, view=view)

    for key in read_keys("\x1b[B\x1b[B\t\x1b[6~"):
        view.press(key, tables)
    lines = shown(*tables, view=view)

    assert "node2 " in lines[2]
    assert "nodes 3-11/30  *edges 10-19/40" in lines[-1]
    view.press("end", tables)
    assert "edges 31-40/40" in shown(*tables, view=view)[-1]
    view.press("home", tables)
    assert "edges 1-10/40" in shown(*tables, view=view)[-1]


def test_sort_puts_the_largest_first_and_ends_where_it_began():
    view, tables = View(), (nodes(3),)

    view.press("sort", tables)
    lines = shown(*tables, view=view)

    assert [line.split()[0] for line in lines[2:5]] == ["node2", "node1", "node0"]
    assert "s sort: CPU" in lines[-1]
    view.press("sort", tables)
    assert shown(*tables, view=view)[2].startswith("node0")


def test_failed_node_is_red_wherever_it_stands():
    view = View(order={"nodes": "CPU"})

    lines = draw("run", (nodes(3),), view, 80, 24, has_colours=True)

    (red,) = [line for line in lines if line.startswith("\x1b[31m")]
    assert red.startswith("\x1b[31mnode1 ")


@pytest.mark.parametrize("rows", range(1, 12))
def test_low_terminal_gets_no_more_lines_than_it_has(rows: int):
    shown(nodes(30), edges(40), rows=rows)


def test_unknown_keys_do_nothing():
    assert list(read_keys("x\x1b[Zé\x1bs")) == ["sort"]


@pytest.mark.programs
def test_q_ends_it_and_gives_the_terminal_back(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: only, path: only.py, inputs: {t: dora/timer/hz/5}}]")
    flow.write("only.py", "from dora_rt import Node\nfor event in Node(): pass")
    flow.start()
    eventually(lambda: bool(statuses()))
    controller, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(terminal)
    top = subprocess.Popen(
        [*COMMAND, "top", "-i", "0.1"], stdin=terminal, stdout=terminal, stderr=terminal
    )
    seen = bytearray()

    def has_seen(text: bytes) -> bool:
        with contextlib.suppress(BlockingIOError):
            seen.extend(os.read(controller, 65536))
        return text in seen

    os.set_blocking(controller, False)
    eventually(lambda: has_seen(b"q quit"))
    eventually(lambda: has_seen(b"only "))
    os.write(controller, b"q")

    assert top.wait(timeout=30) == 0
    eventually(lambda: has_seen(b"\x1b[?1049l"))
    assert seen.startswith(b"\x1b[?1049h")
    assert termios.tcgetattr(terminal) == before
    os.close(terminal)
    os.close(controller)
