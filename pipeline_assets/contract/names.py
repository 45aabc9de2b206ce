"""Names that the driver and the engine's tasks share. Nothing is imported here: tasks load it alone."""

UNIQUE_KEY = "unique_key"
MALFORMED_LINE = "malformed_line"

SOURCE_FILE = "_source_file"
SOURCE_LINE = "_source_line"
ROW_ID = "_row_id"
BUCKET = "_bucket"
EARLIER = "_earlier"
"""Index of the earlier partition that a row belongs to; null for rows of the partition that is judged."""
MALFORMED_REASON = "_reason"
MALFORMED_TEXT = "_text"

RULES_PER_SET = 62
"""Rules in one bit set: an int64 without its sign, and one bit to spare."""


def raw_name(index: int) -> str:
    """Column of the raw value of contract column `index` while a row is judged."""
    return f"_raw_{index}"


def parsed_name(index: int) -> str:
    """Column of what the engine's own cast makes of the text of contract column `index`."""
    return f"_parsed_{index}"


def canonical_name(index: int) -> str:
    """Column that is true where the text of contract column `index` is how its value is spelled."""
    return f"_canonical_{index}"


def typed_name(index: int) -> str:
    """Column of the cast value of contract column `index` while a row is judged."""
    return f"_typed_{index}"


def flag_name(index: int) -> str:
    """Column that is true where the rule at `index` of the compiled contract is broken."""
    return f"_flag_{index}"


def broken_name(index: int) -> str:
    """Column of a bit set of broken rules: rule `RULES_PER_SET * index + bit`."""
    return f"_broken_{index}"
