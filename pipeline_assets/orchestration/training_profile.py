"""What `training.profile` found, as metadata of trained_model."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipeline_assets.lake import Version
from pipeline_assets.orchestration.metadata import markdown_table
from pipeline_assets.spec.credentials import without_credentials
from pipeline_assets.training.profile.findings import PROFILE_FILE, STRAGGLER_FACTOR


def profile_files(found: Mapping[str, Any]) -> list[str]:
    """Files of the output folder that a profiled training publishes besides the model's."""
    return [PROFILE_FILE, *found["traces"]]


def profile_tables(found: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """Shares by rank, steps by epoch, the straggler where there is one, and where the traces are.

    Args:
        found: the content of `profile.json`.
        version: of trained_model, with the files.
    """
    by_rank = found["shares_by_rank"]
    shares = [
        [part, mean, *(own[part] for own in by_rank)] for part, mean in found["shares"].items()
    ]
    header = ["part", "share", *(f"rank {rank}" for rank in range(len(by_rank)))]
    tables = {"training_shares": dg.MetadataValue.md(markdown_table(header, shares))}
    measured = [epoch for epoch in found["epochs"] if epoch["step_seconds"] is not None]
    if measured:
        spread = ("min", "median", "max")
        rows = [
            [
                epoch["epoch"],
                *(epoch["step_seconds"][key] * 1000 for key in spread),
                _straggler(epoch["straggler"]),
            ]
            for epoch in measured
        ]
        header = ["epoch", *(f"step, {key} of ranks, ms" for key in spread), "straggler"]
        tables["step_times"] = dg.MetadataValue.md(markdown_table(header, rows))
    places = [
        dg.MetadataValue.path(without_credentials(version.path(file)))
        for file in profile_files(found)
    ]
    names = ["training_profile", *(f"trace_rank_{rank}" for rank in range(len(places) - 1))]
    straggler = found["straggler"]
    return {
        **tables,
        **dict(zip(names, places)),
        **({"straggler": _straggler(straggler)} if straggler is not None else {}),
    }


def _straggler(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return f"none above {STRAGGLER_FACTOR:g} times the others"
    return f"rank {found['rank']}, {found['times']:.2f} times the median of the others"
