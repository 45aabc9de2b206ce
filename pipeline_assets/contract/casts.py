"""Text to typed values, as SQL that Sail and Apache Spark answer alike.

The rules, for text without the spaces, tabs and line ends around it:

- int32, int64: an optional sign and ASCII digits; a fraction of zeros is dropped (`3.0` is 3, as
  pandas writes integers next to missing values). `3.7`, `1e3`, `1_000` and overflow are refused.
- float32, float64: decimal or exponent notation, and nan, inf, infinity in any case. NaN is
  missing; overflow is infinite, which the rule `finite` judges. Suffixes (`1.5f`) and hex are
  refused.
- boolean: true, t, yes, y, 1 and false, f, no, n, 0 in any case.
- date: `YYYY-MM-DD`, years 0001 to 9999.
- timestamp: a date, or a date, `T` or space, `HH:MM` or `HH:MM:SS` with up to nine decimals (cut to
  microseconds), and optionally `Z` or an offset `+HH`, `+HHMM`, `+HH:MM` below 18 hours; without one
  it is in the zone that the caller names. Where clocks are put back, a time that occurs twice is the
  earlier instant; one that is skipped counts on from before (02:30 is 03:30 summer time). With an
  offset or zone, years 0002 to 9998, so that it stays within years in UTC as well.
- string: as it is, nothing trimmed.

Engines differ in the texts that their casts accept (Spark takes `1.5f` and control characters), so
every cast is guarded by a regular expression. Integers have a cheaper way around it: a text that is
how the value it was cast to is spelled has nothing else in it, see `canonical_sql`.
"""

from pipeline_assets.spec.contract import ColumnType

WHITESPACE = " \t\r\n"
TRUE_TEXTS = ("true", "t", "yes", "y", "1")
FALSE_TEXTS = ("false", "f", "no", "n", "0")
NAN_TEXTS = ("nan", "+nan", "-nan")
POSITIVE_INFINITY_TEXTS = ("inf", "+inf", "infinity", "+infinity")
NEGATIVE_INFINITY_TEXTS = ("-inf", "-infinity")
INTEGER_PATTERN = r"[+-]?[0-9]+(\.0*)?"
FLOAT_CHARACTERS = r"[-+.0-9eE]*"
DATE_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME_PATTERN = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
OFFSET_PATTERN = r"[+-](0[0-9]|1[0-7])(:?[0-5][0-9])?"
ZONE_PATTERN = rf"(Z|{OFFSET_PATTERN})"

SQL_TYPES: dict[ColumnType, str] = {
    "string": "STRING",
    "int32": "INT",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}


def quote_name(name: str) -> str:
    """Return a column name in backticks."""
    return "`" + name.replace("`", "``") + "`"


