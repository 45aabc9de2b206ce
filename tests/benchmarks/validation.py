"""Validation with 12 rules: the one-pass validation, pandera's Spark backend, and a job per rule.

    python -m tests.benchmarks.validation --rows 1000000 --engine sail

All read the same Parquet files of text on the same engine, and cast by the same expressions. pandera
and the job per rule only count; each job reads and casts the columns of its rule alone. "one pass,
counts" does the same work with the compiled flags: one aggregation, and one group by for the key.
"one pass, all outputs" is what the chain runs: it also says which rows failed and why, keeps the first
of each key, and writes the validated and the rejected rows, sorted and hashed. The four take turns, so
that none of them finds a warmer engine than the others.
"""

import argparse
import math
import sys
import tempfile
import warnings
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.contract.expressions import rule_expressions
from pipeline_assets.contract.judging import judge
from pipeline_assets.contract.names import flag_name, raw_name
from pipeline_assets.contract.pandera_schema import pandera_spark_schema
from pipeline_assets.contract.validation import validate
from pipeline_assets.engine import read_version, start_session, stop_session
from pipeline_assets.environments import EngineSettings
from pipeline_assets.lake import Lake, Version
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.spec.contract import Column, Contract
from tests.benchmarks.report import Table, best_of

CONTRACT = Contract(
    key=["id"],
    columns=[
        Column(name="id", type="int64"),
        Column(name="country", type="string", allowed=["France", "Germany", "Spain"]),
        Column(name="gender", type="string", allowed=["Female", "Male"]),
        Column(name="age", type="int32", min=18, max=100),
        Column(name="products", type="int32", nullable=True, min=1, max=4),
        Column(name="balance", type="float64", nullable=True, min=0, max=1e6),
        Column(name="score", type="int32", min=300, max=850),
    ],
)
"""Five nullable, four range and two allowed rules, and the key: 12 rules beside the casts."""


def generate(lake: Lake, rows: int, part_rows: int = 250_000) -> Version:
    """Publish a raw version of text with about 0.1 % violations of each kind."""
    staged = lake.dataset("benchmark", "raw").stage()
    entries = []
    for number, start in enumerate(range(0, rows, part_rows)):
        count = min(part_rows, rows - start)
        random = np.random.default_rng([7, number])
        table = pa.table(
            {
                "id": pa.array(np.arange(start, start + count)).cast(pa.string()),
                "country": pa.array(random.choice(["France", "Germany", "Spain"], count)),
                "gender": pa.array(random.choice(["Female", "Male"], count)),
                "age": pa.array(random.integers(18, 100, count)).cast(pa.string()),
                "products": pa.array(random.integers(1, 5, count)).cast(pa.string()),
                "balance": pa.array(np.round(random.uniform(0, 2e5, count), 2)).cast(pa.string()),
                "score": pa.array(random.integers(300, 851, count)).cast(pa.string()),
                "_source_file": pa.array(["landing.csv"] * count),
                "_source_line": pa.array(np.arange(start + 1, start + count + 1)),
            }
        )
        for name, bad in [
            ("id", str(start)), ("country", "Peru"), ("gender", None), ("age", "7"),
            ("products", "9"), ("balance", "-1.5"), ("score", "a lot"),
        ]:  # fmt: skip
            mask = pa.array(random.random(count) < 0.001)
            column = pa.compute.if_else(mask, pa.scalar(bad, pa.string()), table.column(name))
            table = table.set_column(table.schema.get_field_index(name), name, column)
        path = f"rows/part-{number:05d}.parquet"
        entries.append(write_parquet(table, staged.path(path), path=path))
    schema = [
        (name, "bigint" if name == "_source_line" else "string") for name in table.schema.names
    ]
    staged.seal(files=entries, rows=rows, schema=schema)
    return staged.publish()


def one_pass(spark, lake, raw):
    """Ours: both outputs written, counts, samples, null shares, duplicates by row."""
    with (
        lake.dataset("benchmark", "validated").stage() as validated,
        lake.dataset("benchmark", "rejected").stage() as rejected,
    ):
        return validate(spark, raw, CONTRACT, validated=validated, rejected=rejected)


