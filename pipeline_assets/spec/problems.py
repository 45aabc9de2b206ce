"""Mistakes in a use case, addressed by their path, for whoever shows them with file and line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A mistake found in a resolved use case, before anything runs."""

    path: tuple[str | int, ...]
    """Where: keys and list positions from the use case's root, e.g. ("features", "columns", 3)."""
    message: str
    """What is wrong, as a sentence for the person who wrote it."""
    suggestion: str | None = None
    """What to write instead, a sentence, e.g. "did you mean 'age'?"; None where nothing is near."""


class WrongKey(ValueError):
    """What a validator of several keys has found wrong with one of them.

    Args:
        path: from the validated part to the key.
        message: what is wrong.
    """

    def __init__(self, *path: str | int, message: str) -> None:
        super().__init__(message)
        self.path = path


_MAPPING, _LIST = "expected a mapping of keys to values", "expected a list"
_WORDS = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "dict_type": _MAPPING,
    "finite_number": "expected a finite number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "greater_than": "expected a value above {gt}",
    "greater_than_equal": "expected a value of at least {ge}",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "less_than": "expected a value below {lt}",
    "less_than_equal": "expected a value of at most {le}",
    "list_type": _LIST,
    "model_attributes_type": _MAPPING,
    "model_type": _MAPPING,
    "string_type": "expected a text",
    "too_long": "holds {actual_length}; at most {max_length} may be given",
    "too_short": "holds {actual_length}; at least {min_length} must be given",
    "tuple_type": _LIST,
}


def in_plain_words(error: Mapping[str, Any]) -> str:
    """The message of an item of pydantic's `ValidationError.errors()`, and what was given where that is short."""
    words = _WORDS.get(error["type"])
    message = words.format(**error.get("ctx", {})) if words else error["msg"]
    message = message.removeprefix("Value error, ")
    if isinstance(error["input"], dict | list) or repr(error["input"]) in message:
        return message
    return f"{message} (got {error['input']!r})"
