"""Plain-text tables and numbers for a terminal. What is in them is the caller's business."""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline_assets.spec.credentials import without_credentials


def text_table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, indent: str = "  ") -> str:
    """Align columns: numbers to the right, texts to the left. Empty where there are no rows.

    >>> print(text_table(["asset", "rows"], [("raw", 1000), ("validated", 9)], indent=""))
    asset       rows
    raw        1,000
    validated      9
    """
    rows = [list(row) for row in rows]
    if not rows:
        return ""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(header))
    ]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    lines = []
    for line in [list(header), *cells]:
        aligned = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append((indent + "  ".join(aligned)).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def size(count: float) -> str:
    """Bytes for people, in powers of 1024.

    >>> size(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def place(uri: str) -> str:
    """A URI as people type it: local ones as plain paths; without credentials."""
    return without_credentials(uri).removeprefix("file://")
