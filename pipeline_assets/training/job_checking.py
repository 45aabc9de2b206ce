"""Whether the JSON form of a training job has the keys, types and bounds of `config`'s dataclasses."""

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_assets.option_types import described, fits


def job_problems(data: object, kind: type) -> Iterator[str]:
    """Yield what is wrong, each with the path of its key.

    Args:
        data: from JSON.
        kind: `TrainingJob`; its fields are of dataclasses, tuples of them, or types that `option_types` knows.
    """
    yield from _problems(data, kind, "")
    launch = data.get("launch", {}) if isinstance(data, Mapping) else {}
    if isinstance(launch, Mapping):
        yield from _launch_problems(launch)


def _problems(data: object, kind: type, path: str) -> Iterator[str]:
    if not isinstance(data, Mapping):
        yield f"{path or 'the job'} is {data!r}; expected a mapping of keys to values"
        return
    hints = typing.get_type_hints(kind, include_extras=True)
    for key, value in data.items():
        at = f"{path}.{key}" if path else str(key)
        if key in hints:
            yield from _value_problems(value, hints[key], at)
        else:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(hints)}"
            yield f"unknown key {at}; {hint}"
    for field in dataclasses.fields(kind):
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and field.name not in data:
            yield f"the key {f'{path}.{field.name}' if path else field.name} is required"


def _value_problems(value: object, hint: Any, at: str) -> Iterator[str]:
    if dataclasses.is_dataclass(hint):
        yield from _problems(value, typing.cast(type, hint), at)
        return
    items = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(items[0]):
        if not isinstance(value, list | tuple):
            yield f"{at} is {value!r}; expected a list"
            return
        for position, item in enumerate(value):
            yield from _problems(item, typing.cast(type, items[0]), f"{at}[{position}]")
    elif not fits(value, hint):
        yield f"{at} is {_short(value)}; expected {described(hint)}"


def _launch_problems(launch: Mapping[str, Any]) -> Iterator[str]:
    nodes = launch.get("nnodes", "1")
    if not isinstance(nodes, str):
        return
    if not re.fullmatch(r"\d+(:\d+)?", nodes):
        yield f"launch.nnodes is {nodes!r}; expected a number of nodes, or min:max, as text"
    elif int(nodes.rpartition(":")[2]) > 1 and not launch.get("rdzv_endpoint"):
        yield f"launch.nnodes {nodes} needs launch.rdzv_endpoint, host:port where the nodes meet"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}…"
