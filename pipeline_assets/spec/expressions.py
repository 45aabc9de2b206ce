"""Reads SQL expressions far enough to know which columns they name, before any engine runs.

The grammar is the part of Spark SQL's that makes sense for one row: literals, operators, CASE,
casts, function calls, struct and array access, lambdas. Subqueries and window functions are
refused: a row rule or a feature is a function of one row. What functions exist, and what types they
take, only the engine knows; an expression accepted here may still be refused there.
"""

from pipeline_assets.spec.tokens import ExpressionError, TokenReader
from pipeline_assets.spec.vocabulary import (
    CONSTANTS,
    LITERALS,
    MOVING,
    RESERVED,
    TYPED_LITERALS,
    UNIT_FUNCTIONS,
    UNITS,
)

__all__ = ["ExpressionError", "columns_of", "functions_of"]

_BINARY = {
    "OR": 1, "AND": 2,
    "=": 4, "==": 4, "<=>": 4, "<>": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
    "|": 5, "^": 6, "&": 7, "||": 8, "+": 8, "-": 8, "*": 9, "/": 9, "%": 9, "DIV": 9,
}  # fmt: skip
_PREDICATES = {"IS", "IN", "BETWEEN", "LIKE", "ILIKE", "RLIKE", "REGEXP", "NOT"}
_PREDICATE = 4
_UNARY = 10


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
    """Return the functions that an expression calls, in lower case, with or without parentheses.

    Raises like `columns_of`.
    """
    reader = _Reader(expression)
    reader.columns()
    return reader.functions


