"""The contract of card_fraud rejects the bad rows that the generator made, each by its rule, and no others."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline_assets.contract.earlier import EarlierRaw
from pipeline_assets.contract.partition_rule import partition_contract
from pipeline_assets.contract.validation import validate
from pipeline_assets.demo_data.card_transactions import generate
from pipeline_assets.demo_data.cards.bad_rows import KINDS
from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.ingest import ingest
from pipeline_assets.lake import Lake, Version
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import source_uri

CARD_FRAUD = Path(__file__).parents[2] / "pipeline_assets" / "defs" / "card_fraud" / "defs.yaml"
RULES = {
    "null_entity": ("CUSTOMER_ID.nullable", "TERMINAL_ID.nullable"),
    "negative_amount": ("TX_AMOUNT.range",),
    "outside_day": ("in_partition",),
    "before_start": ("in_partition",),
    "future": ("in_partition",),
    "null_time": ("TX_DATETIME.nullable",),
    "duplicate_in_day": ("unique_key",),
    "duplicate_across_days": ("unique_key",),
}
"""Kind of bad row to the rules, one of which it breaks."""


def raw_of(spark: Any, lake: Lake, use_case: UseCase, day: str) -> Version:
    source = use_case.source.model_copy(update={"uri": source_uri(use_case.source.uri, day)})
    staged = lake.dataset("card_fraud", "raw").stage(day)
    result = ingest(spark, source, use_case.contract, staged)
    rows = result.rows + result.malformed_rows
    staged.seal(files=result.files, rows=rows, schema=result.columns)
    return staged.publish()


def test_bad_rows_are_rejected_by_their_rules_and_no_others(spark: Any, tmp_path: Path):
    summary = generate(tmp_path / "landing", rows=8000, days=4, bad_share=0.02)
    assert set(summary["bad_rows"]) == set(KINDS)
    use_case = load_checked_use_case(CARD_FRAUD)
    uri = str(tmp_path / "landing" / "{partition}.parquet")
    use_case = use_case.model_copy(
        update={"source": use_case.source.model_copy(update={"uri": uri})}
    )
    lake, before = Lake(str(tmp_path / "lake")), []
    for day, counts in summary["days"].items():
        contract = partition_contract(use_case, day)
        raw = raw_of(spark, lake, use_case, day)
        good = lake.dataset("card_fraud", "validated").stage(day)
        bad = lake.dataset("card_fraud", "rejected").stage(day)
        result = validate(spark, raw, contract, validated=good, rejected=bad, earlier=before)
        assert result.rows_validated == counts["rows"]
        assert result.rows_rejected == sum(counts["bad_rows"].values())
        assert result.rows_raw == result.rows_validated + result.rows_rejected
        expected = Counter()
        for kind, rows in counts["bad_rows"].items():
            expected[RULES[kind]] += rows
        found = {
            rules: sum(result.violations[rule] for rule in rules) for rules in set(RULES.values())
        }
        assert found == {rules: expected[rules] for rules in found}
        assert sum(result.violations.values()) == result.rows_rejected, "one mistake each"
        before = [EarlierRaw(partition=day, raw=raw, contract=contract)]
    days = sorted((tmp_path / "landing").glob("*.parquet"))
    assert sum(pq.read_metadata(path).num_rows for path in days) == summary["rows"] + sum(
        summary["bad_rows"].values()
    )
