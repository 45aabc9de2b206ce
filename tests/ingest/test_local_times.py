"""Timestamps of columnar files that have no offset: local times of a zone, as text is read."""

import datetime as dt
import json
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.ingest.local_time import to_instants
from pipeline_assets.spec import Contract

CONTRACT = Contract.model_validate(
    {
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "int64"},
            {"name": "at", "type": "timestamp", "nullable": True},
        ],
    }
)
BEYOND = "beyond the years 1 to 9999"
SKIPPED = dt.datetime(2026, 3, 29, 2, 30)
TWICE = dt.datetime(2026, 10, 25, 2, 30)
LOCAL = [SKIPPED, TWICE, None, dt.datetime(2026, 7, 1, 12, 0, 0, 5)]
INSTANTS = [
    dt.datetime(2026, 3, 29, 1, 30, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC),
    None,
    dt.datetime(2026, 7, 1, 10, 0, 0, 5, tzinfo=dt.UTC),
]
ZONES = ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"]
CHANGES = [
    dt.datetime(2026, 3, 29, 2), dt.datetime(2026, 10, 25, 3), dt.datetime(2018, 11, 4),
    dt.datetime(2018, 2, 18), dt.datetime(2026, 10, 4, 2), dt.datetime(2026, 4, 5, 2),
]  # fmt: skip
NEAR = st.builds(
    lambda change, seconds: change + dt.timedelta(seconds=seconds, microseconds=seconds % 7),
    st.sampled_from(CHANGES),
    st.integers(-8000, 8000),
)
ANY = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2037, 1, 1))


@settings(deadline=None, derandomize=True)
@given(local=st.lists(st.none() | NEAR | ANY, min_size=1, max_size=20), zone=st.sampled_from(ZONES))
def test_local_times_are_those_of_python(local, zone):
    found = to_instants(pa.chunked_array([local], pa.timestamp("us")), zone)
    assert found.type == pa.timestamp("us", tz="UTC")
    expected = [
        None if time is None else time.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)
        for time in local
    ]
    assert found.to_pylist() == expected


def write(landing, write_table, name, kind, **options):
    landing.folder.mkdir(exist_ok=True)
    at = pa.array(LOCAL, pa.timestamp("us")).cast(kind)
    table = pa.table({"id": pa.array(range(len(LOCAL)), pa.int64()), "at": at})
    write_table(table, landing.folder / name, **options)


@pytest.mark.parametrize(
    ("format", "kind", "writer"),
    [
        ("parquet", pa.timestamp("us"), pq.write_table),
        ("parquet", pa.timestamp("ns"), pq.write_table),
        ("orc", pa.timestamp("ns"), orc.write_table),
    ],
)
def test_files_without_offsets_are_in_the_zone(landing, format, kind, writer):
    write(landing, writer, f"a.{format}", kind)
    raw = landing.ingest(format, contract=CONTRACT, timezone="Europe/Berlin")
    assert [at for _, at in raw.rows()] == INSTANTS
    utc = [None if at is None else at.replace(tzinfo=dt.UTC) for at in LOCAL]
    assert [at for _, at in landing.ingest(format, contract=CONTRACT).rows()] == utc


def test_files_with_offsets_and_old_timestamps_of_spark_are_instants_already(landing):
    write(landing, pq.write_table, "a.parquet", pa.timestamp("us", tz="Asia/Tokyo"))
    write(
        landing, pq.write_table, "b.parquet", pa.timestamp("ns"), use_deprecated_int96_timestamps=True
    )  # fmt: skip
    raw = landing.ingest("parquet", contract=CONTRACT, timezone="Europe/Berlin")
    utc = [None if at is None else at.replace(tzinfo=dt.UTC) for at in LOCAL]
    assert [at for _, at in raw.rows()] == [*utc, *utc]


def test_beside_a_file_of_text_they_stay_as_they_are_written(landing):
    write(landing, pq.write_table, "a.parquet", pa.timestamp("us"))
    table = pa.table({"id": pa.array([9], pa.int64()), "at": ["2026-07-01T12:00+02:00"]})
    pq.write_table(table, landing.folder / "b.parquet")
    raw = landing.ingest("parquet", contract=CONTRACT, timezone="Europe/Berlin")
    assert [at for _, at in raw.rows()][:2] == [
        "2026-03-29 02:30:00.000000",
        "2026-10-25 02:30:00.000000",
    ]


def test_rows_beyond_the_years_that_can_be_written_are_malformed(landing):
    """Milliseconds taken for seconds: such a row is kept as text, its neighbours are rows."""
    at = pa.array([0, 1_514_764_800_000, -62_135_596_801, 253_402_300_799, None], pa.timestamp("s"))
    born = pa.array([0, None, 0, 2_932_897, 2_932_896], pa.int32()).cast(pa.date32())
    contract = Contract.model_validate(
        {
            "key": ["id"],
            "columns": [
                *({"name": name, "type": kind, "nullable": True} for name, kind in
                  (("id", "int64"), ("at", "timestamp"), ("born", "date"))),
            ],
        }
    )  # fmt: skip
    table = pa.table({"id": pa.array(range(5), pa.int64()), "at": at, "born": born})
    # Parquet has no seconds, ORC only nanoseconds.
    pq.write_table(table, landing.folder / "a.parquet", row_group_size=2, coerce_timestamps="ms")
    raw = landing.ingest("parquet", contract=contract)
    assert [(key, raw_line) for (key, *_), raw_line in zip(raw.rows(), raw.lines())] == [
        (0, 1), (4, 5),
    ]  # fmt: skip
    assert [(line, reason, json.loads(text)) for _, line, reason, text in raw.malformed()] == [
        (2, BEYOND, {"id": 1, "at": "49970-12-27T00:00:00.000", "born": None}),
        (3, BEYOND, {"id": 2, "at": "0000-12-31T23:59:59.000", "born": "1970-01-01"}),
        (4, BEYOND, {"id": 3, "at": "9999-12-31T23:59:59.000", "born": "10000-01-01"}),
    ]
    assert raw.result.malformed_by_reason == {BEYOND: 3}
    # In a zone, the last hours of 9999 may be in the next year of UTC.
    zoned = landing.ingest("parquet", contract=CONTRACT, timezone="America/New_York")
    assert [key for key, _ in zoned.rows()] == [0, 4]
