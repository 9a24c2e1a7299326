"""The command line: parse, call, report. Nothing is decided here."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``modelfetch`` command."""
    from modelfetch.cli.entry import run

    run()
