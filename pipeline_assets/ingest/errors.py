"""The error of ingest: a source that cannot be read at all. Bad lines are no error, they are kept."""

from pipeline_assets.spec.credentials import ErrorWithoutCredentials


class IngestError(ErrorWithoutCredentials):
    """A source that cannot become `raw`: names the file, what is wrong and what to do about it."""
