"""The table of docs/reliability.md: it has every fault, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/reliability.md").read_text()
SECTION = PAGE[PAGE.index("\n## Which fault") :]


def rows() -> list[list[str]]:
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in SECTION.splitlines()
        if line.startswith("| ")
    ]
    return [row for row in cells if row[1] != "fault"]


def numbers(text: str) -> set[int]:
    """Give the numbers of faults such as `F05-F09` or `F10, F11`."""
    found = set()
    for first, last in re.findall(r"F(\d\d)(?:-F(\d\d))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_every_fault_is_in_the_table_or_does_not_apply():
    tested = set().union(*(numbers(row[0]) for row in rows()))
    inapplicable = numbers(SECTION[SECTION.index("\nNot here: ") :])

    assert tested | inapplicable == set(range(1, 51))
    assert not tested & inapplicable


def test_every_row_names_tests_that_exist():
    for number, fault, outcome, tests in rows():
        named = re.findall(r"`([\w/*]+)(?:::(\w+))?`", tests)
        assert fault, number
        assert outcome, number
        assert named, fault
        text = ""
        for file, name in named:
            if file.startswith("test_") and not name and not files(file):
                name = file  # another one of the file before
            else:
                assert files(file), f"{fault}: there is no {file}"
                text = "".join(path.read_text() for path in files(file))
            assert not name or f"\ndef {name}(" in text, f"{fault}: there is no {name}"


def files(named: str) -> list[Path]:
    folder = TESTS if "/" in named else TESTS / "fault"
    return list(folder.glob(f"{named}.py"))
