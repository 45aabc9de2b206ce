"""What a training says to Dagster: the launcher opens and closes Pipes, ranks write lines in between.

Ranks that are restarted would otherwise close it, and open it again; a rank that is killed would not close it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PIPES_CONTEXT = "DAGSTER_PIPES_CONTEXT"
"""Environment variable of a process that Dagster listens to."""


@contextmanager
def pipes_held_open() -> Iterator[None]:
    """Open Pipes, and close it at the end; does nothing where Dagster does not listen."""
    if PIPES_CONTEXT not in os.environ:
        yield
        return
    from dagster_pipes import open_dagster_pipes  # optional: a bare node has none

    with open_dagster_pipes():
        yield


@contextmanager
def pipes_log() -> Iterator[Callable[[str, str], None]]:
    """Yield a function that writes to Dagster's log, while another process holds Pipes open.

    It takes the text and the level, as `logging` names it.
    """
    from dagster_pipes import (
        PIPES_PROTOCOL_VERSION,
        PIPES_PROTOCOL_VERSION_FIELD,
        PipesDefaultMessageWriter,
        PipesEnvVarParamsLoader,
    )

    with PipesDefaultMessageWriter().open(
        PipesEnvVarParamsLoader().load_messages_params()
    ) as channel:
        yield lambda text, level: channel.write_message(
            {
                PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION,
                "method": "log",
                "params": {"message": text, "level": level},
            }
        )
