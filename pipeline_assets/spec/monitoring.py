"""Thresholds of drift and volume checks, and what follows a failure."""

from pydantic import Field

from pipeline_assets.spec.model_base import SpecModel


class Monitoring(SpecModel):
    """Compares each new version with the statistics of the model in use."""

    psi: float = Field(default=0.2, gt=0)
    """Largest population stability index of a feature."""
    ks: float = Field(default=0.1, gt=0, le=1)
    """Largest Kolmogorov-Smirnov distance of a numeric feature. A failure needs p < `p_value` as well."""
    p_value: float = Field(default=0.001, gt=0, lt=1)
    """Significance below which a KS or chi-square difference counts."""
    missing_share: float = Field(default=0.05, gt=0, le=1)
    """Largest absolute change of a feature's share of missing values."""
    volume_ratio: float = Field(default=2.0, gt=1)
    """Rows may differ from the reference by at most this factor, either way."""
    retrain: bool = True
    """A new failure requests one retraining."""
    sensor_seconds: int = Field(default=60, ge=5)
    """Seconds between the sensor's looks."""
