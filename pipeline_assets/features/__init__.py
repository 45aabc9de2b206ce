"""Features: SQL expressions over validated columns, the label, and the deterministic split.

Belongs here: checking the declared expressions, computing the feature table, assigning the split.
Does not belong here: anything fitted on data (that is `statistics`, and lives in the model), and
reading or writing of versions (`lake`, `engine`).
"""

from pipeline_assets.features.semantics import feature_problems

__all__ = ["feature_problems"]
