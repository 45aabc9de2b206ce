"""Credentials in URIs never reach a message."""

import pytest

from pipeline_assets.engine import EngineError
from pipeline_assets.ingest import IngestError
from pipeline_assets.lake import LakeError
from pipeline_assets.spec.credentials import without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://shop:secret@host/in and more", "sftp://…@host/in and more"),
        ("sftp://shop:p@ss@host/in", "sftp://…@host/in"),
        ("postgresql://u:p@db:5432/x, s3://b/k", "postgresql://…@db:5432/x, s3://b/k"),
        ("sc://host:443/;token=abc;use_ssl=true", "sc://host:443/;token=…;use_ssl=true"),
        ("https://h/x?a=1&X-Amz-Signature=0f&b=2", "https://h/x?a=1&X-Amz-Signature=…&b=2"),
        ("https://h/a.csv?sv=1&sig=0f%3D", "https://h/a.csv?sv=1&sig=…"),
        ("nobody@example.org reads https://h/x", "nobody@example.org reads https://h/x"),
    ],
)
def test_credentials_are_left_out_and_nothing_else(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


@pytest.mark.parametrize("kind", [IngestError, LakeError, EngineError])
def test_errors_that_quote_uris_leave_them_out(kind: type[Exception]) -> None:
    assert str(kind("no file at sftp://shop:secret@host/in")) == "no file at sftp://…@host/in"
