"""Reads a factory's options into a frozen dataclass, refusing what it does not know."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pipeline_assets.training.config import TrainingError

Options = TypeVar("Options")


def read_options(options: Mapping[str, Any], kind: type[Options], factory: str) -> Options:
    """Return `kind(**options)`, lists as tuples. Raises `TrainingError` naming an unknown option."""
    known = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise TrainingError(f"model option {name!r} is unknown to {factory}; {hint}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return kind(**values)
