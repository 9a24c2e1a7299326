"""The shape of the package: what a reader relies on when looking for something by the name of its file.

Every module explains itself, no two modules have the same name unless they play the same part in their
package, no module is too long, and imports form short chains without a circle.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.syntax import Syntax, syntax

PACKAGE = Path(__file__).parents[1] / "modelfetch"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "_version.py"  # written by an editable install, and in no commit
}

SAME_PART = {
    *("base", "client", "disk", "errors", "huggingface", "ipfs", "modelscope", "oci", "registry", "session")
}
"""Names that several packages use for the same part: their errors, what connects to a server, their interface
and table, what is particular to a hub or to this disk, and what lasts for one run."""
LONGEST = 400
"""Lines of a module; most have 100 to 350."""
ALONE = {"modelfetch.bundle.verifier": 750}
"""Modules that are also programs in one file, which run without the package, and their own limits."""
LONGEST_CHAIN = 14
"""Modules in a chain of imports that are executed when its first one is imported."""


def module(name: str) -> Syntax:
    return syntax(MODULES[name].read_text("utf-8"))


def imported(name: str, *, at_import: bool) -> set[str]:
    """The modules of the package that a module imports.

    Args:
        name: The module.
        at_import: Only what is executed when it is imported: nothing in functions or for type checkers.
    """
    statements = [each for each in module(name).imports if each.is_executed or not at_import]
    return {found for each in statements for found in _targets(each.node)} - {name}


def _targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    names = [f"{base}{alias.name}" for alias in node.names]
    yield from (_module(name) for name in names if name.startswith("modelfetch"))


def _module(target: str) -> str:
    if target.startswith("modelfetch._version"):
        return "modelfetch.version"  # which is the only one that imports it
    while target not in MODULES:
        target = target.rpartition(".")[0]
    return target


def test_every_module_says_what_it_does() -> None:
    """A summary line and more: its rules, its format, or why it is apart."""
    short = [
        name
        for name, path in MODULES.items()
        if path.name != "__init__.py" and len(module(name).docstring.splitlines()) < 2
    ]
    assert short == []


REFERENCE = re.compile(r":(?:mod|class|func|meth|data|attr):`~?(modelfetch\.[\w.]+)`")
"""A name with its module, as docstrings and comments have it."""


@pytest.mark.slow
def test_what_a_docstring_refers_to_exists() -> None:
    """In another module: a reader follows the name to where it says."""
    wrong = [
        f"{name}: {target}"
        for name, path in MODULES.items()
        for target in REFERENCE.findall(path.read_text("utf-8"))
        if not _is_defined(target)
    ]
    assert wrong == []


def _is_defined(target: str) -> bool:
    module = target
    while module not in MODULES:
        module = module.rpartition(".")[0]
    first, _, rest = target.removeprefix(module).removeprefix(".").partition(".")
    if first in (origins := _origins(module)):
        return _is_defined(f"{origins[first]}.{rest}".removesuffix("."))
    return not first or (first, rest) in _definitions(module)


def _parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text("utf-8"))


@cache
def _origins(module: str) -> dict[str, str]:
    """Where the names come from that a module imports from others of the package."""
    statements = [each for each in ast.walk(_parsed(module)) if isinstance(each, ast.ImportFrom)]
    return {
        alias.asname or alias.name: f"{each.module}.{alias.name}"
        for each in statements
        for alias in each.names
        if (each.module or "").startswith("modelfetch")
    }


@cache
def _definitions(module: str) -> set[tuple[str, str]]:
    """Every name that a module defines, each with no further name and with those of its attributes."""
    found = {(name, "") for name in _names(_parsed(module))}
    for node in ast.walk(_parsed(module)):
        if isinstance(node, ast.ClassDef):
            found |= {(node.name, name) for name in _names(node)}
    return found


def _names(node: ast.AST) -> Iterator[str]:
    """The names of functions, classes, variables and attributes that are defined anywhere in a node."""
    for each in ast.walk(node):
        match each:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield each.name
            case ast.Name(ctx=ast.Store()):
                yield each.id
            case ast.Attribute(ctx=ast.Store()):
                yield each.attr
            case _:
                pass


def test_no_two_modules_have_the_same_name() -> None:
    """But for commands of the command line, which are called like what they start."""
    stems = [path.stem for path in MODULES.values() if path.stem != "__init__" and path.parent.name != "cli"]
    assert {stem for stem, count in Counter(stems).items() if count > 1} <= SAME_PART


def test_no_module_is_too_long() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > ALONE.get(name, LONGEST)} == {}


def test_imports_form_no_circle() -> None:
    """Counting those in functions and for type checkers, too."""
    graph = {name: imported(name, at_import=False) for name in MODULES}
    while free := {name for name, targets in graph.items() if not targets & graph.keys()}:
        graph = {name: targets for name, targets in graph.items() if name not in free}
    assert sorted(graph) == []


def test_chains_of_imports_are_short() -> None:
    @cache
    def chain(name: str) -> tuple[str, ...]:
        below = [chain(target) for target in imported(name, at_import=True)]
        return (name, *max(below, key=len, default=()))

    longest = max(map(chain, MODULES), key=len)
    assert len(longest) <= LONGEST_CHAIN, " > ".join(longest)
