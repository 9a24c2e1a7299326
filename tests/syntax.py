"""What several tests ask of the syntax of all modules: each is parsed once in a worker.

The trees themselves are not kept: the garbage collector would go through them again and again, which takes
longer than to parse them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Statement:
    """An import statement, wherever in a module it stands."""

    node: ast.Import | ast.ImportFrom
    is_executed: bool
    """When the module is imported: it stands in no function, and is not for type checkers."""


@dataclass(frozen=True)
class Syntax:
    """What is asked of one module."""

    docstring: str
    """Or nothing."""
    imports: tuple[Statement, ...]


@cache
def syntax(source: str) -> Syntax:
    """Parse the text of a module."""
    tree = ast.parse(source)
    return Syntax(ast.get_docstring(tree) or "", tuple(_imports(tree, is_executed=True)))


def _imports(parent: ast.AST, *, is_executed: bool) -> Iterator[Statement]:
    """Look through statements only, as no expression has an import inside."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(parent, block, None)
        for node in inner if isinstance(inner, list) else ():
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield Statement(node, is_executed)
            else:
                yield from _imports(node, is_executed=is_executed and not _is_left_out(node))


def _is_left_out(node: ast.AST) -> bool:
    is_for_types = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef) or is_for_types
