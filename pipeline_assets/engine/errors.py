"""The error of this package, and how an engine's error becomes ours. Nothing else belongs here."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_assets.spec.credentials import ErrorWithoutCredentials


class EngineError(ErrorWithoutCredentials):
    """The data engine cannot be started or failed; the message says why and what to do."""


# A task's error reaches the driver as text; the last line of a traceback is "module.Class: message".
_OURS = re.compile(r"^(pipeline_assets\.[\w.]+)\.(\w+): (.+)$", re.MULTILINE)


@contextmanager
def readable_errors(doing: str) -> Iterator[None]:
    """Turn what failed in a remote task back into the error of this project that it was.

    Args:
        doing: What is being done, for the message, e.g. "writing file:///lake/…".

    Raises:
        Exception: of a class of this project (e.g. `LakeError` for a full disk) that a task raised.
        EngineError: where the engine itself is gone.
    """
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        ours = _our_error(str(error))
        if ours is not None:
            raise ours from error
        if "UNAVAILABLE" in str(error):
            raise EngineError(
                f"the data engine stopped while {doing}; if memory ran out, lower engine.cores in "
                "the environment"
            ) from error
        raise


def _our_error(text: str) -> Exception | None:
    for module, name, message in reversed(_OURS.findall(text)):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue
        if isinstance(found, type) and issubclass(found, Exception):
            return found(message)
    return None
