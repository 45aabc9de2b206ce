"""The errors of this package. Nothing else belongs here."""

from pipeline_assets.credentials import ErrorWithoutCredentials


class ShardError(ErrorWithoutCredentials):
    """Shards that are missing, damaged or of another format; the message names the file."""


class DamagedShard(ShardError):
    """A shard that is missing, or not what the index says: trying again gives the same."""


class ShardUnreachable(ShardError):
    """The store of the shards does not answer, for a reason that may pass: trying again later may help."""
