"""Publishing, reading and removing versions, on local folders and on an object store."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets.lake import FileEntry, Lake, LakeError, StagedVersion, Version


@pytest.fixture(params=["path", "file", "memory", "spaces"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    uri = {
        "path": str(tmp_path / "lake"),
        "file": f"file://{tmp_path}/lake/",
        "memory": f"memory://{uuid.uuid4().hex}/lake",
        "spaces": str(tmp_path / "my lake, 100% #1"),
    }[request.param]
    return Lake(uri)


def _publish(
    lake: Lake, value: object, partition: str = "all", run_id: str | None = None
) -> Version:
    with lake.dataset("churn", "raw").stage(partition) as staged:
        staged.write_json("rows/a.json", value)
        staged.write_bytes("plot.png", b"\x89PNG")
        staged.seal(rows=1, schema=[("a", "int")], upstream={"landing": "0"}, run_id=run_id)
        return staged.publish()


def test_a_published_version_reads_back(lake: Lake) -> None:
    version = _publish(lake, {"x": 1}, run_id="run-1")
    current = lake.dataset("churn", "raw").require()
    assert current == version
    assert current.read_json("rows/a.json") == {"x": 1}
    assert [uri.removeprefix(current.uri) for uri in current.uris("rows")] == ["/rows/a.json"]
    assert current.uris(suffix=".png") == [f"{current.uri}/plot.png"]
    assert current.manifest.upstream == {"landing": "0"}
    assert current.manifest.schema == [("a", "int")]
    assert current.verify() == []
    assert lake.dataset("churn", "raw").partitions() == ["all"]
    assert [(d.use_case, d.asset) for d in lake.datasets()] == [("churn", "raw")]


def test_nothing_is_visible_before_publish(lake: Lake) -> None:
    dataset = lake.dataset("churn", "raw")
    staged = dataset.stage()
    staged.write_json("a.json", 1)
    staged.seal(rows=1, schema=[])
    assert dataset.current() is None
    assert dataset.versions() == []
    assert dataset.partitions() == []
    with pytest.raises(LakeError, match="materialise the asset raw of churn"):
        dataset.require()


def test_a_version_that_fails_its_gate_leaves_no_trace(lake: Lake) -> None:
    first = _publish(lake, 1)
    with pytest.raises(ValueError), lake.dataset("churn", "raw").stage() as staged:
        staged.write_json("a.json", 2)
        staged.seal(rows=1, schema=[])
        raise ValueError("too many rejected rows")
    assert lake.dataset("churn", "raw").require().version == first.version
    assert lake.storage.folders("churn/raw/all/versions") == [first.version]


def test_equal_content_keeps_the_version_and_renews_its_record(lake: Lake) -> None:
    first = _publish(lake, 1, run_id="run-1")
    again = _publish(lake, 1, run_id="run-2")
    assert again.version == first.version
    assert again.data_version == first.data_version
    current = lake.dataset("churn", "raw").require()
    assert current.manifest.run_id == "run-2"
    assert current.manifest.created_at == first.manifest.created_at
    assert lake.storage.folders("churn/raw/all/versions") == [first.version]


def test_going_back_to_earlier_content_makes_it_current_again(lake: Lake) -> None:
    first, _, third = (_publish(lake, value) for value in (1, 2, 1))
    assert third.data_version == first.data_version
    assert lake.dataset("churn", "raw").require().data_version == first.data_version


def test_versions_are_listed_newest_first_and_pruned(lake: Lake) -> None:
    dataset = lake.dataset("churn", "raw")
    published = [_publish(lake, value).version for value in range(4)]
    assert [v.version for v in dataset.versions()] == published[::-1]
    assert sorted(dataset.prune(2)) == sorted(published[:2])
    assert [v.version for v in dataset.versions()] == published[:1:-1]
    assert dataset.require().verify() == []
    with pytest.raises(LakeError, match="keep is 0"):
        dataset.prune(0)


def test_prune_spares_what_others_refer_to(lake: Lake) -> None:
    dataset = lake.dataset("churn", "raw")
    versions = [_publish(lake, value) for value in range(4)]
    removed = dataset.prune(1, protect={versions[1].data_version})
    assert sorted(removed) == sorted([versions[0].version, versions[2].version])
    assert [v.version for v in dataset.versions()] == [versions[3].version, versions[1].version]


def test_prune_spares_recent_staging_and_removes_abandoned(lake: Lake) -> None:
    dataset = lake.dataset("churn", "raw")
    _publish(lake, 1)
    staged = dataset.stage()
    staged.write_json("a.json", 2)
    assert dataset.prune(1) == []
    assert dataset.prune(1, now=datetime.now(UTC) + timedelta(hours=23)) == []
    assert dataset.prune(1, now=datetime.now(UTC) + timedelta(days=2)) == [staged.version]
    staged_too_late = pytest.raises(LakeError, match=r"not written")
    with staged_too_late:
        staged.seal(files=[FileEntry(path="a.json", bytes=1, sha256="")], rows=1, schema=[])


def test_partitions_are_apart(lake: Lake) -> None:
    dataset = lake.dataset("churn", "raw")
    _publish(lake, 1, "2026-01-01")
    _publish(lake, 2, "2026-01-02")
    assert dataset.partitions() == ["2026-01-01", "2026-01-02"]
    assert dataset.current() is None
    assert dataset.require("2026-01-02").read_json("rows/a.json") == 2


@pytest.mark.parametrize("name", ["..", "", "a/b", ".hidden", "/x", "ü", "a b"])
def test_names_that_leave_the_lake_are_refused(tmp_path: Path, name: str) -> None:
    lake = Lake(str(tmp_path))
    for attempt in (
        lambda: lake.dataset(name, "raw"),
        lambda: lake.dataset("churn", name),
        lambda: lake.dataset("churn", "raw").stage(name),
    ):
        with pytest.raises(LakeError, match="cannot be a folder name"):
            attempt()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a//b", "manifest.json"])
def test_paths_that_leave_the_version_are_refused(tmp_path: Path, path: str) -> None:
    with Lake(str(tmp_path)).dataset("churn", "raw").stage() as staged:
        for attempt in (
            lambda: staged.path(path),
            lambda: staged.write_bytes(path, b""),
            lambda: staged.open(path),
        ):
            with pytest.raises(LakeError):
                attempt()


def _staged(lake: Lake) -> StagedVersion:
    staged = lake.dataset("churn", "raw").stage()
    staged.write_bytes("a", b"1")
    return staged


def test_the_order_of_calls_is_enforced(lake: Lake) -> None:
    staged = _staged(lake)
    with pytest.raises(LakeError, match="not sealed"):
        staged.publish()
    staged.seal(rows=0, schema=[])
    with pytest.raises(LakeError, match="sealed"):
        staged.write_bytes("b", b"2")
    staged.publish()
    with pytest.raises(LakeError, match="published already"):
        staged.publish()
    with pytest.raises(LakeError, match="only prune"):
        staged.discard()


def test_reported_files_are_checked(lake: Lake) -> None:
    staged = _staged(lake)
    with pytest.raises(LakeError, match="was not written"):
        staged.seal(files=[FileEntry(path="b", bytes=1, sha256="")], rows=0, schema=[])
    with pytest.raises(LakeError, match="has 1 bytes, its writer reported 2"):
        staged.seal(files=[FileEntry(path="a", bytes=2, sha256="")], rows=0, schema=[])


def test_metadata_must_be_json(lake: Lake) -> None:
    with pytest.raises(LakeError, match="not JSON-safe"):
        _staged(lake).seal(rows=0, schema=[], metadata={"auc": float("nan")})


def test_verify_finds_changed_missing_and_forged_files(tmp_path: Path) -> None:
    version = _publish(Lake(str(tmp_path)), 1)
    folder = version.local_path()
    (folder / "plot.png").write_bytes(b"\x89PNh")
    (folder / "rows/a.json").unlink()
    problems = {p.path.removeprefix(version.uri + "/"): p.message for p in version.verify()}
    assert set(problems) == {"plot.png", "rows/a.json"}
    assert "missing" in problems["rows/a.json"] and "SHA-256" in problems["plot.png"]


def test_publishing_again_mends_a_version_that_lost_files(lake: Lake) -> None:
    first = _publish(lake, 1)
    lake.storage.remove(f"churn/raw/all/versions/{first.version}/plot.png")
    again = _publish(lake, 1)
    assert again.version != first.version
    assert again.data_version == first.data_version
    assert lake.dataset("churn", "raw").require().verify() == []


def test_prune_removes_what_killed_writers_left(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    _publish(lake, 1)
    left = tmp_path / "churn/raw/all/.current.json.00112233.tmp"
    left.write_text("{")
    lake.dataset("churn", "raw").prune(1)
    assert left.exists()
    lake.dataset("churn", "raw").prune(1, now=datetime.now(UTC) + timedelta(days=2))
    assert not left.exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    (tmp_path / "churn/raw/all/current.json").mkdir(parents=True)
    with pytest.raises(LakeError, match=r"cannot read .*current\.json: Is a directory"):
        lake.dataset("churn", "raw").current()


def test_a_damaged_pointer_or_manifest_is_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    version = _publish(lake, 1)
    pointer = tmp_path / "churn/raw/all/current.json"
    (version.local_path() / "manifest.json").write_text("{")
    with pytest.raises(LakeError, match=r"manifest\.json is damaged"):
        lake.dataset("churn", "raw").require()
    pointer.write_text("[]")
    with pytest.raises(LakeError, match=r"current\.json is damaged"):
        lake.dataset("churn", "raw").require()


def test_a_store_without_its_package_is_a_sentence() -> None:
    with pytest.raises(LakeError, match="no file system for nope://x"):
        Lake("nope://x").dataset("churn", "raw").current()


def test_remote_lakes_have_no_local_path() -> None:
    with pytest.raises(LakeError, match="not a local folder"):
        _publish(Lake(f"memory://{uuid.uuid4().hex}"), 1).local_path()
