"""Tells PyInstaller how to freeze a program that uses modelfetch; imported by PyInstaller alone.

PyInstaller finds this package by the entry point ``pyinstaller40`` in ``pyproject.toml``.
"""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Name the directories with hooks, as PyInstaller asks for them."""
    return [str(Path(__file__).parent)]
