"""The error of this package, and its wording. Nothing else belongs here."""

import errno

from pipeline_assets.spec.credentials import ErrorWithoutCredentials


class LakeError(ErrorWithoutCredentials):
    """Something about published or staged data is wrong; the message says what, where and what to do."""


def cannot_read(uri: str, error: OSError) -> LakeError:
    """Return a `LakeError` for a failed read other than of a missing file, to be raised from `error`."""
    reason = error.strerror or str(error) or type(error).__name__
    return LakeError(f"cannot read {uri}: {reason}")


def cannot_write(uri: str, error: OSError) -> LakeError:
    """Return a `LakeError` for a failed write, to be raised from `error`.

    It holds because every write goes to a staged file or replaces a small file atomically.
    """
    advice = {
        errno.ENOSPC: "free disk space (`prune` removes old versions) and run again",
        errno.EDQUOT: "the quota is used up; free space (`prune` removes old versions) and run again",
        errno.EFBIG: "the file would exceed the process's size limit (ulimit -f)",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "the permissions do not allow it",
        errno.EPERM: "the permissions do not allow it",
    }.get(error.errno or 0, "see the cause below")
    reason = error.strerror or str(error) or type(error).__name__
    return LakeError(
        f"cannot write {uri}: {reason}; nothing was published, earlier versions are intact; {advice}"
    )
