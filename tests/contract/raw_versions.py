"""Raw versions as ingest publishes them, written straight from Python values."""

import pyarrow as pa

from pipeline_assets.contract.expressions import rule_expressions
from pipeline_assets.contract.judging import judge
from pipeline_assets.contract.names import flag_name, raw_name
from pipeline_assets.contract.validation import validate
from pipeline_assets.lake.parquet import write_parquet


def publish_raw(lake, contract, rows, malformed=(), *, types=None, files=1, use_case="demo"):
    """Publish a raw version.

    Args:
        rows: tuples in contract order, text or None; `_source_line` counts from 1 in the first file.
        malformed: (line, text) pairs.
        types: Arrow types of columns that are not text.
        files: number of Parquet files the rows are dealt to, in turn.
    """
    staged = lake.dataset(use_case, "raw").stage()
    types = types or {}
    entries = []
    for number in range(files):
        part = [(line, row) for line, row in enumerate(rows, 1) if line % files == number]
        columns = {
            name: pa.array([row[i] for _, row in part], types.get(name, pa.string()))
            for i, name in enumerate(contract.names)
        }
        columns["_source_file"] = pa.array(["landing.csv"] * len(part), pa.string())
        columns["_source_line"] = pa.array([line for line, _ in part], pa.int64())
        path = f"rows/part-{number:05d}.parquet"
        entries.append(write_parquet(pa.table(columns), staged.path(path), path=path))
    if malformed:
        path = "malformed/part-00000.parquet"
        table = pa.table(
            {
                "_source_file": ["landing.csv"] * len(malformed),
                "_source_line": pa.array([line for line, _ in malformed], pa.int64()),
                "reason": ["wrong number of fields"] * len(malformed),
                "text": [text for _, text in malformed],
            }
        )
        entries.append(write_parquet(table, staged.path(path), path=path))
    schema = [(name, "string") for name in contract.names]
    schema += [("_source_file", "string"), ("_source_line", "bigint")]
    staged.seal(files=entries, rows=len(rows), schema=schema)
    return staged.publish()


def run_validation(spark, lake, contract, raw, **arguments):
    """Validate, seal and publish; return (result, validated version, rejected version)."""
    validated = lake.dataset("demo", "validated").stage()
    rejected = lake.dataset("demo", "rejected").stage()
    result = validate(spark, raw, contract, validated=validated, rejected=rejected, **arguments)
    validated.seal(
        files=result.validated_files, rows=result.rows_validated, schema=result.validated_schema
    )
    rejected.seal(
        files=result.rejected_files, rows=result.rows_rejected, schema=result.rejected_schema
    )
    return result, validated.publish(), rejected.publish()


def read_rows(version):
    """All rows of a version as dicts, file after file."""
    import pyarrow.parquet as pq

    return [row for uri in version.uris("rows") for row in pq.read_table(uri).to_pylist()]


def sql_verdicts(spark, contract, frame):
    """Names of broken rules (without unique_key) per row of a pandas frame of text."""
    compiled = rule_expressions(contract)
    table = pa.table(
        {
            **{
                raw_name(i): pa.array(frame[name].tolist(), pa.string())
                for i, name in enumerate(contract.names)
            },
            "row": pa.array(range(len(frame)), pa.int64()),
        }
    )
    judged = judge(spark.createDataFrame(table), compiled)
    names = [flag_name(i) for i in range(len(compiled.flags))]
    rows = sorted(judged.select("row", *names).collect())
    return [
        {rule.name for (rule, _), flag in zip(compiled.flags, row[1:], strict=True) if flag}
        for row in rows
    ]
