"""From a trained model and the shards to an `Evaluation`: fit baselines, score, resample, slice.

The validation split chooses thresholds and stops XGBoost; the test split is scored once, by predictors
that are finished. `evaluate_rows` works on any rows; `evaluate` reads model and shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.evaluation.baselines import (
    Fitted,
    logistic_regression,
    majority,
    xgboost,
)
from pipeline_assets.evaluation.bootstrap import interval, resample
from pipeline_assets.evaluation.business.measuring import facts, load_metric, measure
from pipeline_assets.evaluation.carried import Carried
from pipeline_assets.evaluation.encoding import Encoding
from pipeline_assets.evaluation.gating import gate
from pipeline_assets.evaluation.importance import ROWS as IMPORTANCE_ROWS
from pipeline_assets.evaluation.importance import permutation_importance
from pipeline_assets.evaluation.metrics import METRICS, Scored
from pipeline_assets.evaluation.predictors import comparisons_with, judged_predictors
from pipeline_assets.evaluation.result import Evaluation, SplitRows
from pipeline_assets.evaluation.rows import KeptRows, Rows, ShardRows, gather
from pipeline_assets.evaluation.scoring import (
    score,
    scored_rows,
    thresholds,
    true_probabilities,
)
from pipeline_assets.evaluation.slices import judge_slices, worst_slice

if TYPE_CHECKING:
    from pipeline_assets.demo_data.truth import TrueProbabilities
    from pipeline_assets.spec import UseCase
    from pipeline_assets.statistics import FeatureStatistics

_PACKAGES = ("pipeline_assets", "torch", "scikit-learn", "xgboost-cpu", "numpy", "scipy")
_FLOOR_SAMPLES = 100


def evaluate(
    model_dir: Path | str,
    shards_dir: Path | str,
    statistics: FeatureStatistics,
    use_case: UseCase,
    *,
    seed: int | None = None,
    truth: TrueProbabilities | None = None,
    data_versions: Mapping[str, str] | None = None,
    other_baselines: Sequence[Fitted] = (),
    carried: Carried | None = None,
    excluded: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Evaluate a trained model on the test split of the shards.

    Args:
        model_dir: folder with `model.safetensors` and `config.json`.
        shards_dir: folder with `index.json` and the shards.
        statistics: of the training rows of the same features.
        use_case: its `evaluation` block says what to do.
        seed: of the bootstrap, the baselines and the permutations; the use case's by default.
        truth: the rows' true probabilities, where they are known (generated data).
        data_versions: upstream asset to data version, for the report.
        other_baselines: predictors fitted elsewhere, in place of the baseline of the same name.
        carried: columns for business metrics, of all test rows.
        excluded: ids of test rows to leave out, int64 [n].

    Raises:
        ValueError: a split without rows, probabilities that are not numbers, or a business metric that
            cannot be computed.
    """
    from pipeline_assets.training.model import load_model

    model = load_model(Path(model_dir))
    return evaluate_rows(
        model=Fitted(
            name="model",
            title="Model",
            how=f"trained by `{use_case.model.factory}` on the training split",
            predict=model.predict_proba,
        ),
        train=ShardRows(shards_dir, "train"),
        validation=ShardRows(shards_dir, "validation"),
        test=ShardRows(shards_dir, "test"),
        encoding=Encoding.of(statistics, use_case),
        use_case=use_case,
        seed=use_case.seed if seed is None else seed,
        truth=truth,
        data_versions=data_versions,
        other_baselines=other_baselines,
        carried=carried,
        excluded=excluded,
    )


