"""How one delimited file is written: the settings of the source, made ready for the parsers.

What belongs here: the dialect and its compiled patterns. Reading files is in `text_stream`, finding
records in `records`.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.spec import CsvOptions

MAX_RECORD_BYTES = 64 * 2**20
"""A quoted field that makes its record longer than this is taken for a quote that nobody closed."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Delimited text, after decoding to UTF-8.

    The grammar is that of Python's `csv` module and of Arrow: a quote opens a quoted field only as
    the first character of a field, a doubled quote inside stands for itself, what follows the closing
    quote belongs to the field. LF, CR and CRLF end a line, also mixed.
    """

    delimiter: bytes = b","
    quote: bytes = b'"'
    multiline: bool = True
    skip_initial_space: bool = False
    null_values: tuple[str, ...] = ("",)
    max_record_bytes: int = MAX_RECORD_BYTES

    @classmethod
    def of(cls, options: CsvOptions) -> "Dialect":
        """Build from the settings. Raises `IngestError` for characters that cannot play their role."""
        for role, character in (("delimiter", options.delimiter), ("quote", options.quote)):
            if character in "\r\n":
                raise IngestError(f"source.csv.{role} is {character!r}, which ends lines")
        if options.delimiter == options.quote:
            raise IngestError(f"source.csv: delimiter and quote are both {options.quote!r}")
        return cls(
            delimiter=options.delimiter.encode(),
            quote=options.quote.encode(),
            multiline=options.multiline,
            skip_initial_space=options.skip_initial_space,
            null_values=tuple(options.null_values),
        )

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Dialect":
        """Inverse of `to_json`."""
        return cls(
            **{
                **fields,
                "delimiter": fields["delimiter"].encode(),
                "quote": fields["quote"].encode(),
                "null_values": tuple(fields["null_values"]),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, for the tasks."""
        return {
            "delimiter": self.delimiter.decode(),
            "quote": self.quote.decode(),
            "multiline": self.multiline,
            "skip_initial_space": self.skip_initial_space,
            "null_values": list(self.null_values),
            "max_record_bytes": self.max_record_bytes,
        }

    @property
    def vectorised(self) -> bool:
        """Whether single bytes tell fields apart, which NumPy and Arrow need."""
        return (
            len(self.delimiter) == len(self.quote) == 1
            # Runs of delimiters collapse then, so counting them does not count fields.
            and not (self.skip_initial_space and self.delimiter == b" ")
        )

    @cached_property
    def field(self) -> re.Pattern[bytes]:
        """One field: group 1 and 2 are the inside and the rest of a quoted one, 3 an unquoted one.

        Possessive, so that an unclosed quote never matches by giving back half of a doubled quote.
        """
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        other = rb"[\s\S]" if self.multiline else rb"[^\r\n]"
        if len(self.quote) == 1:
            other = rb"[^" + quote + (rb"" if self.multiline else rb"\r\n") + rb"]++"
        inside = rb"(?:(?!" + quote + rb")" + other + rb"|" + quote * 2 + rb")*+"
        if len(self.delimiter) == 1:
            rest = rb"[^" + delimiter + rb"\r\n]*+"
        else:
            rest = rb"(?:(?!" + delimiter + rb")[^\r\n])*+"
        spaces = rb" *+" if self.skip_initial_space else rb""
        return re.compile(
            spaces + rb"(?:" + quote + rb"(" + inside + rb")" + quote + rb"(" + rest + rb")"
            rb"|(?!" + quote + rb")(" + rest + rb"))"
        )
