"""Errors of the YAML parser in plain words."""

from __future__ import annotations

import yaml

_REFERENCE_STARTS = {"while scanning an alias": "'*'", "while scanning an anchor": "'&'"}
_FLOW_ENDS = {"expected ',' or ']'": "[", "expected ',' or '}'": "{"}


def explain_yaml_error(error: yaml.YAMLError, text: str) -> tuple[int, int, str, str]:
    """Return line, column, the error in words, and a hint (possibly empty)."""
    if isinstance(error, yaml.reader.ReaderError):
        return _explain_character(error, text)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return 1, 1, f"not valid YAML: {error}", ""
    line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
    what, hint = _explain_parser_error(error, text)
    if error.problem == "found unexpected end of stream" and error.context_mark:
        # The parser noticed at the end of the file; the mistake is where it began.
        line, column = error.context_mark.line + 1, error.context_mark.column + 1
    return line, column, what, hint


def _explain_character(error: yaml.reader.ReaderError, text: str) -> tuple[int, int, str, str]:
    position = error.position
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    code = ord(text[position])
    name = "NUL" if code == 0 else f"control character U+{code:04X}"
    return line, column, f"the file contains a {name}", "is it a text file?"


def _explain_parser_error(error: yaml.MarkedYAMLError, text: str) -> tuple[str, str]:
    problem = error.problem or "unknown problem"
    begins = f"line {error.context_mark.line + 1}" if error.context_mark else "an earlier line"
    if error.problem_mark and _has_tab_indentation(text, error.problem_mark.line):
        return "tabs are not allowed for indentation", "use spaces"
    if problem.startswith("expected <block end>"):
        if error.problem_mark and not _begins_line(text, error.problem_mark):
            return "unexpected text", "if it belongs to the value, put the whole value in quotes"
        return (
            "this line does not fit the indentation of the lines above it",
            f"compare it with the block that begins at {begins}",
        )
    for start, bracket in _FLOW_ENDS.items():
        if problem.startswith(start):
            return start, f"the '{bracket}' of {begins} is not closed"
    if problem == "mapping values are not allowed here":
        return (
            "a ':' is not allowed here",
            "check the indentation and the line above, or put the whole value in quotes",
        )
    if problem == "could not find expected ':'":
        return "expected ':' after the key", f"see {begins}"
    if problem == "found unexpected end of stream":
        return "the quote that opens here is never closed", ""
    if problem.endswith("that cannot start any token"):
        if "\\t" in problem:
            return "a tab is not allowed here", "use spaces"
        return f"a value cannot begin with {problem.split()[2]}", "put it in quotes"
    if error.context in _REFERENCE_STARTS:
        return f"a value cannot begin with {_REFERENCE_STARTS[error.context]}", "put it in quotes"
    if problem.startswith("expected the node content"):
        return "a value is missing here", "is a '[' or '{' before it not closed?"
    if problem.startswith("found unknown escape character"):
        what = problem.removeprefix("found ")
        return what, "in single quotes a backslash stands for itself"
    context = f"{error.context}: " if error.context else ""
    return f"not valid YAML: {context}{problem}", ""


def _has_tab_indentation(text: str, index: int) -> bool:
    line = _line(text, index)
    return "\t" in line[: len(line) - len(line.lstrip())]


def _begins_line(text: str, mark: yaml.error.Mark) -> bool:
    return not _line(text, mark.line)[: mark.column].strip(" -")


def _line(text: str, index: int) -> str:
    lines = text.splitlines()
    return lines[index] if index < len(lines) else ""
