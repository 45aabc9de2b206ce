"""The YAML schema of a use case, as Dagster's tools see it.

`dg check yaml` validates against the JSON schema of this model; loading validates with
`spec.load_use_case`, whose messages name the line, the key and the nearest valid name. The model itself
therefore accepts any mapping: a second, vaguer message would hide the precise one.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline_assets.spec import UseCase


class UseCaseAttributes(BaseModel):
    """The `attributes:` of a `defs.yaml`; documented by `spec.UseCase`."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = UseCase.model_json_schema()
        definitions = schema.pop("$defs", {})
        # The folder's name is the default.
        schema["required"].remove("name")
        return _simplified(schema, definitions)


def _simplified(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Put referenced schemas in place, and `X` for `anyOf: [X, null]`.

    Pydantic resolves references against its own definitions only, and errors below an `anyOf` lose
    the exact place.
    """
    if isinstance(schema, list):
        return [_simplified(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        own = {key: value for key, value in schema.items() if key not in ("$ref", "default")}
        return _simplified({**target, **own}, definitions)
    result = {key: _simplified(value, definitions) for key, value in schema.items()}
    branches = [branch for branch in result.get("anyOf", []) if branch != {"type": "null"}]
    if len(branches) == 1:
        del result["anyOf"]
        result = {**branches[0], **{k: v for k, v in result.items() if k != "default"}}
    elif branches:
        result["anyOf"] = branches
    return result
