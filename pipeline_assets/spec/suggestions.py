"""The nearest valid name for one that was misspelt."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar name, letter case aside, or None where none is similar.

    Args:
        name: what was written.
        known: what could have been meant.

    >>> nearest("creditscore", ["Age", "CreditScore"])
    'CreditScore'
    """
    folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], what: str | None = None) -> str | None:
    """Return a question with the most similar name.

    Args:
        name: what was written.
        known: what could have been meant.
        what: names the known ones; with it they are listed where none is similar, otherwise None is returned.

    >>> did_you_mean("typ", ["name", "type"])
    "did you mean 'type'?"
    >>> did_you_mean("whatever", ["a", "b"], what="columns")
    'columns: a, b'
    """
    known = list(known)
    found = nearest(name, known)
    if found is not None:
        return f"did you mean {found!r}?"
    return f"{what}: {', '.join(known)}" if what else None
