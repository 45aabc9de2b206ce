"""Dagster metadata from domain values: schemas, tables, pictures, profiles."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from pipeline_assets.lake import Manifest, Version
from pipeline_assets.spec import UseCase

PREVIEW_ROWS = 5
PREVIEW_CHARACTERS = 60


def column_schema(use_case: UseCase, manifest: Manifest) -> dg.TableSchema:
    """The published schema; contract columns and features carry their description and rules."""
    columns = {column.name: column for column in use_case.joined_contract.columns}
    features = {feature.name: feature for feature in use_case.features.columns}
    described = []
    for name, kind in manifest.schema:
        if manifest.asset == "features" and name in features:
            feature = features[name]
            text = feature.description or f"{feature.kind}: {feature.sql}"
            described.append(dg.TableColumn(name, kind, description=text))
        elif manifest.asset.endswith(("validated", "joined", "unmatched")) and name in columns:
            column = columns[name]
            described.append(
                dg.TableColumn(
                    name,
                    kind,
                    description=column.description or None,
                    constraints=dg.TableColumnConstraints(
                        nullable=column.nullable,
                        unique=use_case.contract.key == [name],
                        other=_rules(column),
                    ),
                )
            )
        else:
            described.append(dg.TableColumn(name, kind))
    return dg.TableSchema(columns=described)


def _rules(column: Any) -> list[str]:
    rules = []
    if column.min is not None or column.max is not None:
        rules.append(
            f"{column.min if column.min is not None else '-inf'} to {column.max if column.max is not None else 'inf'}"
        )
    if column.allowed is not None:
        rules.append(f"one of {', '.join(map(str, column.allowed))}")
    if column.pattern is not None:
        rules.append(f"matches {column.pattern}")
    if column.max_length is not None:
        rules.append(f"at most {column.max_length} characters")
    return rules


def column_lineage(
    use_case: str, upstream: str, columns: Mapping[str, Iterable[str]]
) -> dg.TableColumnLineage:
    """Column lineage: each column to the upstream columns that it is computed from."""
    key = dg.AssetKey([use_case, upstream])
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(key, source) for source in sorted(sources)]
            for name, sources in columns.items()
        }
    )


def picture(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG inside markdown, shown by the UI without any file server."""
    encoded = base64.b64encode(png).decode("ascii")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{encoded})")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A markdown table; cells are made safe for the `|` syntax and shortened."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)
    text = re.sub(r"\s+", " ", text).replace("|", "\\|")
    return text if len(text) <= PREVIEW_CHARACTERS else text[: PREVIEW_CHARACTERS - 1] + "…"


def shortened(value: Any) -> Any:
    """A float with six significant digits, anything else as it is.

    >>> shortened(0.8726815432109877)
    0.872682
    """
    return float(f"{value:.6g}") if isinstance(value, float) else value


def fixed(value: float | None) -> str | None:
    """A figure of a column with four digits, as the HTML reports have them.

    >>> fixed(0.69)
    '0.6900'
    """
    return None if value is None else f"{value:,.4f}"


def preview(version: Version, folder: str = "rows") -> dg.MarkdownMetadataValue:
    """The first rows of a published Parquet dataset, read from its first file only."""
    import pyarrow.parquet

    for file in version.manifest.files:
        if file.path.startswith(f"{folder}/") and file.rows:
            with version.open(file.path) as stream:
                batch = next(pyarrow.parquet.ParquetFile(stream).iter_batches(PREVIEW_ROWS))
            rows = batch.to_pylist()
            return dg.MetadataValue.md(
                markdown_table(batch.schema.names, [list(row.values()) for row in rows])
            )
    return dg.MetadataValue.md("no rows")


def profile_metadata(profile: Mapping[str, Any]) -> dict[str, Any]:
    """The psutil profile of a stage under stable keys, so that the UI plots them over time."""
    return {
        f"profile/{name}": round(value, 2)
        for name, value in profile.items()
        if isinstance(value, int | float)
    }


def check_name(rule: str) -> str:
    """A rule's name as an asset check name (letters, digits and underscores only), one for each rule.

    >>> check_name("Age.range")
    'Age__range'
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "__", rule)
    # Names in other alphabets, or that differ in punctuation only, would all become one.
    plain = re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?", rule)
    return name if plain else f"{name}_{hashlib.sha256(rule.encode()).hexdigest()[:8]}"
