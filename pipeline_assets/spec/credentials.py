"""Keeps credentials out of what is shown; see `pipeline_assets.credentials`, which needs no pydantic."""

from pipeline_assets.credentials import ErrorWithoutCredentials, without_credentials

__all__ = ["ErrorWithoutCredentials", "without_credentials"]
