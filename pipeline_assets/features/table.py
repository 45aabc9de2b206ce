"""Columns of the feature table of a use case with a `time` block, and what each is made of."""

from pipeline_assets.contract.casts import SQL_TYPES
from pipeline_assets.spec.expressions import columns_of
from pipeline_assets.spec.features import Feature
from pipeline_assets.spec.rolling import Rolling
from pipeline_assets.spec.use_case import UseCase


def timed_schema(use_case: UseCase) -> list[tuple[str, str]]:
    """Return (column, Spark type) of the feature table in order."""
    features, contract = use_case.features, use_case.joined_contract
    return [
        ("_row_id", "bigint"),
        ("_time", "timestamp"),
        ("label", "float"),
        *((feature.name, feature_type(feature)) for feature in features.columns),
        *((name, "float") for name in features.rolling_names),
        *((name, SQL_TYPES[contract.column(name).type].lower()) for name in features.carried),
    ]


def feature_type(feature: Feature) -> str:
    """Return the Spark type of a feature of single rows."""
    return "float" if feature.kind == "numeric" else "string"


def timed_lineage(use_case: UseCase) -> dict[str, list[str]]:
    """Return each column of the feature table with the validated, or joined, columns that it is made of."""
    features = use_case.features
    time = [use_case.time.column] if use_case.time is not None else []
    return {
        "_row_id": sorted(use_case.contract.key),
        "_time": time,
        "label": [features.label.column],
        **{feature.name: sorted(columns_of(feature.sql)) for feature in features.columns},
        **{
            name: columns
            for rolling in features.rolling
            for name, columns in _rolling_lineage(rolling, time, features.label.column).items()
        },
        **{name: [name] for name in features.carried},
    }


def _rolling_lineage(rolling: Rolling, time: list[str], label: str) -> dict[str, list[str]]:
    common = {*time, *rolling.entity}
    if rolling.filter is not None:
        common |= columns_of(rolling.filter)
    lineage = {}
    for aggregation in rolling.aggregations:
        used = set(common)
        if aggregation.of is not None:
            used |= columns_of(aggregation.of)
        if aggregation.function == "label_rate":
            used.add(label)
        for window in rolling.windows:
            lineage[rolling.feature_name(aggregation, window)] = sorted(used)
    return lineage
