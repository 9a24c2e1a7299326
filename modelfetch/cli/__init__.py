"""The command line: parse, call, report. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Never


def main() -> Never:
    """Entry point of the ``modelfetch`` command."""
    from modelfetch.streams import prepare

    prepare()
    try:
        from modelfetch.cli.entry import run
    except KeyboardInterrupt:  # before there was anything to tell
        raise SystemExit(130) from None
    run()


def print_paths(paths: Sequence[str]) -> Never:
    """Print paths, a line each, on a stdout that is not as usual, and end the process as is due then."""
    from modelfetch import streams

    streams.prepare()
    from modelfetch.cli.entry import end

    for path in paths:
        streams.write_path(path)
    end(0)
