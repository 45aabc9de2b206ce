"""What a stage costs: wall and CPU time, memory, bytes. What the stage does is no business of this."""

from pipeline_assets.profiling.profile import Profile, ProfileInProgress, profile
from pipeline_assets.profiling.report import Bottleneck, bottleneck, stage_table

__all__ = ["Bottleneck", "Profile", "ProfileInProgress", "bottleneck", "profile", "stage_table"]
