"""Monitoring: has the data moved away from what the model was trained on, and who is told.

Belongs here: comparing two statistics or volumes, and sending alerts.
Does not belong here: when to look and what to start then (`orchestration`), computing statistics.
"""

from pipeline_assets.monitoring.alerts import AlertResult, send_alert
from pipeline_assets.monitoring.drift import DriftResult, compare, compare_volume

__all__ = ["AlertResult", "DriftResult", "compare", "compare_volume", "send_alert"]
