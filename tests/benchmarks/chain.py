"""The whole chain on generated customers: through Dagster against the same functions in a plain script.

Both start in a fresh process with an empty folder; both train in the same subprocess. The difference is
what orchestration costs: loading definitions, events, checks, metadata and previews.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHURN = ROOT / "pipeline_assets" / "defs" / "churn" / "defs.yaml"


def use_case_file(folder: Path, rows: int) -> Path:
    """The churn use case with that many generated rows."""
    document = yaml.safe_load(CHURN.read_text(encoding="utf-8"))
    document["attributes"]["source"]["demo"]["rows"] = rows
    document["attributes"]["name"] = "churn"
    file = folder / "defs.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return file


def plain(file: Path) -> None:
    """Every stage's domain functions, one after another, published to a lake like the assets'."""
    from pipeline_assets.contract.validation import validate
    from pipeline_assets.demo_data import ensure_demo_data, true_probabilities
    from pipeline_assets.engine import bucket_count, read_version, start_session
    from pipeline_assets.environments import load_environment
    from pipeline_assets.evaluation.evaluating import evaluate
    from pipeline_assets.evaluation.gating import gate
    from pipeline_assets.evaluation.leakage import permuted_label_check
    from pipeline_assets.evaluation.plots import evaluation_plots
    from pipeline_assets.evaluation.report import render_report
    from pipeline_assets.features.compute import compute_features
    from pipeline_assets.ingest import ingest
    from pipeline_assets.lake import Lake
    from pipeline_assets.registry import prepare_store, register
    from pipeline_assets.shards.writer import write_shards
    from pipeline_assets.spec.loader import load_use_case
    from pipeline_assets.statistics.compute import compute_statistics
    from pipeline_assets.statistics.plots import statistics_plots
    from pipeline_assets.training.config import (
        LaunchConfig,
        ModelConfig,
        PreprocessorConfig,
        TrainingConfig,
        TrainingJob,
    )

    use_case, environment = load_use_case(file), load_environment()
    source = use_case.source.model_copy(
        update={"uri": str(environment.home / "data/landing/churn")}
    )
    lake = Lake(environment.lake.uri)

    def stage(asset: str):
        return lake.dataset("churn", asset).stage()

    ensure_demo_data(source)
    spark = start_session(environment.engine, "benchmark")
    staged = stage("raw")
    ingested = ingest(spark, source, use_case.contract, staged)
    staged.seal(
        files=ingested.files, rows=ingested.rows + ingested.malformed_rows, schema=ingested.columns
    )
    raw = staged.publish()
    good, bad = stage("validated"), stage("rejected")
    result = validate(spark, raw, use_case.contract, validated=good, rejected=bad)
    bad.seal(files=result.rejected_files, rows=result.rows_rejected, schema=result.rejected_schema)
    good.seal(
        files=result.validated_files, rows=result.rows_validated, schema=result.validated_schema
    )
    bad.publish()
    staged = stage("features")
    engineered = compute_features(spark, good.publish(), use_case, staged)
    staged.seal(files=engineered.files, rows=engineered.rows, schema=engineered.schema)
    features = staged.publish()
    statistics = compute_statistics(spark, features, use_case)
    statistics_plots(statistics)
    staged = stage("tensor_shards")
    write_shards(
        read_version(spark, features),
        numeric=[feature.name for feature in use_case.features.numeric],
        categorical=[feature.name for feature in use_case.features.categorical],
        staged=staged,
        buckets=bucket_count(features.rows),
    )
    staged.seal(rows=features.rows, schema=[])
    shards = staged.publish().local_path()
    output = environment.home / "model"
    job = TrainingJob(
        shards=str(shards),
        output=str(output),
        checkpoints=str(environment.home / "checkpoints"),
        seed=use_case.seed,
        model=ModelConfig(
            **use_case.model.model_dump(),
            preprocessor=PreprocessorConfig.from_statistics(
                statistics.to_dict(), max_vocabulary=use_case.model.max_vocabulary
            ),
        ),
        training=TrainingConfig(**use_case.training.model_dump()),
        launch=LaunchConfig(**environment.training.model_dump()),
    )
    (environment.home / "job.json").write_text(json.dumps(job.to_dict()), encoding="utf-8")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pipeline_assets.training.launch",
            str(environment.home / "job.json"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    evaluation = evaluate(
        output, shards, statistics, use_case, seed=use_case.seed, truth=true_probabilities(source)
    )
    render_report(evaluation, plots=evaluation_plots(evaluation))
    permuted_label_check(shards, statistics, use_case, seed=use_case.seed)
    assert gate(evaluation, use_case).passed
    prepare_store(environment.mlflow.tracking_uri, experiment="churn")
    register(
        model_folder=output,
        evaluation=evaluation,
        use_case=use_case,
        tracking_uri=environment.mlflow.tracking_uri,
    )


def through_dagster(file: Path) -> None:
    """The job `churn_full`, executed as the Dagster CLI does."""
    import dagster as dg

    from pipeline_assets.features.use_cases import load_checked_use_case
    from pipeline_assets.orchestration.definitions import use_case_definitions
    from pipeline_assets.orchestration.resources import Engine, Platform

    definitions = dg.Definitions.merge(
        use_case_definitions(load_checked_use_case(file)),
        dg.Definitions(
            resources={"platform": Platform(), "engine": Engine()}, executor=dg.in_process_executor
        ),
    )
    with dg.DagsterInstance.get() as instance:
        job = definitions.resolve_job_def("churn_full")
        assert job.execute_in_process(instance=instance).success


def seconds(way: str, rows: int) -> float:
    """Wall time of one way in a fresh process and folder, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "dagster").mkdir()
        file = use_case_file(home, rows)
        environment = {
            **os.environ,
            "PIPELINE_HOME": folder,
            "DAGSTER_HOME": str(home / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONWARNINGS": "ignore",
        }
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.chain", "--way", way, "--file", str(file)],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{way} failed:\n{done.stderr[-3000:]}")
        return time.perf_counter() - started


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    from tests.benchmarks.report import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="customers")
    parser.add_argument("--way", choices=["plain", "dagster"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way:
        (plain if options.way == "plain" else through_dagster)(options.file)
        return
    script = seconds("plain", options.rows)
    dagster = seconds("dagster", options.rows)
    table = Table(f"The chain on {options.rows:,} rows, processes started anew")
    table.row("plain script", script, ratio=1.0)
    table.row("through Dagster", dagster, ratio=dagster / script, aim=1.15, at_most=True)
    table.print(["dagster", "pysail", "torch"])


if __name__ == "__main__":
    main()
