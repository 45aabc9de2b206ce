"""Generated landing files with a known truth, so that the platform can be tried and judged.

Only the landing files are made here, shaped like real ones; reading them is the business of `ingest`.
"""

from pipeline_assets.demo_data.errors import DemoDataError
from pipeline_assets.demo_data.landing import ensure_demo_data, folder_to_fill
from pipeline_assets.demo_data.truth import true_probabilities

__all__ = ["DemoDataError", "ensure_demo_data", "folder_to_fill", "true_probabilities"]
