# ruff: noqa: T201 (the terminal is what this module writes to)
"""`pipeline_assets replay`: how many quarantined rows would pass the contract as it is now, and the job for it."""

from collections.abc import Mapping
from typing import Any

from pipeline_assets.command.errors import CommandError
from pipeline_assets.command.published import open_lake
from pipeline_assets.command.run import run
from pipeline_assets.command.table import text_table
from pipeline_assets.command.use_cases import find_use_case
from pipeline_assets.contract.halves import require_halves
from pipeline_assets.environments import load_environment


def replay(name: str, *, launch: bool = False) -> int:
    """Print the preview for the current rejected version; with `launch`, run `<use_case>_replay`.

    Raises:
        CommandError: there is no such use case, or its rows have partitions.
        LakeError: nothing has been rejected, because nothing has been validated yet.
        ContractError: a run was interrupted between publishing rejected and validated.
        EngineError: the data engine does not start.
    """
    use_case = find_use_case(name)
    if use_case.time is not None:
        raise CommandError(
            f"{name} has partitions, of which this command shows none: the job {name}_replay validates "
            f"a range of them again: `dg launch --job {name}_replay --partition-range "
            f"{use_case.time.start}...<last partition>`"
        )
    environment = load_environment()
    lake = open_lake(environment)
    rejected = lake.dataset(use_case.name, "rejected").require()
    if rejected.rows == 0:
        print(f"{use_case.name}: no row is rejected; there is nothing to replay")
        return 0
    require_halves(lake.dataset(use_case.name, "validated").require(), rejected)
    from pipeline_assets.contract.replay import replay_preview
    from pipeline_assets.engine import start_session, stop_session

    spark = start_session(environment.engine, "pipeline_assets replay")
    try:
        preview = replay_preview(spark, rejected, use_case.contract)
    finally:
        stop_session()
    print_preview(use_case.name, preview)
    if launch:
        return run(name, job="replay")
    print(
        f"`pipeline_assets replay {name} --launch` launches the job {use_case.name}_replay, which"
    )
    print("validates raw again; nothing changes before that.")
    return 0


def print_preview(use_case: str, preview: Mapping[str, Any]) -> None:
    """Print how many rows would pass, by the rule that they once broke, and what the others break now."""
    print(f"{use_case}: {preview['passing']:,} of {preview['rows']:,} rejected rows would pass now")
    print(
        text_table(
            ["rule broken then", "rows", "would pass now"],
            [(rule, count["rows"], count["passing"]) for rule, count in preview["by_rule"].items()],
        )
    )
    new = {
        rule: count
        for rule, count in preview["broken_now"].items()
        if rule not in preview["by_rule"]
    }
    if new:
        print(text_table(["rule broken now only", "rows"], list(new.items())))
    if preview["malformed"]:
        print(
            f"  {preview['malformed']:,} malformed lines never pass as they are: mend the source, then "
            f"`pipeline_assets run {use_case}`"
        )
