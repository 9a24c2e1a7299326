"""The command line: parse, call, report. Nothing is decided here."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``modelfetch`` command."""
    try:
        from modelfetch.cli.entry import run
    except KeyboardInterrupt:  # before there was anything to tell
        raise SystemExit(130) from None
    run()
