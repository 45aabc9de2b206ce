"""validated and rejected are the halves of one validation, with a pointer each.

`rejected` is published first: a run that is killed before `validated` follows leaves a newer `rejected`
beside an older `validated`. Each is whole by itself, and what is made from `validated` is not touched;
but together they are not the rows of any raw. Whoever shows or uses both asks here first.
"""

from pipeline_assets.contract.results import ContractError
from pipeline_assets.lake.version import Version


def are_halves(validated: Version, rejected: Version) -> bool:
    """Whether the same validation made both: of the same raw, under the same contract, with one result."""
    one, other = validated.manifest, rejected.manifest
    return (
        one.upstream == other.upstream
        and one.code_version == other.code_version
        and one.metadata.get("validation") == other.metadata.get("validation")
    )


def require_halves(validated: Version, rejected: Version) -> None:
    """Refuse halves of two validations.

    Raises:
        ContractError: with what each was made from, and how to mend it.
    """
    if are_halves(validated, rejected):
        return
    made_from = ", ".join(
        f"{version.manifest.asset} of raw {version.manifest.upstream.get('raw', '(not recorded)')}"
        for version in (validated, rejected)
    )
    raise ContractError(
        f"{made_from}: two validations, a run was interrupted between publishing the one and the other; "
        "materialise validated and rejected again"
    )