def evaluate_rows(
    *,
    model: Fitted,
    train: Rows,
    validation: Rows,
    test: Rows,
    encoding: Encoding,
    use_case: UseCase,
    seed: int,
    truth: TrueProbabilities | None = None,
    data_versions: Mapping[str, str] | None = None,
    other_baselines: Sequence[Fitted] = (),
    carried: Carried | None = None,
    excluded: NDArray[np.int64] | None = None,
) -> Evaluation:
    """`evaluate`, on rows from anywhere. Raises `ValueError` for a split without rows."""
    settings = use_case.evaluation
    business = [(declared, load_metric(declared)) for declared in settings.metrics]
    excluded_rows = 0
    if excluded is not None and len(excluded):
        before, test = test.rows, KeptRows(test, excluded)
        excluded_rows = before - test.rows
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        if rows.rows == 0:
            raise ValueError(f"the {name} split holds no rows: nothing can be evaluated")
    given = {fitted.name: fitted for fitted in other_baselines}
    fitted = [model]
    for name in _baseline_names(use_case):
        fitted.append(given.get(name) or _fit(name, train, validation, encoding, seed))
    chosen = thresholds(fitted, validation, use_case)
    judged = score(fitted, test, encoding, use_case)
    scored = {
        item.name: Scored(judged.labels, judged.probabilities[item.name], chosen[item.name].value)
        for item in fitted
    }
    measured = measure(business, scored_rows(judged, scored, carried))
    notes = []
    truth_scored = None
    if truth is not None:
        truth_scored = Scored(judged.labels, true_probabilities(truth, judged.row_ids))
    drawn = resample(
        scored | ({"truth": truth_scored} if truth_scored else {}),
        samples=settings.bootstrap_samples,
        seed=seed,
    )
    values = {name: item.metrics() for name, item in scored.items()}
    predictors = judged_predictors(
        fitted, chosen, scored, values, drawn, measured, confidence=settings.confidence
    )
    if 0 in (judged.labels.sum(), len(judged.labels) - judged.labels.sum()):
        notes.append(
            "The test split holds one class only: ROC AUC is not defined, and neither is a comparison by it."
        )
    notes += [
        f"{item.title}: the threshold's goal was not reached on the validation split; it is the "
        f"{item.threshold_reason}."
        for item in predictors[:1]
        if not item.threshold_attained
    ]
    if excluded_rows:
        notes.append(
            f"{excluded_rows:,} test rows are left out, because their "
            f"{' and '.join(settings.exclude_known)} was known as positive by their day."
        )
    slice_metric = settings.gate.metric if settings.gate.metric in METRICS else METRICS[0]
    groups = judge_slices(judged, scored["model"], encoding, use_case, seed)
    sample = gather(test, IMPORTANCE_ROWS, seed)
    evaluation = Evaluation(
        use_case=use_case.name,
        description=use_case.description,
        splits={
            "train": _split_rows(train),
            "validation": _split_rows(validation),
            "test": SplitRows(rows=len(judged.labels), label_rate=float(judged.labels.mean())),
        },
        model=predictors[0],
        baselines=predictors[1:],
        comparisons=comparisons_with(
            predictors,
            values,
            drawn,
            business=list(measured["model"]),
            confidence=settings.confidence,
        ),
        best_possible_auc=interval(
            truth_scored.metrics()["roc_auc"],
            drawn["truth"][:, METRICS.index("roc_auc")],
            settings.confidence,
            (0.0, 1.0),
        )
        if truth_scored
        else None,
        calibration_floor=_calibration_floor(scored["model"], seed),
        slice_metric=slice_metric,
        slices=groups,
        worst_slice=worst_slice(groups, slice_metric),
        importance=permutation_importance(
            sample, model.predict, encoding, repeats=settings.permutation_repeats, seed=seed
        ),
        importance_rows=len(sample.label),
        importance_repeats=settings.permutation_repeats,
        business=[facts(*pair) for pair in business],
        excluded_rows=excluded_rows,
        confidence=settings.confidence,
        bootstrap_samples=settings.bootstrap_samples,
        seed=seed,
        data_versions=dict(data_versions or {}),
        notes=notes,
        software={name: version(name) for name in _PACKAGES},
    )
    return evaluation.model_copy(update={"verdict": gate(evaluation, use_case)})


def _baseline_names(use_case: UseCase) -> list[str]:
    """The declared baselines, and the gate's, which is needed whether declared or not."""
    settings = use_case.evaluation
    names: list[str] = list(settings.baselines)
    if settings.gate.baseline is not None and settings.gate.baseline not in names:
        names.append(settings.gate.baseline)
    return names


def _fit(name: str, train: Rows, validation: Rows, encoding: Encoding, seed: int) -> Fitted:
    if name == "majority":
        return majority(train)
    if name == "logistic_regression":
        return logistic_regression(train, encoding, seed)
    return xgboost(train, validation, encoding, seed)


def _calibration_floor(scored: Scored, seed: int) -> float:
    """Mean calibration error of labels drawn from the probabilities themselves."""
    random = np.random.default_rng(seed)
    probabilities = scored.probabilities
    drawn = [
        Scored(
            (random.random(scored.rows) < probabilities).astype(np.float64), probabilities
        ).metrics()["ece"]
        for _ in range(_FLOOR_SAMPLES)
    ]
    return float(np.mean(drawn))


def _split_rows(rows: Rows) -> SplitRows:
    positives = sum(float(block.label.sum()) for block in rows.blocks())
    return SplitRows(rows=rows.rows, label_rate=positives / rows.rows if rows.rows else None)
