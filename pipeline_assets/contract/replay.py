"""What a mended contract would make of rows that an earlier one rejected, before anything is rerun.

Only a preview: the rows themselves are replayed by materialising `validated` (contract mended) or
`raw` (source mended) again, which judges every row anew.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from pipeline_assets.contract.expressions import rule_expressions
from pipeline_assets.contract.judging import check_row_rules, judge
from pipeline_assets.contract.names import MALFORMED_LINE, UNIQUE_KEY, flag_name, raw_name
from pipeline_assets.engine.errors import readable_errors
from pipeline_assets.engine.reading import read_version
from pipeline_assets.lake.version import Version
from pipeline_assets.spec.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def replay_preview(spark: "SparkSession", rejected: Version, contract: Contract) -> dict[str, Any]:
    """Count the rejected rows that pass under the contract as it is now.

    Malformed lines never pass here (they must be ingested again), nor do repeated keys (the row that
    was kept is still there). Rows that pass may still repeat a key among themselves or of a validated
    row; the next validation decides. A column that was not recorded then counts as missing.

    Returns:
        `rows`, `malformed`, `passing`: numbers of rejected rows;
        `by_rule`: rule broken then -> {`rows`: how many broke it, `passing`: how many pass now};
        `broken_now`: rule of the present contract -> rejected rows that break it, zeros left out.

    Raises:
        ContractError: where the engine refuses a row rule's expression.
    """
    from pyspark.sql import functions as F

    check_row_rules(spark, contract)
    compiled = rule_expressions(contract)
    columns = [raw_name(i) for i in range(len(contract.columns))]
    schema = ", ".join(f"{name} STRING" for name in columns) + ", rules ARRAY<STRING>"
    reader = _OriginalReader(names=tuple(contract.names))
    rows = read_version(spark, rejected).select("rules", "original")
    judged = judge(rows.mapInArrow(cast(Any, reader), schema), compiled)
    hopeless = [f"array_contains(rules, '{name}')" for name in (MALFORMED_LINE, UNIQUE_KEY)]
    broken = [
        flag_name(i) for i, (rule, _) in enumerate(compiled.flags) if rule.severity == "error"
    ]
    passes = f"CASE WHEN {' OR '.join([*hopeless, *broken])} THEN 0L ELSE 1L END AS passes"
    flags = [flag_name(i) for i in range(len(compiled.flags))]
    malformed = f"CASE WHEN {hopeless[0]} THEN 1L ELSE 0L END AS malformed"
    verdicts = judged.selectExpr("rules", passes, malformed, *flags)
    sums = [
        f"sum(CASE WHEN {flag} AND malformed = 0 THEN 1L ELSE 0L END) AS {flag}" for flag in flags
    ]
    with readable_errors(f"judging the rejected rows of {rejected.uri}"):
        (total,) = verdicts.selectExpr(
            "count(*) AS n", "sum(passes) AS passing", "sum(malformed) AS malformed", *sums
        ).collect()
        by_rule = (
            verdicts.selectExpr("explode(rules) AS rule", "passes")
            .groupBy("rule")
            .agg(F.count("*").alias("n"), F.sum("passes").alias("passing"))
            .collect()
        )
    counts = {rule.name: total[flag_name(i)] or 0 for i, (rule, _) in enumerate(compiled.flags)}
    return {
        "rows": total["n"],
        "malformed": total["malformed"] or 0,
        "passing": total["passing"] or 0,
        "by_rule": {
            row["rule"]: {"rows": row["n"], "passing": row["passing"]}
            for row in sorted(by_rule, key=lambda row: row["rule"])
        },
        "broken_now": {name: count for name, count in counts.items() if count},
    }


@dataclass(frozen=True, kw_only=True)
class _OriginalReader:
    """The function of `mapInArrow`: the JSON of rejected rows back to raw text columns."""

    names: tuple[str, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rules = batch.column("rules").to_pylist()
            texts = batch.column("original").to_pylist()
            rows = [
                {} if MALFORMED_LINE in broken else _read(text)
                for broken, text in zip(rules, texts, strict=True)
            ]
            columns = {
                raw_name(i): pa.array([row.get(name) for row in rows], pa.string())
                for i, name in enumerate(self.names)
            }
            columns["rules"] = pa.array(rules, pa.list_(pa.string()))
            yield pa.RecordBatch.from_pydict(columns)


def _read(text: str) -> dict[str, str | None]:
    row = json.loads(text, parse_int=str, parse_float=str)
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in row.items()
    }
