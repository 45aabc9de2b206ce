"""Files that appear whole or not at all, of fixed form."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from pipeline_assets.training.config import TrainingError


def json_bytes(content: Any) -> bytes:
    """JSON text of fixed form: the same content gives the same bytes."""
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    # Containers that share a file system have the same process ids.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_result(path: Path, content: bytes) -> None:
    """Write a file of the training's output, whole or not at all.

    Raises:
        TrainingError: it cannot be written; a restart would come to the same place.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written: [Errno {error.errno}] {error.strerror}. Make room or give write "
            "access there and run again: training goes on from the last checkpoint"
        ) from error
