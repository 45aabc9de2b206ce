"""Statistics as Markdown tables, for asset metadata."""

from pipeline_assets.statistics.model import FeatureStatistics

_MOST_ROWS = 200


def statistics_table(statistics: FeatureStatistics) -> str:
    """Return the splits, the numeric and the categorical features, as Markdown tables.

    At most 200 features of each kind are listed.
    """
    parts = [_splits(statistics)]
    if statistics.numeric:
        parts.append(_numeric(statistics))
    if statistics.categorical:
        parts.append(_categorical(statistics))
    return "\n\n".join(parts) + "\n"


def _splits(statistics: FeatureStatistics) -> str:
    rows = [
        [split, f"{rows:,}", f"{statistics.label_rate[split]:.4f}"]
        for split, rows in statistics.rows.items()
    ]
    return _table(["split", "rows", "label rate"], rows)


def _numeric(statistics: FeatureStatistics) -> str:
    names = "feature missing mean std min 5% median 95% max skewness kurtosis distinct AUC"
    head = list[str](names.split(" "))
    training = max(statistics.rows["train"], 1)
    rows = [
        [
            item.name,
            f"{item.missing / training:.2%}",
            *map(_number, (item.mean, item.std, item.min)),
            *(_number(item.quantiles.get(key)) for key in ("0.05", "0.5", "0.95")),
            *map(_number, (item.max, item.skewness, item.kurtosis)),
            f"{item.distinct:,}",
            f"{statistics.single_feature_auc[item.name]:.3f}",
        ]
        for item in statistics.numeric[:_MOST_ROWS]
    ]
    return _table(head, rows) + _left_out(len(statistics.numeric))


def _categorical(statistics: FeatureStatistics) -> str:
    head = ["feature", "missing", "distinct", "most frequent (share, label rate)", "AUC"]
    training = max(statistics.rows["train"], 1)
    rows = [
        [
            item.name,
            f"{item.missing / training:.2%}",
            f"{item.distinct:,}",
            ", ".join(
                f"{_cell(category.value)} ({category.rows / max(item.count, 1):.1%}, {rate:.1%})"
                for category, rate in zip(item.top[:5], item.label_rates[:5], strict=True)
            ),
            f"{statistics.single_feature_auc[item.name]:.3f}",
        ]
        for item in statistics.categorical[:_MOST_ROWS]
    ]
    return _table(head, rows) + _left_out(len(statistics.categorical))


def _left_out(features: int) -> str:
    return f"\n\n{features - _MOST_ROWS} more are not listed." if features > _MOST_ROWS else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _cell(text: str) -> str:
    """Return a value that cannot break the table: one line, no bars, no tags, 40 characters."""
    shown = " ".join(text.split())
    shown = shown if len(shown) <= 40 else shown[:39] + "…"
    for character, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;")):
        shown = shown.replace(character, safe)
    return shown or "(empty)"
