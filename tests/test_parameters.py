"""Which values fit a parameter, and how they are written on a command line and in files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dora_rt.cli.param import write_parameters
from dora_rt.descriptor import parse_descriptor, read_parameter_file
from dora_rt.errors import ParameterRefusedError
from dora_rt.node_parameters import (
    MAX_VALUE_NBYTES,
    NodeParameters,
    Parameter,
    ParameterKind,
    same,
    show,
)
from dora_rt.plan.given_parameters import GivenParameter, give_parameters, read_setting
from dora_rt.plan.plan import Plan
from dora_rt.plan.planner import make_plan

SWITCH, WHOLE, NUMBER = ParameterKind.SWITCH, ParameterKind.WHOLE, ParameterKind.NUMBER
TEXT, LIST = ParameterKind.TEXT, ParameterKind.LIST
THRESHOLD = Parameter("threshold", NUMBER, 0.4, 0, 1)
MODE = Parameter("mode", TEXT, "fast", choices=("fast", "exact"))


@pytest.mark.parametrize(
    ("parameter", "value", "got"),
    [
        (THRESHOLD, 1, 1.0),
        (THRESHOLD, 0.25, 0.25),
        (Parameter("n", WHOLE), 3.0, 3),
        (Parameter("n", WHOLE, minimum=-2), -2, -2),
        (MODE, "exact", "exact"),
        (Parameter("on", SWITCH), False, False),
        (Parameter("l", LIST, items=NUMBER), [1, 2.5], [1.0, 2.5]),
        (Parameter("l", LIST, items=TEXT), [], []),
        (Parameter("l", LIST), [1, 2], [1, 2]),
        (Parameter("n", WHOLE, choices=(320, 640)), 640, 640),
    ],
)
def test_value_that_fits_comes_as_the_type_of_the_parameter(
    parameter: Parameter, value: Any, got: Any
):
    assert same(parameter.accept(value), got)


@pytest.mark.parametrize(
    ("parameter", "value", "why"),
    [
        (THRESHOLD, 1.5, "expected a number from 0 to 1, got 1.5"),
        (THRESHOLD, "0.5", 'expected a number, got "0.5"'),
        (THRESHOLD, True, "expected a number, got true"),
        (THRESHOLD, None, "expected true or false, a number, a text or a list of these, got null"),
        (THRESHOLD, float("nan"), "expected a finite number"),
        (THRESHOLD, 10**400, "the number is too large"),
        (Parameter("n", WHOLE), 0.5, "expected a whole number, got 0.5"),
        (Parameter("n", WHOLE, maximum=5), 6, "expected 5 or less, got 6"),
        (Parameter("n", WHOLE, minimum=5), 4, "expected 5 or more, got 4"),
        (Parameter("on", SWITCH), 1, "expected true or false, got 1"),
        (MODE, "exat", 'expected one of "fast", "exact", got "exat"; did you mean "exact"?'),
        (Parameter("l", LIST, items=TEXT), ["a", 1], "expected a text, got 1"),
        (Parameter("l", LIST, maximum=1, items=WHOLE), [0, 2], "expected 1 or less, got 2"),
        (Parameter("l", LIST), {"a": 1}, "got {"),
        (Parameter("t", TEXT), "\ud800", '"\\ud800" is no value of JSON'),
        (Parameter("t", TEXT), "x" * MAX_VALUE_NBYTES, "a value has at most 32 KiB as JSON"),
    ],
)
def test_value_that_does_not_fit_is_refused_with_what_was_expected(
    parameter: Parameter, value: Any, why: str
):
    with pytest.raises(ParameterRefusedError) as caught:
        parameter.accept(value)

    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "text", "got"),
    [
        (THRESHOLD, "1", 1.0),
        (THRESHOLD, "1e-3", 0.001),
        (MODE, "exact", "exact"),
        (MODE, '"exact"', "exact"),
        (Parameter("t", TEXT), "5", "5"),
        (Parameter("t", TEXT), "true", "true"),
        (Parameter("t", TEXT), "", ""),
        (Parameter("l", LIST, items=TEXT), '["a"]', ["a"]),
    ],
)
def test_text_of_a_command_line_is_read_by_the_type_of_the_parameter(
    parameter: Parameter, text: str, got: Any
):
    assert same(parameter.read(text), got)


def test_text_that_is_no_value_is_refused():
    for text in ("abc", "[1,", "NaN", "True"):
        with pytest.raises(ParameterRefusedError, match=r'^expected a number, got "'):
            THRESHOLD.read(text)
        with pytest.raises(ParameterRefusedError, match=r"^expected a value such as 0\.5, "):
            Parameter("l", LIST, items=TEXT).read(text)


def test_node_that_declares_none_takes_any_value_of_json():
    named = NodeParameters("old")

    for text, got in (("5", 5), ("fast", "fast"), ("null", None), ('{"a": [1]}', {"a": [1]})):
        assert same(named.read("any", text), got)
    for name in ("", "\ud800", "a b", "a=b", "a\n", "x" * 257):
        with pytest.raises(ParameterRefusedError, match="no name of a parameter"):
            named.accept(name, 1)


def test_node_that_declares_some_has_no_others():
    named = NodeParameters("detector", (THRESHOLD, MODE))

    with pytest.raises(ParameterRefusedError, match="did you mean 'threshold'"):
        named.accept("treshold", 0.5)
    with pytest.raises(ParameterRefusedError, match="it has: threshold, mode"):
        named.accept("zzz", 0.5)
    with pytest.raises(ParameterRefusedError, match="parameter 'mode' of node 'detector': expe"):
        named.read("mode", "5")


def plan() -> Plan:
    text = """
