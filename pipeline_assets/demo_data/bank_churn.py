"""Landing files shaped like the public bank churn file, with bad rows at known counts.

The bytes follow from (rows, seed, bad_share, shift, files) alone, not from the number of threads:
every piece of a file has a random stream of its own. Who the customers are is in `customers`, what is
wrong with the bad rows in `bad_rows`.
"""

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fsspec.core import url_to_fs

from pipeline_assets.demo_data.bad_rows import bad_row_count, spoil
from pipeline_assets.demo_data.customers import Customers, draw_customers
from pipeline_assets.demo_data.label_counts import LabelCounts
from pipeline_assets.demo_data.rows_as_text import (
    COLUMNS,
    MISSING_SHARES,
    as_text,
    blank,
    csv_lines,
    splice,
)
from pipeline_assets.demo_data.whole_folder import whole_folder
from pipeline_assets.lake.parquet import ParquetPart

_PIECE_ROWS = 100_000
_FIRST_ID = 15_000_001
_TRUTH_SCHEMA = pa.schema([("CustomerId", pa.int64()), ("probability", pa.float64())])


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A run of rows of one file."""

    number: int
    first: int
    """Index of the first valid row."""
    rows: int
    first_bad: int
    bad: int


@dataclass(frozen=True, kw_only=True)
class _Settings:
    rows: int
    bad: int
    seed: int
    shift: float

    def customer_ids(self, index: np.ndarray) -> np.ndarray:
        """Distinct, shuffled ids: an odd factor permutes the numbers below a power of two."""
        size = 1 << max(16, (self.rows + self.bad).bit_length())
        return _FIRST_ID + (index * 0x9E3779B1 + 7919 * self.seed) % size


@dataclass(kw_only=True)
class _Tally:
    """What one file adds to the summary."""

    labels: LabelCounts = field(default_factory=LabelCounts)
    kinds: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)


def generate(
    target: Path,
    *,
    rows: int,
    seed: int = 0,
    bad_share: float = 0.01,
    shift: float = 0.0,
    files: int = 4,
) -> dict[str, Any]:
    """Write `churn-*.csv` and `_truth/` into a folder, all of it or nothing.

    Args:
        target: folder; it may not hold anything yet.
        rows: valid rows.
        seed: equal seeds give equal bytes.
        bad_share: bad rows on top, as a share of `rows`, dealt evenly to the five kinds.
        shift: moves age and balance by so many standard deviations (of their logarithms).
        files: number of files.

    Returns:
        The content of `_truth/summary.json`: `rows`, `bad_rows` by kind, `bad_rules` by the rule of
        the churn contract that they break, `label_rate` and `best_possible_auc` of the valid rows.

    Raises:
        DemoDataError: the folder holds something already.
    """
    settings = _Settings(rows=rows, bad=bad_row_count(rows, bad_share), seed=seed, shift=shift)
    with whole_folder(target) as unfinished:
        (unfinished / "_truth").mkdir()
        with ThreadPoolExecutor(min(files, os.cpu_count() or 1)) as pool:
            tallies = list(
                pool.map(lambda n: _write_file(unfinished, n, files, settings), range(files))
            )
        summary = {
            "generator": f"{__name__}:generate",
            "seed": seed,
            "shift": shift,
            "files": files,
            "rows": rows,
            **_summarise(tallies),
        }
        text = json.dumps(summary, indent=1) + "\n"
        (unfinished / "_truth" / "summary.json").write_text(text, encoding="utf-8")
    return summary


def best_possible_auc(landing_uri: str) -> float | None:
    """ROC AUC of the true probabilities of generated files; None for other data.

    No model can expect to reach more on such data: it is the rank of the probability that each
    label was drawn from, with nothing missing.
    """
    fs, path = url_to_fs(landing_uri)
    folder = path.rstrip("/") if fs.isdir(path) else path.rpartition("/")[0]
    summary = f"{folder}/_truth/summary.json"
    if not fs.exists(summary):
        return None
    return json.loads(fs.cat_file(summary))["best_possible_auc"]


def _share(total: int, parts: int, index: int) -> tuple[int, int]:
    """First and size of the index-th of nearly equal parts."""
    first = total * index // parts
    return first, total * (index + 1) // parts - first


def _pieces(number: int, files: int, settings: _Settings) -> list[_Piece]:
    first, rows = _share(settings.rows, files, number)
    first_bad, bad = _share(settings.bad, files, number)
    count = max(1, -(-rows // _PIECE_ROWS))
    pieces = []
    for index in range(count):
        start, size = _share(rows, count, index)
        bad_start, bad_size = _share(bad, count, index)
        pieces.append(
            _Piece(
                number=index,
                first=first + start,
                rows=size,
                first_bad=first_bad + bad_start,
                bad=bad_size,
            )
        )
    return pieces


def _write_file(folder: Path, number: int, files: int, settings: _Settings) -> _Tally:
    tally = _Tally()
    truth = str(folder / "_truth" / f"part-{number:05d}.parquet")
    with (
        (folder / f"churn-{number:05d}.csv").open("wb") as file,
        ParquetPart(truth, _TRUTH_SCHEMA) as part,
    ):
        file.write((",".join(COLUMNS) + "\n").encode())
        for piece in _pieces(number, files, settings):
            seeds = (settings.seed, number, piece.number)
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seeds)))
            customers = draw_customers(rng, piece.rows, settings.shift)
            ids = settings.customer_ids(piece.first + np.arange(piece.rows))
            file.write(_lines(rng, piece, customers, ids, settings, tally))
            part.write(pa.table([ids, customers.probability], schema=_TRUTH_SCHEMA))
            tally.labels.add(customers.probability, customers.exited)
    return tally


def _lines(
    rng: np.random.Generator,
    piece: _Piece,
    customers: Customers,
    ids: np.ndarray,
    settings: _Settings,
    tally: _Tally,
) -> bytes:
    """The CSV lines of a piece: its valid rows, with bad ones between them."""
    valid = as_text(customers, piece.first + 1 + np.arange(piece.rows), ids)
    for name, share in MISSING_SHARES.items():
        column = COLUMNS.index(name)
        missing = pa.array(rng.random(piece.rows) < share)
        valid = valid.set_column(column, name, blank(valid.column(column), missing))
    if not piece.bad:
        return csv_lines(valid)
    index = settings.rows + piece.first_bad + np.arange(piece.bad)
    others = draw_customers(rng, piece.bad, settings.shift)
    rows = as_text(others, index + 1, settings.customer_ids(index)).to_pylist()
    after = rng.integers(0, max(1, piece.rows), piece.bad)
    spoiled = [
        spoil(row, piece.first_bad + i, earlier_id=_earlier(ids, after[i]))
        for i, row in enumerate(rows)
    ]
    for item in spoiled:
        tally.kinds[item.kind] += 1
        tally.rules[item.rule] += 1
    return splice(csv_lines(valid), spoiled, after)


def _earlier(ids: np.ndarray, position: int) -> int | None:
    return int(ids[position]) if len(ids) else None


def _summarise(tallies: list[_Tally]) -> dict[str, Any]:
    labels, kinds, rules = LabelCounts(), Counter(), Counter()
    for tally in tallies:
        labels.include(tally.labels)
        kinds.update(tally.kinds)
        rules.update(tally.rules)
    return {
        "bad_rows": dict(sorted(kinds.items())),
        "bad_rules": dict(sorted(rules.items())),
        "label_rate": labels.label_rate,
        "best_possible_auc": labels.best_possible_auc,
    }
