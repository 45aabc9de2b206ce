"""Validation scores while training: NumPy only. The report's metrics are in `evaluation/`."""

import numpy as np

from pipeline_assets.training.config import Monitor


def validation_scores(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return roc_auc, average_precision and log_loss of labels 0/1 [n] and probabilities [n].

    Ties count half in the area under the ROC curve (the Mann-Whitney statistic) and as one threshold
    in average precision, as in scikit-learn. Both are NaN where a class is absent.
    """
    label = label.astype(np.float64)
    probability = probability.astype(np.float64)
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
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    loss = -(label * np.log(clipped) + (1 - label) * np.log1p(-clipped)).mean()
    return {"roc_auc": auc, "average_precision": precision, "log_loss": float(loss)}


def is_better(monitor: Monitor, score: float, best: float | None) -> bool:
    """Whether a score beats the best so far (log_loss: lower is better)."""
    if best is None:
        return True
    return score < best if monitor == "log_loss" else score > best