class _Reader(TokenReader):
    """A precedence-climbing reader that keeps no tree, only the names that it meets."""

    def __init__(self, expression: str) -> None:
        super().__init__(expression)
        self.functions: set[str] = set()
        self._found: set[str] = set()
        self._parameters: list[set[str]] = []

    def columns(self) -> set[str]:
        self._expression(0)
        if self.next.kind != "end":
            raise self.error("expected an operator or the end")
        return self._found

    def _expression(self, minimum: int) -> None:
        if self._is_lambda():
            self._lambda()
            return
        if self.next.upper == "NOT":
            self.take()
            self._expression(3)
        else:
            self._operand()
        while True:
            operator = self.next.upper
            if operator in _PREDICATES and minimum <= _PREDICATE:
                self._predicate()
            elif operator in _BINARY and _BINARY[operator] >= minimum:
                self.take()
                self._expression(_BINARY[operator] + 1)
            else:
                return

    def _predicate(self) -> None:
        if self.accept("IS"):
            self.accept("NOT")
            if self.accept("DISTINCT"):
                self.expect("FROM")
                self._expression(_PREDICATE + 1)
            elif not self.accept("NULL", "TRUE", "FALSE", "UNKNOWN"):
                raise self.error("expected NULL, TRUE, FALSE or DISTINCT FROM")
            return
        self.accept("NOT")
        if self.accept("IN"):
            self.expect("(")
            self._arguments(")", at_least_one=True)
        elif self.accept("BETWEEN"):
            self._expression(_PREDICATE + 1)
            self.expect("AND")
            self._expression(_PREDICATE + 1)
        elif self.accept("LIKE", "ILIKE", "RLIKE", "REGEXP"):
            self.accept("ANY", "ALL", "SOME")
            self._expression(_PREDICATE + 1)
            if self.accept("ESCAPE"):
                self.take()
        else:
            raise self.error("expected IN, BETWEEN or LIKE")

    def _operand(self) -> None:
        token = self.next
        if token.upper in ("-", "+", "~", "!"):
            self.take()
            self._expression(_UNARY)
        elif token.upper == "(":
            self.take()
            self._refuse_subquery()
            self._arguments(")", at_least_one=True)
        elif token.kind == "number":
            self.take()
        elif token.kind == "string":
            while self.next.kind == "string":
                self.take()
        elif token.kind == "quoted":
            self.take()
            self._name(token.text[1:-1].replace("``", "`"))
        elif token.kind == "word":
            self._word()
        else:
            raise self.error("expected a value")
        self._postfix()

    def _postfix(self) -> None:
        while True:
            if self.accept("."):
                if self.take().kind not in ("word", "quoted"):
                    raise self.error("expected a field name")
            elif self.accept("["):
                self._arguments("]", at_least_one=True)
            elif self.accept("::"):
                self._type()
            else:
                return

    def _word(self) -> None:
        token = self.take()
        upper, following = token.upper, self.next
        if upper == "CASE":
            self._case()
        elif upper in RESERVED:
            raise self.error_at(
                token.at,
                "expected a value (quote the name with backticks if it is a column), "
                f"found {token.text}",
            )
        elif upper in CONSTANTS and following.upper != "(":
            if upper not in LITERALS:
                self.functions.add(upper.lower())
        elif upper in TYPED_LITERALS and following.kind == "string":
            if self.take().text[1:-1].strip().lower() in MOVING:
                raise self.error_at(
                    following.at, f"{following.text} is the time of the query, not the row's"
                )
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
        if self.next.upper != "WHEN":
            self._expression(0)
        if self.next.upper != "WHEN":
            raise self.error("expected WHEN")
        while self.accept("WHEN"):
            self._expression(0)
            self.expect("THEN")
            self._expression(0)
        if self.accept("ELSE"):
            self._expression(0)
        self.expect("END")

    def _interval(self) -> None:
        while self.next.kind in ("number", "string") or self.next.upper in ("-", "+"):
            self.accept("-", "+")
            self.take()
            if self.next.kind == "word" and self.next.upper not in RESERVED:
                self.take()
            if self.next.upper == "TO":
                self.take()
                self.take()
            if self.next.upper in ("-", "+"):
                return

    def _call(self, name: str) -> None:
        self.functions.add(name.lower())
        self.expect("(")
        if name in ("CAST", "TRY_CAST"):
            self._expression(0)
            self.expect("AS")
            self._type()
            self.expect(")")
        elif name in ("EXTRACT", "DATE_PART") and self.ahead(1).upper == "FROM":
            self.take()
            self.take()
            self._arguments(")", at_least_one=True)
        elif name == "TRIM" and self.next.upper in ("BOTH", "LEADING", "TRAILING"):
            self.take()
            if self.next.upper != "FROM":
                self._expression(0)
            self.expect("FROM")
            self._arguments(")", at_least_one=True)
        elif (
            name in UNIT_FUNCTIONS
            and self.next.upper.removesuffix("S") in UNITS
            and (self.ahead(1).upper == ",")
        ):
            self.take()
            self.take()
            self._arguments(")", at_least_one=True)
        else:
            self._refuse_subquery()
            self.accept("DISTINCT")
            if not (self.next.upper == "*" and self.ahead(1).upper == ")"):
                self._arguments(")", at_least_one=False)
            else:
                self.take()
                self.take()
        if self.next.upper == "OVER":
            raise self.error_at(
                self.next.at, "window functions are not allowed: the expression sees one row"
            )

    def _arguments(self, closing: str, *, at_least_one: bool) -> None:
        if not at_least_one and self.accept(closing):
            return
        while True:
            if self.next.kind == "word" and self.ahead(1).upper == "=>":
                self.take()
                self.take()
            self._expression(0)
            if self.accept(closing):
                return
            if not self.accept(","):
                raise self.error(f"expected , or {closing}")

    def _refuse_subquery(self) -> None:
        if self.next.upper == "SELECT":
            raise self.error_at(
                self.next.at, "subqueries are not allowed: the expression sees one row"
            )

    def _type(self) -> None:
        if self.take().kind != "word":
            raise self.error("expected a type")
        depth = 0
        while depth or self.next.upper in ("(", "<"):
            token = self.take()
            if token.kind == "end":
                raise self.error("the type does not end")
            depth += (token.text in ("(", "<")) - (token.text in (")", ">"))

    def _is_lambda(self) -> bool:
        if self.next.kind == "word":
            return self.ahead(1).text == "->"
        if self.next.text != "(":
            return False
        count = 1
        while self.ahead(count).kind == "word" and self.ahead(count + 1).text == ",":
            count += 2
        return (
            self.ahead(count).kind == "word"
            and self.ahead(count + 1).text == ")"
            and self.ahead(count + 2).text == "->"
        )

    def _lambda(self) -> None:
        parameters: set[str] = set()
        while (token := self.take()).text != "->":
            if token.kind == "word":
                parameters.add(token.text)
        self._parameters.append(parameters)
        self._expression(0)
        self._parameters.pop()
