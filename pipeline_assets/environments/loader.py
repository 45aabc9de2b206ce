"""Reads an environment file. What its keys mean is in `types`."""

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import yaml
from pydantic import ValidationError

from pipeline_assets.environments.types import Environment, InvalidEnvironment
from pipeline_assets.spec import TrainingSettings
from pipeline_assets.spec.problems import in_plain_words
from pipeline_assets.spec.suggestions import did_you_mean

_ENGINE_KINDS = ("sail", "spark", "remote")


def load_environment(
    name: str | None = None, *, variables: Mapping[str, str] | None = None
) -> Environment:
    """Return the environment of that name.

    Args:
        name: A file of this package (`local`, `cluster`), or the path of a YAML file; `PIPELINE_ENV`
            or `local` by default.
        variables: Environment variables; those of the process by default. `PIPELINE_HOME` is the
            folder that relative paths refer to (the working directory by default),
            `PIPELINE_ENGINE` overrides `engine.kind`.

    Raises:
        InvalidEnvironment: names the file, the key, the value and the nearest valid name.
    """
    variables = os.environ if variables is None else variables
    path = _find(name or variables.get("PIPELINE_ENV") or "local")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InvalidEnvironment(f"{path} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidEnvironment(f"{path} must hold a mapping of keys to values")
    document = _render(document, variables, path)
    document.setdefault("name", path.stem)
    home = Path(variables.get("PIPELINE_HOME") or document.get("home") or Path.cwd())
    document["home"] = home.expanduser().absolute()
    _override_engine(document, variables)
    try:
        return _absolute(Environment.model_validate(document))
    except ValidationError as error:
        raise InvalidEnvironment("\n".join(_explain(path, error))) from error


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise InvalidEnvironment(f"environment file {path.absolute()} does not exist")
        return path
    folder = Path(str(files("pipeline_assets.environments")))
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise InvalidEnvironment(
            f"there is no environment {name!r} (PIPELINE_ENV); known: {', '.join(known)}, "
            "or the path of a YAML file"
        )
    return path


def _render(value: Any, variables: Mapping[str, str], path: Path) -> Any:
    """Fill the templates; one that gives the empty text means that the key is not set."""
    if isinstance(value, dict):
        return {key: _render(item, variables, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, variables, path) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    try:
        template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(value)
        return template.render(env=_Variables(variables)) or None
    except jinja2.TemplateError as error:
        raise InvalidEnvironment(f"{path}: template {value!r}: {error}") from error


class _Variables:
    """Environment variables as attributes; an unset one is empty, so that `or` gives the default."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getattr__(self, name: str) -> str:
        return self._variables.get(name, "")


def _override_engine(document: dict[str, Any], variables: Mapping[str, str]) -> None:
    kind = variables.get("PIPELINE_ENGINE")
    if not kind:
        return
    if kind not in _ENGINE_KINDS:
        raise InvalidEnvironment(
            f"PIPELINE_ENGINE is {kind!r}; it must be one of {', '.join(_ENGINE_KINDS)}"
        )
    engine = dict(document.get("engine") or {})
    engine["kind"] = kind
    if kind == "remote" and variables.get("PIPELINE_SPARK_REMOTE"):
        engine["remote"] = variables["PIPELINE_SPARK_REMOTE"]
    document["engine"] = engine


def _absolute(environment: Environment) -> Environment:
    """Resolve local paths of the lake and of MLflow against the home."""
    mlflow = environment.mlflow
    tracking = mlflow.tracking_uri
    prefix = "sqlite:///"
    if tracking.startswith(prefix):
        tracking = prefix + str(environment.resolve(tracking.removeprefix(prefix)))
    else:
        tracking = environment.locate(tracking)
    artifacts = mlflow.artifact_location
    return environment.model_copy(
        update={
            "lake": environment.lake.model_copy(
                update={"uri": environment.locate(environment.lake.uri)}
            ),
            "mlflow": mlflow.model_copy(
                update={
                    "tracking_uri": tracking,
                    "artifact_location": environment.locate(artifacts) if artifacts else None,
                }
            ),
            "alerts": environment.alerts.model_copy(
                update={"channels": [_channel(c, environment) for c in environment.alerts.channels]}
            ),
        }
    )


def _channel(url: str, environment: Environment) -> str:
    prefix = "logfile://"
    if not url.startswith(prefix):
        return url
    return prefix + str(environment.resolve(url.removeprefix(prefix)))


def _explain(path: Path, error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        message = in_plain_words(item)
        if item["type"] == "extra_forbidden":
            known = _keys(item["loc"][:-1])
            hint = did_you_mean(str(item["loc"][-1]), known, what="known")
            if item["loc"][0] == "training" and item["loc"][-1] in TrainingSettings.model_fields:
                hint = "this key belongs to `training` in a use case's defs.yaml"
            message = f"unknown key; {hint}"
        lines.append(f"{path}: {where or 'environment'}: {message}")
    return lines


def _keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Environment
    for part in location:
        field = model.model_fields.get(part)
        if field is None or not hasattr(field.annotation, "model_fields"):
            return []
        model = field.annotation
    return sorted(model.model_fields)
