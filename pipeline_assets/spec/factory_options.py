"""The options that a model's factory declares, read from its source: torch is not imported to load a use case.

A factory declares them by `read_options(config.options, SomeOptions, …)`, `SomeOptions` being a dataclass of
its module or of one that it imports from.
"""

import ast
from typing import Any

from pipeline_assets.spec.dotted_paths import parsed_module

_READER = "read_options"


def declared_options(factory: str) -> dict[str, ast.expr] | None:
    """Option to its annotation; None where the factory reads its options in another way.

    Args:
        factory: dotted path `module:function`.
    """
    declared = _declared(factory)
    return None if declared is None else {name: of.annotation for name, of in declared.items()}


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
