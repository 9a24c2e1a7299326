"""The texts and symbols of the reporters: functions from events and state to one line of text.

All reporters use these functions, so a message reads the same above the bars and in a log.
Everything that comes from a server or a manifest passes :func:`~modelfetch.model.text.sanitize` here, not in
the reporters. :class:`Symbols` exist in Unicode and, for terminals with another encoding, in ASCII.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from modelfetch.engine.parts import amounts
from modelfetch.errors import Fault
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import NO_LICENSE, is_permissive
from modelfetch.model.source_kinds import CACHE
from modelfetch.model.text import sanitize
from modelfetch.model.units import format_duration, format_rate, format_size
from modelfetch.warm import already_present

if TYPE_CHECKING:
    from modelfetch.engine.events import (
        FileCommitted,
        FileQuarantined,
        LockWaiting,
        Planned,
        RetryScheduled,
        RunFinished,
        SourceFailed,
    )
    from modelfetch.engine.state import ModelState, RunState


_NAMED: Final = 4
"""Sources of one file or model that a line names at most; more would not fit."""


@dataclass(frozen=True, slots=True)
class Symbols:
    """One set of symbols; all but ``arrow`` and ``more`` are one cell wide."""

    done: str
    failed: str
    queued: str
    fetching: str
    verifying: str
    retrying: str
    fallback: str
    arrow: str
    dot: str
    ellipsis: str
    """Replaces the omitted part of a name."""
    more: str
    """Replaces the omitted part of a list."""
    bar: str
    half: str
    """The left half of ``bar``."""
    rest: str
    """The empty part of a bar; differs from ``bar`` without color, too."""
    spinner: str
    """The frames of an animation."""


UNICODE: Final = Symbols(
    done="✓",
    failed="✗",
    queued="·",
    fetching="↓",
    verifying="≈",
    retrying="↻",
    fallback="↪",
    arrow="→",
    dot="·",
    ellipsis="…",
    more="…",
    bar="━",
    half="╸",
    rest="─",
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
)
ASCII: Final = Symbols(
    done="+",
    failed="x",
    queued=".",
    fetching=">",
    verifying="=",
    retrying="~",
    fallback="!",
    arrow="->",
    dot="-",
    ellipsis="~",
    more="...",
    bar="#",
    half="#",
    rest="-",
    spinner="|/-\\",
)


def symbols_for(encoding: str) -> Symbols:
    """Choose the symbols for the encoding of a terminal."""
    try:
        "".join(getattr(UNICODE, name) for name in UNICODE.__match_args__).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def error_lines(finished: RunFinished, symbols: Symbols = UNICODE) -> list[str]:
    """The last lines of a command whose run did not complete, independent of its reporters.

    Args:
        finished: The end of the run.
        symbols: The symbols that the terminal can show.

    Returns:
        Nothing for a completed run, one line for a cancelled one, else ``error: ...`` and the hint, if there
        is one, on a second line.
    """
    error = finished.error
    if error is None:
        return []
    if finished.outcome == "cancelled":
        return ["; ".join(filter(None, (sanitize(error.message), sanitize(error.hint))))]
    return failure_lines(error.message, error.hint, symbols)


def failure_lines(message: str, hint: str, symbols: Symbols = UNICODE) -> list[str]:
    """An error message and, if there is one, a hint what to do next."""
    arrow = [f"  {symbols.arrow} {sanitize(hint)}"] if hint else []
    return [f"error: {sanitize(message)}", *arrow]


def place(source: str, host: str) -> str:
    """Kind of a source, with its host if it has one; a swarm has none but itself."""
    return sanitize(source if host == source else f"{source} {host}").strip()


def subject(state: RunState, model: str, file: str) -> str:
    """Path of a file, with its model if the run has several."""
    return sanitize(f"{model}/{file}" if model and len(state.models) > 1 else file)


def plural(n: int, noun: str) -> str:
    """Format a count: ``1 file``, ``9 files``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def exact(seconds: float) -> str:
    """Format a duration with more digits the shorter it is: ``0.04s``, ``2.1s``, ``1m 32s``."""
    # The limits are those of rounding: 0.095 would become 0.10s, and 9.95 would become 10.0s.
    if seconds < 0.095:
        return f"{seconds:.2f}s"
    return f"{seconds:.1f}s" if seconds < 9.95 else format_duration(seconds)


def idle(seconds: float) -> str:
    """Time without data, shown in place of the speed; always in seconds, to fit the column."""
    return f"no data for {seconds:.0f} s"


def plan(event: Planned) -> str:
    """Number and size of a model's files, and how many are to fetch."""
    missing = [file for file in event.files if file.state != "kept"]
    if not missing:
        return contents(event)
    reused = sum(file.reused for file in missing)
    held = sum(file.held for file in missing) - reused
    here = [
        f"{format_size(held)} in the cache already" if held else "",
        f"{format_size(reused)} to copy from other files in the cache" if reused else "",
    ]
    known = f" ({', '.join(filter(None, here))})" if any(here) else ""
    return f"{contents(event)}; {len(missing)} to fetch, {format_size(event.missing)}{known}"


def contents(event: Planned) -> str:
    """Number and size of a model's files: ``9 files, 295 MB``."""
    return f"{plural(len(event.files), 'file')}, {format_size(event.size)}"


def license_lines(event: Planned) -> list[str]:
    """Show the license of a model before its first download, unless the license is permissive."""
    if not event.missing or (is_permissive(event.license) and not event.license_notice):
        return []
    home = f"; {event.homepage}" if event.homepage else ""
    if event.license:
        lines = [f"license: {event.license} (as stated by the publisher{home})", event.license_notice]
    else:
        notice = event.license_notice if event.license_notice != NO_LICENSE else ""
        lines = [f"license: not stated by the publisher{home}", notice]
    return [sanitize(line) for line in lines if line]


