"""One shard file as NumPy arrays that are views of a memory map. Knows no order and no other files."""

import errno
import json
import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline_assets.shards.errors import DamagedShard, ShardError
from pipeline_assets.shards.index import Shard
from pipeline_assets.shards.verified import sha256_of

_REQUEST_BYTES = 128 << 10
_REMEDY = "materialise tensor_shards again"
_DTYPES = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


class Rows(NamedTuple):
    """Columns of some rows."""

    numeric: np.ndarray
    """float32 [n, F], NaN for missing."""
    categorical: np.ndarray
    """int64 [n, C], hashes, 0 for missing."""
    label: np.ndarray
    """float32 [n], or [n, labels] of a multi-label set."""
    row_id: np.ndarray
    """int64 [n]."""


class MappedShard:
    """A file that is mapped; its bytes are read from the disk when they are used.

    Args:
        path: of the file.
        shard: what the index says.
        numeric: columns of `numeric`.
        categorical: columns of `categorical`.
        labels: columns of `label`; 0 where it has no such axis.

    Raises:
        ShardError: the file is missing, damaged or of another shape; it is named.
    """

    def __init__(
        self, path: Path, shard: Shard, numeric: int, categorical: int, labels: int
    ) -> None:
        # Reading beyond the end of a map kills the process.
        check_file(path, shard)
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from None
        self._in_order = True
        self.will_read(in_order=False)
        expected = {
            "numeric": ("F32", (shard.rows, numeric)),
            "categorical": ("I64", (shard.rows, categorical)),
            "label": ("F32", (shard.rows, labels) if labels else (shard.rows,)),
            "row_id": ("I64", (shard.rows,)),
        }
        self._offsets = _read_header(self._map, path, expected)
        try:
            self.rows = Rows(
                *(
                    np.frombuffer(
                        self._map, _DTYPES[dtype], int(np.prod(shape)), offset=offset
                    ).reshape(shape)
                    for (dtype, shape), offset in zip(expected.values(), self._offsets)
                )
            )
            """Columns, views of the map."""
        except (ValueError, TypeError, OverflowError) as error:
            raise DamagedShard(
                f"shard {path} has a damaged header: its columns do not lie in the file ({error}): {_REMEDY}"
            ) from None

    def will_read(self, *, in_order: bool) -> None:
        """Tell the kernel how rows are read from now on.

        In order, it reads on by itself. Not so in blocks anywhere: by default each page that is missing brings
        what lies around it (as much as the disk's read-ahead, up to megabytes), which pushes out, where memory is
        scarce, the blocks that were read ahead.
        """
        if in_order != self._in_order:
            self._in_order = in_order
            self._map.madvise(mmap.MADV_NORMAL if in_order else mmap.MADV_RANDOM)

    def will_need(self, start: int, rows: int) -> None:
        """Have the kernel read some rows ahead, without waiting for it."""
        for column, offset in zip(self.rows, self._offsets):
            width = column.nbytes // len(column)
            first = (offset + start * width) // mmap.PAGESIZE * mmap.PAGESIZE
            end = offset + (start + rows) * width
            # Of a request the kernel reads no more than a device takes at once, 128 KiB and more; the rest
            # would come page by page.
            for at in range(first, end, _REQUEST_BYTES):
                self._map.madvise(mmap.MADV_WILLNEED, at, min(_REQUEST_BYTES, end - at))


def check_file(
    path: Path,
    shard: Shard,
    *,
    verify: bool = False,
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Raise `ShardError` where a file is missing or has another size than the index says.

    Args:
        path: of the file.
        shard: what the index says.
        verify: hash the file, too.
        on_progress: is called while it is hashed.
    """
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            raise DamagedShard(
                f"shard {path} has {size} bytes, the index says {shard.bytes}: {_REMEDY}"
            )
        if verify and sha256_of(path, on_progress) != shard.sha256:
            raise DamagedShard(
                f"shard {path} is corrupted: its SHA-256 is not the one in the index: {_REMEDY}"
            )
    except FileNotFoundError:
        raise DamagedShard(f"shard {path} is missing: {_REMEDY}") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ShardError:
    too_many = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    advice = "; raise the limit of open files (ulimit -n)" if too_many else ""
    return ShardError(f"shard {path} cannot be read: {error}{advice}")


def _read_header(
    mapped: mmap.mmap, path: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]]
) -> list[int]:
    """Return where each column begins in the file. Raises `ShardError` where it holds others."""
    try:
        length = int.from_bytes(mapped[:8], "little")
        header = json.loads(mapped[8 : 8 + length])
        found = {name: (header[name]["dtype"], tuple(header[name]["shape"])) for name in expected}
        offsets = [8 + length + header[name]["data_offsets"][0] for name in expected]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DamagedShard(f"shard {path} has a damaged header: {error!r}: {_REMEDY}") from None
    if found != expected:
        raise DamagedShard(f"shard {path} holds {found}, the index says {expected}: {_REMEDY}")
    return offsets
