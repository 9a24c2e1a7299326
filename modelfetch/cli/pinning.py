"""What commands that pin share: progress while files are read, the choice of a variant, and references.

Commands about bundles use the progress, too. It is one line on stderr. On a terminal it is drawn over. In a
log it is written every ten seconds, so that a command that ends sooner writes its result only. A variant is
chosen by its number, on a terminal only: a script must say what it wants.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelfetch.cli.output import say
from modelfetch.model.paths import is_reference

if TYPE_CHECKING:
    from modelfetch.pins.add import Added
    from modelfetch.pins.pin import Choose
    from modelfetch.pins.session import PinSession
    from modelfetch.pins.variants import Variant
    from modelfetch.upstreams.base import UpstreamFile
    from modelfetch.workspace import Workspace

_INTERVAL = 0.1
"""Seconds between two drawings of the line, as for bars."""


class ProgressLine:
    """Shows which file is read, for its digest or to be sent: on one line of a terminal, else as log lines.

    Args:
        quiet: Whether nothing is shown.
        clock: Monotonic seconds.
    """

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        from modelfetch.reporters import can_draw
        from modelfetch.reporters.lines import EVERY_SECONDS

        self._is_quiet = quiet
        self._is_drawn = can_draw(sys.stderr, os.environ)
        self._clock = clock
        self._every = _INTERVAL if self._is_drawn else EVERY_SECONDS
        self._next = 0.0 if self._is_drawn else clock() + self._every
        self._is_dirty = False

    def __call__(self, file: UpstreamFile, received: int) -> None:
        """Show how many bytes of a file were hashed."""
        self.show("hashing", file.path, received, file.size)

    def show(self, verb: str, path: str, done: int, size: int | None) -> None:
        """Show how many bytes of a file were processed.

        Args:
            verb: What is done with it.
            path: The file.
            done: Bytes so far.
            size: Its size, if it is known.
        """
        now = self._clock()
        if self._is_quiet or now < self._next:
            return
        from modelfetch.model.text import sanitize
        from modelfetch.model.units import format_size

        self._next = now + self._every
        whole = f" of {format_size(size)}" if size is not None else ""
        text = sanitize(f"{verb} {path}: {format_size(done)}{whole}")
        if not self._is_drawn:
            say(text)
            return
        self._is_dirty = True
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{text[:width]}")
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """Print a message in place of the line, unless the command is quiet."""
        self.clear()
        if not self._is_quiet:
            say(text)

    def clear(self) -> None:
        """Remove the line."""
        if self._is_dirty:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_dirty = False


@contextmanager
def session_for(
    workspace: Workspace, *, offline: bool, quiet: bool, keep: bool = True
) -> Iterator[PinSession]:
    """Open a session that shows its progress.

    Args:
        workspace: Settings, catalogs and cache.
        offline: Whether ``--offline`` was given.
        quiet: Whether nothing is shown.
        keep: Whether the bytes that are read are kept in the cache.
    """
    from modelfetch.pins.session import open_session

    line = ProgressLine(quiet=quiet)
    try:
        with open_session(workspace, offline=offline, keep=keep, progress=line, waiting=line.say) as session:
            yield session
    except KeyboardInterrupt:
        line.say("cancelled; nothing was pinned")
        raise
    finally:
        line.clear()


def chooser(*, json: bool) -> Choose | None:
    """Return what asks a person for a variant; None if there is no person to ask."""
    from modelfetch.reporters import can_draw

    is_person = sys.stdin is not None and sys.stdin.isatty() and can_draw(sys.stderr, os.environ)
    return _ask if is_person and not json else None


def _ask(variants: Sequence[Variant]) -> Variant:
    """Ask for one of several variants, by its number.

    Raises:
        UsageError: The input ended.
    """
    from modelfetch.errors import UsageError
    from modelfetch.pins.variants import variant_lines

    say(f"This repository has {len(variants)} variants:")
    for number, line in enumerate(variant_lines(variants), start=1):
        say(f"{number:>4}  {line}")
    while True:
        sys.stderr.write(f"Which one (1-{len(variants)})? ")
        sys.stderr.flush()
        try:
            answer = sys.stdin.readline()
        except KeyboardInterrupt:
            say("")  # the prompt of the shell begins on a line of its own
            raise
        if not answer:
            say("")
            raise UsageError(
                "no variant was chosen",
                hint="Type a number, or choose with `modelfetch add REF --include GLOB`.",
            )
        text = answer.strip()
        if text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= len(variants):
            return variants[int(text) - 1]
        labels = {variant.label.casefold(): variant for variant in variants}
        if text.casefold() in labels:
            return labels[text.casefold()]


def pin_new(
    workspace: Workspace, words: Sequence[str], *, offline: bool, json: bool, quiet: bool
) -> tuple[list[str], bool]:
    """Replace references by names; those that are new are pinned in the user's catalog.

    Returns:
        The names, and whether anything was new, after which the catalogs must be listed again.
    """
    from modelfetch.pins.add import all_pinned, ensure_pinned, pinned_line, pinned_names

    if all_pinned(workspace, words):  # then nothing of the network is imported
        names = pinned_names(workspace, words)
        if not quiet:
            _say_of_project(workspace, words, names)
        return names, False
    with session_for(workspace, offline=offline, quiet=quiet or json) as session:
        names, added = ensure_pinned(session, words, choose=chooser(json=json))
    if not quiet:
        _say_of_project(workspace, words, names)
    for each in added:
        if not quiet:
            say(f"note: {pinned_line(each)}{_computed(each)}")
            for notice in each.pin.notices if each.pin else ():
                if each.pin and notice != each.pin.first_use:
                    say(f"note: {notice}")
    return names, True  # also if another process was faster


def _computed(added: Added) -> str:
    """Say how many digests of a new pin were computed here, as the end of the line about the pin."""
    if added.pin is None or "trust on first use" not in added.pin.first_use:
        return ""
    count = sum(not one.stated_by for one in added.pin.files)
    return f"; {count} of the digests computed here (trust on first use)"


def _say_of_project(workspace: Workspace, words: Sequence[str], names: Sequence[str]) -> None:
    """Say which references mean what the project pins: its author alone states that it is the same."""
    entries = workspace.catalog.of_project()
    for word, name in zip(words, names, strict=True):
        if is_reference(word) and name in entries:
            path = workspace.catalog.entry(name).path
            say(f"note: {word} is this project's pin {name} ({path})")


def names_of(workspace: Workspace, words: Sequence[str]) -> Sequence[str]:
    """Replace each reference by the name that it is pinned under; names stay as they are.

    Raises:
        UnknownModelError: A reference is not pinned.
    """
    if not any(map(is_reference, words)):
        return words
    from modelfetch.pins.add import pinned_names

    return pinned_names(workspace, words)
