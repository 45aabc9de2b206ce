"""Words of Spark SQL that mean something by themselves, in upper case. How they combine is in `expressions`."""

RESERVED = {
    "AND", "AS", "BETWEEN", "CASE", "DIV", "ELSE", "END", "FROM", "ILIKE", "IN", "IS", "LIKE",
    "NOT", "OR", "RLIKE", "SELECT", "THEN", "WHEN",
}  # fmt: skip
"""Words that name no column unless they are quoted."""
LITERALS = {"TRUE", "FALSE", "NULL"}
"""Words that are values themselves."""
CONSTANTS = LITERALS | {
    "CURRENT_DATE", "CURRENT_TIMESTAMP", "CURRENT_USER", "LOCALTIMESTAMP",
}  # fmt: skip
"""Words that stand for a value; functions without their parentheses among them."""
MOVING = {"now", "today", "tomorrow", "yesterday"}
"""What a typed literal may say besides a date."""
UNIT_FUNCTIONS = {
    "TIMESTAMPADD", "TIMESTAMPDIFF", "DATEADD", "DATEDIFF", "DATE_ADD", "DATE_DIFF",
}  # fmt: skip
"""Functions whose first argument may be a unit, which is no column."""
UNITS = {
    "YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND",
    "MILLISECOND", "MICROSECOND",
}  # fmt: skip
"""Units of time."""
TYPED_LITERALS = {"DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "X"}
"""Types that a string may follow as its literal."""
