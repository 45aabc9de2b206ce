"""The generated landing files: determinism, truth, known counts."""

import csv
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.demo_data import DemoDataError, ensure_demo_data
from pipeline_assets.demo_data.bank_churn import COLUMNS, best_possible_auc, generate
from pipeline_assets.spec import Source
from pipeline_assets.spec.loader import load_use_case

CHURN = Path(__file__).parents[2] / "pipeline_assets" / "defs" / "churn"


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def good_rows(folder: Path) -> list[dict[str, str]]:
    rows = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows += [row for row in csv.DictReader(file) if None not in row and row["Exited"]]
    return rows


def truth_of(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(p) for p in sorted(folder.glob("_truth/*.parquet")))


def test_bytes_follow_from_the_arguments_alone(tmp_path, monkeypatch):
    generate(tmp_path / "a", rows=2000, seed=1, bad_share=0.05, files=3)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    generate(tmp_path / "b", rows=2000, seed=1, bad_share=0.05, files=3)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert len(digest(tmp_path / "a")) == 7
    generate(tmp_path / "c", rows=2000, seed=2, bad_share=0.05, files=3)
    first, other = digest(tmp_path / "a"), digest(tmp_path / "c")
    assert not {first[f] for f in first if f.endswith("csv")} & set(other.values())


def test_truth_and_best_possible_auc(tmp_path):
    from sklearn.metrics import roc_auc_score

    summary = generate(tmp_path / "a", rows=20_000, bad_share=0.01, files=2)
    truth = truth_of(tmp_path / "a")
    probability = dict(zip(*[c.to_pylist() for c in truth.columns]))
    assert len(probability) == truth.num_rows == 20_000
    labels = {}
    for row in good_rows(tmp_path / "a"):
        labels.setdefault(int(row["CustomerId"]), int(row["Exited"]))
    labels = np.array([labels[key] for key in probability])
    auc = roc_auc_score(labels, np.array(list(probability.values())))
    assert summary["best_possible_auc"] == pytest.approx(auc, abs=1e-12)
    assert 0.86 < auc < 0.885
    assert summary["label_rate"] == pytest.approx(labels.mean())
    assert 0.19 < summary["label_rate"] < 0.21
    # The labels are draws from the probabilities: the calibration error is within its noise.
    p = np.array(list(probability.values()))
    assert abs(labels.sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
    assert best_possible_auc(str(tmp_path / "a")) == summary["best_possible_auc"]
    assert best_possible_auc(str(tmp_path / "a" / "*.csv")) == summary["best_possible_auc"]
    assert best_possible_auc(str(tmp_path)) is None


def test_shift_moves_age_and_balance_only(tmp_path):
    def means(shift: float) -> dict[str, float]:
        folder = tmp_path / str(shift)
        generate(folder, rows=5000, bad_share=0, shift=shift)
        rows = good_rows(folder)
        assert len(rows) == 5000
        names = ("Age", "Balance", "CreditScore", "EstimatedSalary")
        return {n: float(np.mean([float(r[n]) for r in rows if r[n]])) for n in names}

    still, moved = means(0.0), means(0.5)
    assert moved["Age"] > still["Age"] + 4
    assert moved["Balance"] > still["Balance"] * 1.1
    assert moved["CreditScore"] == still["CreditScore"]
    assert moved["EstimatedSalary"] == still["EstimatedSalary"]


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_very_few_rows(tmp_path, rows):
    summary = generate(tmp_path / "a", rows=rows, bad_share=0.01)
    assert sum(summary["bad_rows"].values()) == 5
    assert truth_of(tmp_path / "a").num_rows == rows
    assert all(p.read_text(errors="replace").startswith(",".join(COLUMNS))
               for p in (tmp_path / "a").glob("*.csv"))  # fmt: skip


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path, monkeypatch):
    generate(tmp_path / "a", rows=10)
    with pytest.raises(DemoDataError, match="exists already"):
        generate(tmp_path / "a", rows=10)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OSError, match="No space left"):
        generate(tmp_path / "b", rows=10)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_demo_data_only_where_nothing_is(tmp_path):
    def source(uri: Path, **demo) -> Source:
        return Source.model_validate({"uri": str(uri), "format": "csv", "demo": demo})

    summary = ensure_demo_data(source(tmp_path / "a", rows=50))
    assert summary is not None and summary["rows"] == 50
    assert ensure_demo_data(source(tmp_path / "a", rows=60)) is None
    assert ensure_demo_data(source(tmp_path / "missing.csv")) is None
    assert ensure_demo_data(source(tmp_path / "*.csv")) is None
    with pytest.raises(DemoDataError, match="is not module:function"):
        ensure_demo_data(source(tmp_path / "b", generator="json:nothing"))


def test_the_churn_use_case_reads_both_the_demo_and_the_real_file(tmp_path, spark, test_data):
    from pipeline_assets.ingest import ingest
    from pipeline_assets.lake import Lake

    summary = generate(tmp_path / "demo", rows=3000, bad_share=0.03)
    real = test_data / "bank_churn" / "Churn_Modelling.csv"
    lake = Lake(str(tmp_path / "lake"))
    counts = {}
    for folder in (tmp_path / "demo", real):
        use_case = load_use_case(CHURN, env={"CHURN_SOURCE": str(folder)})
        with lake.dataset("churn", "raw").stage() as staged:
            result = ingest(spark, use_case.source, use_case.contract, staged)
        counts[folder.name] = (result.rows, result.malformed_rows)
        assert result.ignored_columns == ["RowNumber"]
    bad = summary["bad_rows"]
    assert bad == dict.fromkeys(bad, 18)
    assert counts == {"demo": (3000 + 4 * 18, 18), real.name: (10_000, 0)}


def test_the_churn_use_case_has_its_declared_defaults():
    use_case = load_use_case(CHURN, env={})
    assert use_case.source.uri == "data/landing/churn"
    assert use_case.source.demo is not None
    assert use_case.contract.key == ["CustomerId"]
    assert set(use_case.contract.names) == set(COLUMNS) - {"RowNumber"}