def quote_text(text: str) -> str:
    """Return a SQL string literal. Backslashes escape on both engines; doubled quotes do not."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def cast_sql(raw: str, raw_type: ColumnType, target: ColumnType, *, timezone: str = "UTC") -> str:
    """SQL for the typed value of the SQL operand `raw`: null where missing, NaN, or not castable.

    `raw_type` is the type that the raw table stores: "string" or `target` itself. `timezone` is the
    IANA zone of timestamps written without an offset.
    """
    if raw_type not in ("string", target):
        raise ValueError(f"a raw column is stored as string or {target}, not as {raw_type}")
    if raw_type == target:
        if target in ("float32", "float64"):
            return f"CASE WHEN isnan({raw}) THEN NULL ELSE {raw} END"
        return raw
    if target in ("int32", "int64"):
        return _integer(raw, target)
    if target in ("float32", "float64"):
        return _float(raw, target)
    if target == "boolean":
        text = f"lower({_trim(raw)})"
        return (
            f"CASE WHEN {text} IN {_texts(TRUE_TEXTS)} THEN true "
            f"WHEN {text} IN {_texts(FALSE_TEXTS)} THEN false END"
        )
    if target == "date":
        return f"CASE WHEN {_is_date(raw)} THEN {plain_cast_sql(_trim(raw), target)} END"
    return _timestamp(raw, timezone)


def plain_cast_sql(raw: str, target: ColumnType) -> str:
    """SQL for what the engine makes of the text `raw`, which may be more than `cast_sql` accepts."""
    return f"try_cast({raw} AS {SQL_TYPES[target]})"


def canonical_sql(raw: str, value: str) -> str:
    """SQL that is true where the text `raw` is how the engine spells `value`; null where missing.

    For integers and dates, which both engines and Arrow spell alike.
    """
    return f"(CAST({value} AS STRING) = {raw})"


def is_nan_text_sql(raw: str) -> str:
    """SQL that is true where the text `raw` spells NaN, which counts as missing."""
    return f"lower({_trim(raw)}) IN {_texts(NAN_TEXTS)}"


def matches_sql(operand: str, pattern: str) -> str:
    """SQL that is true where the whole text matches.

    It ends in `\\z`, as Java's `$` would overlook a line end after the text.
    """
    whole = rf"\A(?:{pattern})\z"
    return f"{operand} RLIKE {quote_text(whole)}"


def _integer(raw: str, target: ColumnType) -> str:
    trimmed = _trim(raw)
    digits = f"substring_index({trimmed}, '.', 1)"
    return (
        f"CASE WHEN {matches_sql(trimmed, INTEGER_PATTERN)} "
        f"THEN {plain_cast_sql(digits, target)} END"
    )


def _float(raw: str, target: ColumnType) -> str:
    trimmed = _trim(raw)
    sql_type = SQL_TYPES[target]
    return (
        f"CASE WHEN {matches_sql(raw, FLOAT_CHARACTERS)} THEN {plain_cast_sql(raw, target)} "
        f"WHEN {matches_sql(trimmed, FLOAT_CHARACTERS)} THEN {plain_cast_sql(trimmed, target)} "
        f"WHEN lower({trimmed}) IN {_texts(POSITIVE_INFINITY_TEXTS)} "
        f"THEN CAST('Infinity' AS {sql_type}) "
        f"WHEN lower({trimmed}) IN {_texts(NEGATIVE_INFINITY_TEXTS)} "
        f"THEN CAST('-Infinity' AS {sql_type}) END"
    )


def _timestamp(raw: str, timezone: str) -> str:
    trimmed = _trim(raw)
    # Engines read neither a time without seconds nor, alike, one without a zone: both are put in.
    moment = matches_sql(trimmed, rf"{DATE_PATTERN}[T ]{TIME_PATTERN}{ZONE_PATTERN}?")
    no_seconds = matches_sql(trimmed, rf"{DATE_PATTERN}[T ][0-9]{{2}}:[0-9]{{2}}{ZONE_PATTERN}?")
    has_zone = matches_sql(trimmed, rf".*:[0-9.]+{ZONE_PATTERN}")
    has_offset = matches_sql(trimmed, rf".*:[0-9.]+{OFFSET_PATTERN}")
    edge = f"((startswith({trimmed}, '0001') OR startswith({trimmed}, '9999')) AND {has_offset})"
    full = (
        f"CASE WHEN {no_seconds} THEN concat(substr({trimmed}, 1, 16), ':00', "
        f"substr({trimmed}, 17)) ELSE {trimmed} END"
    )
    if timezone != "UTC":
        return _zoned_timestamp(raw, timezone, moment=moment, full=full, has_zone=has_zone)
    zone = f"CASE WHEN {has_zone} THEN '' ELSE 'Z' END"
    return (
        f"CASE WHEN {_year_zero(trimmed)} OR {edge} THEN NULL "
        f"WHEN {moment} THEN try_cast(concat({full}, {zone}) AS TIMESTAMP) "
        f"WHEN {_is_date(raw)} THEN try_cast(concat({trimmed}, 'T00:00:00Z') AS TIMESTAMP) END"
    )


def _zoned_timestamp(raw: str, timezone: str, *, moment: str, full: str, has_zone: str) -> str:
    trimmed, zone = _trim(raw), quote_text(timezone)
    edge = f"(startswith({trimmed}, '0001') OR startswith({trimmed}, '9999'))"
    local = f"try_cast(concat({full}, 'Z') AS TIMESTAMP)"
    midnight = f"try_cast(concat({trimmed}, 'T00:00:00Z') AS TIMESTAMP)"
    return (
        f"CASE WHEN {_year_zero(trimmed)} OR ({edge} AND NOT endswith({trimmed}, 'Z')) THEN NULL "
        f"WHEN {moment} AND {has_zone} THEN try_cast({full} AS TIMESTAMP) "
        f"WHEN {moment} THEN to_utc_timestamp({local}, {zone}) "
        f"WHEN {_is_date(raw)} THEN to_utc_timestamp({midnight}, {zone}) END"
    )


def _is_date(raw: str) -> str:
    trimmed = _trim(raw)
    return f"({matches_sql(trimmed, DATE_PATTERN)} AND NOT {_year_zero(trimmed)})"


def _year_zero(operand: str) -> str:
    return f"startswith({operand}, '0000')"


def _trim(operand: str) -> str:
    return f"btrim({operand}, {quote_text(WHITESPACE)})"


def _texts(texts: tuple[str, ...]) -> str:
    return "(" + ", ".join(quote_text(text) for text in texts) + ")"
