"""The name that somebody meant who has misspelt it."""

from __future__ import annotations

from collections.abc import Iterable

# Comparing one misspelt name with thousands of others takes seconds.
_MAX_CANDIDATES = 500


def closest(name: str, candidates: Iterable[str], *, similarity: float = 0.6) -> str | None:
    """Return the candidate that is most similar to a name; None if none is similar."""
    names = list(candidates)
    if len(names) > _MAX_CANDIDATES:
        return None
    # Only here: most commands end without a misspelt name.
    import difflib

    return next(iter(difflib.get_close_matches(name, names, 1, similarity)), None)
