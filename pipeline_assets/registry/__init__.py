"""The MLflow registry: registering a judged model, finding the one in use, and serving it.

Belongs here: the store, versions and aliases, the served model and its input rules. Does not belong
here: training and judging the model, and Dagster's side of the link (`orchestration`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline_assets.registry.registering import register
    from pipeline_assets.registry.store import RegistryError, client, prepare_store, store_errors
    from pipeline_assets.registry.versions import (
        CHALLENGER,
        CHAMPION,
        RegisteredModel,
        aliased_models,
        current_model,
        resolve_model,
        set_alias,
    )

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "RegisteredModel",
    "RegistryError",
    "aliased_models",
    "client",
    "current_model",
    "prepare_store",
    "register",
    "resolve_model",
    "set_alias",
    "store_errors",
]

_MODULES = {
    "CHALLENGER": "versions",
    "CHAMPION": "versions",
    "RegisteredModel": "versions",
    "RegistryError": "store",
    "aliased_models": "versions",
    "client": "store",
    "current_model": "versions",
    "prepare_store": "store",
    "register": "registering",
    "resolve_model": "versions",
    "set_alias": "versions",
    "store_errors": "store",
}


def __getattr__(name: str) -> Any:
    """Import on first use: MLflow takes seconds and stays out of a mere package import."""
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
