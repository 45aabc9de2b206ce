"""Groups of test rows by the values of a feature, the model's metrics on each, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.evaluation.bootstrap import estimates, resample
from pipeline_assets.evaluation.encoding import CategoricalEncoding, Encoding
from pipeline_assets.evaluation.metrics import LOWER_IS_BETTER, Scored
from pipeline_assets.evaluation.result import SliceGroup
from pipeline_assets.evaluation.scoring import Judged

if TYPE_CHECKING:
    from pipeline_assets.spec import UseCase

MOST_GROUPS = 20
"""Categories shown of one feature, most frequent in training first; the others are one group."""


class Group(NamedTuple):
    """Some rows of the test split."""

    name: str
    mask: NDArray[np.bool_]
    """[rows]"""
    in_words: bool
    """The name is no category but says which values these are."""


def judge_slices(
    judged: Judged, model: Scored, encoding: Encoding, use_case: UseCase, seed: int
) -> list[SliceGroup]:
    """The model on every group of every declared slice, in the declared order."""
    settings = use_case.evaluation
    categorical = {feature.name: feature for feature in encoding.categorical}
    found = []
    for cut in settings.slices:
        values = judged.slice_values[cut.feature]
        groups = (
            categorical_groups(values, categorical[cut.feature])
            if cut.feature in categorical
            else numeric_groups(values, cut.bins)
        )
        for name, mask, in_words in groups:
            labels, probabilities = judged.labels[mask], judged.probabilities["model"][mask]
            scored = Scored(labels, probabilities, model.threshold)
            drawn = resample({"model": scored}, samples=settings.bootstrap_samples, seed=seed)
            found.append(
                SliceGroup(
                    feature=cut.feature,
                    group=name,
                    in_words=in_words,
                    rows=len(labels),
                    label_rate=float(labels.mean()),
                    mean_probability=float(probabilities.mean()),
                    metrics=estimates(scored.metrics(), drawn["model"], settings.confidence),
                    judged=len(labels) >= settings.min_slice_rows,
                )
            )
    return found


def worst_slice(groups: Sequence[SliceGroup], metric: str) -> SliceGroup | None:
    """The judged group with the worst metric; None where none has the metric."""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    candidates = [
        (sign * value, group)
        for group in groups
        if group.judged and (value := group.metrics[metric].value) is not None
    ]
    return min(candidates, key=lambda item: item[0])[1] if candidates else None


def numeric_groups(values: NDArray[np.float32], bins: list[float] | None) -> Iterator[Group]:
    """Each group that has rows. Without bins, quartiles of the values.

    A value that equals an edge belongs to the group above it. Groups of a flag are named 0 and 1, not by edges.
    """
    present = ~np.isnan(values)
    is_flag = bool(np.isin(values[present], (0, 1)).all())
    if bins is None:
        bins = (
            np.unique(np.quantile(values[present], [0.25, 0.5, 0.75])).tolist()
            if present.any()
            else []
        )
    # Compared as float32, the type of the values: 0.1 as declared is 0.1 as stored.
    inner = [float(edge) for edge in bins or []]
    edges = np.asarray(inner, dtype=np.float32)
    groups = np.searchsorted(edges, values, side="right")
    for number in range(len(edges) + 1):
        mask = present & (groups == number)
        if mask.any():
            low, high = values[mask].min(), values[mask].max()
            if is_flag and low == high:
                yield Group(f"{low:g}", mask, False)
            else:
                yield Group(_range(inner, number), mask, True)
    if not present.all():
        yield Group("missing", ~present, True)


def categorical_groups(hashes: NDArray[np.int64], encoding: CategoricalEncoding) -> Iterator[Group]:
    """Each group that has rows: the categories, the others, missing."""
    codes = encoding.codes(hashes)
    shown = min(len(encoding.values), MOST_GROUPS)
    for code in range(shown):
        mask = codes == code
        if mask.any():
            yield Group(encoding.value(code), mask, False)
    other = codes >= shown
    if other.any():
        yield Group("other values", other, True)
    missing = codes < 0
    if missing.any():
        yield Group("missing", missing, True)


def _range(bins: list[float], number: int) -> str:
    if not bins:
        return "all values"
    if number == 0:
        return f"below {bins[0]:g}"
    if number == len(bins):
        return f"from {bins[-1]:g}"
    return f"from {bins[number - 1]:g} to below {bins[number]:g}"
