"""One mistake in a use case, addressed by its path, for whoever shows it with file and line."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A mistake found in a resolved use case, before anything runs."""

    path: tuple[str | int, ...]
    """Where: keys and list positions from the use case's root, e.g. ("features", "columns", 3)."""
    message: str
    """What is wrong, as a sentence for the person who wrote it."""
    suggestion: str | None = None
    """What to write instead, a sentence, e.g. "did you mean 'age'?"; None where nothing is near."""
