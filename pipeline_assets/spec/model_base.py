"""The base of every spec class: frozen, keyword-only, no unknown keys, every field described."""

from pydantic import BaseModel, ConfigDict


class SpecModel(BaseModel):
    """A frozen part of a use case; unknown keys are refused so that a misspelt one is never ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
