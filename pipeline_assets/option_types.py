"""Types and bounds of options, and whether a value fits them. Standard library only.

A use case is held to them when it loads, without importing what the options are for, and a factory or a
training job when it runs.
"""

import math
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of a number, of a list's length: `Annotated[float, Bounds(above=0)]`."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def hold(self, value: float) -> bool:
        """Whether a number is finite and within them."""
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        given = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        return " and ".join(
            f"{name} {bound:g}" for name, bound in given.items() if bound is not None
        )


Count = Annotated[int, Bounds(at_least=1)]
"""A number of things."""
Positive = Annotated[float, Bounds(above=0)]
"""A number above zero."""
NotNegative = Annotated[float, Bounds(at_least=0)]
"""Zero, or a number above it."""
Share = Annotated[float, Bounds(at_least=0, below=1)]
"""A share that never is all."""
Counts = Annotated[tuple[Count, ...], Bounds(at_least=1)]
"""Numbers of things, one at least."""


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON or YAML is of a type and within its bounds.

    Args:
        value: a list stands for a tuple.
        hint: bool, int, float, str, None, a `Literal`, a list or tuple of one of these of any length, a dict,
            one with `Bounds`, or several with `|`. Anything fits another type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if not fits(value, arguments[0]):
            return False
        size = len(value) if isinstance(value, list | tuple) else value
        return all(of.hold(size) for of in arguments[1:] if isinstance(of, Bounds))
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if origin in (tuple, list):
        return isinstance(value, list | tuple) and all(fits(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, arguments[1]) for one in value.values())
    if origin in (types.UnionType, Union):
        return any(fits(value, one) for one in arguments)
    if hint in (int, float):
        is_number = isinstance(value, int if hint is int else int | float)
        return is_number and not isinstance(value, bool)
    if hint in (None, type(None)):
        return value is None
    return isinstance(value, hint) if hint in (bool, str) else True


def described(hint: Any) -> str:
    """What `fits` expects, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        of = described(arguments[0])
        bounds = " and ".join(str(of) for of in arguments[1:] if isinstance(of, Bounds))
        is_list = get_origin(arguments[0]) in (tuple, list)
        return f"{of}, {bounds} in number" if is_list else f"{of} {bounds}"
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (tuple, list):
        return f"a list of {described(arguments[0])}"
    if origin is dict:
        return f"a mapping to {described(arguments[1])}"
    if origin in (types.UnionType, Union):
        return " or ".join(described(one) for one in arguments)
    words = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return "none" if hint in (None, type(None)) else words.get(hint, str(hint))
