"""Reads options into a frozen dataclass, refusing names that it does not know and values that do not fit.

Types and bounds are in the dataclass's annotations, in the words of `pipeline_assets.option_types`: what loads
a use case reads them there, without importing the module.
"""

import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pipeline_assets.option_types import described, fits
from pipeline_assets.training.config import TrainingError

Options = TypeVar("Options")


def read_options(
    options: Mapping[str, Any], kind: type[Options], owner: str, *, what: str = "model option"
) -> Options:
    """Return `kind(**options)`, lists as tuples.

    Args:
        options: from JSON or YAML.
        kind: dataclass whose fields have types that `option_types.fits` knows.
        owner: whose options these are, for messages.
        what: what an option is called in messages.

    Raises:
        TrainingError: an unknown option, with the nearest known one, or a value of another type or out of
            bounds.
    """
    known = typing.get_type_hints(kind, include_extras=True)
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
            raise TrainingError(f"{what} {name!r} is unknown to {owner}; {hint}")
        if not fits(value, known[name]):
            raise TrainingError(
                f"{what} {name} of {owner} is {value!r}; expected {described(known[name])}"
            )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return kind(**values)
