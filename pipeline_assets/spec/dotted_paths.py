"""Dotted paths `module:function` of a use case: whether they lead to a function that takes the declared options.

Modules are found and parsed, not imported: a definition loads in a second, torch alone takes two.
"""

import ast
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.suggestions import did_you_mean
from pipeline_assets.spec.use_case import UseCase


def dotted_path_problems(use_case: UseCase) -> list[Problem]:
    """Return what is wrong with the model's factory, the demo data's generators and the business metrics."""
    problems = _problems(("model", "factory"), use_case.model.factory)
    problems = problems or _factory_problems(use_case.model.factory)
    sources = [
        (("source",), use_case.source),
        *(
            (("sources", name, "source"), joined.source)
            for name, joined in use_case.sources.items()
        ),
    ]
    for path, source in sources:
        if source.demo is not None:
            problems += _problems((*path, "demo", "generator"), source.demo.generator)
    for position, metric in enumerate(use_case.evaluation.metrics):
        at = ("evaluation", "metrics", position)
        problems += _problems((*at, "function"), metric.function, (at, metric.options))
    return problems


def _problems(
    path: tuple[str | int, ...],
    dotted: str,
    options: tuple[tuple[str | int, ...], dict[str, object]] | None = None,
) -> list[Problem]:
    module, separator, function = dotted.partition(":")
    if not separator or not function:
        return [Problem(path=path, message=f"{dotted!r} is not written as module:function")]
    tree = parsed_module(module)
    if tree is None:
        return [Problem(path=path, message=f"there is no Python module {module!r}")]
    names = _top_level(tree.body)
    if names is None:
        return []
    if function not in names:
        return [
            Problem(
                path=path,
                message=f"module {module!r} has no {function!r}",
                suggestion=did_you_mean(function, names),
            )
        ]
    found = names[function]
    if options is None or not isinstance(found, ast.FunctionDef) or found.args.kwarg is not None:
        return []
    at, given = options
    taken = [a.arg for a in (*_positional(found), *found.args.kwonlyargs)]
    return [
        Problem(
            path=(*at, "options", name),
            message=f"{function} takes no option {name!r}",
            suggestion=f"it takes {', '.join(taken) or 'none'}",
        )
        for name in given
        if name not in taken
    ] + [
        Problem(path=at, message=f"{function} needs the option {name!r}")
        for name in _required(found)
        if name not in given
    ]


def _factory_problems(dotted: str) -> list[Problem]:
    """What shows, without a call, that a function builds no network."""
    module, _, name = dotted.partition(":")
    tree = parsed_module(module)
    function = (_top_level(tree.body) or {}).get(name) if tree is not None else None
    takes_config = True
    if isinstance(function, ast.FunctionDef):
        given = function.args
        at_most = len(given.posonlyargs) + len(given.args)
        takes_config = (at_most > 0 or given.vararg is not None) and not _required(function)
    if takes_config and module.partition(".")[0] not in sys.stdlib_module_names:
        return []
    message = f"{dotted} is no model factory: one is a function of a ModelConfig that returns an nn.Module"
    return [Problem(path=("model", "factory"), message=message)]


def parsed_module(module: str) -> ast.Module | None:
    """The source of a module, one with any name where it has none; None where there is no such module."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin is None or not spec.origin.endswith(".py"):
        return ast.parse("from compiled import *")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _top_level(nodes: Sequence[ast.stmt]) -> dict[str, ast.AST] | None:
    """The names that a module defines; None where only running it would tell."""
    names: dict[str, ast.AST] = {}
    for node in nodes:
        inner: list[ast.stmt] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
        elif isinstance(node, ast.If):
            inner = [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            inner = [*node.body, *handlers, *node.orelse, *node.finalbody]
        found = _top_level(inner)
        if found is None:
            return None
        names |= found
    return None if "*" in names or "__getattr__" in names else names


def _required(function: ast.FunctionDef) -> Sequence[str]:
    """Options without a default; the first argument is what the function is applied to."""
    positional = _positional(function)
    without = positional[: len(positional) - min(len(positional), len(function.args.defaults))]
    keywords = [
        argument
        for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults)
        if default is None
    ]
    return [argument.arg for argument in (*without, *keywords)]


def _positional(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args][1:]
