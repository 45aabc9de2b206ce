"""What becomes of an error in a stage: tried again, shown as one sentence, or shown with its stack trace."""

import errno
from collections.abc import Iterable, Iterator

import dagster as dg

from pipeline_assets.shards.errors import ShardUnreachable
from pipeline_assets.spec.credentials import without_credentials
from pipeline_assets.training.config import TrainingInterrupted

MAX_RETRIES = 3
FIRST_RETRY_SECONDS = 2
_TRANSIENT_ERRNOS = {
    errno.EAGAIN,
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
}
_TRANSIENT_TEXTS = (
    "database is locked",
    "Connection reset",
    "Too Many Requests",
    "StatusCode.UNAVAILABLE",
)


class GateError(Exception):
    """A blocking check refused the staged version, or the model it judged; what is published stays."""


_FOREIGN = (ValueError, OSError, RuntimeError)
"""Errors of libraries that speak of input and surroundings; shown with their stack trace."""


def raise_for_dagster(error: BaseException, *, retry_number: int) -> None:
    """Raise, in place of an error of a stage, what Dagster acts on; return where it is to be raised as it is.

    Errors that time can heal are retried with exponential backoff, a few times; all others fail at once
    with the domain's own message, because running the same wrong input again only costs time.
    """
    if isinstance(error, dg.Failure | dg.RetryRequested):
        return
    # A stack trace quotes the messages of all causes as they are.
    cause = None if holds_credentials(error) else error
    if is_transient(error) and retry_number < MAX_RETRIES:
        raise dg.RetryRequested(
            max_retries=MAX_RETRIES, seconds_to_wait=FIRST_RETRY_SECONDS * 2**retry_number
        ) from cause
    failure = dg.Failure(
        description=without_credentials(f"{type(error).__name__}: {error}"), allow_retries=False
    )
    if cause is None and isinstance(error, Exception):
        raise failure from None
    if is_own(error):
        # The sentence is for the person who can mend it; a stack trace would only hide it.
        raise failure from None
    if isinstance(error, _FOREIGN):
        raise failure from error


def holds_credentials(error: BaseException) -> bool:
    """Whether the error, or one that its stack trace quotes, says what must not be logged."""
    return any(without_credentials(str(part)) != str(part) for part in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, as a stack trace shows them."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def is_own(error: BaseException) -> bool:
    """Whether the error is one of this project's, whose message says what is wrong, where, and what to do."""
    return isinstance(error, Exception) and type(error).__module__.startswith("pipeline_assets.")


def is_transient(error: BaseException) -> bool:
    """Whether waiting may heal the error: lost connections, time-outs, busy stores; never a full disk."""
    if isinstance(error, ConnectionError | TimeoutError | ShardUnreachable | TrainingInterrupted):
        return True
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS:
        return True
    if any(text in str(error) for text in _TRANSIENT_TEXTS):
        return True
    # The lake and the registry say in their own words what the store said.
    return error.__cause__ is not None and is_transient(error.__cause__)


def require_gate(results: Iterable[dg.AssetCheckResult], blocking: Iterable[str]) -> None:
    """Raise `GateError` if one of the blocking checks failed with severity ERROR."""
    names = set(blocking)
    failed = [
        result
        for result in results
        if result.check_name in names
        and not result.passed
        and result.severity == dg.AssetCheckSeverity.ERROR
    ]
    if failed:
        reasons = "; ".join(f"{result.check_name}: {result.description}" for result in failed)
        raise GateError(f"not published, the version before stays current: {reasons}")
