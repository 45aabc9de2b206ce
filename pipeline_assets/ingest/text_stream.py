"""Bytes of a text file, decompressed and decoded to UTF-8, with nothing lost.

Everything after this module works on UTF-8. Bytes that the declared encoding does not know come out
as the UTF-8 form of the lone surrogates U+DC00 + byte: no valid text contains those, so the records
with them are found later and their bytes can still be shown. UTF-8 itself passes through untouched.
"""

import bz2
import codecs
import gzip
import hashlib
import importlib
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, cast

import fsspec
import xxhash

from pipeline_assets.ingest.errors import IngestError

BLOCK_BYTES = 2**20
"""Bytes read at a time."""

_COMPRESSIONS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

_BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_KEEP_BYTES = "pipeline_assets.keep_bytes"


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in wrong), error.end


codecs.register_error(_KEEP_BYTES, _keep_bytes)


def is_compressed(uri: str) -> bool:
    """Whether the name says that the file must be decompressed from its beginning."""
    return uri.lower().endswith(tuple(_COMPRESSIONS))


def detect_encoding(head: bytes, declared: str) -> tuple[str, int]:
    """Codec of a text that begins with `head`, and the length of its byte-order mark.

    Raises:
        IngestError: for a codec that Python does not know.
    """
    for mark, codec in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return codec, len(mark)
    try:
        name = codecs.lookup(declared).name
    except LookupError:
        raise IngestError(
            f"source.csv.encoding: {declared!r} is not a codec that Python knows; "
            "e.g. utf-8, latin-1, cp1252, utf-16"
        ) from None
    return ("utf-8" if name == "utf-8-sig" else name), 0


def is_splittable(codec: str) -> bool:
    """Whether each ASCII byte stands for itself wherever it occurs, so that lines can be found."""
    if codec in ("utf-8", "ascii", "iso8859-1"):
        return True
    module = importlib.import_module(f"encodings.{codec.replace('-', '_')}")
    table = getattr(module, "decoding_table", None)  # only single-byte codecs have one
    return table is not None and table[:128] == bytes(range(128)).decode("ascii")


def is_text(record: bytes) -> bool:
    """Whether every byte was decodable."""
    if record.isascii():
        return True
    try:
        record.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def verbatim(record: bytes, codec: str) -> str:
    r"""Text of a record; bytes of the file that cannot be decoded become \xNN."""
    if codec == "utf-8":
        return record.decode("utf-8", "backslashreplace")
    text = record.decode("utf-8", "surrogatepass")
    return re.sub("[\udc00-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)


class SourceReader(io.RawIOBase):
    """Reads bytes `start` to `end` of a file once, from front to back, and hashes what it reads."""

    def __init__(self, file: IO[bytes], *, start: int = 0, end: int | None = None) -> None:
        self._file = file
        self._left = None if end is None else end - start
        self.size = 0
        self._sha256, self._xxh64 = hashlib.sha256(), xxhash.xxh64()
        self._whole = start == 0 and end is None
        if start:
            file.seek(start)

    def readable(self) -> bool:
        """Always: see `io.RawIOBase`."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes."""
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        data = self._file.read(size) if size else b""
        if self._left is not None:
            self._left -= len(data)
        self.size += len(data)
        (self._sha256 if self._whole else self._xxh64).update(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def digest(self) -> str:
        """Read what is left; SHA-256 of a whole file, XXH64 of a range, in hexadecimal."""
        while self.read(BLOCK_BYTES):
            pass
        return (self._sha256 if self._whole else self._xxh64).hexdigest()


@contextmanager
def open_source(uri: str, *, start: int = 0, end: int | None = None) -> Iterator[SourceReader]:
    """Open a source file, or a range of it, for reading once.

    Raises:
        IngestError: where it is gone or may not be read.
    """
    try:
        with cast(AbstractContextManager[IO[bytes]], fsspec.open(uri, "rb")) as file:
            yield SourceReader(file, start=start, end=end)
    except FileNotFoundError as error:
        raise IngestError(
            f"{uri}: the file is gone; run again when the source is at rest"
        ) from error
    except PermissionError as error:
        raise IngestError(f"{uri}: may not be read ({error.strerror or error})") from error


def raw_blocks(reader: SourceReader, uri: str, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Blocks of the file's bytes, decompressed where its name asks for it.

    Raises:
        IngestError: for a damaged compressed file.
    """
    compression = next((c for e, c in _COMPRESSIONS.items() if uri.lower().endswith(e)), None)
    file: Any = compression(io.BufferedReader(reader)) if compression else reader
    try:
        while block := file.read(block_bytes):
            yield block
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise IngestError(
            f"{uri}: the compressed file is damaged or incomplete ({error}); fetch it again"
        ) from error
    except OSError as error:
        if compression is not bz2.open:
            raise
        raise IngestError(f"{uri}: the compressed file is damaged ({error})") from error


def decoded_blocks(blocks: Iterator[bytes], *, codec: str, skip: int = 0) -> Iterator[bytes]:
    """Blocks as UTF-8, without the first `skip` bytes (the byte-order mark)."""
    decoder = None if codec == "utf-8" else codecs.getincrementaldecoder(codec)(_KEEP_BYTES)
    for block in blocks:
        rest, skip = block[skip:], max(0, skip - len(block))
        if decoder is None:
            yield rest
        else:
            yield decoder.decode(rest).encode("utf-8", "surrogatepass")
    if decoder is not None:
        yield decoder.decode(b"", True).encode("utf-8", "surrogatepass")
