"""Which rejected rows a mended contract would take."""

import sys
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))

from raw_versions import publish_raw, run_validation

from pipeline_assets.contract.replay import replay_preview
from pipeline_assets.spec.contract import Column, Contract, TableRules

STRICT = Contract(
    key=["id"],
    columns=[
        Column(name="id", type="int64"),
        Column(name="age", type="int32", min=18, max=65),
        Column(name="active", type="boolean", nullable=True),
    ],
    table=TableRules(max_rejected_share=1),
)
LENIENT = STRICT.model_copy(
    update={
        "columns": [
            STRICT.columns[0],
            Column(name="age", type="int32", min=18),
            *STRICT.columns[2:],
        ]
    }
)


def test_preview_by_rule(engine, lake):
    rows = [
        ("1", "30", "true"),
        ("2", "70", None),  # passes once the upper bound is gone
        ("3", "5", None),  # still too young
        ("1", "40", None),  # repeats a key that stays
        ("x", "80", None),  # the key is still wrong
    ]
    raw = publish_raw(lake, STRICT, rows, [(6, "a,b")])
    _, _, rejected = run_validation(engine, lake, STRICT, raw)
    assert replay_preview(engine, rejected, LENIENT) == {
        "rows": 5,
        "malformed": 1,
        "passing": 1,
        "by_rule": {
            "age.range": {"rows": 3, "passing": 1},
            "id.type": {"rows": 1, "passing": 0},
            "malformed_line": {"rows": 1, "passing": 0},
            "unique_key": {"rows": 1, "passing": 0},
        },
        "broken_now": {"id.type": 1, "age.range": 1},
    }
    assert replay_preview(engine, rejected, STRICT)["passing"] == 0


def test_preview_of_typed_rows_and_of_none(engine, lake):
    types = {"id": pa.int64(), "age": pa.int32(), "active": pa.bool_()}
    raw = publish_raw(lake, STRICT, [(1, 70, True), (2, 70, None)], types=types)
    _, _, rejected = run_validation(engine, lake, STRICT, raw)
    assert replay_preview(engine, rejected, LENIENT)["passing"] == 2
    raw = publish_raw(lake, STRICT, [("1", "30", "no")], use_case="sound")
    _, _, rejected = run_validation(engine, lake, STRICT, raw)
    found = replay_preview(engine, rejected, LENIENT)
    assert found == {"rows": 0, "malformed": 0, "passing": 0, "by_rule": {}, "broken_now": {}}
