"""Syntax trees of source files: several tests look through all modules, and parsing these takes a second."""

from __future__ import annotations

import ast
from functools import cache


@cache
def parsed(source: str) -> ast.Module:
    """Parse the text of a module, once for all tests of a worker. The tree is shared: do not change it."""
    return ast.parse(source)
