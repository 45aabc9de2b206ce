"""How the assets of a use case are declared: their keys, order, tags and code versions."""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg
from pydantic import BaseModel

from pipeline_assets.spec import UseCase

STAGES = (
    "raw",
    "validated",
    "features",
    "feature_statistics",
    "tensor_shards",
    "trained_model",
    "evaluation_report",
    "model_version",
)
"""The assets that a profile shows, in the order of the chain; `rejected` is made with `validated`."""


def featured_asset(use_case: UseCase) -> str:
    """Name of the asset whose rows features are computed from."""
    return "joined" if use_case.sources else "validated"


def source_assets(use_case: UseCase) -> list[str]:
    """Names of the assets that exist because of `sources`, upstream first."""
    stages = ("raw", "validated", "rejected")
    own = [f"{name}_{stage}" for name in use_case.sources for stage in stages]
    return [*own, "joined", "unmatched"] if own else []


def code_version(*parts: BaseModel | str | int) -> str:
    """Code version of an asset: changes with the parts of the spec that it is computed from."""
    texts = [
        json.dumps(part.model_dump(mode="json"), sort_keys=True)
        if isinstance(part, BaseModel)
        else str(part)
        for part in parts
    ]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def stage_asset(
    use_case: UseCase,
    asset: str,
    *,
    stage: str,
    kinds: set[str],
    deps: Iterable[str | dg.AssetDep] = (),
    **options: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` with the key, dependencies, owners and tags that all assets of a use case have.

    Args:
        use_case: whose asset it is.
        asset: last part of the key.
        stage: the stage's word, a tag.
        kinds: technologies, shown by the UI.
        deps: upstream assets of the same use case, by name where the partitions are the same.
        options: further arguments of `dg.asset`.
    """
    decorator: Any = dg.asset(
        key=[use_case.name, asset],
        deps=[[use_case.name, dep] if isinstance(dep, str) else dep for dep in deps],
        **asset_options(use_case, stage, kinds),
        **options,
    )
    return decorator


def asset_options(use_case: UseCase, stage: str, kinds: set[str]) -> dict[str, Any]:
    """Group, owners, tags and kinds that the assets of a use case share.

    The group is the use case, so that two use cases are two pictures in the UI; the stage is a tag.
    """
    return {
        "group_name": use_case.name,
        "owners": use_case.owners,
        "tags": {"use_case": use_case.name, "stage": stage, **use_case.tags},
        "kinds": kinds,
    }
