from __future__ import annotations

import time
from collections.abc import Callable

import pytest

Refusal = Callable[[str], list[str]]

HALF_A_MEBIBYTE = 512 * 1024
BILLION_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: file is empty: expected a mapping with 'nodes:'"),
        ("# nothing yet\n", "1:1: file is empty: expected a mapping with 'nodes:'"),
        ("---\n", "1:1: file is empty: expected a mapping with 'nodes:'"),
        ("- id: a\n", "1:1: expected a mapping with 'nodes:', got a list"),
        ("webcam", "1:1: expected a mapping with 'nodes:', got string 'webcam'"),
        ("42", "1:1: expected a mapping with 'nodes:', got integer '42'"),
    ],
)
def test_file_that_is_not_a_mapping(refusal: Refusal, text: str, message: str) -> None:
    assert refusal(text) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes:\n\t- id: a\n", "2:1: tabs are not allowed for indentation; use spaces"),
        (
            "nodes:\n  - id: a\n\tpath: x\n",
            "3:1: tabs are not allowed for indentation; use spaces",
        ),
        ("nodes:\n-\tx\n", "2:2: a tab is not allowed here; use spaces"),
        (
            "nodes:\n- id: a\n  outputs: [x\n  path: a.py\n",
            "4:7: expected ',' or ']'; the '[' of line 3 is not closed",
        ),
        ("nodes: [1,\n", "2:1: a value is missing here; is a '[' or '{' before it not closed?"),
        ("nodes:\n- id: 'a\n  path: b\n", "2:7: the quote that opens here is never closed"),
        (
            "nodes:\n  - id: a\n   path: b\n",
            "3:4: this line does not fit the indentation of the lines above it; "
            "compare it with the block that begins at line 2",
        ),
        (
            "nodes: a: b\n",
            "1:9: a ':' is not allowed here; "
            "check the indentation and the line above, or put the whole value in quotes",
        ),
        (
            "nodes: 'a' b\n",
            "1:12: unexpected text; if it belongs to the value, put the whole value in quotes",
        ),
        ("nodes: @a\n", "1:8: a value cannot begin with '@'; put it in quotes"),
        ("nodes: *.py\n", "1:9: a value cannot begin with '*'; put it in quotes"),
        (
            'nodes: "\\q"\n',
            "1:10: unknown escape character 'q'; in single quotes a backslash stands for itself",
        ),
        ("nodes: \0", "1:8: the file contains a NUL; is it a text file?"),
        ("a: 1\nb: \x1b[0m", "2:4: the file contains a control character U+001B; "
         "is it a text file?"),
        ("a: \ud800", "1:4: the file contains a control character U+D800; is it a text file?"),
    ],
)  # fmt: skip
def test_text_that_is_not_yaml_is_one_problem_in_plain_words(
    refusal: Refusal, text: str, message: str
) -> None:
    assert refusal(text) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nodes: []\n---\nnodes: []\n",
            "2:1: exactly one document expected, but a second one starts here; "
            "remove the '---', or move what follows into a file of its own",
        ),
        (
            "nodes: &a [*a]\n",
            "1:12: recursive alias '*a': it stands inside the value that it names",
        ),
        ("nodes: *a\n", "1:8: alias '*a' refers to an anchor that does not exist"),
        (
            "nodes:\n- id: a\n  <<: {path: x.py}\n",
            "3:3: merge keys ('<<') are not supported; write the keys out",
        ),
        ("nodes: " + "[" * 51, "1:57: file too complex: nested deeper than 50 levels"),
        ("nodes: " + "[" * 100_000, "1:57: file too complex: nested deeper than 50 levels"),
        (
            "a: &a 1\nnodes: [" + "*a," * 1001 + "]",
            "2:3009: file too complex: more than 1000 aliases",
        ),
        ("nodes: [" + "1," * 20_001 + "]", "1:8: file too complex: more than 20000 values, "
         "aliases written out"),
        ("# " + "é" * HALF_A_MEBIBYTE, "1:1: file too complex: larger than 1024 KiB"),
    ],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_what_would_be_ambiguous_or_endless_is_refused(
    refusal: Refusal, text: str, message: str
) -> None:
    assert refusal(text) == [message]


def test_billion_laughs_are_refused_before_anybody_counts_them(refusal: Refusal) -> None:
    started_s = time.monotonic()

    messages = refusal(BILLION_LAUGHS)

    assert messages == ["5:4: file too complex: more than 20000 values, aliases written out"]
    assert time.monotonic() - started_s < 1


def test_aliases_within_the_limits_of_text_but_not_of_nodes_are_refused(refusal: Refusal) -> None:
    # Three levels of 300 aliases are 900 aliases and 27 million inputs.
    sources = ", ".join(f"i{number}: *source" for number in range(300))
    text = (
        "x: &source a/b\n"
        f"y: &operator {{inputs: {{{sources}}}}}\n"
        f"z: &node {{operators: [{', '.join(['*operator'] * 300)}]}}\n"
        f"nodes: [{', '.join(['*node'] * 300)}]\n"
    )

    messages = refusal(text)

    assert messages == ["3:22: file too complex: more than 20000 values, aliases written out"]


def test_duplicate_key_names_the_line_of_the_first(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - id: a
            path: a.py
            outputs: [x]
            outputs: [y]
        """
    )

    assert messages == ["5:5: duplicate key 'outputs' (first at line 4)"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("!!python/object/apply:os.system [ls]", "'!!python/object/apply:os.system'"),
        ("!!str 3", "'!!str'"),
        ("!env HOME", "'!env'"),
        ("! x", "'!'"),
    ],
)
def test_yaml_tags_are_refused_and_never_built(refusal: Refusal, value: str, shown: str) -> None:
    messages = refusal(f"nodes: [{{id: a, path: {value}}}]")

    assert messages[0] == f"1:23: YAML tags are not allowed, got {shown}; remove it"


def test_key_that_is_not_a_word(refusal: Refusal) -> None:
    messages = refusal("nodes: [{id: a, path: a.py}]\n? [x]\n: y\n")

    assert messages == ["2:3: a key must be a word, got a list"]
