"""Reads SQL expressions far enough to know which columns they name, before any engine runs.

The grammar is the part of Spark SQL's that makes sense for one row: literals, operators, CASE,
casts, function calls, struct and array access, lambdas. Subqueries and window functions are
refused: a row rule or a feature is a function of one row. What functions exist, and what types they
take, only the engine knows; an expression accepted here may still be refused there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


class ExpressionError(ValueError):
    """An expression that cannot be read; the message quotes it and gives the position."""


@dataclass(frozen=True)
class _Token:
    kind: str  # "string", "number", "quoted", "word", "symbol" or "end"
    text: str
    at: int  # 0-based position of the first character

    @property
    def upper(self) -> str:
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

_BINARY = {
    "OR": 1, "AND": 2,
    "=": 4, "==": 4, "<=>": 4, "<>": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
    "|": 5, "^": 6, "&": 7, "||": 8, "+": 8, "-": 8, "*": 9, "/": 9, "%": 9, "DIV": 9,
}  # fmt: skip
_PREDICATES = {"IS", "IN", "BETWEEN", "LIKE", "ILIKE", "RLIKE", "REGEXP", "NOT"}
_PREDICATE = 4
_UNARY = 10
_RESERVED = {
    "AND", "AS", "BETWEEN", "CASE", "DIV", "ELSE", "END", "FROM", "ILIKE", "IN", "IS", "LIKE",
    "NOT", "OR", "RLIKE", "SELECT", "THEN", "WHEN",
}  # fmt: skip
_CONSTANTS = {
    "TRUE", "FALSE", "NULL", "CURRENT_DATE", "CURRENT_TIMESTAMP", "CURRENT_USER", "LOCALTIMESTAMP",
}  # fmt: skip
_UNIT_FUNCTIONS = {
    "TIMESTAMPADD", "TIMESTAMPDIFF", "DATEADD", "DATEDIFF", "DATE_ADD", "DATE_DIFF",
}  # fmt: skip
_UNITS = {
    "YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND",
    "MILLISECOND", "MICROSECOND",
}  # fmt: skip
_TYPED_LITERALS = {"DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "X"}


def columns_of(expression: str) -> set[str]:
    """Return the columns that a SQL expression over one row names, as they are written.

    Backticks are removed; of a struct access `a.b` the column is `a`; names of functions, types and
    lambda parameters are no columns.

    >>> sorted(columns_of("CASE WHEN `Num Products` > 1 THEN try_cast(Age AS int) ELSE 0 END"))
    ['Age', 'Num Products']

    Raises:
        ExpressionError: where it is not an expression, or one that needs more than its own row.
    """
    return _Reader(expression).columns()


def functions_of(expression: str) -> set[str]:
    """Return the functions that an expression calls, in lower case. Raises like `columns_of`."""
    reader = _Reader(expression)
    reader.columns()
    return reader.functions


class _Reader:
    """A precedence-climbing reader that keeps no tree, only the names that it meets."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.functions: set[str] = set()
        self._found: set[str] = set()
        self._parameters: list[set[str]] = []
        self._tokens = list(self._tokenize())
        self._position = 0

    def columns(self) -> set[str]:
        self._expression(0)
        if self._next.kind != "end":
            raise self._error("expected an operator or the end")
        return self._found

    def _tokenize(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.expression):
            match = _TOKEN.match(self.expression, at)
            if match is None or match.lastgroup is None:
                raise self._error_at(at, f"cannot read {self.expression[at]!r}")
            if match.lastgroup != "skip":
                yield _Token(match.lastgroup, match.group(), at)
            at = match.end()
        yield _Token("end", "", at)

    @property
    def _next(self) -> _Token:
        return self._tokens[self._position]

    def _ahead(self, count: int) -> _Token:
        return self._tokens[min(self._position + count, len(self._tokens) - 1)]

    def _take(self) -> _Token:
        token = self._next
        self._position += token.kind != "end"
        return token

    def _accept(self, *texts: str) -> bool:
        if self._next.upper in texts:
            self._position += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._error(f"expected {text}")

    def _error(self, message: str) -> ExpressionError:
        found = self._next.text or "the end"
        return self._error_at(self._next.at, f"{message}, found {found}")

    def _error_at(self, at: int, message: str) -> ExpressionError:
        return ExpressionError(f"{message} at character {at + 1} of {self.expression!r}")

    def _expression(self, minimum: int) -> None:
        if self._is_lambda():
            self._lambda()
            return
        if self._next.upper == "NOT":
            self._take()
            self._expression(3)
        else:
            self._operand()
        while True:
            operator = self._next.upper
            if operator in _PREDICATES and minimum <= _PREDICATE:
                self._predicate()
            elif operator in _BINARY and _BINARY[operator] >= minimum:
                self._take()
                self._expression(_BINARY[operator] + 1)
            else:
                return

    def _predicate(self) -> None:
        if self._accept("IS"):
            self._accept("NOT")
            if self._accept("DISTINCT"):
                self._expect("FROM")
                self._expression(_PREDICATE + 1)
            elif not self._accept("NULL", "TRUE", "FALSE", "UNKNOWN"):
                raise self._error("expected NULL, TRUE, FALSE or DISTINCT FROM")
            return
        self._accept("NOT")
        if self._accept("IN"):
            self._expect("(")
            self._arguments(")", at_least_one=True)
        elif self._accept("BETWEEN"):
            self._expression(_PREDICATE + 1)
            self._expect("AND")
            self._expression(_PREDICATE + 1)
        elif self._accept("LIKE", "ILIKE", "RLIKE", "REGEXP"):
            self._accept("ANY", "ALL", "SOME")
            self._expression(_PREDICATE + 1)
            if self._accept("ESCAPE"):
                self._take()
        else:
            raise self._error("expected IN, BETWEEN or LIKE")

    def _operand(self) -> None:
        token = self._next
        if token.upper in ("-", "+", "~", "!"):
            self._take()
            self._expression(_UNARY)
        elif token.upper == "(":
            self._take()
            self._refuse_subquery()
            self._arguments(")", at_least_one=True)
        elif token.kind == "number":
            self._take()
        elif token.kind == "string":
            while self._next.kind == "string":
                self._take()
        elif token.kind == "quoted":
            self._take()
            self._name(token.text[1:-1].replace("``", "`"))
        elif token.kind == "word":
            self._word()
        else:
            raise self._error("expected a value")
        self._postfix()

    def _postfix(self) -> None:
        while True:
            if self._accept("."):
                if self._take().kind not in ("word", "quoted"):
                    raise self._error("expected a field name")
            elif self._accept("["):
                self._arguments("]", at_least_one=True)
            elif self._accept("::"):
                self._type()
            else:
                return

    def _word(self) -> None:
        token = self._take()
        upper, following = token.upper, self._next
        if upper == "CASE":
            self._case()
        elif upper in _RESERVED:
            self._position -= 1
            raise self._error("expected a value (quote the name with backticks if it is a column)")
        elif upper in _CONSTANTS and following.upper != "(":
            return
        elif upper in _TYPED_LITERALS and following.kind == "string":
            self._take()
        elif upper == "INTERVAL" and (
            following.kind in ("number", "string") or following.upper in ("-", "+")
        ):
            self._interval()
        elif following.upper == "(":
            self._call(upper)
        else:
            self._name(token.text)

    def _name(self, name: str) -> None:
        if not any(name in scope for scope in self._parameters):
            self._found.add(name)

    def _case(self) -> None:
        if self._next.upper != "WHEN":
            self._expression(0)
        if self._next.upper != "WHEN":
            raise self._error("expected WHEN")
        while self._accept("WHEN"):
            self._expression(0)
            self._expect("THEN")
            self._expression(0)
        if self._accept("ELSE"):
            self._expression(0)
        self._expect("END")

    def _interval(self) -> None:
        while self._next.kind in ("number", "string") or self._next.upper in ("-", "+"):
            self._accept("-", "+")
            self._take()
            if self._next.kind == "word" and self._next.upper not in _RESERVED:
                self._take()
            if self._next.upper == "TO":
                self._take()
                self._take()
            if self._next.upper in ("-", "+"):
                return

    def _call(self, name: str) -> None:
        self.functions.add(name.lower())
        self._expect("(")
        if name in ("CAST", "TRY_CAST"):
            self._expression(0)
            self._expect("AS")
            self._type()
            self._expect(")")
        elif name in ("EXTRACT", "DATE_PART") and self._ahead(1).upper == "FROM":
            self._take()
            self._take()
            self._arguments(")", at_least_one=True)
        elif name == "TRIM" and self._next.upper in ("BOTH", "LEADING", "TRAILING"):
            self._take()
            if self._next.upper != "FROM":
                self._expression(0)
            self._expect("FROM")
            self._arguments(")", at_least_one=True)
        elif (
            name in _UNIT_FUNCTIONS
            and self._next.upper.removesuffix("S") in _UNITS
            and (self._ahead(1).upper == ",")
        ):
            self._take()
            self._take()
            self._arguments(")", at_least_one=True)
        else:
            self._refuse_subquery()
            self._accept("DISTINCT")
            if not (self._next.upper == "*" and self._ahead(1).upper == ")"):
                self._arguments(")", at_least_one=False)
            else:
                self._take()
                self._take()
        if self._next.upper == "OVER":
            raise self._error_at(
                self._next.at, "window functions are not allowed: the expression sees one row"
            )

    def _arguments(self, closing: str, *, at_least_one: bool) -> None:
        if not at_least_one and self._accept(closing):
            return
        while True:
            if self._next.kind == "word" and self._ahead(1).upper == "=>":
                self._take()
                self._take()
            self._expression(0)
            if self._accept(closing):
                return
            if not self._accept(","):
                raise self._error(f"expected , or {closing}")

    def _refuse_subquery(self) -> None:
        if self._next.upper == "SELECT":
            raise self._error_at(
                self._next.at, "subqueries are not allowed: the expression sees one row"
            )

    def _type(self) -> None:
        if self._take().kind != "word":
            raise self._error("expected a type")
        depth = 0
        while depth or self._next.upper in ("(", "<"):
            token = self._take()
            if token.kind == "end":
                raise self._error("the type does not end")
            depth += (token.text in ("(", "<")) - (token.text in (")", ">"))

    def _is_lambda(self) -> bool:
        if self._next.kind == "word":
            return self._ahead(1).text == "->"
        if self._next.text != "(":
            return False
        count = 1
        while self._ahead(count).kind == "word" and self._ahead(count + 1).text == ",":
            count += 2
        return (
            self._ahead(count).kind == "word"
            and self._ahead(count + 1).text == ")"
            and self._ahead(count + 2).text == "->"
        )

    def _lambda(self) -> None:
        parameters: set[str] = set()
        while (token := self._take()).text != "->":
            if token.kind == "word":
                parameters.add(token.text)
        self._parameters.append(parameters)
        self._expression(0)
        self._parameters.pop()
