r"""Regular expressions that mean the same to Java (Spark), Rust (Sail) and Python (pandera).

The three disagree on `\d`, `\w`, `\s` (ASCII or Unicode), `.` (which line ends), `$` (before a last
line end or not) and on everything advanced. Contracts may use what is common; the classes and `.` are
spelled out by their ASCII meaning, and what cannot be made equal is refused.
"""

import re

_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\x0B\f\r"}
_NOT_CLASSES = {"D": _CLASSES["d"], "W": _CLASSES["w"], "S": _CLASSES["s"]}
_SAME_LETTERS = {"t", "n", "r", "f", "x", "u"}


class PatternError(ValueError):
    """A regular expression that cannot be used; the message says why and what to write instead."""


def portable_pattern(pattern: str, *, end: str = r"\z") -> str:
    r"""Return the pattern spelled so that all three read it alike.

    Args:
        pattern: the contract's pattern.
        end: what matches the very end of the text; `\Z` in Python.

    >>> portable_pattern(r"\d+[\w-]?.")
    '[0-9]+[A-Za-z0-9_-]?[^\\n]'

    Raises:
        PatternError: where it is not valid, or not common to all three.
    """
    out, at, in_class = [], 0, False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            escaped = pattern[at + 1 : at + 2]
            out.append(_escape(escaped, pattern, in_class))
            at += 2
            continue
        if in_class:
            if character == "[":
                raise PatternError(r"'[' inside a character class must be written \[")
            if pattern.startswith(("&&", "--", "~~", "||"), at):
                raise PatternError(f"{pattern[at : at + 2]!r} inside a character class differs")
            in_class = character != "]"
            out.append(character)
        elif character == "[":
            in_class = True
            out.append(character)
            if pattern.startswith("^", at + 1):
                out.append("^")
                at += 1
            if pattern.startswith("]", at + 1):
                raise PatternError(r"']' first in a character class must be written \]")
        elif pattern.startswith("(?", at) and not pattern.startswith("(?:", at):
            raise PatternError(
                f"'{pattern[at : at + 3]}': flags, named groups and look-around are not common to the "
                "engines; use plain groups, (?:…) and character classes"
            )
        elif character in "*+?}" and pattern.startswith("+", at + 1):
            raise PatternError(f"{pattern[at : at + 2]!r}: possessive repeats are not common")
        else:
            out.append({".": r"[^\n]", "^": r"\A", "$": end}.get(character, character))
        at += 1
    portable = "".join(out)
    try:
        re.compile(portable.replace(r"\z", r"\Z"))
    except re.error as error:
        raise PatternError(f"not a regular expression: {error}") from None
    return portable


def _escape(escaped: str, pattern: str, in_class: bool) -> str:
    if not escaped:
        raise PatternError(rf"{pattern!r} ends in a lone backslash")
    if escaped in _CLASSES:
        return _CLASSES[escaped] if in_class else f"[{_CLASSES[escaped]}]"
    if escaped in _NOT_CLASSES and not in_class:
        return f"[^{_NOT_CLASSES[escaped]}]"
    if escaped.isalnum() and escaped not in _SAME_LETTERS:
        raise PatternError(
            rf"'\{escaped}' is not common to the engines; use \d, \w, \s, \t, \n, \xHH, \uHHHH or a "
            "character class"
        )
    return f"\\{escaped}"
