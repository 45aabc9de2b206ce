"""Rolling features against others' answers: DuckDB's window queries, and the fraud handbook's own features."""

from pathlib import Path
from typing import Any

import cards
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timed
from timed import DAYS, publish_features, publish_validated, read

from pipeline_assets.features.partitions import compute_partition_features
from pipeline_assets.lake import Lake
from pipeline_assets.spec.partitions import history_keys, history_partitions

QUERY = """
SELECT _row_id,
  count(*) OVER card1 AS card_count_1d,
  sum(amount) OVER card2 AS card_sum_2d,
  avg(amount) OVER card1 AS card_mean_1d,
  stddev_samp(amount) OVER card2 AS card_std_2d,
  min(amount) OVER card6h AS card_min_6h,
  max(amount * 2) OVER card6h AS card_twice_6h,
  count(DISTINCT shop) OVER card2 AS card_shops_2d,
  (us - max(us) OVER earlier) / 1e6 AS card_time_since_last,
  coalesce(avg(fraud) OVER late1, 0) AS shop_label_rate_1d,
  coalesce(avg(fraud) OVER late2, 0) AS shop_label_rate_2d,
  count(*) FILTER (amount > 40) OVER delayed AS large_count_2d,
  max(amount) FILTER (amount > 40) OVER delayed AS large_max_2d
FROM (SELECT *, epoch_us("at") AS us FROM events)
WINDOW card6h AS (PARTITION BY card ORDER BY us RANGE BETWEEN {h6} PRECEDING AND CURRENT ROW),
  card1 AS (PARTITION BY card ORDER BY us RANGE BETWEEN {h24} PRECEDING AND CURRENT ROW),
  card2 AS (PARTITION BY card ORDER BY us RANGE BETWEEN {h48} PRECEDING AND CURRENT ROW),
  earlier AS (PARTITION BY card ORDER BY us RANGE BETWEEN {h48} PRECEDING AND 1 PRECEDING),
  late1 AS (PARTITION BY shop ORDER BY us RANGE BETWEEN {h48} PRECEDING AND {h24} + 1 PRECEDING),
  late2 AS (PARTITION BY shop ORDER BY us RANGE BETWEEN {h72} PRECEDING AND {h24} + 1 PRECEDING),
  delayed AS (PARTITION BY card, shop ORDER BY us
    RANGE BETWEEN {h51} PRECEDING AND {h3} + 1 PRECEDING)
ORDER BY _row_id
""".format(**{f"h{hours}": hours * 3_600_000_000 - 1 for hours in (3, 6, 24, 48, 51, 72)})
"""RANGE is closed at both ends, our windows are open at their start: hence a microsecond less."""


@pytest.mark.parametrize("seed", [0, 1])
def test_window_queries_of_duckdb(spark: Any, tmp_path: Path, seed: int) -> None:
    lake, case, events = Lake(str(tmp_path)), timed.use_case(), timed.rows(4000, seed)
    validated = publish_validated(lake, events, case)
    _, versions = publish_features(spark, lake, DAYS, validated, case)
    ours = pa.concat_tables([read(versions[key]) for key in DAYS]).to_pandas()
    ours = ours.sort_values("_row_id").reset_index(drop=True)
    with duckdb.connect() as connection:
        connection.register("events", events)
        theirs = connection.execute(QUERY).df()
    assert (ours["_row_id"] == theirs["_row_id"]).all()
    for name in theirs.columns[1:]:
        # DuckDB has entities named null; ours have no features there.
        missing = (ours["card"] if not name.startswith("shop") else ours["_row_id"]).isna()
        without = events.to_pandas().set_index("_row_id").loc[ours["_row_id"], "shop"].isna()
        missing |= without.to_numpy() & name.startswith(("shop", "large"))
        assert ours[name][missing].isna().all()
        np.testing.assert_allclose(
            ours[name][~missing], theirs[name][~missing].astype(float), rtol=2e-6, atol=1e-6,
            err_msg=name,
        )  # fmt: skip


@pytest.mark.real_data
@pytest.mark.heavy
def test_all_features_of_the_fraud_handbook(spark: Any, test_data: Path, tmp_path: Path) -> None:
    """The handbook sums with pandas in row order, which differs from a window of time in two ways.

    Of several transactions of a customer at the same instant the first ones, in the order that an unstable
    sort left them in, do not see the others: those are left out here. And a running sum of floats that
    should return to zero ends at something like 1e-14, hence the absolute tolerance.
    """
    days = sorted(path.stem for path in (test_data / "card_transactions_features").glob("*"))
    case = cards.use_case()
    assert case.time is not None
    needed = {k for day in days for k in history_keys(case.time, day, history_partitions(case))}
    lake = Lake(str(tmp_path))
    validated = cards.publish_days(lake, test_data / "card_transactions", sorted({*needed, *days}))
    staged = {}

    def stage(key: str) -> Any:
        staged[key] = lake.dataset("cards", "features").stage(key)
        return staged[key]

    results = compute_partition_features(spark, days, validated, case, stage)
    compared = tied = 0
    for day in days:
        theirs = pq.read_table(test_data / "card_transactions_features" / f"{day}.parquet")
        ids = cards.row_ids(theirs["TRANSACTION_ID"])
        theirs = theirs.to_pandas().set_index(pd.Index(ids))
        ours = pd.concat(
            [pq.read_table(staged[day].path(f.path)).to_pandas() for f in results[day].files]
        ).set_index("_row_id")
        assert len(ours) == len(theirs)
        ours = ours.loc[theirs.index]
        ties = theirs.duplicated(["CUSTOMER_ID", "TX_DATETIME"], keep=False)
        ties |= theirs.duplicated(["TERMINAL_ID", "TX_DATETIME"], keep=False)
        tied += int(ties.sum())
        for name, theirs_name in cards.ORACLE.items():
            np.testing.assert_allclose(
                ours[name][~ties], theirs[theirs_name][~ties], rtol=1e-6, atol=1e-13,
                err_msg=f"{day} {name}",
            )  # fmt: skip
            compared += int((~ties).sum())
    assert compared > 2_000_000
    assert tied < 20
