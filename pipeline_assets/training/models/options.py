"""Reads options into a frozen dataclass, refusing names that it does not know and values of another type."""

import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from pipeline_assets.training.config import TrainingError

Options = TypeVar("Options")


def read_options(
    options: Mapping[str, Any], kind: type[Options], owner: str, *, what: str = "model option"
) -> Options:
    """Return `kind(**options)`, lists as tuples.

    Args:
        options: from JSON or YAML.
        kind: dataclass whose fields are of type bool, int, float, str, a `Literal`, a tuple of one of
            these of any length, or one of these or None.
        owner: whose options these are, for messages.
        what: what an option is called in messages.

    Raises:
        TrainingError: an unknown option, with the nearest known one, or a value of another type.
    """
    known = typing.get_type_hints(kind)
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
            raise TrainingError(f"{what} {name!r} is unknown to {owner}; {hint}")
        if not _fits(value, known[name]):
            raise TrainingError(f"{what} {name} of {owner} is {value!r}; {_described(known[name])}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return kind(**values)


def check_share(name: str, value: float) -> None:
    """Raise `TrainingError` where a share of units is not at least 0 and below 1."""
    if not 0 <= value < 1:
        raise TrainingError(f"model option {name} is {value}; expected at least 0 and below 1")


def check_at_least_one(options: object, *names: str) -> None:
    """Raise `TrainingError` where one of these integer options, or an item of a tuple, is below 1."""
    for name in names:
        value = getattr(options, name)
        if any(item < 1 for item in (value if isinstance(value, tuple) else (value,))):
            given = list(value) if isinstance(value, tuple) else value
            raise TrainingError(f"model option {name} is {given}; expected at least 1")


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(v, get_args(hint)[0]) for v in value)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"known: {', '.join(map(str, get_args(hint)))}"
    return f"expected {_named(hint)}"


def _named(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list of {_named(get_args(hint)[0])}"
    if get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_named(one) for one in get_args(hint))
    return {int: "integer", float: "number", str: "text", type(None): "none"}.get(hint, str(hint))
