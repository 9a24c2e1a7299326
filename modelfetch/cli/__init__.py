"""The command line: parse, call, report. Nothing is decided here."""

from __future__ import annotations

import gc

_FEW_COLLECTIONS = 50_000
"""New containers after which garbage is looked for. Modules make a hundred thousand, none of them garbage:
after the usual 700 it would be looked for so often that a start takes 5 % longer."""


def main() -> None:
    """Entry point of the ``modelfetch`` command."""
    gc.set_threshold(_FEW_COLLECTIONS, *gc.get_threshold()[1:])
    try:
        from modelfetch.cli.entry import run
    except KeyboardInterrupt:  # before there was anything to tell
        raise SystemExit(130) from None
    run()
