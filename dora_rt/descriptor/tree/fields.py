"""Look into a mapping of a dataflow file whose keys are known in advance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dora_rt.descriptor.tree.document import Kind, YamlMapping, YamlScalar, YamlValue
from dora_rt.descriptor.tree.identifiers import expected_string
from dora_rt.descriptor.tree.keys import Vocabulary
from dora_rt.descriptor.tree.model import Place
from dora_rt.descriptor.tree.problems import MalformedError, Problems, did_you_mean, quote

T = TypeVar("T")


def is_nothing(value: YamlValue | None) -> bool:
    """Return whether a key is missing or has no value, as in `inputs:` with nothing below it."""
    return value is None or (
        isinstance(value, YamlScalar) and value.kind is Kind.NULL and not value.text
    )


def read_string(value: YamlValue, what: str, problems: Problems) -> str | None:
    """Return the text of a value that must be a string; `what` says which one."""
    if not isinstance(value, YamlScalar) or value.kind is not Kind.STRING:
        problems.add(value.place, f"{what}: {expected_string(value)}")
        return None
    if "\0" in value.text:
        # It would cut the text short in an argument or a path, without a word.
        problems.add(value.place, f"{what} contains a NUL character", "remove it")
        return None
    return value.text


def name_and_options(item: YamlValue) -> tuple[YamlValue, YamlValue | None]:
    """Split an entry of a list, which is a name, or one name with its options behind it."""
    if isinstance(item, YamlMapping) and len(item.entries) == 1:
        return item.entries[0]
    return item, None


def is_null_word(value: YamlValue | None) -> bool:
    """Return whether a value is the word `null`, as programs write for a key that is not there."""
    return isinstance(value, YamlScalar) and value.kind is Kind.NULL and value.text == "null"


class Fields:
    """One mapping, called `owner` in errors, such as "node 'plot'"."""

    def __init__(self, mapping: YamlMapping, owner: str, problems: Problems) -> None:
        self.owner = owner
        self.place = mapping.place
        self._mapping = mapping
        self._problems = problems

    def check_keys(self, vocabulary: Vocabulary) -> bool:
        """Report each key that is unknown or refused, note those without effect.

        Returns:
            Whether all keys are known; if not, a missing key may be a misspelt one.
        """
        are_known = True
        for key, value in self._mapping.entries:
            is_known = key.text in (*vocabulary.keys, *vocabulary.synonyms)
            if is_null_word(value) and key.text in vocabulary.every():
                continue
            if key.text in vocabulary.noted:
                self._problems.note(key.place, vocabulary.noted[key.text])
            elif key.text in vocabulary.refused:
                what = f"{quote(key.text)} in {self.owner} is not supported"
                self._problems.add(key.place, what, vocabulary.refused[key.text])
            elif key.text in vocabulary.misplaced:
                what = f"{quote(key.text)} does not belong in {self.owner}"
                self._problems.add(key.place, what, "move it to the node, beside its 'id'")
            elif not is_known:
                what = f"unknown key {quote(key.text)} in {self.owner}"
                self._problems.add(key.place, what, _suggest_key(key.text, vocabulary))
                are_known = False
        return are_known

    def get(self, key: str) -> YamlValue | None:
        """Return a key's value, or None if the key is not there or its value is the word `null`."""
        value = self._mapping.get(key)
        return None if is_null_word(value) else value

    def has(self, key: str) -> bool:
        """Return whether the key is there, even with nothing behind it."""
        return self.get(key) is not None

    def string(self, key: str) -> str | None:
        """Return a key's text, or None if it is not there or not a string."""
        value = self.get(key)
        if value is None:
            return None
        return read_string(value, f"'{key}' of {self.owner}", self._problems)

    def text(self, key: str) -> str | None:
        """Return a key's text like `string`, and refuse an empty one."""
        text = self.string(key)
        if text is not None and not text.strip():
            self._problems.add(self.place_of(key), f"'{key}' of {self.owner} is empty")
            return None
        return text

    def parsed(self, key: str, parse: Callable[[YamlValue], T]) -> T | None:
        """Return what `parse` makes of a key's value, or None if it is not there or malformed."""
        value = self.get(key)
        if value is None:
            return None
        try:
            return parse(value)
        except MalformedError as error:
            what = f"'{key}' of {self.owner}: {error.what}"
            self._problems.add(value.place, what, error.hint)
            return None

    def place_of(self, key: str) -> Place:
        """Return the place of a key's value, or of the mapping if the key is not there."""
        value = self.get(key)
        return value.place if value else self._mapping.place

    def key_place(self, key: str) -> Place:
        """Return the place of the key itself, or of the mapping if the key is not there."""
        places = (name.place for name, _ in self._mapping.entries if name.text == key)
        return next(places, self._mapping.place)


def _suggest_key(key: str, vocabulary: Vocabulary) -> str:
    if key in vocabulary.misnomers:
        return f"did you mean {quote(vocabulary.misnomers[key])}?"
    return did_you_mean(key, vocabulary.every()) or f"allowed are: {', '.join(vocabulary.keys)}"
