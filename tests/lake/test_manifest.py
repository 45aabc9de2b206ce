"""Properties of data versions and manifests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.lake import FileEntry, LakeError, Manifest, data_version_of

_names = st.text("abcdefgh0123456789_", min_size=1, max_size=12)
_hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
_files = st.lists(
    st.builds(
        FileEntry,
        path=_names,
        bytes=st.integers(0, 2**40),
        sha256=_hashes,
        rows=st.none() | st.integers(0, 2**40),
    ),
    unique_by=lambda file: file.path,
    max_size=8,
)
_schema = st.lists(st.tuples(_names, st.sampled_from(["int", "string"])), max_size=5)
_json = st.dictionaries(
    st.text(max_size=8),
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    max_size=4,
)


@given(_files, _schema, st.randoms())
def test_data_version_ignores_the_order_of_files(files, schema, random) -> None:
    shuffled = list(files)
    random.shuffle(shuffled)
    version = data_version_of(files, schema)
    assert version == data_version_of(shuffled, schema)
    assert len(version) == 16 and set(version) <= set("0123456789abcdef")


@given(_files, _schema, _files, _schema)
def test_data_version_differs_exactly_where_content_differs(
    files, schema, others, other_schema
) -> None:
    def content(files, schema):
        return sorted((file.path, file.sha256) for file in files), schema

    same_content = content(files, schema) == content(others, other_schema)
    same_version = data_version_of(files, schema) == data_version_of(others, other_schema)
    assert same_content == same_version


@given(_files, _schema, _json, st.text(max_size=10))
def test_manifests_survive_json(files, schema, metadata, run_id) -> None:
    manifest = Manifest(
        use_case="u", asset="a", partition="all", version="v",
        data_version=data_version_of(files, schema), created_at="2026-01-01T00:00:00+00:00",
        rows=3, schema=schema, files=files, upstream={"raw": "0" * 16}, run_id=run_id, metadata=metadata,
    )  # fmt: skip
    assert Manifest.from_json(manifest.to_json(), "memory://x") == manifest
    assert manifest.total_bytes == sum(file.bytes for file in files)


def test_a_manifest_cannot_name_files_outside_its_version() -> None:
    manifest = Manifest(
        use_case="shop",
        asset="raw",
        partition="all",
        version="v",
        data_version="0" * 16,
        created_at="",
        rows=0,
        schema=[],
        files=[FileEntry(path="../../x", bytes=1, sha256="0" * 64)],
    )
    with pytest.raises(LakeError, match="does not name a file inside a version"):
        Manifest.from_json(manifest.to_json(), "manifest.json")
