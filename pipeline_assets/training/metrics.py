"""Validation scores while training: NumPy only. The report's metrics are in `evaluation/`."""

import numpy as np

from pipeline_assets.training.config import ModelConfig, Monitor

LOWER_IS_BETTER: frozenset[Monitor] = frozenset({"log_loss", "rmse", "mae", "pinball"})
_SMALLEST_PROBABILITY = 1e-7
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
    label, predicted = label.astype(np.float64), predicted.astype(np.float64)
    if model.task == "binary":
        return binary_scores(label, predicted)
    if model.task == "multiclass":
        return multiclass_scores(label, predicted)
    if model.task == "multilabel":
        scores = [binary_scores(*column) for column in zip(label.T, predicted.T)]
        return {name: _mean_of_known([one[name] for one in scores]) for name in scores[0]}
    if model.quantiles:
        return {"pinball": pinball_loss(label, predicted, model.quantiles)}
    error = predicted - label
    return {
        "rmse": float(np.sqrt(np.square(error).mean())),
        "mae": float(np.abs(error).mean()),
    }


def binary_scores(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return roc_auc, average_precision and log_loss of labels 0/1 [n] and probabilities [n].

    Ties count half in the area under the ROC curve (the Mann-Whitney statistic) and as one threshold
    in average precision, as in scikit-learn. Both are NaN where a class is absent.
    """
    order = np.argsort(-probability, kind="stable")
    ordered = probability[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    positives = np.cumsum(label[order])[last]
    rows = last + 1.0
    negatives = rows - positives
    if positives[-1] == 0 or negatives[-1] == 0:
        auc = precision = float("nan")
    else:
        steps = np.diff(negatives, prepend=0.0)
        above = positives - np.diff(positives, prepend=0.0) / 2
        auc = float((steps * above).sum() / (positives[-1] * negatives[-1]))
        gained = np.diff(positives, prepend=0.0) / positives[-1]
        precision = float((gained * positives / rows).sum())
    clipped = np.clip(probability, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    loss = -(label * np.log(clipped) + (1 - label) * np.log1p(-clipped)).mean()
    return {"roc_auc": auc, "average_precision": precision, "log_loss": float(loss)}


def multiclass_scores(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return log_loss and accuracy of class indices [n] and probabilities [n, classes]."""
    index = label.astype(np.int64)
    of_label = np.take_along_axis(probability, index[:, None], axis=1)
    return {
        "log_loss": float(-np.log(np.maximum(of_label, _SMALLEST_PROBABILITY)).mean()),
        "accuracy": float((probability.argmax(axis=1) == index).mean()),
    }


def pinball_loss(label: np.ndarray, predicted: np.ndarray, quantiles: tuple[float, ...]) -> float:
    """Return the mean pinball loss of labels [n] and predicted quantiles [n, quantiles]."""
    below = label[:, None] - predicted
    share = np.asarray(quantiles)
    return float(np.maximum(share * below, (share - 1) * below).mean())


def _mean_of_known(scores: list[float]) -> float:
    """Mean over the labels that have a score: one without positive or negative rows has none."""
    known = [score for score in scores if not np.isnan(score)]
    return float(np.mean(known)) if known else float("nan")


def is_better(monitor: Monitor, score: float, best: float | None) -> bool:
    """Whether a score beats the best so far: higher, or lower where that is better."""
    if best is None:
        return True
    return score < best if monitor in LOWER_IS_BETTER else score > best