def judged_rows(spark, raw):
    """The raw rows with typed values and flags."""
    frame = read_version(spark, raw).selectExpr(
        *(f"`{name}` AS {raw_name(i)}" for i, name in enumerate(CONTRACT.names))
    )
    return judge(frame, rule_expressions(CONTRACT))


def counts_only(spark, raw):
    """The compiled flags as one aggregation, and the keys that occur more than once."""
    flags = [flag_name(i) for i in range(len(rule_expressions(CONTRACT).flags))]
    sums = [f"sum(CASE WHEN {flag} THEN 1 ELSE 0 END) AS {flag}" for flag in flags]
    repeated = judged_rows(spark, raw).groupBy("id").count().filter("count > 1").count()
    return [*judged_rows(spark, raw).selectExpr(*sums).collect()[0], repeated]


CONDITIONS = {
    **{
        f"{name}.nullable": f"{name} IS NULL"
        for name in ("id", "country", "gender", "age", "score")
    },
    "country.allowed": "country NOT IN ('France', 'Germany', 'Spain')",
    "gender.allowed": "gender NOT IN ('Female', 'Male')",
    "age.range": "age < 18 OR age > 100",
    "products.range": "products < 1 OR products > 4",
    "balance.range": "balance < 0 OR balance > 1e6",
    "score.range": "score < 300 OR score > 850",
}


def job_per_rule(spark, raw):
    """The naive way: one filter and count per rule, one group by for the key."""
    typed = judged_rows(spark, raw).select(*CONTRACT.names)
    counts = {rule: typed.filter(sql).count() for rule, sql in CONDITIONS.items()}
    return counts | {"unique_key": typed.groupBy("id").count().filter("count > 1").count()}


def pandera_spark(spark, raw):
    """pandera.pyspark on the same rules; its report has counts, not rows."""
    typed = judged_rows(spark, raw).select(*CONTRACT.names)
    schema = pandera_spark_schema(CONTRACT)
    schema.unique = list(CONTRACT.key)
    return dict(schema.validate(typed).pandera.errors)


def disagreements(ours, naive):
    """Rules that were not counted alike. What cannot be cast is null to the naive way."""
    as_null = {rule: rule.replace(".nullable", ".type") for rule in CONDITIONS if "null" in rule}
    return [
        rule
        for rule in CONDITIONS
        if naive[rule] != ours[rule] + ours.get(as_null.get(rule, ""), 0)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows (default: %(default)s)")
    parser.add_argument("--engine", choices=["sail", "spark"], default="sail")
    parser.add_argument(
        "--repeats", type=int, default=3, help="turns, best of (default: %(default)s)"
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    spark = start_session(EngineSettings(kind=arguments.engine), "validation benchmark")
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        raw = generate(lake, arguments.rows)
        contenders = {
            "ours": lambda: one_pass(spark, lake, raw),
            "counting": lambda: counts_only(spark, raw),
            "naive": lambda: job_per_rule(spark, raw),
            "pandera": lambda: pandera_spark(spark, raw),
        }
        seconds = dict.fromkeys(contenders, math.inf)
        found: dict[str, Any] = {}
        for turn in range(1 + arguments.repeats):
            for name, run in contenders.items():
                took, found[name] = best_of(1, run)
                if turn:  # the first one only warms the engine up
                    seconds[name] = min(seconds[name], took)
    stop_session()
    table = Table(f"Validation of {arguments.rows:,} rows, 12 rules, engine {arguments.engine}")
    rejected = f"{found['ours'].rows_rejected:,} rows rejected; rows, reasons and files written"
    table.row("one pass, all outputs", seconds["ours"], note=rejected)
    table.row("one pass, counts", seconds["counting"], note="the same work as the peers")
    for name, key in (("pandera.pyspark", "pandera"), ("a job per rule", "naive")):
        took = seconds[key]
        table.row(f"{name} / counts", took, ratio=took / seconds["counting"], aim=5)
        table.row(f"{name} / all outputs", None, ratio=took / seconds["ours"], aim=5)
    table.print(["pandera", "pyspark", "pysail", "pyarrow"])
    if not found["pandera"]:
        sys.exit("pandera.pyspark found no violation: the comparison is broken")
    different = disagreements(found["ours"].violations, found["naive"])
    if different:
        sys.exit(f"the one pass and the job per rule disagree on {', '.join(different)}")


if __name__ == "__main__":
    main()
