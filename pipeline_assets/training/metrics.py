"""Validation scores while training: NumPy only. The report's metrics are in `evaluation/`."""

import math
from collections.abc import Callable

import numpy as np

from pipeline_assets.training.config import ModelConfig, Monitor

LOWER_IS_BETTER: frozenset[Monitor] = frozenset({"log_loss", "rmse", "mae", "pinball"})
_SMALLEST_PROBABILITY = 1e-7
_PIECE_ROWS = 1 << 16
_BINARY = ModelConfig()


def validation_scores(
    label: np.ndarray, predicted: np.ndarray, model: ModelConfig = _BINARY
) -> dict[str, float]:
    """Return the scores that `tasks.monitors_of` names, for labels and predictions of the model's task.

    Args:
        label: [n]; [n, labels] if multi-label.
        predicted: [n, *model.output_shape]: probabilities, or values in the label's unit.
        model: task and quantiles; binary by default.
    """
    if model.task == "binary":
        return binary_scores(label, predicted)
    if model.task == "multiclass":
        return multiclass_scores(label, predicted)
    if model.task == "multilabel":
        scores = [binary_scores(*column) for column in zip(label.T, predicted.T)]
        return {name: _mean_of_known([one[name] for one in scores]) for name in scores[0]}
    if model.quantiles:
        return {"pinball": pinball_loss(label, predicted, model.quantiles)}
    square = _mean(lambda y, p: np.square(p - y), label, predicted)
    return {
        "rmse": math.sqrt(square),
        "mae": _mean(lambda y, p: np.abs(p - y), label, predicted),
    }


def binary_scores(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return roc_auc, average_precision and log_loss of labels 0/1 [n] and probabilities [n].

    Ties count half in the area under the ROC curve (the Mann-Whitney statistic) and as one threshold
    in average precision, as in scikit-learn. Both are NaN where a class is absent. Beside the arguments
    this takes 8 bytes a row.
    """
    order = np.argsort(probability)[::-1]
    areas, gains = [], []
    # Rows, and positive ones, down to the last threshold that is complete, and down to the last row.
    rows = positives = seen = 0.0
    for start in range(0, len(order), _PIECE_ROWS):
        piece = order[start : start + _PIECE_ROWS + 1]
        ordered = probability[piece]
        here = min(len(piece), _PIECE_ROWS)
        differs = np.append(ordered[1:] != ordered[:-1], True)[:here]
        last = np.flatnonzero(differs)
        running = seen + np.cumsum(label[piece[:here]], dtype=np.float64)
        seen = float(running[-1])
        if not len(last):
            continue
        ends, held = start + last + 1.0, running[last]
        gained = np.diff(held, prepend=positives)
        lost = np.diff(ends, prepend=rows) - gained
        areas.append(float((lost * (held - gained / 2)).sum()))
        gains.append(float((gained * held / ends).sum()))
        rows, positives = float(ends[-1]), float(held[-1])
    negatives = len(order) - positives
    known = positives > 0 and negatives > 0
    return {
        "roc_auc": math.fsum(areas) / (positives * negatives) if known else math.nan,
        "average_precision": math.fsum(gains) / positives if known else math.nan,
        "log_loss": _mean(_log_loss, label, probability),
    }


def multiclass_scores(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return log_loss and accuracy of class indices [n] and probabilities [n, classes]."""

    def loss(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        of_label = np.take_along_axis(p, y.astype(np.int64)[:, None], axis=1)
        return -np.log(np.maximum(of_label, _SMALLEST_PROBABILITY))

    hits = _mean(lambda y, p: (p.argmax(axis=1) == y).astype(np.float64), label, probability)
    return {"log_loss": _mean(loss, label, probability), "accuracy": hits}


def pinball_loss(label: np.ndarray, predicted: np.ndarray, quantiles: tuple[float, ...]) -> float:
    """Return the mean pinball loss of labels [n] and predicted quantiles [n, quantiles]."""
    share = np.asarray(quantiles)

    def loss(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        below = y[:, None] - p
        return np.maximum(share * below, (share - 1) * below).mean(axis=1)

    return _mean(loss, label, predicted)


def _log_loss(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    return -(label * np.log(clipped) + (1 - label) * np.log1p(-clipped))


def _mean(
    of_rows: Callable[[np.ndarray, np.ndarray], np.ndarray],
    label: np.ndarray,
    predicted: np.ndarray,
) -> float:
    """Mean over all rows of what a function gives for some of them, in float64."""
    sums = [
        float(of_rows(y.astype(np.float64), p.astype(np.float64)).sum())
        for y, p in (
            (label[start : start + _PIECE_ROWS], predicted[start : start + _PIECE_ROWS])
            for start in range(0, len(label), _PIECE_ROWS)
        )
    ]
    # A sum of infinities of both signs is no number.
    return math.fsum(sums) / len(label) if np.isfinite(sums).all() else float(np.sum(sums))


def _mean_of_known(scores: list[float]) -> float:
    """Mean over the labels that have a score: one without positive or negative rows has none."""
    known = [score for score in scores if not np.isnan(score)]
    return float(np.mean(known)) if known else float("nan")


def is_better(monitor: Monitor, score: float, best: float | None) -> bool:
    """Whether a score beats the best so far: higher, or lower where that is better."""
    if best is None:
        return True
    return score < best if monitor in LOWER_IS_BETTER else score > best
