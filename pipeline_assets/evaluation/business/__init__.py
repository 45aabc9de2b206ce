"""Business metrics: plug-in functions of the scored test rows and the columns that go along with them.

Belongs here: what such a function is given and returns, calling it for every predictor, and the ones
that are shipped, a file each. Does not belong here: metrics of label and probability alone (`metrics`).
"""

from pipeline_assets.evaluation.business.measuring import BusinessMetricError, load_metric
from pipeline_assets.evaluation.business.rows import Measured, ScoredRows

__all__ = ["BusinessMetricError", "Measured", "ScoredRows", "load_metric"]
