"""Loads use cases with every check that spans their parts: contract, sources, features, dotted paths."""

from collections.abc import Sequence
from pathlib import Path

from pipeline_assets.contract.semantics import contract_problems
from pipeline_assets.environments.types import Environment, TrainingPlacement
from pipeline_assets.features.semantics import feature_problems
from pipeline_assets.joining.semantics import join_problems
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.dotted_paths import dotted_path_problems
from pipeline_assets.spec.factory_options import model_option_problems
from pipeline_assets.spec.loader import load_use_case
from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.search_space import search_space_problems

_PLACED = "this key belongs to {} in the environment file (PIPELINE_ENV)"
_HINTS: dict[tuple[str | int, ...], str] = {
    **{(name,): _PLACED.format("the top level") for name in Environment.model_fields},
    **{("training", name): _PLACED.format("`training`") for name in TrainingPlacement.model_fields},
    ("tuning", "ray_address"): _PLACED.format("`tuning`"),
}


def load_checked_use_case(file: Path) -> UseCase:
    """Read a use case and refuse it, with file and line, where its parts do not fit together.

    Raises:
        SpecError: one line per problem.
    """
    return load_use_case(
        file,
        checks=(
            _contract_problems,
            join_problems,
            feature_problems,
            dotted_path_problems,
            model_option_problems,
            search_space_problems,
        ),
        hints=_HINTS,
    )


def _contract_problems(use_case: UseCase) -> Sequence[Problem]:
    return contract_problems(use_case.contract)
