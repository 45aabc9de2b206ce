"""Registered versions and their aliases: which model is in use, which one waits for its turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline_assets.registry.store import RegistryError, client, sqlite_file, store_lock
from pipeline_assets.spec.credentials import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
"""Alias of the version in use."""
CHALLENGER = "challenger"
"""Alias of the newest version that passed its gate."""
TRAINING_DATE = "training_date"
"""Tag of the versions of a use case with `time_split`: ISO date."""


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """One registered version."""

    name: str
    version: int
    alias: str | None
    """The alias by which it was found or that it was given."""
    model_uri: str
    """`models:/name/version`: what MLflow's tools take."""
    mlflow_run_id: str
    tags: Mapping[str, str]

    @property
    def data_versions(self) -> dict[str, str]:
        """Upstream asset to the data version that the model was made of."""
        prefix = "data_version."
        return {
            key.removeprefix(prefix): value
            for key, value in self.tags.items()
            if key.startswith(prefix)
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return {**asdict(self), "tags": dict(self.tags)}


def resolve_model(name: str, alias: str, *, tracking_uri: str) -> RegisteredModel:
    """The version that carries `alias`.

    Raises:
        RegistryError: no such model, no such alias (the message names those there are), or no answer.
    """
    store = client(tracking_uri)
    aliases = _aliases(store, name)
    if aliases is None:
        raise RegistryError(
            f"no model {name!r} is registered at {without_credentials(tracking_uri)}"
        )
    if alias not in aliases:
        known = ", ".join(f"{key} (version {aliases[key]})" for key in sorted(aliases)) or "none"
        raise RegistryError(f"model {name!r} has no alias {alias!r}; its aliases: {known}")
    return registered(store.get_model_version(name, str(aliases[alias])), alias)


def current_model(name: str, *, tracking_uri: str) -> RegisteredModel | None:
    """The model in use: the champion, or the challenger while there is no champion, or None.

    Raises `RegistryError` if the server does not answer; a store that does not exist yet has no model.
    """
    file = sqlite_file(tracking_uri)
    if file is not None and not file.exists():
        return None
    store = client(tracking_uri)
    aliases = _aliases(store, name) or {}
    for alias in (CHAMPION, CHALLENGER):
        if alias in aliases:
            return registered(store.get_model_version(name, str(aliases[alias])), alias)
    return None


def aliased_models(name: str, *, tracking_uri: str) -> list[RegisteredModel]:
    """Every version that an alias points to, by alias; none for a model that is not registered.

    Raises `RegistryError` if the store does not answer.
    """
    store = client(tracking_uri)
    aliases = _aliases(store, name) or {}
    return [
        registered(store.get_model_version(name, str(aliases[alias])), alias)
        for alias in sorted(aliases)
    ]


def set_alias(name: str, alias: str, version: int, *, tracking_uri: str) -> bool:
    """Point `alias` at `version`, the challenger never backwards in a race; false where it stays.

    MLflow has no compare-and-swap: under the store's lock the alias is read and set only if it does not
    point at a model of a later training date, or at a newer version of the same date or without dates.
    Raises `RegistryError` for a version that is not registered.
    """
    store = client(tracking_uri)
    with store_lock(tracking_uri):
        aliases = _aliases(store, name)
        if aliases is None:
            raise RegistryError(
                f"no model {name!r} is registered at {without_credentials(tracking_uri)}"
            )
        from mlflow.exceptions import MlflowException

        try:
            if alias == CHALLENGER and alias in aliases:
                holder = store.get_model_version(name, str(aliases[alias]))
                if _is_newer(holder, store.get_model_version(name, str(version))):
                    return False
            store.set_registered_model_alias(name, alias, str(version))
        except MlflowException as error:
            raise RegistryError(
                f"alias {alias!r} of model {name!r} cannot point at version {version}: {error.message}"
            ) from error
        return True


def _is_newer(one: ModelVersion, other: ModelVersion) -> bool:
    dates = [version.tags.get(TRAINING_DATE) for version in (one, other)]
    if None not in dates and dates[0] != dates[1]:
        return str(dates[0]) > str(dates[1])
    return int(one.version) > int(other.version)


def registered(version: ModelVersion, alias: str | None) -> RegisteredModel:
    """MLflow's entity as ours."""
    return RegisteredModel(
        name=version.name,
        version=int(version.version),
        alias=alias,
        model_uri=f"models:/{version.name}/{version.version}",
        mlflow_run_id=version.run_id or "",
        tags=dict(version.tags),
    )


def _aliases(store: MlflowClient, name: str) -> dict[str, int] | None:
    """Alias to version; None for an unknown model."""
    from mlflow.exceptions import MlflowException

    try:
        model = store.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise RegistryError(f"the registry refused to look up {name!r}: {error.message}") from error
    return {alias: int(version) for alias, version in model.aliases.items()}