def waiting(event: LockWaiting) -> str:
    """Holder of the lock that the run waits for, with its progress if it reports any."""
    holder = f"waiting for {sanitize(event.holder) or 'another process'}"
    if not event.size:
        return holder
    # At most 99: as long as the lock is held, the other process is not done.
    percent = min(99, 100 * event.received // event.size)
    return f"{holder}: {percent}% ({format_size(event.received)} / {format_size(event.size)})"


def cause(event: RetryScheduled | SourceFailed) -> str:
    """Source that failed, and the reason."""
    return f"{place(event.source, event.host)}: {sanitize(event.reason)}"


def retry(event: RetryScheduled) -> str:
    """Reason and time of a retry: ``mirror m.example: stalled; attempt 2 in 0.5s``."""
    when = f"in {exact(event.wait)}" if event.wait >= 0.05 else "now"
    return f"{cause(event)}; attempt {event.attempt} {when}"


def bad(event: SourceFailed) -> str:
    """Result of verification for a bad file; an unlisted file gets a notice with what to do about it."""
    if event.fault == Fault.UNLISTED:
        return sanitize(f"unlisted: {event.reason}")
    return f"bad: {damage(event)}"


def damage(event: SourceFailed) -> str:
    """What is wrong with a file on this disk, with the damaged ranges if known: ``hash 17.0-18.0 MiB``."""
    if not event.ranges:
        return sanitize(event.fault)
    from modelfetch.engine.damage import format_ranges

    return f"{sanitize(event.fault)} {format_ranges(event.ranges)}"


def quarantined(event: FileQuarantined) -> str:
    """What was moved to quarantine; bytes of a file that no manifest lists are not called wrong."""
    return "wrong bytes moved to quarantine" if event.expected else "moved to quarantine"


def fallback(event: SourceFailed, symbols: Symbols) -> str:
    """Reason for leaving a source, and the next source."""
    if not event.next_source:
        return f"{cause(event)}; no source left"
    # The host is named only if the kind does not tell the two sources apart.
    is_same_kind = event.next_source == event.source
    following = place(event.next_source, event.next_host if is_same_kind else "")
    return f"{cause(event)} {symbols.arrow} {following}"


def origins(event: FileCommitted) -> str:
    """Where the bytes of a file came from: its source, or several ones by their bytes."""
    counts = amounts(event.parts)
    return shares(counts) if len(counts) > 1 else place(event.source, event.host)


def shares(counts: Counter[str]) -> str:
    """Sources by their bytes, the largest first: ``300 MB peer lab-2:8765, 112 MB huggingface.co``."""
    named = [f"{format_size(count)} {_short(label)}" for label, count in counts.most_common()]
    rest = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {plural(rest, 'more source')}" if rest > 0 else "")


def _short(label: str) -> str:
    """Name of a source, short: the kind is left out if the host says it, as in ``huggingface.co``."""
    kind, _, host = label.partition(" ")
    if kind == CACHE:
        return "this cache"
    return sanitize(host if kind in host else kind if host in ("", kind) else label)


def ready(model: ModelState, symbols: Symbols) -> str:
    """Summary of a model that is ready: bytes fetched, time, speed, and sources."""
    assert model.ready is not None, "only models that are ready have a summary"
    event = model.ready
    parts = [f"{sanitize(model.name)} is ready"]
    if event.fetched:
        of = f" of {format_size(event.size)}" if event.fetched < event.size else ""
        rate = f" ({format_rate(event.fetched / model.seconds)})" if model.seconds > 0 else ""
        parts += [
            f"{format_size(event.fetched)}{of} in {exact(model.seconds)}{rate}",
            _origins(model),
        ]
    elif event.reused or set(model.sources) - {CACHE}:
        origins = "" if event.reused else _origins(model)
        parts += [f"{plural(event.files, 'file')}, {format_size(event.size)}", origins]
    else:
        parts.append(already_present(event.files, event.size))
    if event.reused:
        parts.append(f"{format_size(event.reused)} copied from this disk")
    return f" {symbols.dot} ".join(filter(None, parts))


def _origins(model: ModelState) -> str:
    """Kinds of sources by the number of their files: ``from huggingface 8 files, local 1``.

    Where several sources supplied one file: sources by their bytes.
    """
    if model.is_shared:
        return f"from {shares(model.shares)}"
    (kind, files), *others = model.sources.most_common() or [("", 0)]
    rest = "".join(f", {sanitize(kind)} {files}" for kind, files in others)
    return f"from {sanitize(kind)} {plural(files, 'file')}{rest}" if kind else ""


def verified(state: RunState, finished: RunFinished) -> str:
    """Summary of a verification: ``9 files, 295 MB verified in 0.4s``.

    Files of which not every byte was read (``--quick``, ``--sample``) are ``checked``, not ``verified``.
    """
    files = [file for file in finished.files if file.reason != Fault.UNLISTED]
    good = [file for file in files if file.status == "completed"]
    of = "" if len(good) == len(files) else f"{len(good)} of "
    size = format_size(sum(file.size for file in good))
    is_partial = any(file.size and file.kept == file.size for file in state.files.values())
    verb = "checked" if is_partial else "verified"
    return f"{of}{plural(len(files), 'file')}, {size} {verb} in {exact(state.seconds)}"


def kept(state: RunState) -> str:
    """Summary of a failed run: complete files, and bytes that are kept for the next run."""
    totals = state.totals
    complete = f"{totals.files_done} of {plural(totals.files, 'file')} complete"
    return f"{complete}, {format_size(totals.received)} of {format_size(totals.size)} kept"
