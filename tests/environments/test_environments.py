"""Environment files: defaults, templates, overrides, and messages for mistakes."""

from pathlib import Path

import pytest

from pipeline_assets.environments import Environment, InvalidEnvironment, load_environment


def _load(tmp_path: Path, text: str, **variables: str) -> Environment:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return load_environment(str(file), variables={"PIPELINE_HOME": str(tmp_path), **variables})


def test_local_is_the_default_and_equals_the_types_defaults(tmp_path: Path) -> None:
    local = load_environment(variables={"PIPELINE_HOME": str(tmp_path)})
    assert local == _load(tmp_path, "name: local")
    assert local.engine.kind == "sail"
    assert local.lake.uri == f"{tmp_path}/data/lake"
    assert local.mlflow.tracking_uri == f"sqlite:///{tmp_path}/data/mlflow/mlflow.db"
    assert local.mlflow.artifact_location == f"{tmp_path}/data/mlflow/artifacts"
    assert local.alerts.channels == [f"logfile://{tmp_path}/data/alerts.log"]
    assert local.executor == "in_process"


def test_cluster_takes_addresses_from_the_environment(tmp_path: Path) -> None:
    cluster = load_environment(
        "cluster",
        variables={
            "PIPELINE_HOME": str(tmp_path),
            "PIPELINE_SPARK_REMOTE": "sc://spark:15002",
            "PIPELINE_NNODES": "2:4",
            "PIPELINE_RDZV_ENDPOINT": "head:29500",
        },
    )
    assert (cluster.name, cluster.engine.kind, cluster.engine.remote) == (
        "cluster",
        "remote",
        "sc://spark:15002",
    )
    assert cluster.lake.uri.startswith("s3://")
    assert cluster.mlflow.artifact_location is None
    assert (cluster.training.nnodes, cluster.training.rdzv_endpoint) == ("2:4", "head:29500")
    assert load_environment("cluster", variables={}).training.rdzv_endpoint is None


def test_variables_choose_environment_engine_and_home(tmp_path: Path, monkeypatch) -> None:
    assert load_environment(variables={"PIPELINE_ENV": "cluster"}).name == "cluster"
    assert load_environment(variables={"PIPELINE_ENGINE": "spark"}).engine.kind == "spark"
    monkeypatch.chdir(tmp_path)
    assert load_environment(variables={}).home == tmp_path
    monkeypatch.setenv("PIPELINE_ENGINE", "spark")
    assert load_environment().engine.kind == "spark"


def test_the_engines_settings_survive_the_override(tmp_path: Path) -> None:
    text = "engine: {kind: sail, cores: 3, conf: {a: b}}"
    engine = _load(tmp_path, text, PIPELINE_ENGINE="spark").engine
    assert (engine.kind, engine.cores, engine.conf) == ("spark", 3, {"a": "b"})


def test_templates_take_variables_or_defaults(tmp_path: Path) -> None:
    text = "lake: {uri: \"{{ env.LAKE or 's3://default' }}\"}"
    assert _load(tmp_path, text).lake.uri == "s3://default"
    assert _load(tmp_path, text, LAKE="gs://mine").lake.uri == "gs://mine"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("engin: {}", r"mine.yaml: engin: unknown key; did you mean 'engine'"),
        ("engine: {knd: sail}", r"engine.knd: unknown key; did you mean 'kind'"),
        (
            "training: {batch_size: 8}",
            "training.batch_size: unknown key; this key belongs to `training` in a",
        ),
        ("engine: {kind: duckdb}", r"engine.kind: .*'sail', 'spark' or 'remote' \(got 'duckdb'\)"),
        ("training: {nnodes: '1:2'}", r"training: nnodes 1:2 needs `rdzv_endpoint: host:port`"),
        ("training: {launcher: spark}", "launcher spark needs a number of processes"),
        (
            "training: {launcher: spark, processes: 2}",
            "needs executors: engine.kind remote or spark",
        ),
        ("engine: {kind: remote}", r"engine: engine kind remote needs `remote: sc://host:port`"),
        ("engine: {cores: 0}", r"engine.cores: expected a value of at least 1 \(got 0\)"),
        ("training: {nnodes: many}", r"training.nnodes"),
        ("lake: {uri: '{{ env.X or }}'}", r"template"),
        ("lake: {uri: '{{ nope }}'}", r"'nope' is undefined"),
        ("a: [", r"not valid YAML"),
        ("- a", r"must hold a mapping"),
        ("executor: none_such", r"executor: .*\(got 'none_such'\)"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidEnvironment, match=expected):
        _load(tmp_path, text)


def test_unknown_names_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InvalidEnvironment, match=r"no environment 'prod'.*known: cluster, local"):
        load_environment("prod", variables={})
    with pytest.raises(InvalidEnvironment, match=r"prod.yaml does not exist"):
        load_environment(str(tmp_path / "prod.yaml"), variables={})
    with pytest.raises(
        InvalidEnvironment, match="PIPELINE_ENGINE is 'flink'; it must be one of sail"
    ):
        load_environment(variables={"PIPELINE_ENGINE": "flink"})
