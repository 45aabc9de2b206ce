"""Where the time of a training goes: shares of the parts of a step, its spread over ranks, a trace.

What a stage of the platform costs as a whole is in `pipeline_assets.profiling`.
"""
