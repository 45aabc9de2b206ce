"""Both engines write the same bytes: the rows and the malformed lines of one source."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.ingest import IngestError


@pytest.mark.spark
def test_same_bytes_on_both_engines(landing_on, spark, apache_spark):
    versions = []
    for name, session in (("sail", spark), ("apache", apache_spark)):
        landing = landing_on(name, session)
        lines = [f'{i},"n{i}\nx",{i / 7}' if i % 3 else f"{i},{i}" for i in range(900)]
        landing.write("a.csv", "id,name,amount\n" + "\n".join(lines) + '\n9,"open\n')
        landing.write("b.csv", "name,id,amount\nÿ,1,2\n".encode("latin-1"))
        raw = landing.ingest(split_bytes=2048)
        assert raw.result.malformed_rows == 302
        landing.write("a.csv", "\n".join(f'{{"id": {i}, "name": [{i}.0]}}' for i in range(300)))
        landing.write("b.csv", '{"id": "x"\n')
        json_lines = landing.ingest("jsonl", split_bytes=1024)
        table = pa.table({"id": range(999), "name": ["x"] * 999, "amount": [0.5] * 999})
        for file in ("a.csv", "b.csv"):
            pq.write_table(table, landing.folder / file, row_group_size=100)
        columnar = landing.ingest("parquet", split_bytes=2048)
        versions.append([item.version.manifest.files for item in (raw, json_lines, columnar)])
        landing.write("a.csv", "not parquet")
        with pytest.raises(IngestError, match=r"a\.csv: not a readable Parquet file"):
            landing.ingest("parquet")
    assert versions[0] == versions[1]
