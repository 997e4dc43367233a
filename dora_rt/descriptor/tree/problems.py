"""Collect everything that is wrong with a dataflow file, so that one run shows all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from dora_rt.descriptor.tree.model import Place
from dora_rt.errors import DescriptorError
from dora_rt.redaction import message_without_secrets
from dora_rt.spelling import closest

_MAX_QUOTED = 100
_MAX_LISTED = 12


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and a way out; `place` is None if the file cannot be read at all."""

    place: Place | None
    what: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.what}; {self.hint}" if self.hint else self.what
        if "://" in text:
            # It quotes what the user wrote, and goes to logs.
            text = message_without_secrets(text)
        return f"{self.place}: {text}" if self.place else text


class DescriptorProblems(DescriptorError):  # noqa: N818  # it names its content, like ExceptionGroup
    """A dataflow file was refused; `problems` has each reason, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class MalformedError(ValueError):
    """A piece of text does not follow its grammar; the caller knows where it stands."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class Problems:
    """The problems and the notes found so far in one file."""

    def __init__(self) -> None:
        # Dictionaries, because a value with several aliases is read several times.
        self._problems: dict[Problem, None] = {}
        self._notes: dict[str, Place] = {}
        self._spoiled: set[Place] = set()

    def __len__(self) -> int:
        return len(self._problems)

    def add(self, place: Place, what: str, hint: str = "") -> None:
        """Record a problem and go on."""
        if place not in self._spoiled:
            self._problems[Problem(place, what, hint)] = None

    def spoil(self, place: Place, what: str, hint: str = "") -> None:
        """Record a problem of the value at a place that makes all others of it pointless."""
        self._problems[Problem(place, what, hint)] = None
        self._spoiled.add(place)

    def note(self, place: Place, text: str) -> None:
        """Record something worth knowing that does not keep the file from running, once."""
        self._notes.setdefault(text, place)

    def stop(self, place: Place | None, what: str, hint: str = "") -> NoReturn:
        """Raise this one problem alone: what else was found depends on how it is resolved."""
        raise DescriptorProblems([Problem(place, what, hint)])

    def raise_if_any(self) -> None:
        """Raise `DescriptorProblems` with all problems in the order of the file, or files."""
        if self._problems:
            ordered = sorted(self._problems, key=lambda problem: _position(problem.place))
            raise DescriptorProblems(ordered)

    def notes(self) -> tuple[str, ...]:
        """Return the notes in the order of the file, each with its place."""
        ordered = sorted(self._notes.items(), key=lambda item: _position(item[1]))
        return tuple(f"{place}: {text}" for text, place in ordered)


def did_you_mean(name: str, candidates: Iterable[str]) -> str | None:
    """Return the hint `did you mean '...'?` if one of the candidates is similar."""
    match = closest(name, candidates)
    return f"did you mean {quote(match)}?" if match is not None else None


def listing(names: Iterable[str]) -> str:
    """Return the first few names, separated by commas, with a count of the rest."""
    every = list(names)
    more = len(every) - _MAX_LISTED
    return ", ".join(every[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def quote(text: str) -> str:
    """Return text from a file in quotes: short, on one line, with control characters escaped."""
    return repr(text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 3] + "...")


def _position(place: Place | None) -> tuple[str, int, int]:
    return (place.file, place.line, place.column) if place else ("", 0, 0)
