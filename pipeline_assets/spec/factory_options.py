"""The options that a model's factory declares, read from its source: torch is not imported to load a use case.

A factory declares them by `read_options(config.options, SomeOptions, …)`, `SomeOptions` being a dataclass of
its module or of one that it imports from. Its annotations are of built-in types and the names of `option_types`;
one with other names holds for any value until the factory runs.
"""

import ast
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pipeline_assets import option_types
from pipeline_assets.option_types import Bounds, described, fits
from pipeline_assets.spec.dotted_paths import parsed_module
from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.suggestions import did_you_mean
from pipeline_assets.spec.use_case import UseCase

_READER = "read_options"
_TYPES: dict[str, Any] = {
    **{of.__name__: of for of in (bool, int, float, str, list, tuple, Bounds)},
    **{
        name: getattr(option_types, name)
        for name in ("Count", "Counts", "NotNegative", "Positive", "Share")
    },
    "Literal": Literal,
    "Annotated": Annotated,
}


def model_option_problems(use_case: UseCase) -> Sequence[Problem]:
    """Return what is wrong with `model.options`, as far as the factory's source tells."""
    declared = declared_options(use_case.model.factory)
    if declared is None:
        return []
    problems = []
    for name, value in use_case.model.options.items():
        path = ("model", "options", name)
        if name not in declared:
            message = f"{use_case.model.factory} has no option {name!r}"
            hint = did_you_mean(name, declared, what="known")
            problems.append(Problem(path=path, message=message, suggestion=hint))
        elif not fits(value, declared[name]):
            message = f"{value!r} does not fit; expected {described(declared[name])}"
            problems.append(Problem(path=path, message=message))
    return problems


def declared_options(factory: str) -> dict[str, Any] | None:
    """Option to its type, see `option_types.fits`; None where the factory reads its options in another way.

    Args:
        factory: dotted path `module:function`.
    """
    declared = _declared(factory)
    return (
        None if declared is None else {n: _known_type(of.annotation) for n, of in declared.items()}
    )


def default_options(factory: str) -> dict[str, Any]:
    """Option to its default, as YAML would give it (a tuple as a list); those that are no literals are left out.

    Args:
        factory: dotted path `module:function`.
    """
    found: dict[str, Any] = {}
    for name, of in (_declared(factory) or {}).items():
        if of.value is None:
            continue
        try:
            value = ast.literal_eval(of.value)
        except ValueError:
            continue
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _declared(factory: str) -> dict[str, ast.AnnAssign] | None:
    module, _, name = factory.partition(":")
    tree = parsed_module(module)
    functions = [
        node
        for node in (tree.body if tree is not None else ())
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    for function in functions:
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and _called(call) == _READER and len(call.args) > 1:
                options = call.args[1]
                return _fields(module, options.id) if isinstance(options, ast.Name) else None
    return None


def _known_type(annotation: ast.expr) -> Any:
    """The type that an annotation stands for; `Any` where it has names of its own."""
    try:
        return _type(annotation)
    except LookupError:
        return Any


def _type(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _TYPES[name]
        case ast.Tuple(elts=items):
            return tuple(map(_type, items))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=value, slice=inner):
            return _type(value)[_type(inner)]
        case ast.Call(func=function, args=[], keywords=keywords):
            return _type(function)(**{of.arg: _type(of.value) for of in keywords if of.arg})
    raise LookupError(ast.unparse(node))


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _fields(module: str, name: str) -> dict[str, ast.AnnAssign] | None:
    """Fields of a dataclass, those of its bases first; None where only running the code would tell."""
    tree = parsed_module(module)
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            fields: dict[str, ast.AnnAssign] = {}
            for base in node.bases:
                inherited = _fields(module, base.id) if isinstance(base, ast.Name) else None
                if inherited is None:
                    return None
                fields |= inherited
            own = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            return fields | {
                item.target.id: item for item in own if isinstance(item.target, ast.Name)
            }
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _fields(node.module, alias.name)
    return None
