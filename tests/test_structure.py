"""The shape of the package: what a reader relies on when looking for something by the name of its file.

Every module explains itself, no two modules have the same name unless they play the same part in their
package, no module is too long, and imports form short chains without a circle.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.syntax import parsed

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


@cache
def tree(name: str) -> ast.Module:
    return parsed(MODULES[name].read_text("utf-8"))


def imported(name: str, *, at_import: bool) -> set[str]:
    """The modules of the package that a module imports.

    Args:
        name: The module.
        at_import: Only what is executed when it is imported: nothing in functions or for type checkers.
    """
    return {found for found in _imports(tree(name), at_import=at_import) if found != name}


def _imports(node: ast.AST, *, at_import: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (_module(alias.name) for alias in child.names if alias.name.startswith("modelfetch"))
        elif isinstance(child, ast.ImportFrom) and (child.module or "").startswith("modelfetch"):
            yield from (_module(f"{child.module}.{alias.name}") for alias in child.names)
        elif at_import and (isinstance(child, ast.FunctionDef) or _is_for_types(child)):
            continue
        else:
            yield from _imports(child, at_import=at_import)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


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
        if path.name != "__init__.py" and len((ast.get_docstring(tree(name)) or "").splitlines()) < 2
    ]
    assert short == []


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
