"""What `training.profile` found, as metadata of trained_model."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipeline_assets.lake import Version
from pipeline_assets.orchestration.metadata import markdown_table, picture
from pipeline_assets.spec.credentials import without_credentials
from pipeline_assets.training.profile.findings import PROFILE_FILE, STRAGGLER_FACTOR

_VIEWER = "https://ui.perfetto.dev"


def profile_files(found: Mapping[str, Any]) -> list[str]:
    """Files of the output folder that a profiled training publishes besides the model's."""
    return [PROFILE_FILE, *found["traces"]]


def profile_tables(found: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """Shares by rank, steps by epoch, the straggler where there is one, and where the traces are.

    The largest share comes first.

    Args:
        found: the content of `profile.json`.
        version: of trained_model, with the files.
    """
    from pipeline_assets.training.plots import profile_bars

    by_rank = found["shares_by_rank"]
    parts = sorted(found["shares"], key=lambda part: -found["shares"][part])
    shares = [[part, *(f"{of[part]:.1%}" for of in (found["shares"], *by_rank))] for part in parts]
    header = ["part", "share", *(f"rank {rank}" for rank in range(len(by_rank)))]
    tables = {
        "training_shares": dg.MetadataValue.md(markdown_table(header, shares)),
        "training_shares_plot": picture(profile_bars(by_rank), "shares of time by rank"),
    }
    measured = [epoch for epoch in found["epochs"] if epoch["step_seconds"] is not None]
    if measured:
        spread = ("min", "median", "max")
        rows = [
            [
                epoch["epoch"],
                *(epoch["step_seconds"][key] * 1000 for key in spread),
                _straggler(epoch["straggler"], separable=found["separable"]),
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
        **({"traces_open_in": dg.MetadataValue.url(_VIEWER)} if found["traces"] else {}),
        **({"straggler": _straggler(straggler)} if straggler is not None else {}),
    }


def _straggler(found: Mapping[str, Any] | None, *, separable: bool = True) -> str:
    if not separable:
        return "not measured with fsdp"
    if found is None:
        return f"none above {STRAGGLER_FACTOR:g} times the others"
    return f"rank {found['rank']}, {found['times']:.2f} times the median of the others"
