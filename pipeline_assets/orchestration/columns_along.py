"""What the evaluation needs of the features beyond the shards: carried columns, entities known as positive."""

from typing import TYPE_CHECKING, NamedTuple

from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.orchestration.training_sets import read_from_training_on, read_parts
from pipeline_assets.spec.partitions import partition_bounds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline_assets.evaluation.carried import Carried


class ColumnsAlong(NamedTuple):
    """What goes along with the test rows."""

    carried: "Carried | None"
    """Carried columns of all test rows, where business metrics are declared."""
    excluded: "NDArray[np.int64] | None"
    """Ids of test rows to leave out, where entities known as positive are to be left out."""


def columns_along(run: StageRun) -> ColumnsAlong:
    """Read what the use case's evaluation asks for; the features are noted as inputs if they are read.

    Raises:
        TrainingDateError: partitions of the features are missing.
        ValueError: the features were made before a column was carried.
    """
    use_case, time = run.use_case, run.use_case.time
    settings = use_case.evaluation
    if not settings.metrics and not settings.exclude_known:
        return ColumnsAlong(None, None)
    from pipeline_assets.evaluation.carried import (
        DatedFeatures,
        read_carried,
        rows_of_known_entities,
    )

    if time is None:
        features = run.require("features")
        return ColumnsAlong(
            read_carried([features], use_case.features.columns_along, timezone=None), None
        )
    known = bool(settings.exclude_known)
    parts = (
        read_from_training_on(run, "features") if known else read_parts(run, "features", ("test",))
    )
    test = parts.versions["test"]
    carried = read_carried(
        list(test.values()), use_case.features.columns_along, timezone=time.timezone
    )
    if not known:
        return ColumnsAlong(carried, None)
    dated = {
        key: DatedFeatures(*partition_bounds(time, key), version)
        for own in parts.versions.values()
        for key, version in own.items()
    }
    excluded = rows_of_known_entities(
        list(dated.values()),
        [dated[key] for key in test],
        settings.exclude_known,
        label_delay=time.label_delay,
    )
    return ColumnsAlong(carried, excluded)