nodes:
  - {id: a, path: a.py, parameters: {x.y: 1}}
  - {id: a.x, path: a.py, parameters: {y: 2, z: 0.5}}
  - {id: old, path: a.py}
"""
    descriptor = parse_descriptor(text, "flow.yml")
    return make_plan(descriptor, folder=Path("/"), interpreter="python")


def initial(plan: Plan) -> dict[str, dict[str, Any]]:
    return {one.node: one.initial() for each in plan.processes for one in each.parameters}


def test_values_given_at_the_start_go_before_those_of_the_file_and_the_last_one_wins():
    found = plan()
    given = [GivenParameter("tuned.yml:1:1", "old", "any", [1])]
    settings = (read_setting(found, one) for one in ("a.x.y=7", "old.t=a=b", "old.t=c"))
    given += [one for one in settings if one is not None]

    assert initial(give_parameters(found, given)) == {
        # The longest name of a node that fits.
        "a": {"x.y": 1},
        "a.x": {"y": 7, "z": 0.5},
        "old": {"any": [1], "t": "c"},
    }


def test_setting_of_a_node_on_another_machine_is_left_to_that_machine():
    assert read_setting(plan(), "a.x.far.y=7", {"a.x.far", "b"}) is None
    assert read_setting(plan(), "b.anything=7", {"b"}) is None
    found = read_setting(plan(), "a.x.y=7", {"a.x.far"})
    assert found is not None
    assert (found.node, found.name, found.value) == ("a.x", "y", 7)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("a.x.y", "--set a.x.y: expected NODE.NAME=VALUE"),
        ("a=5", "--set a=5: expected NODE.NAME=VALUE"),
        ("b.x=5", "--set b.x=5: there is no node 'b'; "),
        ("a.x.w=5", "--set a.x.w=5: node 'a.x' has no parameter 'w'"),
        ("a.x.z=fast", "--set a.x.z=fast: parameter 'z' of node 'a.x': expected a number, got"),
    ],
)
def test_setting_that_does_not_fit_is_refused(setting: str, why: str):
    with pytest.raises(ParameterRefusedError) as caught:
        read_setting(plan(), setting)

    assert why in str(caught.value)


def test_values_are_shown_in_one_line_that_any_terminal_can_print():
    assert show("é") == '"é"'
    assert show("a\u202eb\n") == '"a\\u202eb\\n"'
    assert show("\ud800") == '"\\ud800"'
    assert len(show("x" * 1000)) == 60


PLAIN = st.one_of(
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3))
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True)


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    st.dictionaries(
        NAMES,
        st.dictionaries(
            NAMES, st.one_of(PLAIN, st.lists(PLAIN, max_size=3)), min_size=1, max_size=4
        ),
        min_size=1,
        max_size=2,
    )
)
def test_saved_values_are_read_as_they_were(values: dict[str, dict[str, Any]]):
    found = [
        {"node": node, "name": name, "value": value, "has_value": True}
        for node, named in values.items()
        for name, value in named.items()
    ]

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "saved.yml"
        file.write_text(write_parameters(found), encoding="utf-8")
        read: dict[str, dict[str, Any]] = {}
        for _, node, name, value in read_parameter_file(file):
            read.setdefault(node, {})[name] = value

    assert repr(read) == repr(values)
