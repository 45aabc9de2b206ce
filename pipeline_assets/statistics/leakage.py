"""Leakage checks that need statistics alone.

That shards hold the rows of the features is checked with `features.fingerprint`; that a model trained
on permuted labels does no better than chance, in `evaluation`, which can train one.
"""

from pipeline_assets.statistics.model import FeatureStatistics


def suspicious_features(statistics: FeatureStatistics, limit: float) -> dict[str, float]:
    """Return {feature: AUC}, best first, of those that alone separate the classes beyond `limit`."""
    found = {name: auc for name, auc in statistics.single_feature_auc.items() if auc > limit}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))
