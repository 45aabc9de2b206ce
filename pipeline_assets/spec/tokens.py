"""The words of a SQL expression, one after another. What they mean together is in `expressions`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


class ExpressionError(ValueError):
    """An expression that cannot be read; the message quotes it and gives the position."""


@dataclass(frozen=True)
class Token:
    """One word, and where it stands."""

    kind: str  # "string", "number", "quoted", "word", "symbol" or "end"
    text: str
    at: int  # 0-based position of the first character

    @property
    def upper(self) -> str:
        """A word or symbol in upper case, as keywords are compared; empty for literals and quoted names."""
        return self.text.upper() if self.kind in ("word", "symbol", "end") else ""


_TOKEN = re.compile(
    r"""
    (?P<skip>\s+|--[^\n]*|/\*.*?\*/)
  | (?P<string>[rR]?'(?:[^'\\]|\\.|'')*'|[rR]?"(?:[^"\\]|\\.|"")*")
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:BD|bd|[LlSsYyDdFf])?(?![A-Za-z0-9_]))
  | (?P<quoted>`(?:[^`]|``)+`)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<symbol><=>|->|=>|::|\|\||<=|>=|<>|!=|==|[-+*/%=<>!&|^~().,\[\]:])
    """,
    re.VERBOSE | re.DOTALL,
)


class TokenReader:
    """Goes through the tokens of an expression, for whoever knows the grammar."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._tokens = list(self._tokenize())
        self._position = 0

    def _tokenize(self) -> Iterator[Token]:
        at = 0
        while at < len(self.expression):
            match = _TOKEN.match(self.expression, at)
            if match is None or match.lastgroup is None:
                raise self.error_at(at, f"cannot read {self.expression[at]!r}")
            if match.lastgroup != "skip":
                yield Token(match.lastgroup, match.group(), at)
            at = match.end()
        yield Token("end", "", at)

    @property
    def next(self) -> Token:
        """The token to be read next; of kind "end" after the last."""
        return self._tokens[self._position]

    def ahead(self, count: int) -> Token:
        """The token `count` places after the next one."""
        return self._tokens[min(self._position + count, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The next token, which is then read."""
        token = self.next
        self._position += token.kind != "end"
        return token

    def accept(self, *texts: str) -> bool:
        """Read the next token where it is one of these words or symbols (in upper case)."""
        if self.next.upper in texts:
            self._position += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Read a word or symbol. Raises `ExpressionError` where the next token is another."""
        if not self.accept(text):
            raise self.error(f"expected {text}")

    def error(self, message: str) -> ExpressionError:
        """What is wrong with the next token."""
        found = self.next.text or "the end"
        return self.error_at(self.next.at, f"{message}, found {found}")

    def error_at(self, at: int, message: str) -> ExpressionError:
        """What is wrong at a 0-based position of the expression."""
        return ExpressionError(f"{message} at character {at + 1} of {self.expression!r}")
