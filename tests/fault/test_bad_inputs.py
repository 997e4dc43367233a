"""Every bad input of the project's list, 1 to 58, is a test of the exact message.

The tests are in the modules beside this one, `test_bad_inputs_*.py`; the number is the first word
of each test's id. These do not apply:

    30: not a problem of the file but of the computer: test_memory.py.
    35: no key of the file names a log or a recording; what the command line or the arguments of
        a node name as such is the user's own.
    38: no key of the file chooses an interpreter. A `path:` to one is a program like any other
        (34); whether dora_rt is installed in it is for `dora-rt doctor`.
    44: where there is no POSIX shared memory, posix_ipc cannot be installed, and nothing starts;
        a warning to root would be a line in every container that nobody can do anything about.
    45: run directories, their owners and their locks: the tests of faults F31 to F33 and F39, F40.
    49: no slot is too small: pools grow. Without room in /dev/shm it is test_memory.py.
"""

from __future__ import annotations

import re

from tests.fault import (
    test_bad_inputs_api,
    test_bad_inputs_command,
    test_bad_inputs_graph,
    test_bad_inputs_programs,
    test_bad_inputs_runs,
    test_bad_inputs_yaml,
)

ITEMS = range(1, 59)
MODULES = (
    test_bad_inputs_yaml,
    test_bad_inputs_graph,
    test_bad_inputs_programs,
    test_bad_inputs_command,
    test_bad_inputs_runs,
    test_bad_inputs_api,
)


def items_with_tests() -> set[int]:
    ids = [
        case.id
        for module in MODULES
        for name, function in vars(module).items()
        if name.startswith("test_")
        for mark in getattr(function, "pytestmark", [])
        if mark.name == "parametrize"
        for case in mark.args[1]
    ]
    assert all(re.match(r"\d+ ", each) for each in ids), "each id begins with its number"
    return {int(each.split()[0]) for each in ids}


def test_every_bad_input_is_tested_or_does_not_apply():
    inapplicable = {int(item) for item in re.findall(r"^    (\d+): ", __doc__ or "", re.M)}

    assert inapplicable | items_with_tests() == set(ITEMS)
    assert not inapplicable & items_with_tests()
