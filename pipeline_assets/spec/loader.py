"""Reads `defs.yaml` into a `UseCase`; every error names file, line, key and the nearest valid name.

Dagster resolves component YAML by itself, but its messages for nested lists do not say which item is
wrong. So the component and the command line both read the file through `load_use_case`: one reading,
one set of messages. What a use case may say is in the other modules of this package.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import jinja2
import yaml
from pydantic import BaseModel, ValidationError

from pipeline_assets.spec.problems import Problem, WrongKey, in_plain_words
from pipeline_assets.spec.suggestions import did_you_mean
from pipeline_assets.spec.use_case import UseCase

COMPONENT_TYPE = "pipeline_assets.MLPipeline"

Check = Callable[[UseCase], Sequence[Problem]]


class SpecError(ValueError):
    """A use case that cannot be built; the message lists every problem with file and line."""


@dataclass(frozen=True, kw_only=True)
class _Located:
    """A YAML node tree next to its file, to find the line of any key."""

    path: Path
    root: yaml.Node

    def line(self, location: Sequence[str | int], *, of_key: bool = True) -> int:
        """1-based line of the deepest part of `location` that exists in the file."""
        node, line = self.root, self.root.start_mark.line
        for part in location:
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == part:
                        node, line = value, (key if of_key else value).start_mark.line
                        break
                else:
                    return line + 1
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                if part >= len(node.value):
                    return line + 1
                node = node.value[part]
                line = node.start_mark.line
            else:
                # Pydantic adds the name of a union's branch to the location; the file has no such key.
                continue
        return line + 1


def load_use_case(
    path: Path,
    *,
    checks: Sequence[Check] = (),
    hints: Mapping[tuple[str | int, ...], str] | None = None,
    env: Mapping[str, str] | None = None,
) -> UseCase:
    """Read and check one use case.

    Args:
        path: the `defs.yaml`, or the folder that holds it. The folder's name is the default name.
        checks: further checks across the parts of the spec (columns, features, slices).
        hints: what to do about keys that a use case does not have, by path.
        env: variables for `{{ env.NAME or 'default' }}`; the process environment by default.

    Raises:
        SpecError: with one line per problem: file, line, key, what is wrong, the nearest valid name.
    """
    file = path / "defs.yaml" if path.is_dir() else path
    if not file.is_file():
        raise SpecError(f"{file}: no such file; a use case is a folder with a defs.yaml")
    document, located = _parse(file)
    if not isinstance(document, dict) or not isinstance(document.get("attributes"), dict):
        raise SpecError(f"{file}:1: expected `type: {COMPONENT_TYPE}` and a mapping `attributes`")
    variables = dict(os.environ if env is None else env)
    attributes = _render(document["attributes"], variables, located, ("attributes",))
    attributes.setdefault("name", file.parent.name)
    try:
        use_case = UseCase.model_validate(attributes)
    except ValidationError as error:
        raise SpecError("\n".join(_explain(error, located, hints or {}))) from None
    problems = [problem for check in checks for problem in check(use_case)]
    if problems:
        raise SpecError("\n".join(_format(located, problem) for problem in problems))
    return use_case


def _parse(file: Path) -> tuple[Any, _Located]:
    text = file.read_text(encoding="utf-8")
    try:
        documents = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node]
        if len(documents) != 1:
            raise SpecError(
                f"{file}: holds {len(documents)} documents; a use case is one folder with one document"
            )
        _refuse_repeated_keys(file, documents[0])
        return yaml.safe_load(text), _Located(path=file, root=documents[0])
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{file}:{line}: not valid YAML: {error.problem}") from None


def _refuse_repeated_keys(file: Path, node: yaml.Node) -> None:
    """YAML parsers keep the last of two equal keys in silence; here that is an error."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise SpecError(
                    f"{file}:{line}: key {key.value!r} is given twice (first on line {seen[key.value]})"
                )
            seen[key.value] = line
            _refuse_repeated_keys(file, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(file, item)


class _Environment(dict[str, str]):
    """Environment variables as attributes; an unset one is empty, so that `or` gives the default."""

    def __getattr__(self, name: str) -> str:
        return self.get(name, "")


def _render(
    value: Any, env: Mapping[str, str], located: _Located, at: tuple[str | int, ...]
) -> Any:
    if isinstance(value, dict):
        return {key: _render(item, env, located, (*at, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, env, located, (*at, index)) for index, item in enumerate(value)]
    if isinstance(value, str) and "{{" in value:
        try:
            template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(value)
            return template.render(env=_Environment(env))
        except jinja2.TemplateError as error:
            raise SpecError(
                f"{located.path}:{located.line(at)}: {_dotted(at[1:])}: template {value!r}: {error}"
            ) from None
    return value


def _explain(
    error: ValidationError, located: _Located, hints: Mapping[tuple[str | int, ...], str]
) -> list[str]:
    lines = []
    for item in error.errors():
        location = tuple(item["loc"])
        suggestion = None
        if item["type"] == "extra_forbidden":
            known = _keys_at(UseCase, location[:-1])
            message = f"unknown key {location[-1]!r}"
            suggestion = hints.get(location) or did_you_mean(
                str(location[-1]), known, what="known keys"
            )
        elif item["type"] == "missing":
            message = f"the key {location[-1]!r} is required"
        elif item["type"] == "literal_error":
            expected = item.get("ctx", {}).get("expected", "")
            message = f"{item['input']!r} is not one of {expected}"
            options = [option.strip(" '") for option in expected.replace(" or ", ", ").split(",")]
            suggestion = did_you_mean(str(item["input"]), options)
        else:
            message = in_plain_words(item)
            raised = item.get("ctx", {}).get("error")
            location += raised.path if isinstance(raised, WrongKey) else ()
        lines.append(
            _format(located, Problem(path=location, message=message, suggestion=suggestion))
        )
    return lines


def _keys_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Field names of the model that `location` leads to."""
    current: type[BaseModel] | None = model
    in_mapping = False
    for part in location:
        if isinstance(part, int) or current is None:
            continue
        if in_mapping:
            # A key that the file is free to name.
            in_mapping = False
            continue
        field = current.model_fields.get(part)
        current = _model_in(field.annotation) if field is not None else None
        in_mapping = field is not None and get_origin(field.annotation) is dict
    return sorted(current.model_fields) if current is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _format(located: _Located, problem: Problem) -> str:
    line = located.line(("attributes", *problem.path))
    text = f"{located.path}:{line}: {_dotted(problem.path)}: {problem.message}"
    return f"{text}; {problem.suggestion}" if problem.suggestion else text


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "attributes"
